"""Windows of binned recordings: sparse rows equal dense frames, random windows are where they are said to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tonic.io import events_struct

from decolle_hw.data.binning import MAX_ENTRIES, bin_recordings, entries_of
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

P, H, W = 2, 3, 4
I = P * H * W  # noqa: E741 - the letter of the shape suffixes
DELTAT = 10
SPEC = DatasetSpec(input_shape=[P, H, W], deltat=DELTAT)


def recordings_of(rng, lengths, density):
    """Event arrays whose last event falls into step length - 1, and the whole frames that they make."""
    arrays, frames = [], []
    for length in lengths:
        frame = rng.random((length, I)) < density
        frame[length - 1, rng.integers(I)] = True
        step, flat = np.nonzero(frame)
        events = np.zeros(len(step), events_struct)
        events["t"] = step * DELTAT + rng.integers(0, DELTAT, len(step))
        events["p"], rest = np.divmod(flat, H * W)
        events["y"], events["x"] = np.divmod(rest, W)
        arrays.append(events[np.argsort(events["t"], kind="stable")])
        frames.append(frame.astype(np.uint8))
    return arrays, frames


def binned(arrays, steps, whole):
    names = [f"r/{k}" for k in range(len(arrays))]
    return bin_recordings(arrays, np.arange(len(arrays)) % 2, names, ("a", "b"), SPEC, steps, whole)


def windows_by_hand(frames, which, starts, window):
    """(T, B, I) cut from the whole frames, empty after a recording's end."""
    out = np.zeros((window, len(which), I), np.uint8)
    for b, (r, start) in enumerate(zip(which, starts, strict=True)):
        piece = frames[r][start : start + window]
        out[: len(piece), b] = piece
    return out


def dense_from_rows(indptr, index, window, batch):
    out = np.zeros((batch * window, I), np.uint8)
    for row in range(batch * window):
        out[row, index[indptr[row] : indptr[row + 1]]] = 1
    return out.reshape(batch, window, I).transpose(1, 0, 2)


@settings(max_examples=80)
@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=5),
    window=st.integers(1, 30),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_events_equal_dense_and_both_equal_windows_cut_by_hand(lengths, window, density, seed):
    rng = np.random.default_rng(seed)
    arrays, frames = recordings_of(rng, lengths, density)
    data = binned(arrays, window, whole=True)
    assert (data.window, data.steps, data.lengths.tolist()) == (window, max(lengths), lengths)
    assert data.density == sum(frame.sum() for frame in frames) / (sum(lengths) * I)
    which = rng.integers(0, len(lengths), 7)
    for starts in (data.draw_starts(rng)[which], rng.integers(0, 40, 7), np.zeros(7, np.int64)):
        expected = windows_by_hand(frames, which, starts, window)
        dense = data.dense(which, starts)
        assert dense.dtype == np.uint8
        np.testing.assert_array_equal(dense, expected)
        indptr, index = data.events(which, starts)
        assert (indptr.dtype, index.dtype, indptr.shape) == (np.int64, np.int32, (7 * window + 1,))
        assert indptr[0] == 0 and indptr[-1] == len(index) == expected.sum()
        np.testing.assert_array_equal(dense_from_rows(indptr, index, window, 7), expected)
        for row in range(7 * window):
            assert np.all(np.diff(index[indptr[row] : indptr[row + 1]]) > 0)
    np.testing.assert_array_equal(data.dense(which), expected)
    np.testing.assert_array_equal(data.events(which)[1], index)


def test_windows_at_the_start_take_no_random_numbers():
    rng = np.random.default_rng(3)
    arrays, frames = recordings_of(rng, [9, 4], 0.2)
    data = binned(arrays, 6, whole=False)
    before = rng.bit_generator.state
    starts = data.draw_starts(rng)
    assert rng.bit_generator.state == before
    assert (starts.dtype, starts.tolist()) == (np.int64, [0, 0])
    assert (data.window, data.steps, data.lengths.tolist()) == (6, 6, [6, 6])
    np.testing.assert_array_equal(data.dense([0, 1], starts), windows_by_hand(frames, [0, 1], [0, 0], 6))


def test_random_windows_reach_every_start_and_none_beyond():
    rng = np.random.default_rng(4)
    arrays, _ = recordings_of(rng, [8, 5, 2], 0.2)
    data = binned(arrays, 5, whole=True)
    drawn = np.array([data.draw_starts(rng) for _ in range(400)])
    assert drawn.dtype == np.int64 and drawn.shape == (400, 3)
    # Each of 4 starts has 100 draws on average, with a standard deviation of 9.
    counts = np.bincount(drawn[:, 0], minlength=4)
    assert len(counts) == 4 and counts.min() > 60
    assert not drawn[:, 1:].any(), "a recording that is no longer than the window has one place to start"
    again = data.draw_starts(np.random.default_rng(7))
    np.testing.assert_array_equal(again, data.draw_starts(np.random.default_rng(7)))


def test_take_keeps_lengths_and_windows():
    rng = np.random.default_rng(5)
    arrays, _ = recordings_of(rng, [8, 5, 12, 2], 0.2)
    data = binned(arrays, 6, whole=True)
    chosen = data.take([2, 0, 2])
    assert chosen.lengths.tolist() == [12, 8, 12] and chosen.window == 6
    np.testing.assert_array_equal(chosen.dense([0, 1, 2], [3, 1, 0]), data.dense([2, 0, 2], [3, 1, 0]))
    nothing = data.take([])
    assert (len(nothing), nothing.density, nothing.dense([]).shape) == (0, 0.0, (6, 0, I))
    indptr, index = nothing.events([])
    assert (indptr.tolist(), index.tolist()) == ([0], [])


def test_what_is_no_recording_or_no_start_is_refused():
    arrays, _ = recordings_of(np.random.default_rng(6), [4, 4], 0.5)
    data = binned(arrays, 4, whole=False)
    for wrong in ([2], [-1]):
        with pytest.raises(IndexError, match=r"there are 0\.\.1"):
            data.events(wrong)
    for starts in ([0], [-1, 0]):
        with pytest.raises(AssertionError, match="starts"):
            data.events([0, 1], starts)
    with pytest.raises(AssertionError, match="not a mask"):
        data.events(np.array([True, False]))


def test_entries_beyond_16_bits_and_near_the_limit_of_32_bits():
    spec = DatasetSpec(input_shape=[2, 32, 32], deltat=1000)
    events = np.zeros(3, events_struct)
    last = MAX_ENTRIES // 2048 - 1  # the last step whose entries can be counted
    events["t"] = np.array([0, 1800, last]) * 1000
    events["x"], events["y"], events["p"] = 31, 31, True
    data = bin_recordings([events], [0], ["long"], ("a",), spec, 500, whole=True)
    assert data.active.tolist() == [2047, 1800 * 2048 + 2047, last * 2048 + 2047] and data.steps == last + 1
    for start, step in ((1800, 0), (1400, 400), (last - 499, 499)):
        indptr, index = data.events([0], [start])
        assert (np.flatnonzero(np.diff(indptr)).tolist(), index.tolist()) == ([step], [2047])
        assert np.argwhere(data.dense([0], [start])).tolist() == [[step, 0, 2047]]
    events["t"][-1] += 1000
    with pytest.raises(DataError) as error:
        entries_of(events, spec, None, "a/1.bin")
    message = str(error.value)
    assert message.startswith(f"a/1.bin: its last event is at {(last + 1) * 1000} us") and "\n" not in message
    assert "raise dataset.deltat, set dataset.crop to start" in message
    with pytest.raises(SpecError, match="lower chunk_size_train"):
        bin_recordings([events], [0], ["long"], ("a",), spec, last + 2, whole=True)


def test_a_recording_without_events_is_refused_in_whole_too():
    with pytest.raises(DataError, match="r/0: holds no events"):
        binned([np.zeros(0, events_struct)], 4, whole=True)
