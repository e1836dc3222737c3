"""Noise is dropped from a stream as it is from whole recordings, event for event, however the events arrive."""

from __future__ import annotations

import numpy as np
import pytest
from stream_tools import DELTAT, draw_events
from test_stream_steps import CENTRE, WHOLE, expected_frames, frames_of, make_binning

from decolle_hw.data.denoising import denoised
from decolle_hw.spec import DatasetSpec
from decolle_hw.streaming.aim import filter_times
from decolle_hw.streaming.holding import DenoisedInputs
from decolle_hw.streaming.steps import Binning

FILTER_US = 900  # some noise is left, most is not


def make_denoising(spec: DatasetSpec, recording: int | None = None) -> Binning:
    inputs = int(np.prod(spec.input_shape))
    waiting = DenoisedInputs(spec.deltat, inputs, spec.sensor, filter_times(spec), recording)
    return make_binning(spec, waiting=waiting)


def out_of_order(events: np.ndarray) -> np.ndarray:
    """As a bus delivers: nobody comes more than a step after a later one."""
    jitter = np.random.default_rng(1).integers(0, DELTAT, len(events))
    return events[np.argsort(events["t"] + jitter, kind="stable")]


@pytest.mark.parametrize("size", [1, 13, 100_000])
@pytest.mark.parametrize(
    ("spec", "filters"),
    [
        (WHOLE.model_copy(update={"denoise": FILTER_US}), [FILTER_US]),
        (CENTRE.model_copy(update={"denoise": FILTER_US}), [FILTER_US]),  # neighbours that are not seen count too
        (WHOLE.model_copy(update={"denoise": FILTER_US, "transforms": [{"Denoise": {"filter_time": 700.0}}]}),
         [FILTER_US, 700]),
    ],
    ids=["whole", "centre", "twice"],
)  # fmt: skip
def test_what_is_left_is_what_a_whole_recording_keeps(spec: DatasetSpec, filters: list[int], size: int) -> None:
    events = out_of_order(draw_events(4, 1200, 90 * DELTAT, *spec.sensor))
    expected = events[np.argsort(events["t"], kind="stable")]
    for filter_time in filters:
        expected = denoised(expected, filter_time)
    assert 100 < len(expected) < 1100
    binning = make_denoising(spec)
    found = frames_of(binning, events, size)
    last = int(expected["t"].max()) // DELTAT + 1
    np.testing.assert_array_equal(found[:last], expected_frames(spec, expected))
    assert not found[last:].any() and binning.counts.late == 0
    assert binning.counts.noise == len(events) - len(expected)


def test_every_recording_begins_anew() -> None:
    """As windows of a recording do: nothing before the reset is remembered, and time counts from it."""
    spec, length = WHOLE.model_copy(update={"denoise": FILTER_US}), 15
    events = draw_events(5, 700, 4 * length * DELTAT)
    expected = []
    for number in range(4):
        part = events[events["t"] // (length * DELTAT) == number].copy()
        part["t"] -= number * length * DELTAT
        part = denoised(part, FILTER_US)
        part["t"] += number * length * DELTAT
        expected.append(part)
    kept = np.concatenate(expected)
    assert len(kept) != len(denoised(events, FILTER_US))
    found = frames_of(make_denoising(spec, length), events, 50)
    np.testing.assert_array_equal(found[: int(kept["t"].max()) // DELTAT + 1], expected_frames(spec, kept))


def test_no_more_is_held_than_may_still_change() -> None:
    spec = WHOLE.model_copy(update={"denoise": FILTER_US})
    binning = make_denoising(spec)
    events = draw_events(6, 5000, 500 * DELTAT)
    frames_of(binning, events, 5)
    per_step = np.bincount(events["t"] // DELTAT)
    assert 0 < binning.counts.held <= 3 * per_step.max() + 5
