"""Reading in several processes: the same recordings, the same errors, and no process that stays behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from decolle_hw.data import load_split
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec


def write_recordings(root, count):
    rng = np.random.default_rng(0)
    for k in range(count):
        file = root / str(k % 3) / f"{k:03}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        events = rng.integers(0, 256, (int(rng.integers(1, 60)), 5), np.uint8)
        events[:, :2] %= 8
        file.write_bytes(events.tobytes())
    return root


def folder_spec(path, **values):
    values = {"input_shape": [2, 4, 4], "downsample": 2, "deltat": 50_000, "cache": False, "strict": True, **values}
    return DatasetSpec(name="folder", path=str(path), test_fraction=0.1, **values)


def test_workers_equal_no_workers_and_a_bad_recording_is_the_same_error(tmp_path):
    spec = folder_spec(write_recordings(tmp_path, 40), crop="random", chunk_size_train=10)
    with_two = spec.model_copy(update={"workers": 2})
    alone = load_split(spec, "train")
    seen = []
    together = load_split(with_two, "train", lambda done, total: seen.append((done, total)))
    for field in ("indptr", "active", "labels", "lengths"):
        np.testing.assert_array_equal(getattr(alone, field), getattr(together, field))
    assert alone.names == together.names and seen == [(k + 1, len(alone)) for k in range(len(alone))]

    for name in (alone.names[30], alone.names[7]):
        (tmp_path / name).write_bytes(b"\x01\x02")
    errors = []
    for each in (spec, with_two):
        with pytest.raises(DataError) as error:
            load_split(each, "train")
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert errors[0].startswith(f"{tmp_path / alone.names[7]}: ends with 2 of the 5 bytes")


def test_images_are_the_same_from_a_worker(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(9) % 2, x_test=images[:1], y_test=[0])
    spec = DatasetSpec(name="array", path=str(tmp_path / "a.npz"), cache=False)
    alone, together = (load_split(spec.model_copy(update={"workers": workers}), "train") for workers in (0, 1))
    np.testing.assert_array_equal(alone.active, together.active)


LOADING = """
import sys
from decolle_hw.data import load_split
from decolle_hw.spec import DatasetSpec

if __name__ == "__main__":
    spec = DatasetSpec(name="array", path=sys.argv[1], input_shape=[2, 64, 64], cache=False, workers=2)
    load_split(spec, "train", lambda done, total: print(done, total, flush=True))
    print("came to its end")
"""


def _processes_of(group):
    """Ids of the living processes of a process group."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/stat") as stream:
                    state, _, its_group = stream.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(its_group) == group and state != "Z":
                found.append(int(entry))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are listed in /proc")
@pytest.mark.parametrize("how", ["ctrl-c", "kill"])
def test_no_process_stays_behind(tmp_path, how):
    images = np.random.default_rng(0).integers(0, 256, (20_000, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(20_000) % 2, x_test=images[:2], y_test=[0, 1])
    (tmp_path / "loading.py").write_text(LOADING)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "loading.py"), str(tmp_path / "a.npz")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "1 20000\n"
        assert len(_processes_of(process.pid)) >= 3
        if how == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
        else:
            process.kill()
        output, errors = process.communicate(timeout=60)
        deadline = time.monotonic() + 30
        while _processes_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _processes_of(process.pid) == []
        assert "came to its end" not in output
        if how == "ctrl-c":
            assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    finally:
        if _processes_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
