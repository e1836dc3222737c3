"""Recordings that cannot be used are left out with a count and a list, or stop with `strict`."""

import io
import logging
import shutil
import stat
import warnings

import numpy as np
import pytest
from recording_tools import drawn_events, folder_spec, one_line, write_bin, write_npy

from decolle_hw.console import Output
from decolle_hw.data import SkippedWarning, load_folder, load_split, stream_folder, stream_split, usable
from decolle_hw.errors import DataError
from decolle_hw.progress import TrainingProgress


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mixed(tmp_path):
    """Two classes of ten recordings each, in two formats."""
    for k in range(20):
        name = f"{'ab'[k % 2]}/{k:02}"
        if k < 12:
            write_bin(tmp_path / "data" / f"{name}.bin", drawn_events(k))
        else:
            write_npy(tmp_path / "data" / f"{name}.npy", drawn_events(k))
    return tmp_path / "data"


def damage(root):
    """Names of the recordings that can no longer be used, by class and name."""
    (root / "a" / "00.bin").write_bytes(b"\x01\x02\x03")
    (root / "a" / "04.bin").write_bytes(b"")
    (root / "b" / "13.npy").write_bytes((root / "b" / "13.npy").read_bytes()[:200])
    (root / "b" / "15.npy").unlink()
    (root / "b" / "15.npy").symlink_to("nowhere")
    np.save(root / "b" / "17.npy", np.zeros(3))
    return ["a/00.bin", "a/04.bin", "b/13.npy", "b/15.npy", "b/17.npy"]


def test_mixed_formats_are_one_data_set(mixed):
    data = load_folder(mixed, folder_spec(mixed))
    assert len(data) == 20 and data.skipped == () and {name[-3:] for name in data.names} == {"bin", "npy"}


def test_what_is_left_is_what_was_there_without_them(mixed, tmp_path):
    whole = load_folder(mixed, folder_spec(mixed))
    bad = damage(mixed)
    (mixed / "a" / "notes.txt").write_text("bright")
    with pytest.warns(SkippedWarning, match="6 of 21 recordings left out:\n  .*00.bin: ends with 3 of") as caught:
        data = load_folder(mixed, folder_spec(mixed))
    assert "and 1 more" in str(caught[0].message) and len(caught) == 1
    assert [one.name for one in data.skipped] == [*bad, "a/notes.txt"]
    assert all(str(mixed) in one.reason for one in data.skipped)
    good = [row for row, name in enumerate(whole.names) if name not in bad]
    assert data.names == tuple(whole.names[row] for row in good)
    np.testing.assert_array_equal(data.active, whole.take(good).active)
    np.testing.assert_array_equal(data.labels, whole.labels[good])


def test_each_split_names_its_own_and_none_moves_across(mixed):
    spec = folder_spec(mixed, test_fraction=0.5)
    sides = {split: set(load_split(spec, split).names) for split in ("train", "test")}
    bad = set(damage(mixed))
    for split in ("train", "test"):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            data = load_split(spec, split)
        assert set(data.names) == sides[split] - bad
        assert {one.name for one in data.skipped} == sides[split] & bad


@pytest.mark.parametrize("cached", [False, True])
def test_a_stream_knows_what_is_left_before_it_reads(mixed, cached):
    bad = damage(mixed)
    spec = folder_spec(mixed, cache=cached)
    with pytest.warns(SkippedWarning):
        stream = stream_folder(mixed, spec)
        expected = load_folder(mixed, spec)
    assert stream.names == expected.names and [one.name for one in stream.skipped] == bad
    np.testing.assert_array_equal(np.concatenate([batch.active for batch in stream.batches(4)]), expected.active)
    with pytest.warns(SkippedWarning):
        assert len(stream_split(spec, "train", 3)) == 3


def test_strict_stops_at_the_first(mixed):
    damage(mixed)
    for load in (load_folder, stream_folder):
        with pytest.raises(DataError) as error:
            list(getattr(load(mixed, folder_spec(mixed, strict=True, cache=False)), "batches", lambda _: [])(4))
        one_line(error, mixed / "a" / "00.bin", "ends with 3 of the 5 bytes")
    windowed = folder_spec(mixed, strict=True, time_window=100_000)
    with pytest.raises(DataError) as error:
        load_folder(mixed, windowed)
    one_line(error, mixed / "a" / "00.bin")


def test_strict_also_minds_files_that_are_no_recordings(mixed):
    (mixed / "b" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"notes.txt: is not a recording of events; move or hide it"):
        load_folder(mixed, folder_spec(mixed, strict=True))


def test_a_class_of_which_nothing_is_left(mixed):
    for file in (mixed / "b").iterdir():
        file.write_bytes(b"\x01")
    with pytest.raises(DataError) as error:
        load_split(folder_spec(mixed), "train")
    one_line(error, mixed / "b", "none of the 8 recordings of class 'b' can be used; the first: ", "ends with 1 of")
    with pytest.warns(SkippedWarning):
        assert set(load_folder(mixed, folder_spec(mixed)).labels) == {0}, "there is still something to be tested"
    shutil.rmtree(mixed / "a")
    with pytest.raises(DataError, match="none of the 10 recordings of it can be used"):
        load_folder(mixed, folder_spec(mixed))


def test_a_recording_of_a_larger_sensor_is_an_error_and_not_left_out(mixed):
    write_npy(mixed / "a" / "large.npy", drawn_events(0, size=(20, 30)))
    with pytest.raises(DataError, match=r"large.npy: event .* set dataset.input_shape to at least \[2, 20, 30\]"):
        load_folder(mixed, folder_spec(mixed))


def test_all_of_them_go_into_the_log(mixed, caplog):
    bad = damage(mixed)
    with caplog.at_level(logging.INFO, usable.__name__), pytest.warns(SkippedWarning):
        load_folder(mixed, folder_spec(mixed))
    assert [record.message.split(": ")[1] for record in caplog.records] == [str(mixed / name) for name in bad]


def test_a_folder_that_may_only_be_read(mixed):
    folders = [mixed, mixed / "a", mixed / "b"]
    before = {file: file.stat().st_mtime_ns for file in mixed.rglob("*")}
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(load_folder(mixed, folder_spec(mixed, time_window=100_000))) == 60
        assert {file: file.stat().st_mtime_ns for file in mixed.rglob("*")} == before, "root could have written there"
    finally:
        for folder in folders:
            folder.chmod(stat.S_IRWXU)


YAML = """
name: own
dataset: {name: folder, path: data, input_shape: [2, 8, 8], deltat: 10000, chunk_size_train: 30, chunk_size_test: 30}
network: {neuron: cuba, Mhid: [8]}
training: {num_epochs: 1, batch_size: 4, burnin_steps: 5}
"""


def test_without_a_cache_nothing_is_written_anywhere(mixed, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    for values in ({}, {"time_window": 100_000}):
        assert len(load_folder(mixed, folder_spec(mixed, cache=False, **values))) >= 20
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_looking_at_recordings_is_progress_too(mixed):
    seen = []
    load_folder(mixed, folder_spec(mixed), progress=lambda done, total: seen.append((done, total)))
    once = [(done, 20) for done in range(1, 21)]
    assert seen == once + once, "looked at, then read"


@pytest.mark.parametrize(("calls", "lines"), [([(1, 999)], []), ([(5000, 5000)], []), ([(1, 5000), (2, 5000)], [5000])])
def test_long_reading_is_said_once_in_a_pipe(calls, lines):
    said = io.StringIO()
    with TrainingProgress(Output(file=said), 1) as watcher:
        for call in calls:
            watcher.reading(*call)
    assert said.getvalue().splitlines() == [f"reading {total} recordings ..." for total in lines]


def test_training_prints_one_block(mixed, tmp_path, monkeypatch, decolle_hw):
    monkeypatch.chdir(tmp_path)
    damage(mixed)
    (tmp_path / "own.yaml").write_text(YAML)
    outcome = decolle_hw("train", "own.yaml", "--set", "dataset.test_fraction=0.5")
    assert outcome.code == 0, outcome.err
    assert "warning: " in outcome.err and "training recordings left out:\n  " in outcome.err
    assert "SkippedWarning" not in outcome.err and "usable.py" not in outcome.err
    strict = decolle_hw("train", "own.yaml", "--strict")
    assert strict.code == 2 and strict.err.count("\n") == 1 and str(mixed) in strict.err
