"""The cache of binned recordings: used where it is right, remade where it is not, never in the way."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from decolle_hw.data import cache, folder, images, load_folder, load_split, workers
from decolle_hw.errors import DataError
from decolle_hw.spec import CameraSpec, DatasetSpec


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of its own for each test."""
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_recording(path, times, x=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes([x, 2, 128 | t >> 16, t >> 8 & 255, t & 255]) for t in times))


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        write_recording(tmp_path / "data" / f"{name}.bin", np.sort(rng.integers(0, 400_000, 50)).tolist())
    return tmp_path / "data"


def folder_spec(path, **values):
    return DatasetSpec(
        **{"name": "folder", "path": str(path), "input_shape": [2, 8, 8], "test_fraction": 0.5, "strict": True} | values
    )


def array_spec(path, **values):
    return DatasetSpec(**{"name": "array", "path": str(path), "deltat": 5000, "chunk_size_train": 60, **values})


def write_images(path, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (6, 8, 8), np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(6) % 2, x_test=images[:2], y_test=np.arange(2))
    return path


def assert_equal(one, other):
    for field in ("indptr", "active", "labels", "lengths"):
        first, second = getattr(one, field), getattr(other, field)
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    for field in ("names", "classes", "steps", "window", "input_shape"):
        assert getattr(one, field) == getattr(other, field)


def forbid_reading(monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("read although it is in the cache")

    for module, name in ((folder, "read_recording"), (images, "_read_images"), (workers, "entries_of")):
        monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize("crop", ["start", "random"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_hit_equals_a_miss_and_nothing_is_read(recordings, own_cache, monkeypatch, crop, split):
    spec = folder_spec(recordings, crop=crop, chunk_size_train=20)
    plain = load_split(spec.model_copy(update={"cache": False}), split)
    assert not own_cache.exists()
    miss = load_split(spec, split)
    assert len(list(own_cache.iterdir())) == 1
    forbid_reading(monkeypatch)
    seen = []
    hit = load_split(spec, split, lambda done, total: seen.append((done, total)))
    assert seen == [(2, 2)]
    assert_equal(plain, miss)
    assert_equal(plain, hit)
    with pytest.raises(AssertionError, match="although"):
        load_split(spec.model_copy(update={"cache": False}), split)


def test_images_and_whole_folders_are_kept_too(recordings, tmp_path, monkeypatch):
    spec = array_spec(write_images(tmp_path / "images.npz"))
    first, whole = load_split(spec, "train"), load_folder(recordings, folder_spec(recordings))
    forbid_reading(monkeypatch)
    assert_equal(load_split(spec, "train"), first)
    assert_equal(load_folder(recordings, folder_spec(recordings)), whole)


def is_read_again(monkeypatch, load):
    """Whether `load` reads recordings; what it then does with them is left out."""
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        try:
            load()
        except AssertionError:
            return True
        return False


@pytest.mark.parametrize(
    "change",
    [
        {"deltat": 2000},
        {"chunk_size_train": 299},
        {"crop": "random"},
        {"input_shape": [2, 8, 9]},
        {"sensor_size": [10, 10]},
        {"downsample": 2},
        {"train_limit": 1},
        {"test_fraction": 0.01, "train_limit": 1},
    ],
)
def test_what_decides_about_the_result_changes_the_key(recordings, monkeypatch, change):
    spec = folder_spec(recordings)
    load_split(spec, "train")
    assert not is_read_again(monkeypatch, lambda: load_split(spec, "train"))
    other = folder_spec(recordings, **change)
    assert is_read_again(monkeypatch, lambda: load_split(other, "train"))
    assert_equal(load_split(other, "train"), load_split(other.model_copy(update={"cache": False}), "train"))


@pytest.mark.parametrize("change", [{"workers": 1}, {"chunk_size_test": 7}, {"camera": CameraSpec(seed=1)}])
def test_what_does_not_decide_leaves_the_key(recordings, monkeypatch, change):
    load_split(folder_spec(recordings), "train")
    assert not is_read_again(monkeypatch, lambda: load_split(folder_spec(recordings, **change), "train"))


def test_the_camera_decides_about_images(tmp_path, monkeypatch):
    path = write_images(tmp_path / "images.npz")
    load_split(array_spec(path), "train")
    for camera in (CameraSpec(seed=1), CameraSpec(noise_hz=1.0), CameraSpec(contrast_threshold=0.3)):
        spec = array_spec(path, camera=camera)
        assert is_read_again(monkeypatch, lambda spec=spec: load_split(spec, "train"))
    assert not is_read_again(monkeypatch, lambda: load_split(array_spec(path), "train"))


def change_content(file):
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def change_size(file):
    status = file.stat()
    file.write_bytes(file.read_bytes()[:-5])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def change_name(file):
    file.rename(file.with_name("2.bin"))


@pytest.mark.parametrize("change", [change_content, change_size, change_name])
def test_a_changed_file_changes_the_key(recordings, monkeypatch, change):
    spec = folder_spec(recordings)
    load_folder(recordings, spec)
    change(recordings / "b" / "1.bin")
    assert is_read_again(monkeypatch, lambda: load_folder(recordings, spec))
    expected = load_folder(recordings, spec.model_copy(update={"cache": False}))
    assert_equal(load_folder(recordings, spec), expected)


def test_a_changed_npz_changes_the_key_and_is_read_anew(tmp_path):
    path = write_images(tmp_path / "images.npz")
    before = load_split(array_spec(path), "train")
    status = path.stat()
    write_images(path, seed=1)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = load_split(array_spec(path), "train")
    assert len(before.active) != len(after.active)
    assert_equal(after, load_split(array_spec(path, cache=False), "train"))


def test_a_file_that_is_gone_is_an_error_and_not_a_hit(recordings):
    load_folder(recordings, folder_spec(recordings))
    (recordings / "b" / "1.bin").unlink()
    (recordings / "b" / "1.bin").symlink_to("nowhere.bin")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_folder(recordings, folder_spec(recordings))


def test_another_version_of_the_reader_changes_the_key(recordings, monkeypatch):
    load_split(folder_spec(recordings), "train")
    monkeypatch.setattr(cache, "_version", lambda: "another")
    assert is_read_again(monkeypatch, lambda: load_split(folder_spec(recordings), "train"))


def test_labels_and_names_are_never_cached(recordings):
    first = load_folder(recordings, folder_spec(recordings))
    other = load_folder(recordings, folder_spec(recordings), ("b", "c", "a"))
    assert first.labels.tolist() == [0, 0, 1, 1] and other.labels.tolist() == [2, 2, 0, 0]
    assert other.classes == ("b", "c", "a")


def test_any_damage_to_a_file_is_found_and_mended(recordings, own_cache):
    spec = folder_spec(recordings)
    expected = load_split(spec, "train")
    (file,) = own_cache.iterdir()
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    damaged = [b"", whole[:50], whole[:-1], whole + b"\0", b"\x80\x04K\x01." * 40]
    for place in [*range(cache.HEAD.size), *rng.integers(0, len(whole), 40)]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    for content in damaged:
        file.write_bytes(content)
        assert_equal(load_split(spec, "train"), expected)
        assert file.read_bytes() == whole
    assert [entry.name for entry in own_cache.iterdir()] == [file.name], "no temporary file is left"


def test_a_file_of_another_key_is_foreign(recordings, own_cache):
    load_split(folder_spec(recordings), "train")
    (first,) = own_cache.iterdir()
    expected = load_split(folder_spec(recordings, deltat=2000), "train")
    (second,) = (file for file in own_cache.iterdir() if file != first)
    second.write_bytes(first.read_bytes())
    assert_equal(load_split(folder_spec(recordings, deltat=2000), "train"), expected)


def test_a_folder_that_cannot_be_written_is_no_error(recordings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(cache.CacheWarning) as caught:
        data = load_split(folder_spec(recordings), "train")
    (warning,) = caught
    message = str(warning.message)
    assert "are not kept" in message and "set $DECOLLE_HW_CACHE, or dataset.cache to false" in message
    assert "\n" not in message
    assert_equal(data, load_split(folder_spec(recordings, cache=False), "train"))


def test_a_full_disk_is_no_error_and_leaves_nothing(recordings, own_cache, monkeypatch):
    class FullDisk:
        size = cache.HEAD.size

        def pack(self, *_args):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "HEAD", FullDisk())
    with pytest.warns(cache.CacheWarning, match="No space left on device"):
        data = load_split(folder_spec(recordings), "train")
    assert len(data) == 2 and list(own_cache.iterdir()) == []


def test_the_least_recently_used_files_make_room(recordings, own_cache, monkeypatch):
    specs = [folder_spec(recordings, deltat=deltat) for deltat in (1000, 2000, 3000)]
    files = []
    for age, spec in zip((30, 20, 10), specs, strict=True):
        load_split(spec, "train")
        (file,) = (file for file in own_cache.iterdir() if file not in files)
        files.append(file)
        os.utime(file, (1e9 - age, 1e9 - age))
    load_split(specs[0], "train")  # used just now, so the second is the oldest
    (own_cache / "another program's.txt").write_text("x" * 9999)
    monkeypatch.setattr(cache, "LARGEST_BYTES", sum(file.stat().st_size for file in files))
    load_split(folder_spec(recordings, deltat=4000), "train")
    assert [file.exists() for file in files] == [True, False, True]
    assert (own_cache / "another program's.txt").exists()


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("DECOLLE_HW_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache.folder() == Path("/one")
    monkeypatch.delenv("DECOLLE_HW_CACHE")
    assert cache.folder() == Path("/two/decolle-hw")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/three")
    assert cache.folder() == Path("/three/.cache/decolle-hw")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache.folder() is None


def test_a_user_without_a_home_has_no_cache_and_no_warning(recordings, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert len(load_split(folder_spec(recordings), "train")) == 2


def test_the_embedded_digits_are_not_kept(own_cache):
    load_split(DatasetSpec(deltat=5000, chunk_size_test=60, test_limit=5), "test")
    assert not own_cache.exists()
