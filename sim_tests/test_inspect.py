"""What `data inspect` finds is what is there: counts, rates, hot pixels, what cannot be read."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from recording_tools import drawn_events, one_line, write_bin, write_npy

from decolle_hw.cli import cli
from decolle_hw.data.formats import SUFFIXES
from decolle_hw.errors import CheckError, DataError, UsageError
from decolle_hw.inspecting.found import find_recordings
from decolle_hw.inspecting.inspect import inspect
from decolle_hw.inspecting.pixels import Frame, busiest_moment, count_events, hot_pixels
from decolle_hw.inspecting.suggestions import suggestions

DVS128 = Path(__file__).resolve().parents[2] / "shared" / "data" / "dvs128_recordings"
HEIGHT, WIDTH = 30, 40
HOT = (7, 11)  # y, x


def with_hot_pixel(seed, count=4000, last_us=400_000):
    """Events all over the sensor, and a pixel with many more."""
    events = drawn_events(seed, count, last_us, (HEIGHT, WIDTH))
    events["y"][::10], events["x"][::10] = HOT
    return events


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three recordings of left and one of right, one of which cannot be read, and a file that is none."""
    root = tmp_path_factory.mktemp("data") / "gestures"
    for seed, name in enumerate(("left/a.npy", "left/b.npy", "right/a.npy", "left/c.npy")):
        write_npy(root / name, with_hot_pixel(seed, last_us=400_000 + 100_000 * seed))
    (root / "right" / "broken.bin").write_bytes(b"\0" * 7)
    (root / "left" / "notes.txt").write_text("of May", encoding="utf-8")
    return root


def called(*arguments):
    return CliRunner().invoke(cli, ["data", "inspect", *map(str, arguments)])


def test_counts_are_those_of_numpy(folder, tmp_path):
    result = called(folder, "--json", tmp_path / "found.json", "--no-plot")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    events = {file.relative_to(folder).as_posix(): np.load(file) for file in sorted(folder.rglob("*.npy"))}
    assert found["recordings"] == 5 and found["used"] == 4
    assert found["events"] == sum(map(len, events.values())) == 16_000
    assert found["on_share"] == pytest.approx(np.concatenate([each["p"] for each in events.values()]).mean())
    assert found["sensor_size"] == [HEIGHT, WIDTH]
    durations = sorted(int(each["t"][-1] - each["t"][0]) for each in events.values())
    assert found["duration_us"] == {"min": durations[0], "median": np.median(durations), "max": durations[-1]}
    assert {name: each["recordings"] for name, each in found["classes"].items()} == {"left": 3, "right": 1}
    rates = sorted(len(each) / (int(each["t"][-1]) / 1e6) for name, each in events.items() if name.startswith("left"))
    assert found["classes"]["left"]["rate_hz"]["median"] == pytest.approx(rates[1])
    [hot] = found["hot_pixel_list"]
    at_hot = sum(int(((each["y"] == HOT[0]) & (each["x"] == HOT[1])).sum()) for each in events.values())
    assert (hot["y"], hot["x"], hot["events"]) == (*HOT, at_hot)
    assert hot["rate_hz"] == pytest.approx(at_hot / (sum(durations) / 1e6))
    [broken] = found["unreadable"]
    assert broken["recording"] == "right/broken.bin" and "2 of the 5 bytes" in broken["error"]
    assert [Path(name).name for name in found["other_files"]] == ["notes.txt"]


def test_what_cannot_be_read_is_listed_and_strict_ends_with_1(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lenient = called(folder, "--no-plot")
    assert lenient.exit_code == 0
    assert "cannot be read: 1" in lenient.output and "broken.bin" in lenient.output and "notes.txt" in lenient.output
    assert "HOT" not in lenient.output and f"{HOT[0]}, {HOT[1]}" in lenient.output
    strict = called(folder, "--no-plot", "--strict")
    assert isinstance(strict.exception, CheckError) and strict.exception.exit_code == 1
    assert "1 of 5 recordings" in str(strict.exception) and "suggestions" in strict.output
    assert list(tmp_path.iterdir()) == []


def test_workers_find_the_same(folder):
    assert inspect(str(folder), workers=2).to_json() == inspect(str(folder)).to_json()


@pytest.mark.parametrize("pieces", [1, 7])
def test_counting_by_blocks(pieces):
    events = with_hot_pixel(3)
    frame = Frame(HEIGHT, WIDTH, 10_000)
    counts = count_events(np.array_split(events, pieces), frame, 0, 400_000)
    expected_HW = np.zeros((HEIGHT, WIDTH), int)
    np.add.at(expected_HW, (events["y"], events["x"]), 1)
    np.testing.assert_array_equal(counts.pixels_HW, expected_HW)
    np.testing.assert_array_equal(counts.picture_2hw.sum(0), expected_HW)
    assert counts.on == counts.picture_2hw[1].sum() == events["p"].sum()
    np.testing.assert_array_equal(counts.over_time_B, np.histogram(events["t"], np.arange(101) * 10_000)[0])
    np.testing.assert_array_equal(np.flatnonzero(counts.running_B), np.arange(41))


def test_a_large_sensor_is_drawn_in_cells():
    frame = Frame(720, 1280, 10_000)
    assert frame.cell == 10 and frame.picture_shape == (72, 128)
    events = drawn_events(0, 500, size=(720, 1280))
    counts = count_events([events], frame, 0, 300_000)
    expected = np.zeros((2, 72, 128), int)
    np.add.at(expected, (events["p"].astype(int), events["y"] // 10, events["x"] // 10), 1)
    np.testing.assert_array_equal(counts.picture_2hw, expected)


def test_busiest_moment():
    over_time = np.array([1, 5, 5, 9, 0, 8, 8])
    assert busiest_moment(over_time, 10, 20) == 50
    assert busiest_moment(over_time, 10, 10) == 30
    assert busiest_moment(over_time, 100, 10) == 300, "a moment is at least a bin"


def slowly_hot(pixels_HW):
    """The rule of the docstring, pixel by pixel; at the border the sensor is mirrored."""
    active = pixels_HW > 0
    typical = np.median(pixels_HW[active])
    offset = max(5, typical)
    excess = {}
    padded = np.pad(pixels_HW, 2, mode="symmetric")
    for y, x in zip(*np.nonzero(active), strict=True):
        around = np.delete(padded[y : y + 5, x : x + 5].reshape(-1), 12)
        excess[y, x] = np.log(pixels_HW[y, x] + offset) - np.log(np.sort(around)[-6] + offset)
    values = np.array(list(excess.values()))
    middle = np.median(values)
    limit = max(middle + 6 * 1.4826 * np.median(np.abs(values - middle)), np.log(3))
    hot = [place for place, value in excess.items() if value > limit and pixels_HW[place] >= 10]
    return {place for place in hot if pixels_HW[place] > 2 * typical}


def test_hot_pixels_are_those_of_the_rule():
    rng = np.random.default_rng(4)
    pixels_HW = rng.poisson(3.0, (24, 30))
    pixels_HW[8:14, 4:25] += rng.poisson(80, (6, 21))  # an edge that moved there: no pixel of it is hot
    planted = [(5, 3), (18, 20), (18, 21), (20, 7), (23, 29)]
    for place in planted:
        pixels_HW[place] += 200
    found = hot_pixels(pixels_HW)
    assert set(found) == slowly_hot(pixels_HW) == set(planted)
    assert [pixels_HW[place] for place in found] == sorted((pixels_HW[place] for place in found), reverse=True)


@pytest.mark.parametrize("pixels_HW", [np.zeros((5, 5), int), np.full((5, 5), 1000), np.array([[3]])])
def test_no_hot_pixels(pixels_HW):
    assert hot_pixels(pixels_HW) == []


def test_hot_channels_of_a_row():
    channels = np.full((1, 60), 20)
    channels[0, 33] = 500
    assert hot_pixels(channels) == [(0, 33)]


@pytest.mark.skipif(not DVS128.is_dir(), reason="the DVS128 recordings are absent")
def test_real_recordings_without_classes():
    found = inspect(str(DVS128))
    assert len(found.recordings) == 10 and found.unsorted and found.sensor == (128, 128)
    assert all(1_449_000 < duration < 1_450_000 for duration in found.durations_us)
    assert found.hot == ()
    assert "DVS128" in found.sensor_origin and found.formats == {"N-MNIST .bin": 10}
    advice = "\n".join(entry.yaml for entry in suggestions(found))
    for line in ("labels: labels.csv", "time_window: 70000", "split_by: time", "deltat: 1000", "downsample: 4"):
        assert line in advice.splitlines()
    assert "input_shape: [2, 32, 32]" in advice


def test_suggestions_name_what_is_uneven(tmp_path):
    for index in range(8):
        write_npy(tmp_path / "many" / f"{index}.npy", drawn_events(index, last_us=200_000))
    events = drawn_events(9, last_us=3_000_000)
    events["p"] = True
    write_npy(tmp_path / "few" / "0.npy", events)
    texts = "\n".join(entry.text for entry in suggestions(inspect(str(tmp_path))))
    assert "class 'many' has 8 recordings and 'few' 1" in texts
    assert "windows of 100 ms" in texts


def test_late_events_are_mended_and_said(tmp_path):
    events = drawn_events(1)
    write_npy(tmp_path / "a" / "0.npy", events[::-1])
    write_npy(tmp_path / "b" / "0.npy", events)
    [mended] = inspect(str(tmp_path)).mended
    assert mended.name == "a/0.npy" and "out of order" in mended.notes[0]


def test_train_and_test_are_counted_apart(tmp_path):
    for name in ("train/a/0.npy", "train/a/1.npy", "train/b/0.npy", "test/a/0.npy", "test/b/0.npy"):
        write_npy(tmp_path / name, drawn_events(1))
    classes = inspect(str(tmp_path)).to_json()["classes"]
    assert {name: (each["train"], each["test"]) for name, each in classes.items()} == {"a": (2, 1), "b": (1, 1)}


def test_the_data_set_of_a_description(folder, tmp_path):
    model = tmp_path / "model.yaml"
    model.write_text(
        f"name: mine\ndataset: {{name: folder, path: {folder}, sensor_size: auto, input_shape: auto}}\n"
        "network: {Mhid: [8]}\n", encoding="utf-8",
    )  # fmt: skip
    found = inspect(str(model))
    assert {recording.part for recording in found.recordings} == {"train", "test"}
    assert found.events == inspect(str(folder)).events


def test_one_recording(tmp_path):
    file = write_bin(tmp_path / "0.bin", drawn_events(1, size=(34, 34)))
    found = inspect(str(file))
    assert found.layout == "one recording" and len(found.recordings) == 1


def empty(root):
    return root


def absent(root):
    return root / "absent" / "folder"


def other_suffix(root):
    (root / "a.txt").write_text("x", encoding="utf-8")
    return root


def not_by_name(root):
    (root / "a.mp4").write_text("x", encoding="utf-8")
    return root / "a.mp4"


def all_broken(root):
    (root / "a.bin").write_bytes(b"\0" * 7)
    (root / "b.bin").write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (empty, ("is empty", ".aedat4")),
        (absent, ("does not exist",)),
        (other_suffix, ("holds no recording", "a.txt", ".bin .aedat")),
        (not_by_name, ("a.mp4", "recordings are called .bin")),
        (all_broken, ("none of 2 recordings", "a.bin")),
    ],
)
def test_nothing_to_inspect(make, parts, tmp_path):
    with pytest.raises(DataError) as error:
        inspect(str(make(tmp_path)))
    one_line(error, tmp_path, *parts)


def test_a_misspelt_model_or_a_missing_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        inspect("digit")
    one_line(error, "no such file or folder, nor a model", "did you mean 'digits'?")
    with pytest.raises(DataError) as error:
        inspect("nmnist")
    one_line(error, "nmnist", "dataset.path", "inspect the folder itself")


@pytest.mark.parametrize(
    ("options", "part"),
    [(("--plot", "a.jpg"), "end its name in .png"), (("--plot", "a.png", "--no-plot"), "exclude each other")],
)
def test_wrong_options(options, part, folder):
    result = called(folder, *options)
    assert isinstance(result.exception, UsageError) and part in str(result.exception)


def test_names_that_are_not_utf8(tmp_path):
    write_npy(tmp_path / "a" / "caf\udce9.npy", drawn_events(1))
    write_npy(tmp_path / "b\udce9" / "0.npy", drawn_events(2))
    result = called(tmp_path, "--plot", tmp_path / "picture.png")
    assert result.exit_code == 0, result.exception
    assert "b\N{REPLACEMENT CHARACTER}" in result.output and (tmp_path / "picture.png").stat().st_size > 1000


def test_class_folders_beside_files_are_what_counts(tmp_path):
    write_npy(tmp_path / "a" / "0.npy", drawn_events(1))
    write_npy(tmp_path / "stray.npy", drawn_events(1))
    found = find_recordings(tmp_path, SUFFIXES)
    assert [place.name for place in found.places] == ["a/0.npy"] and found.others == (tmp_path / "stray.npy",)
