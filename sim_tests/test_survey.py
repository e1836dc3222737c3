"""What a set of recordings is like: each is read once, remembered, and never raises."""

import json
import os
from pathlib import Path

import format_tools as tools
import numpy as np
import pytest

from decolle_hw.data import formats, survey
from decolle_hw.data.formats import reading
from decolle_hw.data.survey import Surveyed, survey_files

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_dvs128 = pytest.mark.skipif(not (DATA / "dvs128_recordings").is_dir(), reason="the DVS128 recordings are absent")
EVENTS = tools.some_events(400, 100, 120, seed=5, first_us=7_000_000_000)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def recordings(tmp_path, own_cache):
    folder = tmp_path / "recordings"
    folder.mkdir()
    files = {
        "a.aedat4": tools.aedat4_bytes(EVENTS, 260, 346),
        "b.npy": tools.npy(tools.events_array(EVENTS[::-1])),
        "c.raw": tools.evt2_bytes([event for event in EVENTS if event[3]], 720, 1280),
        "d.bin": b"\0" * 7,
        "e.dat": b"",
        "caf\udce9.bin": tools.nmnist_bytes(EVENTS),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files] + [folder / "absent.bin"]


def by_hand(file: Path) -> Surveyed:
    """The same from all events at once."""
    recorded = formats.read_events(file)
    events = recorded.events
    return Surveyed(
        file,
        recorded.format,
        len(events),
        int(events["t"].min()),
        int(events["t"].max()),
        int(events["y"].max()) + 1,
        int(events["x"].max()) + 1,
        len(np.unique(events["p"])),
        recorded.sensor_size,
        recorded.notes,
    )


def no_reading(monkeypatch):
    def fail(*_):
        raise AssertionError("a recording was read although it is remembered")

    monkeypatch.setattr(reading, "open_recording", fail)


def test_it_says_what_all_events_say(recordings):
    surveyed = survey_files(recordings)
    assert [one.file for one in surveyed] == recordings
    good = [one for one in surveyed if one.error is None]
    assert [one.file.name for one in good] == ["a.aedat4", "b.npy", "c.raw", "caf\udce9.bin"]
    assert good == [by_hand(one.file) for one in good]
    assert good[0] == Surveyed(
        recordings[0], "aedat4", 400, EVENTS[0][2], EVENTS[-1][2], 100, 120, 2, sensor_size=(260, 346)
    )
    steps = np.diff([event[2] for event in EVENTS])
    late = f"{np.count_nonzero(steps)} of 400 events were out of order, by up to {steps.max()} us; they were sorted"
    assert good[1].notes == (late,)
    assert good[2].polarities == 1
    assert good[0].duration_us == EVENTS[-1][2] - EVENTS[0][2]


def test_what_cannot_be_read_has_its_reason(recordings):
    reasons = {one.file.name: one.error for one in survey_files(recordings) if one.error is not None}
    assert set(reasons) == {"d.bin", "e.dat", "absent.bin"}
    assert "ends with 2 of the 5 bytes" in reasons["d.bin"]
    assert "holds no events (0 bytes)" in reasons["e.dat"]
    assert "No such file" in reasons["absent.bin"]
    assert all("\n" not in reason for reason in reasons.values())


def test_what_was_read_is_remembered_and_what_was_not_is_tried_again(recordings, monkeypatch):
    first = survey_files(recordings)
    good = [one.file for one in first if one.error is None]
    calls = []
    monkeypatch.setattr(survey, "survey_file", lambda file: calls.append(file) or Surveyed(file, error="again"))
    assert survey_files(good) == tuple(one for one in first if one.error is None)
    assert calls == []
    survey_files(recordings)
    assert [file.name for file in calls] == ["d.bin", "e.dat", "absent.bin"]


@pytest.mark.parametrize("change", ["content", "time", "version", "damage", "other content", "gone"])
def test_what_has_changed_is_read_again(recordings, own_cache, monkeypatch, change):
    file = recordings[1]
    before = survey_files([file])[0]
    (kept,) = own_cache.glob("survey-*.json")
    if change == "content":
        file.write_bytes(tools.npy(tools.events_array(EVENTS[:5])))
    elif change == "time":
        os.utime(file, (1, 1))
    elif change == "version":
        monkeypatch.setattr(survey, "_version", lambda: "another")
    elif change == "damage":
        kept.write_bytes(kept.read_bytes()[:-9])
    elif change == "other content":
        content = json.loads(kept.read_text())
        content["files"]["b.npy"][1]["events"] = "many"
        kept.write_text(json.dumps(content))
    else:
        kept.unlink()
    after = survey_files([file])[0]
    assert after == by_hand(file)
    assert (after == before) == (change != "content")
    no_reading(monkeypatch)
    assert survey_files([file])[0] == after


def test_where_nothing_can_be_kept_work_goes_on(recordings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(tmp_path / "file" / "cache"))
    assert survey_files(recordings[:1])[0] == by_hand(recordings[0])
    monkeypatch.setattr("decolle_hw.data.cache.folder", lambda: None)
    assert survey_files(recordings[:1])[0] == by_hand(recordings[0])


def test_recordings_of_one_folder_share_a_small_file(recordings, own_cache):
    survey_files(recordings[:1])
    survey_files(recordings[1:])
    assert len(list(own_cache.glob("survey-*.json"))) == 1
    assert sum(file.stat().st_size for file in own_cache.iterdir()) < 4000


def test_progress_counts_to_the_end(recordings):
    seen = []
    survey_files(recordings, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 7) for number in range(1, 8)]


def test_a_recording_may_be_named_twice(recordings):
    first, second = survey_files([recordings[0], recordings[0]])
    assert first == second == by_hand(recordings[0])


@needs_dvs128
def test_real_recordings(own_cache):
    for one in survey_files(sorted((DATA / "dvs128_recordings").glob("*.bin"))):
        assert (one.format, one.height, one.width, one.polarities, one.error) == ("nmnist", 128, 128, 2, None)
        assert 1_449_000 < one.last_us < 1_450_000
        assert one.notes == ()


def test_processes_say_the_same(recordings, monkeypatch):
    expected = survey_files(recordings)
    monkeypatch.setattr("decolle_hw.data.cache.folder", lambda: None)
    seen = []
    assert survey_files(recordings, workers=2, progress=lambda done, total: seen.append(done)) == expected
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_what_was_read_before_an_interrupt_is_remembered(recordings, monkeypatch):
    good = [recordings[place] for place in (0, 1, 2)]

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey_files(good, progress=interrupt)
    calls = []
    monkeypatch.setattr(survey, "survey_file", lambda file: calls.append(file) or Surveyed(file, error="again"))
    survey_files(good)
    assert calls == good[2:]


def test_a_file_that_is_written_while_it_is_read_is_read_again(recordings, monkeypatch):
    file, read = recordings[1], survey.survey_file

    def grows_meanwhile(which):
        found = read(which)
        which.write_bytes(tools.npy(tools.events_array(EVENTS[:7])))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(survey, "survey_file", grows_meanwhile)
        assert survey_files([file])[0].events == 400
    assert survey_files([file])[0].events == 7


def test_nothing_is_kept_unless_asked(recordings, own_cache, monkeypatch):
    unkept = survey_files(recordings, keep=False)
    assert not own_cache.exists()
    assert survey_files(recordings) == unkept
    calls = []
    monkeypatch.setattr(survey, "survey_file", lambda file: calls.append(file) or Surveyed(file, error="again"))
    survey_files(recordings, keep=False)
    assert calls == recordings
