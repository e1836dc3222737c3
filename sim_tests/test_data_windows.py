"""Long recordings as windows: which there are, what is in them, and on which side they lie."""

import numpy as np
import pytest
from pydantic import ValidationError
from recording_tools import drawn_events, folder_spec, one_line, write_bin, write_npy

from decolle_hw.data import SkippedWarning, formats, load_folder, load_split, load_unlabelled, parts, stream_split
from decolle_hw.data.binning import active_entries
from decolle_hw.errors import DataError

SECOND = 1_000_000


@pytest.fixture
def long_recordings(tmp_path):
    """One recording of a second in each of two classes, on clocks that started long ago."""
    for k, name in enumerate(("still", "wave")):
        events = drawn_events(k, 3000, SECOND)
        events["t"] += 7 * SECOND + k
        write_npy(tmp_path / "data" / name / "long.npy", events)
    return tmp_path / "data"


def starts(names, name):
    return [int(each.partition("@")[2]) for each in names if each.startswith(name)]


def frames_of(path, start, length, steps, deltat=10_000):
    """Frames of one window, straight from the file."""
    events = np.load(path)
    events["t"] -= events["t"][0] + start
    inside = events[(events["t"] >= 0) & (events["t"] < length)]
    return active_entries(inside, (2, 8, 8), deltat, steps)


def test_windows_are_samples_that_hold_their_part_of_the_recording(long_recordings):
    spec = folder_spec(long_recordings, time_window=300_000, overlap=50_000, chunk_size_test=30)
    data = load_folder(long_recordings, spec)
    assert starts(data.names, "wave") == [0, 250_000, 500_000, 750_000], "the last reaches beyond, by less than half"
    assert data.names[0] == "still/long.npy@0" and np.bincount(data.labels).tolist() == [4, 4]
    for row, name in enumerate(data.names):
        file, _, start = name.partition("@")
        expected = frames_of(long_recordings / file, int(start), 300_000, 30)
        np.testing.assert_array_equal(data.active[data.indptr[row] : data.indptr[row + 1]], expected)


@pytest.mark.parametrize(
    ("last_us", "expected"),
    [(299_999, [0]), (449_998, [0]), (449_999, [0, 300_000]), (900_000, [0, 300_000, 600_000]), (10, [0])],
)
def test_the_rest_is_a_window_where_it_is_half_of_one(tmp_path, last_us, expected):
    write_npy(tmp_path / "a" / "r.npy", drawn_events(0, 400, last_us))
    spec = folder_spec(tmp_path, time_window=300_000)
    assert starts(load_folder(tmp_path, spec).names, "a") == expected


def test_all_windows_of_a_recording_lie_on_one_side(tmp_path):
    for k in range(10):
        write_npy(tmp_path / "ab"[k % 2] / f"{k}.npy", drawn_events(k, 300, 900_000 + k))
    spec = folder_spec(tmp_path, time_window=300_000, test_fraction=0.4)
    train, test = (load_split(spec, split) for split in ("train", "test"))
    sides = [{name.partition("@")[0] for name in data.names} for data in (train, test)]
    assert sides[0].isdisjoint(sides[1]) and len(sides[0] | sides[1]) == 10 and len(train) + len(test) == 30


def test_split_by_time_holds_out_the_last_windows_of_each_recording(long_recordings):
    spec = folder_spec(long_recordings, time_window=100_000, split_by="time", test_fraction=0.3)
    train, test = (load_split(spec, split) for split in ("train", "test"))
    for name in ("still", "wave"):
        assert starts(train.names, name) == [k * 100_000 for k in range(7)]
        assert starts(test.names, name) == [k * 100_000 for k in range(7, 10)]
    overlapping = spec.model_copy(update={"overlap": 50_000})
    train, test = (load_split(overlapping, split) for split in ("train", "test"))
    assert max(starts(train.names, "wave")) + 100_000 <= min(starts(test.names, "wave")), "no event is on both sides"


def test_recordings_of_a_single_window_cannot_be_split_by_time(long_recordings):
    with pytest.raises(DataError) as error:
        load_split(folder_spec(long_recordings, time_window=2 * SECOND, split_by="time"), "train")
    one_line(error, long_recordings, "more than one window of 2000000 us", "the longest has 1000000 us", "lower")


def test_a_file_is_read_once_and_not_once_per_window(long_recordings, monkeypatch):
    read = []
    monkeypatch.setattr(
        parts.formats, "read_events", lambda file, of=formats.read_events: read.append(file) or of(file)
    )
    assert len(load_folder(long_recordings, folder_spec(long_recordings, time_window=50_000))) == 40
    assert len(read) == 2


def in_small_blocks(file, pulled, of=formats.event_blocks):
    events = np.concatenate(list(of(file)))
    for first in range(0, len(events), 100):
        pulled.append(int(events["t"][first : first + 100].max()))
        yield events[first : first + 100]


@pytest.mark.parametrize("overlap", [0, 30_000])
def test_a_huge_file_is_never_whole_in_memory(long_recordings, monkeypatch, overlap):
    """Huge is here what a limit of one byte makes it, and a block a hundred events."""
    file = long_recordings / "wave" / "long.npy"
    events = np.load(file)
    events[[500, 700]] = events[[700, 500]]  # comes late, but not by much
    write_npy(file, events)
    spec = folder_spec(long_recordings, time_window=100_000, overlap=overlap, cache=False)
    expected = load_folder(long_recordings, spec)

    pulled = []
    monkeypatch.setattr(parts, "LARGE_BYTES", 1)
    monkeypatch.setattr(parts.formats, "event_blocks", lambda file: in_small_blocks(file, pulled))
    monkeypatch.setattr(parts.formats, "read_events", lambda file: pytest.fail("read at once"))
    found = load_folder(long_recordings, spec)
    assert found.names == expected.names
    np.testing.assert_array_equal(found.active, expected.active)

    pulled.clear()
    begin = 7 * SECOND
    for _ in parts.parts_of(file, [(begin, begin + 100_000)]):
        assert max(pulled) < begin + 100_000 + parts.LATE_US + 80_000, "no further than needed, and a block"
    events[[500, 2900]] = events[[2900, 500]]
    write_npy(file, events)
    with pytest.raises(DataError, match=r"wave.long.npy: an event at 7\d+ us comes more than 100000 us late"):
        load_folder(long_recordings, spec)


@pytest.fixture
def with_a_pause(tmp_path):
    """Nothing happens between 0.3 and 0.7 s."""
    for name in ("a", "b"):
        events = drawn_events(1, 2000, SECOND)
        write_npy(tmp_path / "data" / name / "r.npy", events[(events["t"] < 300_000) | (events["t"] >= 700_000)])
    return tmp_path / "data"


@pytest.mark.parametrize("cached", [False, True])
def test_windows_without_events_are_left_out_and_counted(with_a_pause, cached):
    spec = folder_spec(with_a_pause, time_window=100_000, split_by="time", test_fraction=0.2, cache=cached)
    with pytest.warns(SkippedWarning, match="8 of 16 training windows left out") as caught:
        train = load_split(spec, "train")
    assert len(caught) == 1
    assert starts(train.names, "a") == [0, 100_000, 200_000, 700_000] and train.labels.tolist() == [0] * 4 + [1] * 4
    assert [one.name for one in train.skipped][:2] == ["a/r.npy@300000", "a/r.npy@400000"]
    for _ in range(2):  # read, and from the cache
        with pytest.warns(SkippedWarning):
            stream = stream_split(spec, "train")
        assert stream.names == train.names and stream.skipped == train.skipped
        batches = list(stream.batches(3))
        np.testing.assert_array_equal(np.concatenate([batch.active for batch in batches]), train.active)
        assert [name for batch in batches for name in batch.names] == list(train.names)
    with pytest.warns(SkippedWarning):
        part = stream_split(spec, "train", 5)
    assert set(part.names) <= set(train.names) and len(part) + len(part.skipped) == 5


def test_time_counts_from_the_origin_that_is_asked_for(tmp_path):
    events = drawn_events(0, 100, 200_000)
    late = events.copy()
    late["t"] += 50_000
    for name in "ab":
        write_npy(tmp_path / name / "r.npy", late)
        write_bin(tmp_path / name / "r.bin", late)

    def first_steps(**values):
        data = load_folder(tmp_path, folder_spec(tmp_path, **values))
        return {name: int(data.active[data.indptr[row]]) // 128 for row, name in enumerate(data.names)}

    assert first_steps() == {"a/r.bin": 5, "a/r.npy": 0, "b/r.bin": 5, "b/r.npy": 0}
    assert set(first_steps(time_origin="zero").values()) == {5}
    assert set(first_steps(time_origin="first_event").values()) == {0}
    windowed = load_folder(tmp_path, folder_spec(tmp_path, time_window=100_000, time_origin="zero"))
    assert starts(windowed.names, "a/r.npy") == starts(windowed.names, "a/r.bin") == [0, 100_000, 200_000]


def test_unlabelled_recordings_are_cut_too(tmp_path):
    write_npy(tmp_path / "r.npy", drawn_events(0, 900, 600_000))
    assert len(load_unlabelled(tmp_path, folder_spec(tmp_path, time_window=200_000))) == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"overlap": 5}, "overlap 5: is shared by neighbouring windows; set time_window too"),
        ({"time_window": 20_000, "overlap": 20_000}, "overlap 20000: must be less than time_window 20000"),
        ({"time_window": 500}, "time_window 500: is shorter than a step, deltat 10000"),
        ({"split_by": "time"}, "set time_window too"),
        ({"split_by": "time", "time_window": 10_000, "test_list": "x"}, "split_by time"),
        ({"split_by": "day"}, "split_by"),
        ({"time_window": 10_000, "name": "array"}, "time_window 10000: is for name: folder"),
    ],
)
def test_windows_that_make_no_sense_are_refused(values, words):
    with pytest.raises(ValidationError) as error:
        folder_spec("x", **values)
    assert words in str(error.value)
