"""What the description of a new project says: sizes from the recordings, a network that learns them in a minute or two.

The networks are small on purpose: what is learned within minutes on two cores can be made larger afterwards, and each
of them fits on one Loihi 2 chip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from decolle_hw import sizes
from decolle_hw.errors import DataError, UsageError
from decolle_hw.inspecting.analysis import Inspection
from decolle_hw.inspecting.found import shown
from decolle_hw.inspecting.suggestions import DENOISE_US, sample_us, window_of

Network = Literal["dense", "conv"]
Neuron = Literal["decolle", "cuba"]

FEW_SAMPLES = 500  # training samples, below which the network is the smaller one
DENSE = {"few": [128, 64], "many": [256, 128]}
CONV = {"few": [8, 16], "many": [16, 32]}
ON_TOP = 64  # neurons of the dense layer on top of the convolutions
KERNEL = 5
LEAST_MAP = 8  # pixels along an edge that two poolings leave something of
UNITS_PER_CLASS = 2  # of the last layer at least
MOST_IMAGES = 10_000  # still images, of which each must pass the simulated camera
IMAGE_LIMITS = (5000, 1000)  # that are used where there are more
PRESENTATIONS = 12_000  # of samples in all epochs
EPOCHS = (5, 24)
BATCHES = 10  # updates of an epoch or more, until a batch has `BATCH` samples
BATCH = (4, 32)
BURN_IN = 6  # a sixth of the steps
NAMED_HOT = 20  # hot pixels in the transform
LISTED_CLASSES = 12


@dataclass(frozen=True)
class Plan:
    """Values of the template; what is None or empty is left out or stands in it as a comment."""

    name: str
    dataset: Literal["folder", "array", "digits"]
    data: str | None  # as the YAML says it
    found: str  # one line about the recordings
    classes: tuple[str, ...]
    own_classes: bool  # each recording is a class of its own, for want of better
    split_by_time: bool
    has_test: bool
    sensor: tuple[int, int] | None
    sensor_origin: str
    input_shape: list[int]
    downsample: int
    deltat: int
    window: int | None
    windows: int  # of the longest recording
    steps: int
    hot: list[list[int]]  # x, y
    denoise: int
    network: Network
    neuron: Neuron
    channels: list[int]  # of the convolutions
    units: list[int]  # of the dense layers
    kernel: int
    limits: tuple[int, int] | None  # training and test images that are used
    batch: int
    epochs: int

    @property
    def burn_in(self) -> int:
        return max(1, self.steps // BURN_IN)

    @property
    def learning_rate(self) -> float:
        return 0.004 if self.network == "dense" else 0.002

    @property
    def drop(self) -> int:
        """Epochs until the learning rate drops."""
        return max(1, 2 * self.epochs // 3)


def plan_digits(name: str, network: Network, neuron: Neuron) -> Plan:
    """Of the embedded digits, as the shipped model of that name has them."""
    return Plan(
        name=name, dataset="digits", data=None, found="1,797 handwritten digits before a simulated camera",
        classes=tuple(map(str, range(10))), own_classes=False, split_by_time=False, has_test=False,
        sensor=None, sensor_origin="", input_shape=[2, 16, 16], downsample=1, deltat=5000, window=None, windows=1,
        steps=60, hot=[], denoise=DENOISE_US, limits=None, **_network([2, 16, 16], 10, 1440, network, neuron),
    )  # fmt: skip


def plan_recordings(name: str, data: str, found: Inspection, network: Network, neuron: Neuron) -> Plan:
    """Of recordings that were inspected.

    Args: data: path of the folder as the YAML shall say it.

    Raises `DataError` where nothing can be learned from them, `UsageError` for a network that does not fit them.
    """
    _require_classes(found)
    unsorted = found.unsorted
    window, by_time = _windows(found)
    duration = window or sample_us(found)
    deltat = sizes.deltat_for(duration)
    steps = sizes.steps_of_window(window, deltat) if window else sizes.steps_for(duration, deltat)
    downsample = sizes.downsample_for(*found.sensor)
    shape = sizes.input_shape_for(found.polarities, *found.sensor, downsample)
    classes = own_classes([recording.name for recording in found.recordings]) if unsorted else found.class_names
    has_test = any(recording.part == "test" for recording in found.recordings)
    learned = [recording for recording in found.recordings if recording.part != "test"]
    limited = found.total > MOST_IMAGES and found.kind == "images"
    samples = (
        IMAGE_LIMITS[0]
        if limited
        else found.total
        if found.kind == "images"
        else sum(recording.length_us // window + 1 if window else 1 for recording in learned)
    )
    return Plan(
        name=name, dataset="array" if found.kind == "images" else "folder", data=data, found=_in_words(found),
        classes=tuple(classes), own_classes=unsorted, split_by_time=by_time, has_test=has_test,
        sensor=None if found.kind == "images" else found.sensor, sensor_origin=found.sensor_origin, input_shape=shape,
        downsample=1 if found.kind == "images" else downsample, deltat=deltat, window=window,
        windows=max(found.lengths_us) // window if window else 1, steps=steps,
        hot=[[pixel.x, pixel.y] for pixel in found.hot[:NAMED_HOT]], denoise=DENOISE_US,
        limits=IMAGE_LIMITS if limited else None, **_network(shape, len(classes), samples, network, neuron),
    )  # fmt: skip


def own_classes(names: Sequence[str]) -> list[str]:
    """A class for each recording: its name without the suffix, or with it where two would be alike."""
    stems = [name.rpartition(".")[0] or name for name in names]
    alike = {stem for stem in stems if sum(other.casefold() == stem.casefold() for other in stems) > 1}
    chosen = [name if stem in alike else stem for name, stem in zip(names, stems, strict=True)]
    seen: dict[str, int] = {}
    for place, label in enumerate(chosen):
        count = seen[label.casefold()] = seen.get(label.casefold(), 0) + 1
        if count > 1:  # differ only in case, which no table of classes may
            chosen[place] = f"{label} {count}"
    return chosen


def _windows(found: Inspection) -> tuple[int | None, bool]:
    """time_window, and whether the last windows are held out rather than recordings."""
    if found.kind != "files":
        return None, False
    has_test = any(recording.part == "test" for recording in found.recordings)
    single = not has_test and min(len(members) for members in found.classes.values()) < 2
    if not (found.unsorted or single):
        return window_of(found), False
    window = window_of(found) or sizes.window_for(max(found.lengths_us))
    if min(found.lengths_us) < 2 * window:
        window = max(1000, min(found.lengths_us) // 2)
    if min(found.lengths_us) < 2 * window:
        shortest = min(found.recordings, key=lambda recording: recording.length_us)
        raise DataError(
            f"{shown(found.what)}: a class has a single recording, of which a part must be held out for testing, but "
            f"{shortest.name} lasts {shortest.duration_us} us; add recordings, or a folder test"
        )
    return window, True


def _require_classes(found: Inspection) -> None:
    data = shown(found.what)
    if found.unsorted:
        if found.broken:
            raise DataError(
                f"{data}: each recording would be a class of its own, but {found.broken[0].name} cannot be read; move "
                f"it away: {found.broken[0].error}"
            )
        if any(recording.part for recording in found.recordings):
            raise DataError(
                f"{data}: train and test hold recordings that are not sorted into classes; make a folder for each "
                f"class in both"
            )
        if len(found.recordings) < 2:
            raise DataError(
                f"{data}: is one recording, and so one class; nothing is there to tell it from; add another"
            )
        return
    if len(found.class_names) < 2:
        raise DataError(
            f"{data}: holds one class, {found.class_names[0]!r}, and nothing to tell it from; add a folder with another"
        )
    empty = [name for name, members in found.classes.items() if not members]
    if empty:
        raise DataError(
            f"{data}: no recording of class {empty[0]!r} can be read; mend or remove its folder (`decolle-hw data "
            f"inspect {data}` lists the reasons)"
        )


def _network(shape: list[int], classes: int, samples: int, network: Network, neuron: Neuron) -> dict[str, Any]:
    """Keys of a plan that describe network and training."""
    if network == "conv" and min(shape[1:]) < LEAST_MAP:
        raise UsageError(
            f"--network conv: {shape[1]}x{shape[2]} inputs are too few for convolutions and pooling, which need "
            f"{LEAST_MAP}x{LEAST_MAP}; leave it out for a dense network"
        )
    size = "few" if samples < FEW_SAMPLES else "many"
    units = [ON_TOP] if network == "conv" else list(DENSE[size])
    units[-1] = max(units[-1], UNITS_PER_CLASS * classes)
    batch = BATCH[0]
    while batch < BATCH[1] and samples >= 2 * batch * BATCHES:
        batch *= 2
    epochs = min(max(-(-PRESENTATIONS // samples), EPOCHS[0]), EPOCHS[1])
    return {
        "network": network, "neuron": neuron, "channels": CONV[size] if network == "conv" else [], "units": units,
        "kernel": KERNEL, "batch": batch, "epochs": epochs,
    }  # fmt: skip


def _in_words(found: Inspection) -> str:
    height, width = found.sensor
    formats = ", ".join(found.formats)
    noun = "images" if found.kind == "images" else "recordings"
    return f"{found.total:,} {noun} ({formats}), {height}x{width} pixels"
