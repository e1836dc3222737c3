"""`auto` in a description becomes what the recordings have; a trained network keeps its numbers."""

import numpy as np
import pytest
from click.testing import CliRunner
from recording_tools import drawn_events, one_line, write_bin, write_npy

from decolle_hw import sizes
from decolle_hw.cli import cli
from decolle_hw.console import Output
from decolle_hw.described import AUTO_KEYS, model_of_here, read_model
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import load_model_spec, model_spec_from_yaml, model_spec_to_yaml

ALL_AUTO = "\n".join(f"  {key}: auto" for key in AUTO_KEYS)


def write_model(root, dataset=ALL_AUTO, network="Mhid: [8]", training="num_epochs: 1, burnin_steps: 2"):
    path = root / "model.yaml"
    path.write_text(
        f"name: mine\ndataset:\n  name: folder\n  path: recordings\n  deltat: 10000\n{dataset}\n"
        f"network: {{{network}}}\ntraining: {{{training}}}\n", encoding="utf-8",
    )  # fmt: skip
    return str(path)


@pytest.fixture
def root(tmp_path):
    """Two classes on a sensor of 128x127 pixels seen; durations 200, 210, ... 250 ms."""
    for index in range(6):
        events = drawn_events(index, 500, 200_000 + 10_000 * index, (100, 100))
        events["y"][5], events["x"][5] = 127, 126
        events["t"] += 5_000_000  # the sensor was switched on long before
        write_npy(tmp_path / "recordings" / "ab"[index % 2] / f"{index}.npy", events)
    return tmp_path


def test_every_size_from_the_recordings(root, capsys):
    dataset = read_model(write_model(root), console=Output()).dataset
    assert dataset.sensor_size == [128, 128] and dataset.downsample == 4 and dataset.input_shape == [2, 32, 32]
    # Of six recordings nine tenths are all six: 250 ms in steps of 10 ms, and the step in which the last event lies.
    assert dataset.chunk_size_train == dataset.chunk_size_test == 26
    told = capsys.readouterr().out
    assert "sensor_size: [128, 128] found in 6 recordings: events reach 128x127: a sensor as DVS128" in told
    assert "input_shape: [2, 32, 32]" in told and "downsample: 4" in told
    assert "chunk_size_train: 26 steps of 10000 us" in told


def test_numbers_stay_what_they_are(root):
    path = write_model(root, "  input_shape: [2, 10, 10]\n  sensor_size: [128, 128]\n  chunk_size_train: 7")
    assert read_model(path) == load_model_spec(path)


def test_a_sensor_that_is_found_is_seen_whole(root):
    dataset = read_model(write_model(root, "  sensor_size: auto\n  input_shape: [2, 16, 16]")).dataset
    assert dataset.downsample == 8 and dataset.field_of_view == (128, 128)
    centre = read_model(write_model(root, "  sensor_size: auto\n  input_shape: [2, 16, 16]\n  downsample: 1")).dataset
    assert centre.downsample == 1


def test_transforms_come_before_the_inputs(root):
    transforms = "\n  transforms: [{CenterCrop: {size: [60, 40]}}]"
    dataset = read_model(write_model(root, f"  input_shape: auto{transforms}")).dataset
    assert dataset.sensor_size == [128, 128] and dataset.sensors[-1] == (40, 60)
    assert dataset.downsample == 2 and dataset.input_shape == [2, 20, 30]


def test_steps_of_windows(root):
    dataset = read_model(write_model(root, f"{ALL_AUTO}\n  time_window: 95000")).dataset
    assert dataset.chunk_size_train == dataset.chunk_size_test == 10


def test_bin_counts_from_zero(tmp_path):
    for index, name in enumerate(("a/0.bin", "a/1.bin", "b/0.bin", "b/1.bin")):
        events = drawn_events(index, 300, 100_000, (34, 34))
        events["t"] += 50_000
        write_bin(tmp_path / "recordings" / name, events)
    assert read_model(write_model(tmp_path)).dataset.chunk_size_test == 16
    from_first = read_model(write_model(tmp_path, f"{ALL_AUTO}\n  time_origin: first_event"))
    assert from_first.dataset.chunk_size_test == 11


def test_more_steps_than_auto_gives(root, capsys):
    path = write_model(root, f"{ALL_AUTO}")
    dataset = read_model(path, ("dataset.deltat=100",), console=Output()).dataset
    assert dataset.chunk_size_train == sizes.MOST_STEPS
    assert "recordings have 2501" in capsys.readouterr().out


def test_one_polarity_is_one_map(tmp_path):
    for index in range(4):
        events = drawn_events(index)
        events["p"] = True
        write_npy(tmp_path / "recordings" / "ab"[index % 2] / f"{index}.npy", events)
    assert read_model(write_model(tmp_path)).dataset.input_shape == [1, 8, 8]


def test_other_recordings_are_looked_at_instead(root, tmp_path):
    for index in range(4):
        write_npy(tmp_path / "small" / "ab"[index % 2] / f"{index}.npy", drawn_events(index, size=(34, 34)))
    dataset = read_model(write_model(root), dataset=str(tmp_path / "small")).dataset
    assert dataset.sensor_size == [34, 34] and dataset.path == str(tmp_path / "small")


def test_auto_may_be_set(root):
    path = write_model(root, "  input_shape: [2, 16, 16]")
    assert read_model(path, ("dataset.input_shape=auto",)).dataset.input_shape == [2, 32, 32]


def test_broken_recordings_are_left_out(root):
    (root / "recordings" / "a" / "broken.bin").write_bytes(b"\0" * 7)
    assert read_model(write_model(root)).dataset.sensor_size == [128, 128]


@pytest.mark.parametrize(
    ("dataset", "parts"),
    [
        ("  name: digits\n  input_shape: auto", ("dataset.input_shape", "name: folder", "digits")),
        ("  input_shape: Auto", ("input_shape", "'Auto'")),
        ("  input_shape: auto\n  chunk_size_trian: 3", ("chunk_size_trian", "did you mean 'chunk_size_train'")),
        ("  input_shape: auto\n  downsample: 200", ("downsample 200",)),
        ("  path: nowhere\n  input_shape: auto", ("nowhere", "does not exist")),
        ("  input_shape: auto\n  chunk_size_train: 1", ("burnin_steps",)),
    ],
)
def test_what_cannot_be_filled_in(dataset, parts, root):
    kept = "\n".join(line for line in ("  name: folder", "  path: recordings") if line.split(":")[0] not in dataset)
    (root / "model.yaml").write_text(
        f"name: mine\ndataset:\n{kept}\n{dataset}\nnetwork: {{Mhid: [8]}}\ntraining: {{burnin_steps: 2}}\n",
        encoding="utf-8",
    )
    with pytest.raises((SpecError, DataError)) as error:
        read_model(str(root / "model.yaml"))
    one_line(error, *parts)


def test_none_can_be_read(tmp_path):
    for name in ("a/0.bin", "a/1.bin", "b/0.bin"):
        (tmp_path / "recordings" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "recordings" / name).write_bytes(b"\0" * 7)
    with pytest.raises(DataError) as error:
        read_model(write_model(tmp_path))
    one_line(error, "none of 3 recordings", ".bin")


def test_training_and_placing_get_numbers(root, monkeypatch):
    given = []

    def train_model(spec, *_):
        given.append(spec)
        raise DataError("as far as this test goes")

    write_model(root)
    monkeypatch.chdir(root)
    monkeypatch.setattr("decolle_hw.workflow.train_model", train_model)
    trained = CliRunner().invoke(cli, ["train"])
    assert "model: model.yaml of this folder" in trained.output
    [spec] = given
    kept = model_spec_from_yaml(model_spec_to_yaml(spec), "a run").dataset
    assert kept.input_shape == [2, 32, 32] and kept.chunk_size_test == 26
    placed = CliRunner().invoke(cli, ["compile", "model.yaml", "--dry-run"])
    assert placed.exit_code == 0, placed.exception


def test_which_model_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_of_here(None) == "digits"
    (tmp_path / "model.yaml").touch()
    assert model_of_here(None) == "model.yaml"
    assert model_of_here("nmnist") == "nmnist"


@pytest.mark.parametrize("sensor", sizes.KNOWN_SENSORS, ids=lambda sensor: sensor.name)
def test_known_sensors(sensor):
    assert sizes.known_sensor(sensor.height, sensor.width) == sensor
    assert sizes.known_sensor(sensor.height - 1, sensor.width) == sensor
    downsample = sizes.downsample_for(sensor.height, sensor.width)
    _, height, width = sizes.input_shape_for(2, sensor.height, sensor.width, downsample)
    assert max(height, width) <= 34
    # Little of the sensor is lost at the border, and hardly a smaller block would have done.
    assert height * width * downsample**2 >= 0.96 * sensor.height * sensor.width
    smallest = next(d for d in range(1, 100) if max(sensor.height // d, sensor.width // d) <= 34)
    assert smallest <= downsample <= 1.25 * smallest


@pytest.mark.parametrize(
    ("headers", "seen", "sensor", "words"),
    [
        ([(260, 346)], (100, 90), (260, 346), "as the files say"),
        ([(128, 128), (260, 346)], (100, 90), (260, 346), "largest of several"),
        ([(34, 34)], (40, 30), (40, 34), "files say less"),
        ([], (64, 64), (64, 64), "no known sensor"),
        ([], (100, 110), (128, 128), "DVS128"),
        ([], (2000, 3000), (2000, 3000), "no known sensor"),
    ],
)
def test_sensors(headers, seen, sensor, words):
    size, origin = sizes.sensor_from(headers, *seen)
    assert size == sensor and words in origin


def test_rows_of_channels_stay_whole():
    assert sizes.downsample_for(1, 700) == 1 and sizes.input_shape_for(1, 1, 700, 1) == [1, 1, 700]


@pytest.mark.parametrize("duration_us", [20_000, 72_000, 298_000, 306_000, 1_450_000, 60_000_000])
def test_suggested_steps_and_windows(duration_us):
    deltat, window = sizes.deltat_for(duration_us), sizes.window_for(duration_us)
    assert deltat in (1000, 2000, 5000, 10_000, 20_000)
    assert deltat == 1000 or sizes.steps_for(duration_us, deltat) >= 50
    assert 20_000 <= window <= 500_000 and str(window).rstrip("0") in set("123456789")


def test_common_duration():
    durations = np.arange(1, 21) * 1000
    assert sizes.common_duration(durations.tolist()) == 18_000
    assert sizes.common_duration([5]) == 5
