"""Tonic's data sets by name: small ones in tonic's own layouts, through tonic's own classes, without a network."""

import inspect
import struct
import urllib.error

import h5py
import numpy as np
import pytest
import scipy.io
from pydantic import ValidationError
from recording_tools import drawn_events, one_line, write_bin, write_npy
from tonic import datasets

from decolle_hw.data import cache, dataset_classes, load_split, recording_events, stream_split, tonic_sets
from decolle_hw.data.load import _chosen
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec
from decolle_hw.spec_tonic import TONIC_DATASETS, TONIC_REFUSED


@pytest.fixture(autouse=True)
def small_is_whole(monkeypatch):
    """Tonic takes a folder with few files for incomplete; and what is opened once would be kept for the next test."""
    monkeypatch.setattr(datasets.NMNIST.__mro__[1], "_folder_contains_at_least_n_files_of_type", lambda *_: True)
    monkeypatch.setattr(datasets.NMNIST.__mro__[1], "_is_file_present", lambda *_: True)
    tonic_sets._opened.cache_clear()
    yield
    tonic_sets._opened.cache_clear()


def make_nmnist(root):
    for part, count in (("Train", 4), ("Test", 2)):
        for digit in (0, 3):
            for k in range(count):
                write_bin(root / "NMNIST" / part / str(digit) / f"{k}.bin", drawn_events(k + digit, size=(34, 34)))
    return (8, 4), tuple(datasets.NMNIST.classes)


def make_ncaltech101(root):
    for name in ("accordion", "BACKGROUND_Google"):
        for k in range(5):
            write_bin(root / "NCALTECH101" / "Caltech101" / name / f"image_{k}.bin", drawn_events(k, size=(90, 120)))
    return (8, 2), ("BACKGROUND_Google", "accordion")


def make_cifar10dvs(root):
    for name in ("frog", "ship"):
        for k in range(5):
            file = root / "CIFAR10DVS" / name / f"cifar10_{name}_{k}.aedat4"
            events = drawn_events(k, size=(128, 128))
            events["t"] += 10**15
            write_npy(file.with_suffix(".npy"), events).rename(file)  # its content is what counts
    return (8, 2), tuple(datasets.CIFAR10DVS.classes)


def make_shd(root, name="SHD"):
    rng = np.random.default_rng(0)
    (root / name).mkdir(parents=True)
    for part, count in (("train", 6), ("test", 4)):
        with h5py.File(root / name / f"{name.lower()}_{part}.h5", "w") as file:
            times = file.create_dataset("spikes/times", count, h5py.vlen_dtype(np.float16))
            units = file.create_dataset("spikes/units", count, h5py.vlen_dtype(np.uint16))
            for k in range(count):
                times[k] = np.sort(rng.random(80)).astype(np.float16)
                units[k] = rng.integers(0, 350, 80).astype(np.uint16) + 350 * (k % 2)
            file["labels"] = np.arange(count) % 2
            file["extra/keys"], file["extra/speaker"] = np.array([b"null", b"eins"]), np.zeros(count, int)
    return (6, 4), ("null", "eins")


def make_ssc(root):
    return make_shd(root, "SSC")


def make_ntidigits18(root):
    rng = np.random.default_rng(0)
    (root / "NTIDIGITS18").mkdir()
    with h5py.File(root / "NTIDIGITS18" / "n-tidigits.hdf5", "w") as file:
        for part, names in (("train", ("ah-a-o", "ah-a-1", "ah-a-12", "bk-b-z")), ("test", ("cc-a-o", "cc-a-9"))):
            file[f"{part}_labels"] = np.array([name.encode() for name in names])
            for name in names:
                file[f"{part}_addresses/{name}"] = rng.integers(0, 64, 50)
                file[f"{part}_timestamps/{name}"] = np.sort(rng.random(50))
    return (3, 2), ("o", *"123456789", "z")


def make_smnist(root):
    rng = np.random.default_rng(0)
    (root / "smnist").mkdir()
    for part, count in (("train", 5), ("t10k", 3)):
        images, labels = rng.integers(0, 255, (count, 784), np.uint8), (np.arange(count) % 10).astype(np.uint8)
        image_file, label_file = (root / "smnist" / f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        image_file.write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes())
        label_file.write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    return (5, 3), tuple(datasets.SMNIST.classes)


def make_asldvs(root):
    for letter in "ab":
        for k in range(5):
            events = drawn_events(k, size=(180, 240))
            file = root / "ASLDVS" / letter / f"{letter}_{k:04}.mat"
            file.parent.mkdir(parents=True, exist_ok=True)
            columns = {"ts": events["t"], "x": events["x"], "y": events["y"], "pol": events["p"].astype(np.uint8)}
            scipy.io.savemat(file, {key: column.reshape(-1, 1) for key, column in columns.items()})
    return (8, 2), tuple("abcdefghijklmnopqrstuvwxyz")


def make_dvslip(root):
    dtype = [("t", "i4"), ("x", "i1"), ("y", "i1"), ("p", "i1")]
    for part, count in (("train", 3), ("test", 2)):
        for name in ("allow", "years"):
            for k in range(count):
                events = drawn_events(k, size=(128, 128))[list("txyp")].astype(dtype)
                write_npy(root / "DVSLip" / "DVS-Lip" / part / name / f"{k}.npy", events)
    return (6, 4), tuple(datasets.DVSLip.classes)


def make_pokerdvs(root):
    for part, count in (("train", 3), ("test", 2)):
        for suit in ("cl", "sp"):
            for k in range(count):
                events = drawn_events(k, size=(35, 35))
                columns = np.stack([events[field].astype(np.int64) for field in "txyp"], 1)
                write_npy(root / "POKERDVS" / f"pips_{part}" / suit / f"{k}.npy", columns)
    return (6, 4), tuple(datasets.POKERDVS.classes)


def make_dvsgesture(root):
    for part, users in (("Train", (1, 2)), ("Test", (24,))):
        for user in users:
            for gesture in (0, 4):
                events = drawn_events(user, last_us=300, size=(128, 128))  # milliseconds
                columns = np.stack([events[field].astype(np.int64) for field in "xypt"], 1)
                folder = root / "DVSGesture" / f"ibmGesture{part}" / f"user{user:02}_led"
                write_npy(folder / f"{gesture}.npy", columns)
    return (4, 2), tuple(datasets.DVSGesture.classes)


MAKERS = {
    name: globals()[f"make_{name.lower()}"] for name in TONIC_DATASETS
}  # fmt: skip


def spec_of(name, root, **values):
    return DatasetSpec(**{"name": f"tonic:{name}", "path": str(root), "deltat": 10_000, **values})


@pytest.mark.parametrize("name", sorted(TONIC_DATASETS))
def test_every_data_set_has_its_classes_its_split_and_tonics_events(tmp_path, name):
    sizes, classes = MAKERS[name](tmp_path)
    spec = spec_of(name, tmp_path)
    assert DatasetSpec(**spec.model_dump()) == spec, "a stored description says the same"
    train, test = (load_split(spec, split, None, classes) for split in ("train", "test"))
    assert (len(train), len(test)) == sizes and train.classes == test.classes == dataset_classes(spec) == classes
    if name in tonic_sets.WITHOUT_TEST_PART:
        assert not set(train.names) & set(test.names)
    assert len(set(train.labels)) >= 2

    tonic_sets._opened.cache_clear()
    parts = {"SSC": {"split": "train"}, "NTIDIGITS18": {"train": True, "single_digits": True}}
    choice = {} if name in tonic_sets.WITHOUT_TEST_PART else parts.get(name, {"train": True})
    theirs = getattr(datasets, name)(str(tmp_path), **choice)
    names = list(tonic_sets._names(theirs))
    for row, ours in enumerate(train.names):
        if name == "CIFAR10DVS":  # tonic's own reader needs another package
            continue
        index = next(k for k, each in enumerate(names) if each.endswith(ours))
        events, target = theirs[index]
        label = classes.index(target) if isinstance(target, str) else int(target)
        assert train.labels[row] == label
        found = recording_events(spec, "train", row)
        order = np.argsort(np.asarray(events["t"]).reshape(-1), kind="stable")
        expected = {key: np.asarray(events[key]).reshape(-1)[order].astype(np.int64) for key in events.dtype.names}
        shift = expected["t"].min() if TONIC_DATASETS[name].first_event else 0
        np.testing.assert_array_equal(found["t"], expected["t"] - shift)
        np.testing.assert_array_equal(found["x"], expected["x"])
        np.testing.assert_array_equal(found["y"], expected.get("y", np.zeros(len(found))))
        np.testing.assert_array_equal(found["p"], expected["p"] > 0)


def test_the_table_is_that_of_tonic():
    known = {**TONIC_DATASETS, **TONIC_REFUSED}
    assert set(known) == set(datasets.__all__)
    for name, ours in TONIC_DATASETS.items():
        theirs = getattr(getattr(datasets, name), "sensor_size", None)
        if theirs is not None:  # those of NCALTECH101 vary, that of SMNIST can be chosen
            assert (*ours.sensor[::-1], ours.polarities) == theirs, name
    assert inspect.signature(datasets.SMNIST).parameters["num_neurons"].default == TONIC_DATASETS["SMNIST"].sensor[1]


def test_channels_of_a_cochlea_become_one_row_of_inputs_and_blocks_of_it(tmp_path):
    make_shd(tmp_path)
    whole = load_split(spec_of("SHD", tmp_path, chunk_size_train=100), "train")
    assert whole.input_shape == (1, 1, 700)
    fewer = spec_of("SHD", tmp_path, chunk_size_train=100, input_shape=[1, 1, 140])
    assert (fewer.downsample, fewer.sensor, fewer.field_of_view) == (5, (1, 700), (1, 700))
    frames = whole.dense(range(6)).reshape(100, 6, 140, 5).max(-1)
    np.testing.assert_array_equal(load_split(fewer, "train").dense(range(6)), frames)


def test_streams_workers_and_the_cache(tmp_path, monkeypatch):
    make_shd(tmp_path)
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(tmp_path / "cache"))
    spec = spec_of("SHD", tmp_path)
    first = load_split(spec, "test")
    monkeypatch.setattr(tonic_sets, "_events", lambda *_: pytest.fail("read although it is in the cache"))
    np.testing.assert_array_equal(load_split(spec, "test").active, first.active)
    batches = list(stream_split(spec, "test").batches(3))
    np.testing.assert_array_equal(np.concatenate([batch.active for batch in batches]), first.active)
    keys = {cache.key_of(_chosen(spec, split).source, spec, 300) for split in ("train", "test")}
    file = tmp_path / "SHD" / "shd_test.h5"
    file.touch()
    keys.add(cache.key_of(_chosen(spec, "test").source, spec, 300))
    assert len(keys) == 3


def without_network(*_args, **_kwargs):
    raise urllib.error.URLError("Name or service not known")


@pytest.mark.parametrize(
    ("name", "file"), [("NMNIST", "train.zip"), ("SHD", "shd_train.h5.zip"), ("CIFAR10DVS", "CIFAR10DVS.zip")]
)
def test_what_is_not_there_and_cannot_be_downloaded(tmp_path, monkeypatch, name, file):
    monkeypatch.undo()
    monkeypatch.setattr("urllib.request.urlopen", without_network)
    with pytest.raises(DataError) as error:
        load_split(spec_of(name, tmp_path), "train")
    assert list(tmp_path.iterdir()) == []
    one_line(error, tmp_path / name, "could not download it: <urlopen error Name or service not known>", f"put {file}")


def test_a_data_set_that_tonic_cannot_download_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    with pytest.raises(DataError) as error:
        load_split(spec_of("DVSLip", tmp_path), "train")
    one_line(error, tmp_path / "DVSLip", "it must be downloaded by hand", "put DVS-Lip.zip")
    assert capsys.readouterr().out == "", "standard output is for results"


def test_damaged_files_are_named(tmp_path):
    make_nmnist(tmp_path)
    make_shd(tmp_path)
    make_dvslip(tmp_path)
    (tmp_path / "SHD" / "shd_train.h5").write_bytes(b"HDF")
    with pytest.raises(DataError) as error:
        load_split(spec_of("SHD", tmp_path), "train")
    one_line(error, tmp_path / "SHD", "is not there or not whole")
    (tmp_path / "DVSLip" / "DVS-Lip" / "train" / "allow" / "1.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError) as error:
        load_split(spec_of("DVSLip", tmp_path), "train")
    one_line(error, "DVSLip train recording DVS-Lip/train/allow/1.npy: tonic cannot read it")
    (tmp_path / "NMNIST" / "Train" / "3" / "0.bin").write_bytes(b"")
    with pytest.raises(DataError) as error:
        load_split(spec_of("NMNIST", tmp_path), "train")
    one_line(error, "NMNIST train recording Train/3/0.bin", "holds no events")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        *(({"name": f"tonic:{name}"}, f"tonic:{name}: has ") for name in TONIC_REFUSED),
        ({"name": "tonic:NMIST"}, "tonic has no data set 'NMIST' with classes; did you mean 'NMNIST'?"),
        ({"name": "tonic:nmnist"}, "did you mean 'NMNIST'?"),
        ({"name": "tonic:SHD", "input_shape": [2, 1, 700]}, "tonic:SHD has no polarities; set it to [1, 1, 700]"),
        ({"name": "tonic:NMNIST", "input_shape": [2, 16, 16]}, "set input_shape to [2, 34, 34] and downsample to 1"),
        (
            {"name": "tonic:NMNIST", "transforms": [{"CenterCrop": {"size": 20}}], "input_shape": [2, 10, 10]},
            "shows 10x10 of 20x20 pixels; set input_shape to [2, 20, 20] and downsample to 1",
        ),
        ({"name": "tonic:NMNIST", "transforms": [5]}, "Input should be"),
        ({"name": "tonic:NMNIST", "sensor_size": [40, 40]}, "recordings of tonic:NMNIST have [34, 34]"),
        ({"name": "tonic:NMNIST", "time_window": 10_000}, "time_window 10000: is for name: folder"),
    ],
)
def test_descriptions_that_cannot_be(values, words):
    with pytest.raises(ValidationError) as error:
        DatasetSpec(**{"path": "x", **values})
    assert words in str(error.value)


def test_the_sensor_is_known():
    spec = DatasetSpec(name="tonic:NMNIST", transforms=["RandomFlipLR"])
    assert spec.input_shape == [2, 34, 34] and spec.field_of_view == spec.sensor == (34, 34)
    cropped = DatasetSpec(
        name="tonic:NMNIST", transforms=[{"CenterCrop": {"size": 20}}], input_shape=[2, 10, 10], downsample=2
    )
    assert cropped.sensors == [(34, 34), (20, 20)] and cropped.field_of_view == (20, 20)
    assert DatasetSpec(name="tonic:CIFAR10DVS", input_shape=[1, 32, 32]).downsample == 4


def test_a_description_without_a_path():
    with pytest.raises(SpecError, match=r"dataset.path: is missing, and dataset.name is 'tonic:SHD'"):
        load_split(DatasetSpec(name="tonic:SHD"), "train")


YAML = """
name: cochlea
dataset:
  {name: "tonic:SHD", path: ., input_shape: [1, 1, 140], deltat: 50000, chunk_size_train: 20, chunk_size_test: 20}
network: {neuron: cuba, Mhid: [24], alpha: 0.9, beta: 0.85, vth: 0.05, lc_ampl: 1.5}
training: {num_epochs: 12, batch_size: 3, burnin_steps: 4, learning_rate: 0.01}
"""


def test_one_polarity_all_the_way(tmp_path, monkeypatch, decolle_hw):
    make_shd(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cochlea.yaml").write_text(YAML)
    for command in (
        ("train", "cochlea.yaml"),
        ("compile", "--target", "loihi2"),
        ("run", "--sim", "--backend", "reference"),
    ):
        outcome = decolle_hw(*command)
        assert outcome.code == 0, outcome.err
    accuracy = next(line for line in outcome.out.splitlines() if "accuracy" in line)
    assert "100.0 %" in accuracy, outcome.out
