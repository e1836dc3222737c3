"""The history of a run as TensorBoard reads it: `tensorboard --logdir runs`. See its tabs Scalars, Text and HParams.

Written with tensorboard's own record writer, in this thread. torch's SummaryWriter takes two seconds to import and
writes from a thread of its own, whose traceback is all that a full disk would show.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from decolle_hw.errors import UsageError
from decolle_hw.training.history import EpochRecord
from decolle_hw.training.run_files import SPEC
from decolle_hw.yamlfile import read_yaml

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

# Sections of a description whose values are hyperparameters.
HYPERPARAMETERS = ("dataset", "network", "training")


class EventFile:
    """One event file, made at the first epoch that is written. A resumed run adds a file of its own to the folder."""

    def __init__(self, folder: Path) -> None:
        # TensorBoard reads the files of a folder in the order of their names.
        self.path = folder / f"events.out.tfevents.{time.time_ns():019d}.{socket.gethostname()}.{os.getpid()}"
        self._file: BinaryIO | None = None

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written was reported when it was
                self._file.close()

    def write(self, record: EpochRecord) -> None:
        """All figures of an epoch; the step is the number of the epoch."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(record).items()]
        try:
            if self._file is None:
                self._file = self.path.open("ab")
                self._append(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
                about = Summary(value=[_text(self.path.parent), _hyperparameters(self.path.parent)])
                self._append(Event(wall_time=time.time(), summary=about).SerializeToString())
            self._append(
                Event(wall_time=time.time(), step=record.epoch, summary=Summary(value=values)).SerializeToString()
            )
            self._file.flush()
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def _append(self, event: bytes) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self._file).write(event)


def scalars(record: EpochRecord) -> dict[str, float]:
    """Tag and value of each figure of an epoch."""
    figures = {
        "loss": record.loss,
        "test_accuracy": record.test_accuracy,
        "test_firing_rate": record.test_firing_rate,
    }
    by_layer = {f"{name}/layer{index}": value for name, layers in figures.items() for index, value in enumerate(layers)}
    rates = {f"learning_rate/group{index}": rate for index, rate in enumerate(record.learning_rate)}
    return by_layer | rates | {"seconds": record.seconds, "recordings_per_second": record.recordings_per_second}


def _text(folder: Path) -> Summary.Value:
    """The description of a run, as Markdown shows code."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    lines = (folder / SPEC).read_text(encoding="utf-8").splitlines()
    text = "\n".join(f"    {line}" for line in lines)
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    return Summary.Value(
        tag="description/text_summary",
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape),
    )


def _hyperparameters(folder: Path) -> Summary.Value:
    """Every value of the description that is a number, a word or a switch; lists as they are written in YAML."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    start = SessionStartInfo(start_time_secs=time.time())
    for key, value in hyperparameters(read_yaml(folder / SPEC)).items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, (int, float)):
            start.hparams[key].number_value = value
        else:
            start.hparams[key].string_value = value.encode("utf-8", "backslashreplace").decode()  # odd file names
    content = HParamsPluginData(session_start_info=start, version=0).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    return Summary.Value(tag="_hparams_/session_start_info", metadata=SummaryMetadata(plugin_data=plugin))


def hyperparameters(description: dict[str, Any]) -> dict[str, bool | float | str]:
    """``section.key`` -> value."""
    found: dict[str, bool | float | str] = {}
    for section in HYPERPARAMETERS:
        for key, value in description.get(section, {}).items():
            if value is not None:
                found[f"{section}.{key}"] = value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
    return found
