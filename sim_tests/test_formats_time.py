"""Times of recordings: counters that were full, events out of order, clocks that start below zero."""

import io

import format_tools as tools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decolle_hw.data import formats
from decolle_hw.data.formats.clock import Clock, unwrap
from decolle_hw.errors import DataError

SMALL = tools.some_events(300, 128, 128, seed=1)


@settings(max_examples=40)
@given(
    bits=st.integers(6, 12),
    steps=st.lists(st.tuples(st.integers(0, 28), st.integers(0, 1)), min_size=1, max_size=60),
    cut=st.integers(0, 60),
)
def test_a_counter_is_continued_even_where_late_events_straddle_its_start(bits, steps, cut):
    times = np.cumsum([step for step, _ in steps]) + 5
    times = np.array([time - 3 * late for time, (_, late) in zip(times, steps, strict=True)], np.int64)
    counter = times % (1 << bits)
    first, clock = unwrap(counter[:cut], Clock(bits))
    second, clock = unwrap(counter[cut:], clock)
    np.testing.assert_array_equal(np.concatenate([first, second]), times)
    assert clock.wraps == times[-1] >> bits


LONG = tools.some_events(900, 128, 128, seed=3, first_us=(1 << 32) - 9_000_000, step_us=60_000)
WRAPPED = {
    "long.bin": (tools.nmnist_bytes(LONG), 23),
    "long.dat": (tools.dat_bytes(LONG), 32),
    "long.aedat": (tools.dvs128_bytes(LONG), 32),
    "long.raw": (tools.evt3_bytes(LONG, 128, 128), 24),
    "long.npy": (tools.npy(tools.of_fields(LONG, x=("x", "<u2"), y=("y", "<u2"), t=("t", "<u4"), p=("p", "?"))), 32),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_counter_that_was_full_goes_on(tmp_path, name):
    content, bits = WRAPPED[name]
    (tmp_path / name).write_bytes(content)
    recorded = formats.read_events(tmp_path / name)
    expected = tools.events_array(LONG)
    before = int(expected["t"][0]) >> bits  # nobody knows of starts before the recording
    expected["t"] -= before << bits
    np.testing.assert_array_equal(recorded.events, expected)
    wraps = (LONG[-1][2] >> bits) - before
    said = "once" if wraps == 1 else f"{wraps} times"
    assert recorded.notes == (f"the time counter started again {said}; later times were moved up",)


def test_long_files_whose_format_has_wide_times(tmp_path):
    """Beyond 32 bits: EVT 2.0 has 34 of them, AEDAT 3.1 an overflow in each packet."""
    later = [(x, y, t + (1 << 33), p) for x, y, t, p in LONG]
    for name, content in (
        ("two.raw", tools.evt2_bytes(later, 128, 128)),
        ("three.aedat", tools.aedat3_bytes(later, per_packet=1)),
        ("four.aedat4", tools.aedat4_bytes(later, 128, 128)),
    ):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(formats.read_events(tmp_path / name).events, tools.events_array(later))


def test_signed_counters_go_on_too(tmp_path):
    times = np.arange(-5, 5, dtype=np.int64) * 1_000_000 + (1 << 31)
    array = np.zeros(10, [("x", "<u2"), ("y", "<u2"), ("t", "<i4"), ("p", "?")])
    array["t"] = times.astype(np.int32)
    assert array["t"].min() < 0
    np.save(tmp_path / "signed.npy", array)
    np.testing.assert_array_equal(formats.read_events(tmp_path / "signed.npy").events["t"], times)


def test_an_overflow_row_of_nmnist_is_no_event(tmp_path):
    events = [(1, 2, 8000, 1), (9, 240, 0, 0), (3, 4, 10, 0), (0, 240, 50, 1), (5, 6, 20, 1)]
    (tmp_path / "old.bin").write_bytes(tools.nmnist_bytes(events))
    recorded = formats.read_events(tmp_path / "old.bin")
    expected = [(1, 2, 8000, 1), (3, 4, 10 + 8192, 0), (5, 6, 20 + 2 * 8192, 1)]
    np.testing.assert_array_equal(recorded.events, tools.events_array(expected))


def test_events_out_of_order_are_sorted_and_keep_their_order_at_one_time(tmp_path):
    events = [(1, 0, 50, 1), (2, 0, 40, 1), (3, 0, 50, 1), (4, 0, 40, 0), (5, 0, 60, 1)]
    (tmp_path / "late.dat").write_bytes(tools.dat_bytes(events))
    recorded = formats.read_events(tmp_path / "late.dat")
    assert recorded.events["x"].tolist() == [2, 4, 1, 3, 5]
    assert recorded.notes == ("2 of 5 events were out of order, by up to 10 us; they were sorted",)
    assert np.concatenate(list(formats.event_blocks(tmp_path / "late.dat")))["x"].tolist() == [1, 2, 3, 4, 5]


def test_two_recordings_in_one_array_are_no_full_counter(tmp_path):
    """A jump back of seconds from the middle of any counter is disorder, not a new start."""
    array = np.zeros(4, [("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "?")])
    array["t"] = [0, 6_000_000, 0, 6_000_000]
    np.save(tmp_path / "two.npy", array)
    assert formats.read_events(tmp_path / "two.npy").events["t"].tolist() == [0, 0, 6_000_000, 6_000_000]


def test_a_clock_that_starts_below_zero_is_moved_to_zero(tmp_path):
    array = tools.of_fields(SMALL, x=("x", "<u2"), y=("y", "<u2"), t=("t", "<i8"), p=("p", "?"))
    array["t"] -= 5000
    np.save(tmp_path / "shifted.npy", array)
    recorded = formats.read_events(tmp_path / "shifted.npy")
    np.testing.assert_array_equal(recorded.events["t"], array["t"] - array["t"][0])
    assert recorded.notes == (f"time starts at {array['t'][0]} us; it was moved to 0",)
    np.testing.assert_array_equal(np.concatenate(list(formats.event_blocks(tmp_path / "shifted.npy"))), recorded.events)


def test_a_pause_before_the_counter_is_full_is_a_pause(tmp_path):
    events = [(1, 2, 100, 1), (1, 2, 8_380_000, 0)]  # the counter is full at 8,388,608 us
    (tmp_path / "pause.bin").write_bytes(tools.nmnist_bytes(events))
    np.testing.assert_array_equal(formats.read_events(tmp_path / "pause.bin").events, tools.events_array(events))


class ByLine(io.BytesIO):
    """A pipe that gives one line, or one record of five bytes, at a time."""

    def read1(self, size=-1):
        return self.readline() if b"\n" in self.getvalue() else self.read(5)


def test_what_was_before_counts_in_later_blocks():
    overflows = tools.nmnist_bytes([(1, 2, 11, 1), (9, 240, 0, 0), (3, 4, 20, 0), (0, 240, 0, 1), (5, 6, 30, 1)])
    blocks = np.concatenate(list(formats.event_blocks(ByLine(overflows), "nmnist")))
    assert blocks["t"].tolist() == [11, 20 + 8192, 30 + 2 * 8192]
    with pytest.raises(DataError, match="standard input: event 1 has the negative time -4 us"):
        list(formats.event_blocks(ByLine(b"1,2,3,1\n1,2,-4,1\n"), "text"))
    with pytest.raises(DataError, match="goes back to -9 us, before its start at -3 us"):
        list(formats.event_blocks(ByLine(b"1,2,-3,1\n1,2,-9,1\n"), "text"))
    with pytest.raises(DataError, match="line 3 has 2 values"):
        list(formats.event_blocks(ByLine(b"1,2,3,1\n\n1,2\n"), "text"))


@pytest.mark.parametrize("bytes_at_once", [2, 1000])
def test_the_state_of_evt3(tmp_path, monkeypatch, bytes_at_once):
    """By hand: no time or row yet; a new upper half of the time before its lower half; the same upper half again."""
    words = [0x2005, 0x8001, 0x2006, 0x0003, 0x2007, 0x6FFF, 0x2808, 0x8002, 0x2009, 0x6004, 0x8002, 0x200A]
    (tmp_path / "hand.raw").write_bytes(tools.raw_header("3.0", 9, 99) + np.array(words, "<u2").tobytes())
    monkeypatch.setattr("decolle_hw.data.formats.evt3.MOST_BYTES", bytes_at_once)
    recorded = formats.read_events(tmp_path / "hand.raw")
    expected = [(7, 3, 4096, 0), (8, 3, 8191, 1), (9, 3, 8192, 0), (10, 3, 8196, 0)]
    np.testing.assert_array_equal(recorded.events, tools.events_array(expected))
    assert recorded.notes == ("2 events that are marked as invalid or have no time were left out",)
