"""Whole data sets batch by batch: the same recordings, the same results, and files that say so."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from decolle_hw import data, execution
from decolle_hw.compiler.artifact import save_artifact
from decolle_hw.compiler.program import Program
from decolle_hw.data import BinnedRecordings, RecordingStream, cache, folder, processes, workers
from decolle_hw.errors import DataError, UsageError
from decolle_hw.execution import Batch, default_batch, execute, merged
from decolle_hw.sim.compare import compare
from decolle_hw.sim.random_program import random_program
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide, readouts
from decolle_hw.spec import DatasetSpec

if TYPE_CHECKING:
    from conftest import Outcome

STEPS = 20
FRAMES: dict[str, Any] = {"deltat": 15_000, "chunk_size_train": STEPS, "chunk_size_test": STEPS}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_folder(root: Path, per_class: int = 6) -> Path:
    """Recordings of three classes in N-MNIST's format."""
    rng = np.random.default_rng(0)
    for index in range(3 * per_class):
        file = root / f"c{index % 3}" / f"{index:02}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        t = np.sort(rng.integers(0, 250_000, 80))
        x, y, p = rng.integers(0, 12, 80), rng.integers(0, 12, 80), rng.integers(0, 2, 80)
        file.write_bytes(np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes())
    return root


def folder_spec(tmp_path: Path) -> DatasetSpec:
    path = write_folder(tmp_path / "data")
    shape = {"input_shape": [2, 12, 12], "test_fraction": 0.5, "strict": True}
    return DatasetSpec(name="folder", path=str(path), **shape, **FRAMES)


def array_spec(tmp_path: Path) -> DatasetSpec:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (9, 8, 8), np.uint8), np.arange(9) % 2
    np.savez(tmp_path / "images.npz", x_train=images, y_train=labels, x_test=images[:7], y_test=labels[:7])
    return DatasetSpec(name="array", path=str(tmp_path / "images.npz"), **FRAMES)


def gesture_spec(tmp_path: Path) -> DatasetSpec:
    rng = np.random.default_rng(0)
    for split in ("Train", "Test"):
        user = tmp_path / "DVSGesture" / f"ibmGesture{split}" / "user01_led"
        user.mkdir(parents=True)
        for label in range(5):
            np.save(user / f"{label}.npy", rng.integers(0, [128, 128, 2, 200], (90, 4)))
    return DatasetSpec(name="dvs_gesture", path=str(tmp_path), input_shape=[2, 32, 32], **FRAMES)


def digits_spec(tmp_path: Path) -> DatasetSpec:
    return DatasetSpec(input_shape=[2, 12, 12], test_limit=9, **FRAMES)


def assert_same(batches: list[BinnedRecordings], expected: BinnedRecordings) -> None:
    """Batches, one after the other, are the recordings of one."""
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), expected.labels)
    assert sum((batch.names for batch in batches), ()) == expected.names
    frames = [batch.dense(np.arange(len(batch))) for batch in batches]
    np.testing.assert_array_equal(np.concatenate(frames, 1), expected.dense(np.arange(len(expected))))
    assert {(batch.steps, batch.input_shape, batch.classes) for batch in batches} == {
        (expected.steps, expected.input_shape, expected.classes)
    }


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("make", [folder_spec, array_spec, gesture_spec, digits_spec])
def test_a_stream_gives_the_recordings_of_the_split(
    tmp_path: Path, make: Callable[[Path], DatasetSpec], kept: bool
) -> None:
    """First read, then from the cache; all of them and some; labels and names are known beforehand."""
    spec = make(tmp_path).model_copy(update={"cache": kept})
    everything = data.load_split(spec.model_copy(update={"cache": False}), "test")
    some = everything.take(np.linspace(0, len(everything) - 1, 4).round().astype(int))
    for samples, expected in ((4, some), (None, everything), (4, some), (10**6, everything)):
        for _ in range(2):
            stream = data.stream_split(spec, "test", samples)
            assert (len(stream), stream.names, stream.classes) == (len(expected), expected.names, expected.classes)
            np.testing.assert_array_equal(stream.labels, expected.labels)
            assert_same(list(stream.batches(3)), expected)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("read although it is in the cache")

    monkeypatch.setattr(folder, "read_recording", fail)


def test_what_training_or_a_run_has_read_is_not_read_again(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = folder_spec(tmp_path)
    seen: list[tuple[int, int]] = []
    first = list(data.stream_split(spec, "test", 4, progress=lambda *done: seen.append(done)).batches(3))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)] and len(list(own_cache.iterdir())) == 1
    data.load_split(spec, "train")
    forbid_reading(monkeypatch)
    assert_same(list(data.stream_split(spec, "test", 4).batches(2)), joined(first))
    assert len(list(data.stream_split(spec, "train", 5).batches(2))) == 3, "a part of what is kept as a whole"
    assert len(list(own_cache.iterdir())) == 2


def joined(batches: list[BinnedRecordings]) -> BinnedRecordings:
    active = np.concatenate([batch.active for batch in batches])
    counts = np.concatenate([np.diff(batch.indptr) for batch in batches])
    return replace(
        batches[0],
        indptr=np.concatenate([[0], np.cumsum(counts)]),
        active=active,
        labels=np.concatenate([batch.labels for batch in batches]),
        names=sum((batch.names for batch in batches), ()),
    )


def test_a_cache_that_vanishes_or_cannot_be_written_is_no_error(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = folder_spec(tmp_path)
    expected = data.load_split(spec.model_copy(update={"cache": False}), "test")
    stream = data.stream_split(spec, "test")
    batches = stream.batches(5)
    first = next(batches)
    for file in own_cache.iterdir():
        file.unlink()  # as another process does that makes room
    assert_same([first, *batches], expected)
    assert_same(list(stream.batches(5)), expected)
    monkeypatch.setenv("DECOLLE_HW_CACHE", str(write_folder(tmp_path / "other") / "c0" / "00.bin" / "cache"))
    with pytest.warns(cache.CacheWarning, match="are not kept"):
        stream = data.stream_split(spec, "test")
    assert_same(list(stream.batches(5)), expected)


def test_a_recording_that_cannot_be_used_is_reported_before_the_run(tmp_path: Path, own_cache: Path) -> None:
    spec = folder_spec(tmp_path)
    (bad := next((tmp_path / "data" / "c2").iterdir())).write_bytes(b"\0\1")
    with pytest.raises(DataError, match="ends with 2 of the 5 bytes"):
        data.stream_folder(tmp_path / "data", spec)
    assert list(own_cache.iterdir()) == [], "no file is left half-written"
    stream = data.stream_folder(tmp_path / "data", spec.model_copy(update={"cache": False}))
    with pytest.raises(DataError, match=str(bad)):
        list(stream.batches(4))


def test_workers_read_only_so_far_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is slower than its readers must not gather what they have read."""
    spec = folder_spec(tmp_path).model_copy(update={"workers": 1, "cache": False})
    monkeypatch.setattr(workers, "LARGEST_PIECE", 1)
    # Threads in place of processes, which take seconds to start: `test_data_workers` has those.
    monkeypatch.setattr(processes, "ProcessPoolExecutor", lambda count, *_: ThreadPoolExecutor(count))
    begun: list[Any] = []
    monkeypatch.setattr(folder.Listing, "take", noting(folder.Listing.take, begun))
    stream = data.stream_folder(tmp_path / "data", spec)
    batches = stream.batches(2)
    first = next(batches)
    assert 2 <= len(begun) <= 2 + processes.ERRANDS_PER_PROCESS < len(stream)
    assert_same([first, *batches], data.load_folder(tmp_path / "data", spec.model_copy(update={"workers": 0})))


def noting(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def noted(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return noted


SPEC_YAML = """
name: small
dataset: {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20}
network: {Mhid: [24, 16]}
training: {burnin_steps: 4}
"""


@pytest.fixture(scope="module")
def program() -> Program:
    """Three classes, and decisions that differ from recording to recording."""
    sparse_RTI = (np.random.default_rng(0).random((18, STEPS, 288)) < 0.014).astype(np.uint8)
    for seed in range(100):
        drawn = random_program(
            np.random.default_rng(seed), "decolle", sizes=(288, 24, 16), steps=STEPS, like_quantizer=True
        )
        if len(set(decide(drawn, run_reference(drawn, sparse_RTI)).tolist())) == 3:
            break
    spec = SPEC_YAML.replace("small", drawn.name)
    return replace(drawn, input_shape=(2, 12, 12), classes=("c0", "c1", "c2"), spec_yaml=spec)


@pytest.fixture
def stream(tmp_path: Path) -> RecordingStream:
    return data.stream_folder(write_folder(tmp_path / "data"), folder_spec(tmp_path))


def test_every_batch_size_gives_what_one_batch_gives(program: Program, stream: RecordingStream) -> None:
    (together,) = stream.batches(len(stream))
    trace = run_reference(program, np.ascontiguousarray(together.dense(np.arange(18)).transpose(1, 0, 2)))
    for size in (1, 5, 18, None):
        seen: list[tuple[int, int]] = []
        executed = execute(program, stream, "reference", batch=size, progress=lambda *done, to=seen: to.append(done))
        np.testing.assert_array_equal(executed.predictions, decide(program, trace))
        np.testing.assert_array_equal(executed.readouts, readouts(program, trace))
        np.testing.assert_allclose(executed.firing_rates, trace.firing_rates(), rtol=1e-12)
        assert executed.batch == (size or 18) and executed.comparison is None
        assert seen[-1] == (18, 18) and seen == sorted(seen)
    assert len(set(executed.predictions.tolist())) > 1, "or the comparison says little"


def test_the_first_divergence_is_counted_over_all_batches(
    program: Program, stream: RecordingStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lava played by the reference, with one spike wrong in the last but one recording, the second of its batch."""

    def wrong(program: Program, spikes_RTI: np.ndarray, **_: object) -> Any:
        trace = run_reference(program, spikes_RTI)
        if (spikes_RTI == target_TI).all((1, 2)).any():
            trace.layers[1].spikes[1, 7, 3] ^= 1
        return trace

    recordings = list(stream.batches(5))
    target_TI = recordings[3].dense([1])[:, 0]
    monkeypatch.setattr(execution, "lava_runner", lambda: wrong)
    executed = execute(program, stream, "lava", batch=5)
    assert executed.comparison is not None and executed.comparison.first is not None
    first = executed.comparison.first
    assert (first.recording, first.step, first.layer, first.neuron) == (16, 7, 1, 3)
    assert executed.comparison.mismatches == 1 and executed.comparison.compared == 18 * STEPS * 40
    assert not executed.comparison.equal


def test_comparisons_are_added_up(program: Program) -> None:
    trace = run_reference(program, np.ones((4, STEPS, 288), np.uint8))
    whole = compare(program, trace, trace)
    assert merged([compare(program, part, part) for part in (trace.take(0, 3), trace.take(3, 4))], 3) == whole
    assert merged([None, None], 3) is None


def test_the_default_batch_is_bounded_by_memory_and_gives_work_to_all_jobs(program: Program) -> None:
    assert default_batch(program, STEPS, "reference", 10_000, 1) == execution.LARGEST_BATCH
    assert default_batch(program, STEPS, "lava", 100, 3) == 34
    long = default_batch(program, 30_000, "reference", 10_000, 1)
    assert 1 < long < 16 and default_batch(program, 30_000, "lava", 10_000, 1) == long // 2
    assert default_batch(program, 10**7, "lava", 10_000, 1) == 1


def test_a_batch_becomes_the_frames_of_its_recordings(stream: RecordingStream) -> None:
    (together,) = stream.batches(18)
    task = Batch(together.indptr, together.active, together.steps, together.num_inputs)
    np.testing.assert_array_equal(task.dense(), together.dense(np.arange(18)).transpose(1, 0, 2))


@pytest.fixture
def workplace(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Here lie a network and recordings."""
    monkeypatch.chdir(tmp_path)
    save_artifact(program, Path("small.net"))
    write_folder(Path("data"))
    return tmp_path


@pytest.mark.usefixtures("workplace")
def test_the_files_say_what_came_out(program: Program, decolle_hw: Callable[..., Outcome]) -> None:
    common = ("run", "--sim", "--backend", "reference", "--data", "data")
    outcome = decolle_hw(*common, "--batch", "7", "--json", "a.json", "--csv", "a.csv")
    assert outcome.code == 0, outcome.err
    expected = execute(program, data.stream_folder("data", DatasetSpec(input_shape=[2, 12, 12], **FRAMES)), "reference")
    found = json.loads(Path("a.json").read_text())
    assert found["recordings"] == 18 and found["batch"] == 7 and found["jobs"] == 1
    low, high = found["accuracy_interval_95"]
    assert 0 <= low < found["accuracy"] == expected.hits / 18 < high <= 1
    assert sum(of["recordings"] * of["accuracy"] for of in found["per_class"].values()) == pytest.approx(expected.hits)
    assert {name: of["recordings"] for name, of in found["per_class"].items()} == {"c0": 6, "c1": 6, "c2": 6}
    with open("a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, prediction in zip(rows, found["predictions"], strict=True):
        assert {name: row[name] for name in ("recording", "label", "prediction")} == prediction
        assert row["correct"] == str(int(row["label"] == row["prediction"]))
        assert row["recording"].startswith(row["label"])
    sums = np.array([[int(row[f"readout_c{k}"]) for k in range(3)] for row in rows])
    np.testing.assert_array_equal(sums, expected.readouts)
    outcome = decolle_hw(*common, "--samples", "5", "--csv", "b.csv")
    assert outcome.code == 0, outcome.err
    some = Path("a.csv").read_text().splitlines()
    assert Path("b.csv").read_text().splitlines() == [some[0], *(some[1 + k] for k in (0, 4, 8, 13, 17))]
    assert [path.name for path in Path().iterdir() if "partial" in path.name] == []


@pytest.mark.usefixtures("workplace")
def test_a_name_that_is_not_utf_8_is_written_as_it_is(decolle_hw: Callable[..., Outcome]) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems refuse the name")
    source = next(Path("data/c0").iterdir())
    source.rename(source.with_name("\udcff,.bin"))
    common = ("run", "--sim", "--backend", "reference", "--data", "data")
    outcome = decolle_hw(*common, "--csv", "a.csv", "--json", "a.json")
    assert outcome.code == 0, outcome.err
    assert b'"c0/\xff,.bin",c0,' in Path("a.csv").read_bytes()
    assert "c0/\udcff,.bin" in [row["recording"] for row in json.loads(Path("a.json").read_text())["predictions"]]


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "reference", "--jobs", "2"], ["--jobs 2", "--backend lava"]),
        (["--json", "x", "--csv", "x"], ["--json and --csv", "same file, x"]),
        (["--csv", "data"], ["data", "is a folder"]),
        (["--backend", "reference", "--data", "data/c0"], ["data/c0", "is a file where a class folder should be"]),
    ],
)
def test_bad_input_is_one_clear_line(
    decolle_hw: Callable[..., Outcome], arguments: list[str], words: list[str]
) -> None:
    before = sorted(Path().rglob("*"))
    outcome = decolle_hw("run", "small.net", "--sim", *arguments)
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("option", ["--batch", "--jobs", "--samples"])
def test_none_is_not_a_number_of_recordings(decolle_hw: Callable[..., Outcome], option: str) -> None:
    outcome = decolle_hw("run", "small.net", "--sim", option, "0")
    assert outcome.code == 2 and option in outcome.err


@pytest.mark.parametrize("error", [ImportError("no lava"), AttributeError("np.float_ was removed"), OSError("lib.so")])
def test_lava_that_cannot_be_imported_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    name = "decolle_hw.lava_backend.runner"

    class Broken:
        @staticmethod
        def find_spec(module: str, *_: object) -> None:
            if module == name:
                raise error

    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(UsageError, match=rf"{type(error).__name__}: {error}.*lava-nc 0.10.0; .*--backend reference"):
        execution.lava_runner()
