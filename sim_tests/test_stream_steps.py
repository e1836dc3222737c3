"""Events become the same steps while they arrive as in a whole recording; nothing is lost without being counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from stream_tools import DELTAT, draw_events

from decolle_hw.data.binning import active_entries
from decolle_hw.data.sensor import to_inputs
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec
from decolle_hw.streaming.pixels import PixelTable
from decolle_hw.streaming.steps import AT_ONCE, Binning, Steps

WHOLE = DatasetSpec(name="folder", path="x", input_shape=[2, 6, 6], deltat=DELTAT)
CENTRE = DatasetSpec(name="folder", path="x", input_shape=[2, 3, 4], sensor_size=[9, 11], downsample=2, deltat=DELTAT)
MERGED = DatasetSpec(name="folder", path="x", input_shape=[1, 6, 6], deltat=DELTAT)


def make_binning(spec: DatasetSpec = WHOLE, **changes: object) -> Binning:
    settings = {"origin": 0, "tolerance": DELTAT, "max_gap": 1_000_000, "place": "the stream"} | changes
    return Binning(PixelTable(spec), spec.deltat, **settings)  # type: ignore[arg-type]


def pieces_of(binning: Binning, events: np.ndarray, size: int) -> Iterator[Steps]:
    for start in range(0, len(events), size):
        yield from binning.add(events[start : start + size])
    yield from binning.finish()


def frames_of(binning: Binning, events: np.ndarray, size: int) -> np.ndarray:
    """(K, I), after a look at the numbers and times of all pieces."""
    found, begin = [], None
    for steps in pieces_of(binning, events, size):
        assert steps.first == sum(map(len, found)) and 0 < len(steps.frames_KI) <= AT_ONCE
        begin = steps.begin_us if begin is None else begin
        assert steps.begin_us == begin + steps.first * DELTAT
        found.append(steps.frames_KI)
    return np.concatenate(found)


def expected_frames(spec: DatasetSpec, events: np.ndarray) -> np.ndarray:
    """By the code that bins whole recordings; of one polarity by merging the frames of two."""
    events = events[np.argsort(events["t"], kind="stable")]
    steps = int(events["t"][-1]) // spec.deltat + 1
    two = spec.model_copy(update={"input_shape": [2, *spec.input_shape[1:]]})
    frames = np.zeros((steps, 2 * int(np.prod(spec.input_shape[1:]))), np.uint8)
    frames.reshape(-1)[active_entries(to_inputs(events.copy(), two, "it"), tuple(two.input_shape), DELTAT, steps)] = 1
    if spec.input_shape[0] == 2:
        return frames
    return frames.reshape(steps, 2, -1).max(1)


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("spec", [WHOLE, CENTRE, MERGED], ids=["whole", "centre", "merged"])
def test_frames_are_those_of_a_whole_recording(spec: DatasetSpec, size: int) -> None:
    events = draw_events(3, 1500, 90 * DELTAT, *spec.sensor)
    events["t"][700:] += 40 * DELTAT  # silence in between
    # Out of order, as a bus delivers: nobody comes more than a step after a later one.
    events = events[np.argsort(events["t"] + np.random.default_rng(1).integers(0, DELTAT, len(events)), kind="stable")]
    assert (np.diff(events["t"]) < 0).any()
    binning = make_binning(spec)
    np.testing.assert_array_equal(frames_of(binning, events, size), expected_frames(spec, events))
    assert binning.counts.late == 0 and binning.counts.events == len(events)
    assert (binning.counts.unseen > 0) == (spec is CENTRE)


def test_late_events_are_counted_whatever_the_blocks() -> None:
    events = draw_events(4, 600, 50 * DELTAT)
    late = [100, 300, 301]
    events["t"][late] -= 3 * DELTAT
    counted = []
    for size in (1, 13, 1000):
        binning = make_binning()
        frames = frames_of(binning, events, size)
        np.testing.assert_array_equal(frames, expected_frames(WHOLE, np.delete(events, late)))
        counted.append((binning.counts.late, binning.counts.largest_delay_us))
    assert counted[0][0] == 3 and 2 * DELTAT < counted[0][1] < 5 * DELTAT
    assert len(set(counted)) == 1
    patient = make_binning(tolerance=10 * DELTAT)
    np.testing.assert_array_equal(frames_of(patient, events, 13), expected_frames(WHOLE, events))
    assert patient.counts.late == 0


def test_a_step_is_over_when_the_clock_has_passed_it_by_the_tolerance() -> None:
    events = draw_events(5, 4, 10)
    events["t"] = [0, DELTAT, 2 * DELTAT - 1, 2 * DELTAT]
    binning = make_binning()
    assert [len(list(binning.add(events[at : at + 1]))) for at in range(4)] == [0, 0, 0, 1]
    at_once = make_binning(tolerance=0)
    assert [len(list(at_once.add(events[at : at + 1]))) for at in range(4)] == [0, 1, 0, 1]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_jumps_of_the_clock_are_bounded(size: int) -> None:
    """An hour ahead becomes the longest gap, an hour back a restart; no event is lost."""
    events = draw_events(6, 90, 10 * DELTAT)
    events["t"][30:60] += 3_600_000_000
    binning = make_binning(max_gap=50 * DELTAT)
    frames = np.concatenate([steps.frames_KI for steps in pieces_of(binning, events, size)])
    counts = binning.counts
    assert counts.late == 0 and counts.jumps == 2 and len(counts.shortened) == len(counts.restarts) == 1
    assert abs(counts.shortened[0] - 3_600_000_000) < 10 * DELTAT > abs(counts.restarts[0] + 3_600_000_000)
    parts = []
    for part, origin in ((slice(30), 0), (slice(30, 60), events["t"][30]), (slice(60, 90), events["t"][60])):
        moved = events[part].copy()
        moved["t"] -= origin
        parts.append(expected_frames(WHOLE, moved))
    silence = np.zeros((50, frames.shape[1]), np.uint8)
    np.testing.assert_array_equal(frames, np.concatenate([parts[0], silence, parts[1], parts[2]]))


def test_time_begins_at_zero_or_at_the_first_event() -> None:
    events = draw_events(7, 50, 5 * DELTAT)
    events["t"] += 2 * DELTAT + 300
    assert not frames_of(make_binning(), events, 10)[:2].any()
    shifted = events.copy()
    shifted["t"] -= events["t"][0]
    np.testing.assert_array_equal(
        frames_of(make_binning(origin=None), events, 10), frames_of(make_binning(), shifted, 10)
    )
    far = make_binning()
    events["t"] += 10**12  # a clock that counts since it was plugged in
    np.testing.assert_array_equal(frames_of(far, events, 10), frames_of(make_binning(), shifted, 10))
    assert far.counts.begin_us == events["t"][0] and far.counts.jumps == 0


@pytest.mark.parametrize(("field", "value"), [("x", 6), ("y", 6), ("x", -1)])
def test_events_outside_of_the_sensor_are_refused(field: str, value: int) -> None:
    events = draw_events(8, 20, 5 * DELTAT)
    events[field][7] = value
    with pytest.raises(DataError, match=rf"{field}={value}.*outside of the sensor of 6x6"):
        list(make_binning().add(events))


def test_no_events_make_no_steps() -> None:
    binning = make_binning(origin=None)
    assert not list(binning.add(draw_events(1, 0, 10))) and not list(binning.finish())
