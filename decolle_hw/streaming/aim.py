"""What a network expects of a stream: the description it was trained from, as far as it holds for live input."""

from __future__ import annotations

from typing import Any

from decolle_hw.compiler.program import Program
from decolle_hw.data.prepare import ZERO_IS_ITS_START
from decolle_hw.errors import UsageError
from decolle_hw.spec import DatasetSpec, model_spec_from_yaml
from decolle_hw.spec_transforms import without_random

DENOISE = "Denoise"  # the transform that does the same as `dataset.denoise`


def stream_dataset(program: Program, deltat: int | None) -> DatasetSpec:
    """Sensor, inputs and length of a step.

    Args: deltat: microseconds of a step, for a network from elsewhere, whose file does not say.
    Raises `UsageError` for a network that no stream of events can be given to.
    """
    if program.input_block is not None:
        raise UsageError(f"--stream: {program.name} takes still images, not events; run it with --data FILE.npz")
    if not program.spec_yaml:
        return _from_elsewhere(program, deltat)
    if deltat is not None:
        raise UsageError(
            f"--deltat {deltat}: {program.name} was trained with its own length of a step; leave --deltat out (it is "
            "for networks from elsewhere)"
        )
    spec = model_spec_from_yaml(program.spec_yaml, f"description inside {program.name}.net").dataset
    for name, _ in _steady_transforms(spec):
        if name != DENOISE:
            _refuse(program, f"dataset.transforms {name}", "is made on whole recordings and not yet on a stream")
    if spec.sensors[-1] != spec.sensor:
        _refuse(program, "dataset.transforms", "changes the size of the sensor")
    return spec


def filter_times(spec: DatasetSpec) -> list[float]:
    """Microseconds of each filter against noise that its events go through, in this order."""
    first = [] if spec.denoise is None else [float(spec.denoise)]
    return first + [float(arguments["filter_time"]) for name, arguments in _steady_transforms(spec) if name == DENOISE]


def _steady_transforms(spec: DatasetSpec) -> list[tuple[str, dict[str, Any]]]:
    """Without the random ones, which are for training alone."""
    return [(name, arguments) for entry in without_random(spec.transforms) for name, arguments in entry.items()]


def origin_of(spec: DatasetSpec, format: str | None) -> int | None:
    """Where time begins: 0, or None: at the first event."""
    if spec.time_origin == "auto":
        return 0 if format in ZERO_IS_ITS_START else None
    return 0 if spec.time_origin == "zero" else None


def _from_elsewhere(program: Program, deltat: int | None) -> DatasetSpec:
    if deltat is None:
        raise UsageError(
            f"--stream: {program.name} comes from elsewhere, and its file does not say how long a time step is; give "
            "--deltat MICROSECONDS"
        )
    if program.input_shape[0] not in (1, 2):
        raise UsageError(
            f"--stream: {program.name} takes {'x'.join(map(str, program.input_shape))} inputs, but events of a camera "
            "have one or two polarities; give --data FILE.npz with spikes"
        )
    return DatasetSpec(name="folder", input_shape=list(program.input_shape), deltat=deltat)


def _refuse(program: Program, key: str, reason: str) -> None:
    raise UsageError(
        f"--stream: {program.name} was trained with {key}, which {reason}; run recordings with --data FOLDER, or "
        "train without it"
    )
