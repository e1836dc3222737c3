"""Run folders: what was changed, damaged or written by others is refused in one line; a failed run leaves none."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, model_spec_to_yaml, parse_model_spec
from decolle_hw.training.checkpoints import Origin, write_weights
from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, RESUME, SPEC, load_run, newest_run
from decolle_hw.training.train import train

VALUES = {
    "name": "small",
    "dataset": {"input_shape": [2, 12, 12], "deltat": 15000, "chunk_size_train": 20, "chunk_size_test": 20},
    "network": {"Mhid": [8, 6], "alpha": 0.8, "beta": 0.7},
    "training": {"num_epochs": 1, "burnin_steps": 4, "learning_rate": 0.02, "batch_size": 256},
}
EPOCH = {
    "epoch": 1, "loss": [0.5, 0.4], "test_accuracy": [0.25, 0.5], "test_firing_rate": [0.1, 0.2], "seconds": 1.0,
}  # fmt: skip
FIGURES = {
    "classes": ["clap", "nod", "wave"], "device": "cpu", "train_recordings": 8, "test_recordings": 4,
    "test_accuracy": [0.25, 0.5], "seconds": 2.0, "history": [EPOCH], "finished": True, "best_epoch": 1,
}  # fmt: skip
GONE = object()


class Silent:
    """A watcher that shows nothing."""

    def reading(self, done: int, total: int) -> None: ...

    def batch(self, epoch: int, done: int, total: int) -> None: ...

    def epoch(self, record: object) -> None: ...

    def note(self, text: str) -> None: ...


def save_run(folder: Path, spec: ModelSpec, network: DecolleNetwork, metrics: dict) -> None:
    """The files of a finished run, as far as reading one goes."""
    (folder / SPEC).write_text(model_spec_to_yaml(spec))
    (folder / METRICS).write_text(json.dumps(metrics))
    origin = Origin(model_spec_to_yaml(spec), metrics["classes"], epoch=metrics["best_epoch"])
    for name in (CHECKPOINT, LAST):
        write_weights(folder / name, network.state_dict(), origin)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    spec = parse_model_spec(VALUES, "small")
    save_run(folder, spec, DecolleNetwork(spec, 3, torch.Generator().manual_seed(1)), FIGURES)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(saved, tmp_path, dirs_exist_ok=True))


def refused(call: object, *words: object) -> None:
    with pytest.raises(UsageError) as error:
        call()
    assert "\n" not in str(error.value)
    for word in words:
        assert str(word) in str(error.value)


def resave(folder: Path, change: dict, metadata: dict | None = None) -> None:
    """Write the checkpoint again with some tensors replaced."""
    with safe_open(folder / CHECKPOINT, "pt") as checkpoint:
        kept = checkpoint.metadata() if metadata is None else metadata
    tensors = {name: value for name, value in (load_file(folder / CHECKPOINT) | change).items() if value is not GONE}
    save_file(tensors, folder / CHECKPOINT, kept or None)


def test_a_run_comes_back_as_it_was_saved(folder: Path) -> None:
    run = load_run(folder)
    assert run.spec == parse_model_spec(VALUES, "small")
    assert run.classes == ("clap", "nod", "wave") and run.metrics == FIGURES
    expected = DecolleNetwork(run.spec, 3, torch.Generator().manual_seed(1)).state_dict()
    for name, value in run.network().state_dict().items():
        assert torch.equal(value, expected[name])


def test_the_same_run_is_the_same_file(folder: Path) -> None:
    content = (folder / CHECKPOINT).read_bytes()
    run = load_run(folder)
    for _ in range(10):
        save_run(folder, run.spec, run.network(), run.metrics)
        assert (folder / CHECKPOINT).read_bytes() == content


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("alpha: 0.8", "alpha: 0.9", ["network.alpha is 0.9", "trained with 0.8"]),
        ("  - 6", "  - 7", ["network.Mhid is [8, 7]", "trained with [8, 6]"]),
        ("burnin_steps: 4", "burnin_steps: 3", ["training.burnin_steps is 3"]),
        ("  deltat: 15000\n", "", ["dataset.deltat is 1000", "trained with 15000"]),
    ],
)
def test_a_description_changed_after_training_is_refused(folder: Path, old: str, new: str, words: list[str]) -> None:
    text = (folder / SPEC).read_text()
    assert old in text
    (folder / SPEC).write_text(text.replace(old, new))
    refused(lambda: load_run(folder), folder / SPEC, *words, "train again with the changed description")


def test_a_description_written_otherwise_is_the_same(folder: Path) -> None:
    (folder / SPEC).write_text("# a comment\n" + json.dumps(VALUES))
    assert load_run(folder).spec == parse_model_spec(VALUES, "small")


def test_a_checkpoint_of_another_run_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    spec = parse_model_spec(VALUES | {"training": VALUES["training"] | {"seed": 5}}, "small")
    save_run(other, spec, DecolleNetwork(spec, 3, torch.Generator()), FIGURES)
    (other / CHECKPOINT).replace(folder / CHECKPOINT)
    refused(lambda: load_run(folder), folder / SPEC, "training.seed is 0", "trained with 5")


@pytest.mark.parametrize("classes", [["clap", "wave", "nod"], ["clap", "nod"], ["a", "b", "c"]])
def test_classes_changed_after_training_are_refused(folder: Path, classes: list[str]) -> None:
    (folder / METRICS).write_text(json.dumps(FIGURES | {"classes": classes}))
    refused(lambda: load_run(folder), folder / METRICS, "classes", "changed after training", "train again")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        *((key, GONE, f"{key}: Field required") for key in FIGURES),
        ("classes", "0123", "classes: "),
        ("classes", [0, 1, 2], "classes.0: "),
        ("classes", [], "classes: "),
        ("history", [], "history: "),
        ("history", {}, "history: "),
        ("history", [1], "history.0: "),
        ("history", [EPOCH | {"loss": None}], "history.0.loss: "),
        ("history", [EPOCH | {"loss": [0.5]}], "history: loss has 1 values for 2 layers"),
        ("history", [EPOCH | {"loss": [0.5, float("nan")]}], "history.0.loss.1: "),
        ("test_accuracy", [], "test_accuracy has 0 values for 2 layers"),
        ("test_accuracy", [0.5, 1.5], "test_accuracy.1: "),
        ("test_accuracy", 0.5, "test_accuracy: "),
        ("test_recordings", 0, "test_recordings: "),
        ("test_recordings", "4", "test_recordings: "),
        ("train_recordings", 1.5, "train_recordings: "),
        ("seconds", float("inf"), "seconds: "),
        ("device", None, "device: "),
        ("finished", "yes", "finished: "),
        ("best_epoch", 0, "best_epoch: "),
        ("best_epoch", 7, "best_epoch 7 is not in the history"),
    ],
)
def test_unusable_metrics_are_refused(folder: Path, key: str, value: object, word: str) -> None:
    metrics = {name: kept for name, kept in (FIGURES | {key: value}).items() if kept is not GONE}
    (folder / METRICS).write_text(json.dumps(metrics))
    refused(lambda: load_run(folder), folder / METRICS, "is damaged", word, "train again")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", b"[" * 100_000])
def test_metrics_that_are_no_mapping_are_refused(folder: Path, content: bytes) -> None:
    (folder / METRICS).write_bytes(content)
    refused(lambda: load_run(folder), folder / METRICS, "is damaged", "train again")


def origin(spec: str, classes: object) -> str:
    return json.dumps({"format": 2, "spec": spec, "classes": classes, "epoch": 1, "recordings": 0})


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_refused_at_once(folder: Path, size: int) -> None:
    content = (folder / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).write_bytes(content[:size])
    refused(lambda: load_run(folder), folder / CHECKPOINT, "is not a checkpoint, or is damaged", "train again")


def test_a_checkpoint_truncated_after_loading_is_refused(folder: Path) -> None:
    run = load_run(folder)
    (folder / CHECKPOINT).write_bytes((folder / CHECKPOINT).read_bytes()[:-1])
    refused(run.network, folder / CHECKPOINT, "is damaged", "train again")


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({}, "does not say what it was trained with"),
        ({"format": "pt"}, "does not say what it was trained with"),
        ({"decolle_hw": "{"}, "does not say what it was trained with"),
        ({"decolle_hw": "3"}, "does not say what it was trained with"),
        (
            {"decolle_hw": '{"spec": "name: x", "classes": []}'},
            "does not say what it was trained with (an older version",
        ),
        ({"decolle_hw": '{"format": 1}'}, "has format 1, this version reads 2; use the version that wrote it"),
        ({"decolle_hw": '{"format": "3"}'}, "has format '3', this version reads 2"),
        ({"decolle_hw": '{"format": 2, "spec": "name: x"}'}, "does not say what it was trained with"),
        ({"decolle_hw": origin("name: x", 3)}, "does not say what it was trained with"),
        ({"decolle_hw": origin("name: [", [])}, "the description inside"),
        ({"decolle_hw": origin("name: x", [])}, "the description inside"),
        ({"decolle_hw": origin("3", [])}, "the description inside"),
    ],
)
def test_a_checkpoint_that_does_not_say_its_origin_is_refused(folder: Path, metadata: dict, word: str) -> None:
    resave(folder, {}, metadata)
    refused(lambda: load_run(folder), folder / CHECKPOINT, word, "train again")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers.1.weight": torch.zeros(6, 9)}, ["layers.1.weight is float32 [6, 9]", "float32 [6, 8]"]),
        ({"layers.0.bias": GONE}, ["layers.0.bias is missing", "float32 [8]"]),
        ({"layers.2.bias": torch.zeros(3)}, ["layers.2.bias is float32 [3]", "missing in the network"]),
        ({"layers.0.bias": torch.zeros(8).double()}, ["layers.0.bias is float64 [8]", "float32 [8]"]),
        ({"layers.0.bias": torch.full((8,), torch.nan)}, ["layers.0.bias holds values that are not finite"]),
        ({"layers.1.readout_bias": torch.full((3,), torch.inf)}, ["layers.1.readout_bias holds values"]),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder: Path, change: dict, words: list[str]) -> None:
    resave(folder, change)
    refused(load_run(folder).network, folder / CHECKPOINT, *words, "train again")


@pytest.mark.parametrize("name", [SPEC, CHECKPOINT, METRICS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(lambda: load_run(folder), folder, f"{name} is missing", "decolle-hw train")


def test_without_a_run_the_message_says_how_to_name_one(tmp_path: Path) -> None:
    refused(lambda: newest_run(tmp_path), tmp_path, "name a run folder: decolle-hw compile RUN")


def test_the_last_checkpoint_is_checked_like_the_best(folder: Path) -> None:
    run = load_run(folder)
    (folder / LAST).unlink()
    refused(lambda: run.network("last"), folder / LAST, "is missing")
    other = parse_model_spec(VALUES | {"training": VALUES["training"] | {"seed": 5}}, "small")
    weights = DecolleNetwork(other, 3, torch.Generator()).state_dict()
    write_weights(folder / LAST, weights, Origin(model_spec_to_yaml(other), FIGURES["classes"], 1))
    refused(lambda: run.network("last"), "training.seed is 0", "trained with 5")
    weights["layers.0.weight"] = torch.zeros(3, 4)
    write_weights(folder / LAST, weights, Origin(model_spec_to_yaml(run.spec), FIGURES["classes"], 1))
    refused(lambda: run.network("last"), "layers.0.weight is float32 [3, 4]")


def test_a_checkpoint_of_another_epoch_is_refused(folder: Path) -> None:
    second = EPOCH | {"epoch": 2}
    (folder / METRICS).write_text(json.dumps(FIGURES | {"history": [EPOCH, second], "best_epoch": 2}))
    refused(lambda: load_run(folder), "is of epoch 1", "metrics.json says 2", f"--resume {folder}")


@pytest.mark.parametrize(("key", "text"), [("num_epochs", "num_epochs: 9"), ("early_stop", "early_stop: 3")])
def test_how_long_to_train_is_not_what_was_trained(folder: Path, key: str, text: str) -> None:
    """A resumed run may go on for longer; the best checkpoint can be older than that."""
    lines = (folder / SPEC).read_text().splitlines()
    changed = [f"  {text}" if line.startswith(f"  {key}:") else line for line in lines]
    assert changed != lines
    (folder / SPEC).write_text("\n".join(changed))
    assert getattr(load_run(folder).spec.training, key) in (9, 3)


class TestWhichRunIsNewest:
    """Below a folder of runs: finished ones, by when they finished, not by name."""

    @staticmethod
    def make(root: Path, name: str, at: int, **change: object) -> Path:
        folder = root / "small" / name
        folder.mkdir(parents=True)
        spec = parse_model_spec(VALUES, "small")
        save_run(folder, spec, DecolleNetwork(spec, 3, torch.Generator()), FIGURES | change)
        os.utime(folder / METRICS, ns=(at, at))
        return folder

    def test_the_one_that_finished_last(self, tmp_path: Path) -> None:
        self.make(tmp_path, "a", 10)
        newest = self.make(tmp_path, "b", 30)
        self.make(tmp_path, "c", 20)
        assert newest_run(tmp_path) == newest

    def test_an_unfinished_one_only_where_it_is_named(self, tmp_path: Path) -> None:
        unfinished = self.make(tmp_path, "b", 30, finished=False)
        refused(lambda: newest_run(tmp_path), "no finished training run", f"--resume {unfinished}")
        finished = self.make(tmp_path, "a", 10)
        assert newest_run(tmp_path) == finished
        assert load_run(unfinished).metrics["finished"] is False

    def test_a_damaged_one_is_not_passed_over(self, tmp_path: Path) -> None:
        self.make(tmp_path, "a", 10)
        damaged = self.make(tmp_path, "b", 30)
        (damaged / METRICS).write_text("{")
        refused(lambda: load_run(newest_run(tmp_path)), damaged / METRICS, "is damaged")

    def test_folders_without_a_tested_epoch_are_passed_over(self, tmp_path: Path) -> None:
        finished = self.make(tmp_path, "a", 10)
        early = self.make(tmp_path, "b", 30, finished=False)
        (early / CHECKPOINT).unlink()
        (early / RESUME).write_bytes(b"")
        assert newest_run(tmp_path) == finished
        refused(lambda: load_run(early), "before its first epoch was tested", f"--resume {early}")


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # of a learning rate beyond float32
def test_weights_that_grow_without_bound_end_the_run(tmp_path: Path) -> None:
    spec = parse_model_spec(VALUES, "small")
    # model_copy checks no bounds: a rate that the description would refuse diverges at once.
    training = spec.training.model_copy(update={"learning_rate": 1e38, "num_epochs": 50})
    spec = spec.model_copy(update={"training": training})
    refused(
        lambda: train(spec, tmp_path, torch.device("cpu"), Silent()),
        "training.learning_rate 1e+38", "in epoch 1", "is no longer finite; lower it", "nothing had been saved",
    )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_trained_run_loads(tmp_path: Path) -> None:
    run = train(parse_model_spec(VALUES, "small"), tmp_path, torch.device("cpu"), Silent())
    assert load_run(newest_run(tmp_path)).classes == run.classes == tuple("0123456789")
    assert run.network().layers[1].weight.shape == (6, 8)
