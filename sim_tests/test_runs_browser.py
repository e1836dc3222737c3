"""`decolle-hw runs`: what was trained, what came of it, what was compiled from it, and what is none of both."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from decolle_hw.browsing.choose import choose_run
from decolle_hw.browsing.runs import find_runs
from decolle_hw.compiler.artifact import save_artifact
from decolle_hw.errors import UsageError
from decolle_hw.report.runs import duration
from decolle_hw.sim.random_program import random_program
from decolle_hw.spec import load_model_spec, model_spec_to_yaml


def epoch(number: int, accuracy: float, layers: int = 3) -> dict:
    return {
        "epoch": number, "loss": [0.5] * layers, "test_accuracy": [0.1] * (layers - 1) + [accuracy],
        "test_firing_rate": [0.05] * layers, "learning_rate": [0.001], "recordings_per_second": 100.0, "seconds": 2.0,
    }  # fmt: skip


def make_run(name: str, accuracies: list[float], *changes: str, model: str = "digits", **metrics: object) -> Path:
    """A run folder as `train` leaves it, but for its weights."""
    folder = Path("runs", model, name)
    folder.mkdir(parents=True)
    spec = load_model_spec("digits", changes).model_copy(update={"name": model})
    (folder / "spec.yaml").write_text(model_spec_to_yaml(spec))
    (folder / "resume.safetensors").write_bytes(b"state")
    best = max(range(len(accuracies)), key=accuracies.__getitem__) if accuracies else -1
    if accuracies:
        (folder / "checkpoint.safetensors").write_bytes(name.encode())
    content = {
        "classes": list("0123456789"), "device": "cpu", "train_recordings": 1438, "test_recordings": 359,
        "finished": len(accuracies) >= spec.training.num_epochs, "stopped_early": False, "diverged": None,
        "best_epoch": best + 1, "test_accuracy": [0.1, 0.1, accuracies[best]] if accuracies else [],
        "seconds": 2.0 * len(accuracies), "history": [epoch(i + 1, one) for i, one in enumerate(accuracies)],
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(content | metrics))
    return folder


def make_artifact(path: Path, checkpoint: bytes, report: dict | None = None) -> None:
    checkpoint_sha256 = hashlib.sha256(checkpoint).hexdigest()
    program = random_program(np.random.default_rng(3), "decolle")
    save_artifact(dataclasses.replace(program, checkpoint_sha256=checkpoint_sha256), path)
    if report is not None:
        path.with_suffix(".report.json").write_text(json.dumps(report))


EPOCHS = "training.num_epochs=3"
OLD, MIDDLE, NEW = "2026-01-01_10-00-00", "2026-02-01_10-00-00", "2026-02-01_10-00-00_2"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> Path:
    """Runs and networks of every kind."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_run(NEW, [0.25, 0.125], EPOCHS, "network.alpha=0.75")
        make_run(OLD, [0.5, 0.75, 0.5], EPOCHS, "training.seed=4")
        make_run(MIDDLE, [], EPOCHS, model="mine")
        report = {"placement": {"cores": [{}] * 7}, "fidelity": {"integer_accuracy": 0.875}}
        make_artifact(Path("a.net"), OLD.encode(), report)
        make_artifact(Path("stray.net"), b"another")
    return folder


@pytest.fixture
def three(made_once: Path) -> None:
    """A copy of them here."""
    shutil.copytree(made_once, Path(), dirs_exist_ok=True)


def listed(decolle_hw, *arguments: str) -> dict:
    outcome = decolle_hw("runs", *arguments, "--json", "-")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def row(text: str, first: str) -> list[str]:
    """The cells of the line of a table that begins with a word."""
    (line,) = [line for line in text.splitlines() if line.startswith("│") and line.strip("│ ").startswith(first)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_list(three, decolle_hw):
    out = decolle_hw("runs").out
    assert row(out, f"digits/{NEW}")[1:8] == ["last", "2 of 3", "interrupted", "25.0 %", "12.5 %", "4 s", "digits"]
    assert row(out, f"mine/{MIDDLE}")[1:6] == ["last-1", "0 of 3", "interrupted", "-", "-"]
    assert row(out, f"digits/{OLD}")[1:6] == ["last-2", "3 of 3", "finished", "75.0 %", "50.0 %"]
    assert row(out, f"digits/{OLD}")[8] == "a.net" and row(out, f"mine/{MIDDLE}")[9] == "own YAML"
    assert row(out, "a.net")[2:] == [f"digits/{OLD}", "7", "no", "75.0 %", "87.5 %"]
    assert row(out, "stray.net")[2:] == ["none of these runs", "-", "no", "-", "-"]


def test_as_json(three, decolle_hw):
    content = listed(decolle_hw)
    newest, middle, oldest = content["runs"]
    zoo = load_model_spec("digits")
    assert newest["changed"] == {
        "training.num_epochs": {"run": 3, "model": zoo.training.num_epochs},
        "network.alpha": {"run": 0.75, "model": zoo.network.alpha},
    }
    assert (middle["changed"], middle["best_accuracy"], middle["checkpoint_sha256"]) == (None, None, None)
    assert (oldest["best_epoch"], oldest["best_accuracy"], oldest["last_accuracy"]) == (2, 0.75, 0.5)
    made = {one["artifact"]: one for one in content["artifacts"]}
    assert made["a.net"]["checkpoint_sha256"] == oldest["checkpoint_sha256"]
    assert (made["a.net"]["cores"], made["a.net"]["integer_accuracy"]) == (7, 0.875)
    assert content["unusable"] == []


@pytest.mark.parametrize(
    ("key", "order"), [("best", [2, 0, 1]), ("epochs", [2, 0, 1]), ("model", [2, 0, 1]), ("time", [0, 1, 2])]
)
def test_sorted(three, decolle_hw, key, order):
    """What is not known comes last; the names stay those by time."""
    names = [run["name"] for run in listed(decolle_hw, "--sort", key)["runs"]]
    assert names == [("last", "last-1", "last-2")[place] for place in order]


def test_artifacts_of_other_folders(three, decolle_hw):
    Path("far").mkdir()
    make_artifact(Path("far/b.net"), NEW.encode())
    Path("far/b.report.json").write_text('{"placement": [')
    paths = [one["artifact"] for one in listed(decolle_hw, "--artifacts", "far", "--artifacts", ".")["artifacts"]]
    assert paths == ["far/b.net", "a.net", "stray.net"]
    assert "far/b.net" in decolle_hw("runs", "--artifacts", "far", "show", "last").out


def test_the_runs_of_one_model(three):
    runs, unusable = find_runs(Path("runs/digits"))
    assert [run.folder.name for run in runs] == [NEW, OLD] and not unusable


def test_a_real_run(decolle_hw):
    Path("tiny.yaml").write_text(
        "name: tiny\ndataset: {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, "
        "chunk_size_test: 20}\nnetwork: {Mhid: [8], alpha: 0.8, beta: 0.7}\n"
        "training: {num_epochs: 1, burnin_steps: 4, batch_size: 256}\n"
    )
    trained = json.loads(decolle_hw("train", "tiny.yaml", "--json", "-").out)
    (found,) = listed(decolle_hw)["runs"]
    assert (found["run"], found["state"], found["epochs"]) == (trained["run"], "finished", 1)
    assert found["best_accuracy"] == trained["test_accuracy"][-1]
    checkpoint = Path(trained["run"], "checkpoint.safetensors").read_bytes()
    assert found["checkpoint_sha256"] == hashlib.sha256(checkpoint).hexdigest()
    shown = json.loads(decolle_hw("runs", "show", "--json", "-").out)
    assert shown["history"] == trained["history"]


def test_states(decolle_hw):
    make_run("2026-01-04", [0.5], EPOCHS, finished=True, stopped_early=True)
    make_run("2026-01-05", [0.5], EPOCHS, diverged="epoch 2: the loss is no longer finite")
    busy = os.open(make_run("2026-01-06", [0.5], EPOCHS), os.O_RDONLY)
    fcntl.flock(busy, fcntl.LOCK_EX)
    try:
        states = {Path(run["run"]).name: run["state"] for run in listed(decolle_hw)["runs"]}
    finally:
        os.close(busy)
    assert states == {"2026-01-04": "stopped early", "2026-01-05": "diverged", "2026-01-06": "running"}
    assert "diverged: in epoch 2" in decolle_hw("runs", "show", "2026-01-05").out


def test_what_is_no_run_is_said_and_the_rest_listed(three, decolle_hw):
    for folder in ("runs/empty", "runs/digits/foreign", "runs/digits/.hidden", "runs/digits/no-metrics"):
        Path(folder).mkdir()
    Path("runs/readme.txt").write_text("not a folder")
    Path("runs/digits/foreign/picture.png").write_bytes(b"")
    Path("runs/digits/no-metrics/spec.yaml").write_text(model_spec_to_yaml(load_model_spec("digits")))
    (make_run("broken", [0.5]) / "metrics.json").write_text('{"finished": tr')
    (make_run("cut", [0.5]) / "spec.yaml").write_text("name: [")
    (make_run("without", [0.5]) / "checkpoint.safetensors").unlink()
    make_run("nonsense", [0.5], test_accuracy=["high"])
    Path("text.net").write_text("no HDF5")
    Path("cut.net").write_bytes(Path("a.net").read_bytes()[:3000])
    content = listed(decolle_hw)
    assert len(content["runs"]) == 3 and len(content["artifacts"]) == 2
    reasons = {Path(one["path"]).name: one["reason"] for one in content["unusable"]}
    assert set(reasons) == {
        "empty", "foreign", "no-metrics", "broken", "cut", "without", "nonsense", "text.net", "cut.net",
    }  # fmt: skip
    for name, word in (
        ("foreign", "spec.yaml is missing"), ("no-metrics", "neither metrics.json"), ("broken", "not JSON"),
        ("cut", "not YAML"), ("without", "checkpoint.safetensors is missing"), ("nonsense", "test_accuracy"),
        ("text.net", "not an HDF5 file"), ("cut.net", "damaged"),
    ):  # fmt: skip
        assert word in reasons[name] and "\n" not in reasons[name], reasons[name]
    outcome = decolle_hw("runs")
    assert outcome.code == 0 and outcome.out.count("not usable: ") == 9


def test_show(three, decolle_hw):
    out = decolle_hw("runs", "show", "last-2").out
    assert "training.num_epochs=3" in out and "training.seed=4" in out and "a.net" in out
    assert row(out, "2 best")[1:] == ["10.0 10.0 75.0 %", "0.050 0.050 0.050", "0.5000 0.5000 0.5000", "0.001", "2.0"]
    assert "best epoch 2: test accuracy 74.9 %  (95 %: 70.2-79.1)" in out  # 269 of 359
    out = decolle_hw("runs", "show").out
    assert "nothing here was compiled from it: decolle-hw compile runs" in out
    assert "no epoch was tested yet" in decolle_hw("runs", "show", "mine/" + MIDDLE).out


def test_a_long_history_is_shown_in_part(decolle_hw):
    make_run(OLD, [0.5] * 36 + [0.9] + [0.5] * 63, "training.num_epochs=100")
    lines = [line for line in decolle_hw("runs", "show").out.splitlines() if line.startswith("│")]
    assert [line.split()[1] for line in lines] == sorted({"1", "37", *map(str, range(5, 101, 5))}, key=int)


def test_compare(three, decolle_hw):
    outcome = decolle_hw("runs", "compare", "last", OLD, "--json", "both.json", "--plot", "both.png")
    assert outcome.code == 0, outcome.err
    zoo = load_model_spec("digits")
    assert row(outcome.out, "network.alpha")[1:] == ["0.75", str(zoo.network.alpha)]
    assert row(outcome.out, "training.seed")[1:] == [str(zoo.training.seed), "4"]
    assert row(outcome.out, "test accuracy, best epoch")[1:] == ["25.0 %", "75.0 %"]
    assert row(outcome.out, "integer accuracy")[1:] == ["-", "87.5 %"]
    assert "cannot be compared" not in outcome.out
    content = json.loads(Path("both.json").read_text())
    assert content["differing"] == {
        "network.alpha": [0.75, zoo.network.alpha], "training.seed": [zoo.training.seed, 4]
    }  # fmt: skip
    assert Path("both.png").read_bytes().startswith(b"\x89PNG")


def test_accuracies_of_other_recordings_are_not_compared(decolle_hw):
    make_run(OLD, [0.5], EPOCHS)
    make_run(NEW, [0.5], EPOCHS, test_recordings=100)
    outcome = decolle_hw("runs", "compare", OLD, NEW)
    assert "the descriptions are the same" in outcome.out and "cannot be compared" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "lats"], ["no run 'lats' below runs", "did you mean 'last'?"]),
        (["show", "digits/2026-01-01_10-00-0"], [f"did you mean 'digits/{OLD}'?"]),
        (["show", "last-3"], ["last-3: runs holds 3 runs", "the newest are digits/"]),
        (["show", "last-99999999"], ["no run"]),
        (["show", "a.net"], ["a.net: is a file, not a training run"]),
        (["show", "."], ["is not a training run: spec.yaml is missing"]),
        (["show", "\0"], ["no run"]),
        (["compare", "last"], ["give two runs or more"]),
        (["compare", "last", f"runs/digits/{NEW}"], ["names a run twice"]),
        (["compare"], ["Missing argument"]),
        (["compare", "last", "last-1", "--plot", "c.net"], ["--plot c.net", ".net is for compiled networks"]),
        (["compare", "last", "last-1", "--plot", "x", "--json", "x"], ["the same file"]),
        (["--runs", "nowhere"], ["nowhere: does not exist", "decolle-hw train"]),
        (["--runs", "a.net"], ["a.net: is not a folder"]),
        (["--artifacts", "nowhere"], ["--artifacts nowhere: does not exist"]),
        (["--sort", "speed"], ["'speed' is not one of 'time'"]),
        (["--sort", "best", "show", "last"], ["--sort: stands after `show`"]),
        (["shwo"], ["shwo"]),
    ],
)
def test_wrong_use_is_one_line(three, decolle_hw, arguments, words):
    before = sorted(Path().rglob("*"))
    outcome = decolle_hw("runs", *arguments)
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    assert sorted(Path().rglob("*")) == before


def test_a_name_that_two_models_share(three):
    make_run(OLD, [0.5], model="mine")
    runs, unusable = find_runs(Path("runs"))
    with pytest.raises(UsageError, match=f"several runs: .*/{OLD}, .*/{OLD}; give one"):
        choose_run(OLD, Path("runs"), runs, unusable)
    assert choose_run(f"mine/{OLD}", Path("runs"), runs, unusable).spec.name == "mine"


def test_nothing_yet(decolle_hw):
    Path("runs").mkdir()
    outcome = decolle_hw("runs")
    assert outcome.code == 0 and outcome.out.splitlines() == ["0 runs below runs", "`decolle-hw train` makes the first"]
    assert decolle_hw("runs", "show").code == 2


def test_durations():
    shown = [duration(seconds) for seconds in (0.4, 59.4, 59.6, 3599.0, 3600.0, 90_000.0)]
    assert shown == ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 0 min"]


def test_a_description_is_what_yaml_says(three):
    """The changes are read from the file, not from memory."""
    path = Path("runs/digits", NEW, "spec.yaml")
    values = yaml.safe_load(path.read_text())
    values["network"]["beta"] = 0.625
    path.write_text(yaml.safe_dump(values))
    runs, _ = find_runs(Path("runs"))
    assert ("network.beta", 0.625, load_model_spec("digits").network.beta) in (runs[0].changed or ())
