"""What a description of these recordings should say, and what their owner should know before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from decolle_hw import sizes

if TYPE_CHECKING:
    from decolle_hw.inspecting.analysis import Inspection

IMBALANCE = 3.0  # largest class over the smallest
FEW_RECORDINGS = 5  # of a class
ONE_SIDED = 0.9  # share of one polarity
UNEVEN = 2.0  # longest duration over the shortest
SPARSE = 1000  # events of a recording, below which noise filters would leave little
DENOISE_US = 10_000  # tonic's own example of Denoise
SOME_HOT = 20  # hot pixels that are named in a transform


@dataclass(frozen=True)
class Suggestion:
    """One line for people, and what to write into the YAML if anything."""

    text: str
    yaml: str = ""


def suggestions(found: Inspection) -> tuple[Suggestion, ...]:
    """In the order in which one would follow them."""
    if not found.recordings:
        return ()
    return (*_of_classes(found), *_of_time(found), *_of_space(found), *_of_noise(found))


def window_of(found: Inspection) -> int | None:
    """time_window in microseconds for long recordings, and for those that are a class of their own; else None."""
    longest = max(found.lengths_us)
    if found.kind == "files" and (found.unsorted or longest >= sizes.LONG_US):
        return sizes.window_for(longest)
    return None


def sample_us(found: Inspection) -> int:
    """How long what is presented to the network lasts."""
    return window_of(found) or sizes.common_duration(found.lengths_us)


def downsample_of(found: Inspection) -> int:
    return sizes.downsample_for(*found.sensor)


def _of_classes(found: Inspection) -> Iterator[Suggestion]:
    members = {name: len(recordings) for name, recordings in found.classes.items()}
    if found.unsorted:
        if found.kind == "files":
            yield Suggestion(
                "the recordings have no classes: sort them into a folder for each class, or name them in a table of "
                "recording,class (`decolle-hw init` writes one)",
                "labels: labels.csv",
            )
        return
    if len(members) == 1:
        yield Suggestion(f"there is one class only, {next(iter(members))!r}, and nothing to tell it from; add another")
        return
    empty = [name for name, count in members.items() if not count]
    if empty:
        yield Suggestion(f"no recording of {', '.join(empty)} can be read; mend them or leave the class out")
        return
    smallest, largest = min(members, key=members.__getitem__), max(members, key=members.__getitem__)
    if members[largest] > IMBALANCE * members[smallest]:
        yield Suggestion(
            f"class {largest!r} has {members[largest]} recordings and {smallest!r} {members[smallest]}: a network may "
            f"prefer the larger; record more, or look at the accuracy of each class"
        )
    if members[smallest] < FEW_RECORDINGS and window_of(found) is None:
        yield Suggestion(
            f"class {smallest!r} has {members[smallest]} recordings: few to learn from, and fewer to test with"
        )


def _of_time(found: Inspection) -> Iterator[Suggestion]:
    window = window_of(found)
    longest, shortest = max(found.lengths_us), min(found.lengths_us)
    if window is not None:
        pieces = longest // window
        yield Suggestion(
            f"recordings last up to {seconds(longest)}: cut them into windows of {window // 1000} ms, up to {pieces} "
            f"samples of each",
            f"time_window: {window}" + ("\nsplit_by: time" if found.unsorted else ""),
        )
    elif longest > UNEVEN * max(1, shortest):
        yield Suggestion(
            f"recordings last from {seconds(shortest)} to {seconds(longest)}; short ones end in empty steps"
        )
    deltat = sizes.deltat_for(sample_us(found))
    steps = sizes.steps_for(sample_us(found), deltat) if window is None else sizes.steps_of_window(window, deltat)
    yield Suggestion(
        f"steps of {deltat / 1000:g} ms: {steps} for each sample",
        f"deltat: {deltat}\nchunk_size_train: {steps}\nchunk_size_test: {steps}",
    )


def _of_space(found: Inspection) -> Iterator[Suggestion]:
    if found.kind == "described":
        return
    height, width = found.sensor
    downsample = downsample_of(found)
    shape = sizes.input_shape_for(found.polarities, height, width, downsample)
    if found.kind == "images":
        yield Suggestion(
            f"images of {height}x{width} are shown to a simulated camera, which makes events of them",
            f"name: array\ninput_shape: {shape}",
        )
        return
    if downsample == 1:
        yield Suggestion(f"{height}x{width} pixels are few enough to be inputs as they are", f"input_shape: {shape}")
        return
    yield Suggestion(
        f"{height}x{width} pixels are {found.polarities * height * width:,} inputs; with blocks of "
        f"{downsample}x{downsample} they are {prod(shape):,}",
        f"sensor_size: {[height, width]}\ninput_shape: {shape}\ndownsample: {downsample}",
    )


def _of_noise(found: Inspection) -> Iterator[Suggestion]:
    if found.hot and found.kind == "files":
        some = [[pixel.x, pixel.y] for pixel in found.hot[:SOME_HOT]]
        yield Suggestion(
            f"{len(found.hot)} hot pixel{'s' if len(found.hot) > 1 else ''} can be left out"
            + (f"; the worst {SOME_HOT} of them are" if len(found.hot) > SOME_HOT else ""),
            f"transforms: [{{DropPixel: {{coordinates: {some}}}}}]",
        )
    lonely = min(recording.events for recording in found.recordings) < SPARSE
    if found.kind == "files" and not lonely and min(found.sensor) > 1:
        yield Suggestion(
            "events of noise, with no other beside them within 10 ms, can be left out", f"denoise: {DENOISE_US}"
        )
    if found.polarities == 2 and not 1 - ONE_SIDED <= found.on_share <= ONE_SIDED:
        more = "ON" if found.on_share > 0.5 else "OFF"
        yield Suggestion(f"nearly all events are {more}: thresholds of the sensor may be set unevenly")


def seconds(duration_us: float) -> str:
    """A duration for people."""
    if duration_us < 1_000_000:
        return f"{duration_us / 1000:.3g} ms"
    return f"{duration_us / 1e6:.3g} s" if duration_us < 1e9 else f"{duration_us / 1e6:,.0f} s"
