"""The history of a run as TensorBoard reads it: `tensorboard --logdir runs`.

Written with tensorboard's own record writer, in this thread. torch's SummaryWriter takes two seconds to import and
writes from a thread of its own, whose traceback is all that a full disk would show.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from decolle_hw.errors import UsageError
from decolle_hw.training.history import EpochRecord


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
