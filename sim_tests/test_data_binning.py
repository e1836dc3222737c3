"""Binary frames: equal to a brute-force binning and to tonic's ToFrame, edges included."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tonic.io import events_struct
from tonic.transforms import ToFrame

from decolle_hw.data import load_folder
from decolle_hw.data.binning import active_entries, bin_recordings
from decolle_hw.data.folder import read_recording
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

NMNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "nmnist_small"
P, H, W = 2, 5, 7
STEPS, DELTAT = 6, 100
SPEC = DatasetSpec(input_shape=[P, H, W], deltat=DELTAT)


def make_events(rows):
    """Events from (t, x, y, p) rows, sorted by time."""
    events = np.zeros(len(rows), events_struct)
    for place, (t, x, y, p) in enumerate(sorted(rows)):
        events[place] = (x, y, t, p)
    return events


def brute_force(events, steps=STEPS, deltat=DELTAT, height=H, width=W):
    frames = np.zeros((steps, P * height * width), np.uint8)
    for x, y, t, p in events:
        step = int(t) // deltat
        if step < steps:
            frames[step, (int(p) * height + int(y)) * width + int(x)] = 1
    return frames


def binned(recordings, steps=STEPS, spec=SPEC):
    count = len(recordings)
    names = [f"r/{k}" for k in range(count)]
    return bin_recordings(recordings, np.arange(count) % 3, names, ("a", "b", "c"), spec, steps)


# Times on, just before and just after each boundary, on the end, and long after it.
times = st.one_of(
    st.integers(0, 2 * STEPS * DELTAT),
    st.builds(lambda step, by: max(0, step * DELTAT + by), st.integers(0, STEPS + 1), st.integers(-1, 1)),
    st.just(10**9),
)
rows = st.tuples(times, st.integers(0, W - 1), st.integers(0, H - 1), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(rows, max_size=40), min_size=1, max_size=4))
def test_dense_equals_brute_force(recordings):
    # One event inside of the steps: a recording without is refused.
    recordings = [make_events([(STEPS * DELTAT // 2, 1, 2, 0), *recording]) for recording in recordings]
    data = binned(recordings)
    frames = data.dense(range(len(data)))
    assert frames.dtype == np.uint8 and frames.shape == (STEPS, len(recordings), P * H * W)
    for b, recording in enumerate(recordings):
        np.testing.assert_array_equal(frames[:, b], brute_force(recording))
    assert data.density == frames.mean()
    for r in range(len(data)):
        entries = data.active[data.indptr[r] : data.indptr[r + 1]]
        assert np.all(np.diff(entries) > 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, min_size=1, max_size=40), st.integers(1, 9))
def test_equal_to_tonics_to_frame(recording, steps):
    events = make_events(recording)
    to_frame = ToFrame((W, H, 2), time_window=DELTAT, start_time=0, end_time=steps * DELTAT)
    expected = np.flatnonzero(to_frame(events))
    np.testing.assert_array_equal(active_entries(events, (P, H, W), DELTAT, steps), expected)


def test_time_starts_at_zero_and_ends_before_the_last_boundary():
    events = make_events([(99, 0, 0, 0), (100, 1, 0, 0), (599, 2, 0, 1), (600, 3, 0, 1)])
    assert active_entries(events, (P, H, W), DELTAT, STEPS).tolist() == [0, 70 + 1, 5 * 70 + 35 + 2]


def test_no_recordings_give_no_frames():
    nothing = binned([])
    assert (len(nothing), nothing.density, nothing.dense([]).shape) == (0, 0.0, (STEPS, 0, 70))


def test_a_recording_without_an_event_inside_of_the_steps_is_refused():
    good = make_events([(599, 0, 0, 0), (600, 0, 0, 0)])
    assert binned([good]).dense([0]).sum() == 1
    with pytest.raises(DataError) as error:
        binned([good, make_events([(600, 0, 0, 0), (725, 0, 0, 0)])])
    message = str(error.value)
    assert message.startswith("r/1: has no event in the 600 us") and "\n" not in message
    assert "first event is at 600 us, its last at 725 us" in message
    assert "shift the recording" in message and "raise dataset.chunk_size_train/chunk_size_test" in message
    with pytest.raises(DataError, match=r"r/0: holds no events; lower dataset.camera.contrast_threshold"):
        binned([make_events([])])


def test_take_and_dense_follow_the_order_given():
    rng = np.random.default_rng(0)
    recordings = [make_events([tuple(rng.integers(0, (600, W, H, 2))) for _ in range(n)]) for n in (5, 1, 30, 12)]
    data = binned(recordings)
    which = [3, 0, 3, 1]
    chosen = data.take(which)
    assert chosen.names == ("r/3", "r/0", "r/3", "r/1")
    assert chosen.labels.tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(chosen.dense(range(4)), data.dense(which))
    np.testing.assert_array_equal(data.dense(range(4))[:, which], data.dense(np.array(which)))
    for wrong in ([4], [-1]):
        with pytest.raises(IndexError, match=r"there are 0\.\.3"):
            data.dense(wrong)


def test_unsorted_events_are_a_defect_of_the_reader():
    events = make_events([(0, 0, 0, 0), (500, 0, 0, 0)])[::-1]
    with pytest.raises(AssertionError, match="sorted"):
        active_entries(events, (P, H, W), DELTAT, STEPS)


def test_more_entries_than_32_bits_are_refused():
    spec = DatasetSpec(input_shape=[2, 1024, 1024])
    with pytest.raises(SpecError, match=r"1024 steps of input_shape \[2, 1024, 1024\].*lower chunk_size"):
        binned([make_events([])], steps=1024, spec=spec)


@pytest.mark.skipif(not NMNIST.is_dir(), reason=f"{NMNIST} is absent")
@pytest.mark.parametrize(("deltat", "steps"), [(1000, 300), (5000, 80)])
def test_nmnist_frames_equal_tonics(deltat, steps):
    spec = DatasetSpec(input_shape=[2, 34, 34], deltat=deltat, chunk_size_test=steps)
    data = load_folder(NMNIST, spec, None)
    to_frame = ToFrame((34, 34, 2), time_window=deltat, start_time=0, end_time=steps * deltat)
    for r in range(0, 100, 25):
        events = read_recording(NMNIST / "test" / data.names[r], spec)
        expected = (to_frame(events) > 0).reshape(steps, -1)
        np.testing.assert_array_equal(data.dense([r])[:, 0], expected)
