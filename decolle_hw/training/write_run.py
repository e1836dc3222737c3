"""A run folder for a network that `decolle-hw train` did not train; it is evaluated and compiled as any other."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from decolle_hw.atomic import json_text
from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, model_spec_to_yaml
from decolle_hw.training.checkpoints import Origin, write_file, write_weights
from decolle_hw.training.history import EpochRecord
from decolle_hw.training.learner import Evaluation
from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, SPEC, Run, load_run

ON_CHIP = "on chip"  # the device in metrics.json


def write_run(
    folder: Path, spec: ModelSpec, classes: Sequence[str], network: DecolleNetwork, result: Evaluation,
    train_recordings: int, seconds: float,
) -> Run:  # fmt: skip
    """Write the folder, complete or not at all.

    Args:
        folder: does not exist yet.
        result: of the network on `len(result.predictions)` test recordings: its history is this one entry.
        train_recordings, seconds: what it learned from, and for how long.

    There is nothing to resume: `decolle-hw train --resume` refuses it. Raises `UsageError` where it cannot be written.
    """
    record = EpochRecord(
        epoch=1, loss=[0.0] * len(network), test_accuracy=result.accuracy, test_firing_rate=result.firing_rate,
        learning_rate=[], recordings_per_second=train_recordings / max(seconds, 1e-9), seconds=seconds,
    )  # fmt: skip
    metrics = {
        "classes": list(classes),
        "device": ON_CHIP,
        "train_recordings": train_recordings,
        "test_recordings": len(result.predictions),
        "finished": True,
        "stopped_early": False,
        "diverged": None,
        "best_epoch": 1,
        "test_accuracy": result.accuracy,
        "seconds": seconds,
        "history": [asdict(record)],
    }
    description = model_spec_to_yaml(spec)
    origin = Origin(description, list(classes), 1)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror or error}; choose another place") from None
    try:
        write_file(partial / SPEC, description.encode())
        for name in (CHECKPOINT, LAST):
            write_weights(partial / name, network.state_dict(), origin)
        write_file(partial / METRICS, json_text(json.loads(json.dumps(metrics))).encode())
        partial.chmod(0o755)
        partial.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}; choose another place") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_run(folder)
