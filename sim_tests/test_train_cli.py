"""`train --resume` and `evaluate` as they are typed, and what is shown while a network is trained."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from decolle_hw import cli
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.progress import TrainingProgress
from decolle_hw.training.history import EpochRecord
from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, RESUME, SPEC

TINY = """
name: tiny
dataset: {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20}
network: {neuron: decolle, Mhid: [24, 16], alpha: 0.8, beta: 0.7}
training: {num_epochs: 2, learning_rate: 0.02, burnin_steps: 4, update_every: 4, batch_size: 128}
"""


@pytest.fixture(scope="module")
def trained(digits_drawn_once_for_module, tmp_path_factory) -> Path:
    """A folder in which a tiny network was trained for two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["decolle-hw", "train", "tiny.yaml"])
        cli.main()
    return folder


@pytest.fixture
def workplace(trained: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of it, and the working directory."""
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs" / "tiny").iterdir()
    return run.relative_to(folder)


def unfinish(run: Path) -> None:
    """As if the process had been killed after its last epoch, before it was called finished."""
    metrics = json.loads((run / METRICS).read_text())
    (run / METRICS).write_text(json.dumps(metrics | {"finished": False}))


class TestResume:
    def test_a_finished_run_for_longer(self, workplace, decolle_hw) -> None:
        run = run_of(workplace)
        code, out, err = decolle_hw("train", "--resume", str(run), "--epochs", "3")
        assert code == 0 and f"continuing {run}" in out and "epoch   3/3" in out and "epoch   2/3" not in out, err
        assert json.loads((run / METRICS).read_text())["history"][-1]["epoch"] == 3
        assert "num_epochs: 3" in (run / SPEC).read_text()
        assert decolle_hw("compile")[0] == 0

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--resume"],
            ["tiny.yaml", "--resume"],
            ["--resume", "--epochs", "3"],
            ["--resume", "--set", "training.early_stop=4"],
            ["tiny.yaml", "--set", "training.learning_rate=0.02", "--resume", "--seed", "0"],
        ],
    )
    def test_the_newest_unfinished_run(self, workplace, decolle_hw, arguments) -> None:
        run = run_of(workplace)
        unfinish(run)
        code, out, err = decolle_hw("train", *arguments)
        assert code == 0 and f"continuing {run}" in out, err
        metrics = json.loads((run / METRICS).read_text())
        assert metrics["finished"] and len(metrics["history"]) == (3 if "3" in arguments else 2)
        assert ("early_stop: 4" in (run / SPEC).read_text()) == ("training.early_stop=4" in arguments)

    def test_the_command_a_run_began_with_and_its_length(self, workplace, decolle_hw) -> None:
        """MODEL says 2 epochs, the run was begun with 4: it goes on to 4."""
        run = run_of(workplace)
        assert decolle_hw("train", "--resume", str(run), "--epochs", "4")[0] == 0
        unfinish(run)
        code, _, err = decolle_hw("train", "tiny.yaml", "--resume")
        assert code == 0, err
        assert "num_epochs: 4" in (run / SPEC).read_text()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--resume", "RUN"], ["RUN: is finished, with 2 epochs", "--resume RUN --epochs 4"]),
            (["--resume", "RUN", "--epochs", "1"], ["has begun epoch 2", "training.num_epochs 1", "--epochs 2"]),
            (["--resume"], ["runs: holds no unfinished run", "--epochs N"]),
            (["--resume", "runs/tiny"], ["runs/tiny: is not a training run: spec.yaml is missing"]),
            (["--resume", "tiny"], ["tiny: does not exist", "the newest runs are RUN"]),
            (["digits", "--resume", "RUN"], ["RUN: is a run of 'tiny', not of 'digits'"]),
            (
                ["--resume", "RUN", "--set", "network.alpha=0.9"],
                ["network.alpha 0.9", "began with 0.8", "only"],
            ),
            (["--resume", "RUN", "--seed", "3"], ["training.seed 3", "began with 0"]),
            (["--resume", "RUN", "--data", "."], ["dataset.name 'folder'", "began with 'digits'"]),
            (["--resume", "RUN", "--set", "training.epochs=9"], ["unknown key 'training.epochs'"]),
            (["--resume", "RUN", "--set", "training.num_epochs=0"], ["training.num_epochs"]),
        ],
    )
    def test_bad_input_is_one_clear_line(self, workplace, decolle_hw, arguments, words) -> None:
        run = run_of(workplace)
        before = {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}
        code, _, err = decolle_hw("train", *[str(run) if word == "RUN" else word for word in arguments])
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
        for word in words:
            assert word.replace("RUN", str(run)).replace("--resume " + str(run) + " --epochs N", "--epochs N") in err, (
                err
            )
        assert {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()} == before

    def test_a_model_that_was_changed_since(self, workplace, decolle_hw) -> None:
        Path("tiny.yaml").write_text(TINY.replace("beta: 0.7", "beta: 0.6"))
        unfinish(run_of(workplace))
        code, _, err = decolle_hw("train", "tiny.yaml", "--resume")
        assert code == 2 and "network.beta 0.6: the run began with 0.7" in err

    def test_damaged_and_older_runs(self, workplace, decolle_hw) -> None:
        run = run_of(workplace)
        content = (run / RESUME).read_bytes()
        (run / RESUME).write_bytes(content[:-1])
        code, _, err = decolle_hw("train", "--resume", str(run), "--epochs", "3")
        assert code == 2 and "resume.safetensors: is not a checkpoint, or is damaged" in err and err.count("\n") == 1
        (run / RESUME).unlink()
        code, _, err = decolle_hw("train", "--resume", str(run), "--epochs", "3")
        assert code == 2 and "resume.safetensors is missing (an older version wrote this run" in err

    def test_compile_takes_an_unfinished_run_only_where_it_is_named(self, workplace, decolle_hw) -> None:
        run = run_of(workplace)
        unfinish(run)
        code, _, err = decolle_hw("compile")
        assert code == 2 and "no finished training run" in err and f"decolle-hw train --resume {run}" in err
        assert decolle_hw("compile", str(run))[0] == 0


class TestEvaluate:
    def test_the_numbers_of_the_training(self, workplace, decolle_hw) -> None:
        run = run_of(workplace)
        metrics = json.loads((run / METRICS).read_text())
        for weights, epoch in (("best", metrics["best_epoch"]), ("last", 2)):
            entry = metrics["history"][epoch - 1]
            code, out, err = decolle_hw("evaluate", "--checkpoint", weights, "--json", "out.json")
            assert code == 0, err
            assert f"{weights} checkpoint (epoch {entry['epoch']}) on 359 recordings" in out and "wrote out.json" in out
            found = json.loads(Path("out.json").read_text())
            assert found["accuracy_per_layer"] == entry["test_accuracy"] and found["epoch"] == entry["epoch"]
            np.testing.assert_allclose(found["firing_rates"], entry["test_firing_rate"], rtol=1e-9)
            assert found["accuracy"] == found["accuracy_per_layer"][-1]

    def test_predictions_interval_and_confusion(self, workplace, decolle_hw) -> None:
        code, out, err = decolle_hw("evaluate", str(run_of(workplace)), "--json", "out.json")
        assert code == 0, err
        found = json.loads(Path("out.json").read_text())
        pairs = [(entry["label"], entry["prediction"]) for entry in found["predictions"]]
        hits = sum(label == prediction for label, prediction in pairs)
        assert len(pairs) == 359 and found["accuracy"] == hits / 359
        low, high = wilson_interval(hits, 359)
        assert found["accuracy_interval_95"] == [low, high] and f"(95 %: {100 * low:.1f}-{100 * high:.1f})" in out
        confusion = np.zeros((10, 10), int)
        for label, prediction in pairs:
            confusion[int(label), int(prediction)] += 1
        np.testing.assert_array_equal(found["confusion"], confusion)
        recall = confusion.diagonal() / confusion.sum(1)
        worst = int(recall.argmin())
        assert f"{100 * recall[worst]:.1f} %" in out.split("most often taken for")[1].split("\n")[2]

    def test_other_recordings(self, workplace, decolle_hw) -> None:
        assert "on 1438 recordings" in decolle_hw("evaluate", "--split", "train")[1]
        rng = np.random.default_rng(0)
        for name in "0123456789":
            Path("mine", name).mkdir(parents=True)
            x, y, p = (rng.integers(0, size, 200) for size in (12, 12, 2))
            t = np.sort(rng.integers(0, 300_000, 200))
            events = np.stack([x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255], 1).astype(np.uint8)
            for index in range(5):
                Path("mine", name, f"{index}.bin").write_bytes(events.tobytes())
        assert "on 50 recordings" in decolle_hw("evaluate", "--data", "mine")[1]
        assert "on 10 recordings" in decolle_hw("evaluate", "--data", "mine", "--split", "test")[1]

    @pytest.mark.parametrize(
        ("spoil", "arguments", "words"),
        [
            (lambda run: (run / LAST).unlink(), ["--checkpoint", "last"], ["last.safetensors: is missing"]),
            (lambda run: (run / CHECKPOINT).write_bytes(b"junk"), [], ["checkpoint.safetensors: is not a checkpoint"]),
            (lambda run: (run / METRICS).write_text("{"), [], ["metrics.json: is damaged"]),
            (lambda run: None, ["--data", "nowhere"], ["nowhere", "does not exist"]),
            (lambda run: None, ["nowhere"], ["nowhere: does not exist", "the newest runs are runs/tiny/"]),
            (lambda run: None, ["--json", "runs"], ["runs: is a folder"]),
        ],
    )
    def test_bad_input_is_one_clear_line(self, workplace, decolle_hw, spoil, arguments, words) -> None:
        spoil(run_of(workplace))
        code, _, err = decolle_hw("evaluate", *arguments)
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
        for word in words:
            assert word in err, err


class TestProgress:
    RECORD = EpochRecord(
        epoch=3, loss=[0.25, 0.125], test_accuracy=[0.5, 0.875], test_firing_rate=[0.1, 0.02],
        learning_rate=[1e-3, 5e-4], recordings_per_second=1234.4, seconds=2.5,
    )  # fmt: skip

    @pytest.mark.parametrize("terminal", [True, False])
    def test_an_epoch_shows_every_figure_of_every_layer(self, terminal: bool) -> None:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=300, markup=False, highlight=False)
        with TrainingProgress(console, 40) as progress:
            progress.reading(5, 10)
            progress.batch(2, 50, 100)
            progress.epoch(self.RECORD)
            progress.note("a note")
        line = next(line for line in screen.getvalue().splitlines() if "epoch   3/40" in line)
        for words in ("50.0  87.5 %", "0.100 0.020", "0.2500 0.1250", "lr 0.001 0.0005", "2.5 s, 1234 recordings/s"):
            assert words in line
        assert "a note" in screen.getvalue()

    def test_in_a_pipe_there_are_plain_lines_only(self, workplace, decolle_hw) -> None:
        code, out, _ = decolle_hw("train", "tiny.yaml")
        assert code == 0 and "\x1b" not in out and "\r" not in out
        assert [line[:11] for line in out.splitlines()[:3]] == ["reading 143", "epoch   1/2", "epoch   2/2"]
