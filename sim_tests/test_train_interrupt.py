"""Ctrl-C and SIGTERM at `decolle-hw train`, as a shell sends them: saved, told how to go on, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from train_tools import require_same_tensors

from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, RESUME

TINY = """
name: tiny
dataset: {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20}
network: {neuron: decolle, Mhid: [16, 12], alpha: 0.8, beta: 0.7, dropout: 0.2}
training: {num_epochs: 500, learning_rate: 0.02, burnin_steps: 4, update_every: 4, batch_size: 32}
"""
# The command with a step that takes for ever: SLEEPS is called before batch number 3.
SLOW = """
import sys, time
import decolle_hw.training.learner as learner
learn_epoch = learner.Learner.learn_epoch
def slow(self, *arguments):
    for count, batch in enumerate(learn_epoch(self, *arguments)):
        if count == 3:
            print("asleep", flush=True)
            time.sleep(120)
        yield batch
learner.Learner.learn_epoch = slow
from decolle_hw.cli import main
sys.argv = ["decolle-hw", *sys.argv[1:]]
main()
"""
# The command reading data that takes for ever.
READING = SLOW.replace("learner.Learner.learn_epoch = slow", "").replace(
    "from decolle_hw.cli",
    """import decolle_hw.data
def load(*arguments):
    print("asleep", flush=True)
    time.sleep(120)
decolle_hw.data.load_split = load
from decolle_hw.cli""",
)
LIMIT = 120  # seconds: a busy machine imports torch and compiles kernels


class Training:
    """A training in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, code: str | None = None) -> None:
        command = ["-m", "decolle_hw.cli"] if code is None else ["-c", code]
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *command, "train", *arguments], cwd=folder, text=True, bufsize=1,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def wait_for(self, word: str) -> None:
        """Read standard output up to a line with a word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if word in line:
                return
        pytest.fail(f"ended before {word!r}: {self.process.communicate()[1]}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def ends(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=LIMIT)
        assert "Traceback" not in errors, errors
        assert not [path for path in self.folder.rglob("*") if "partial" in path.name]
        return self.process.returncode, errors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs" / "tiny").iterdir()
    return run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_saves_and_the_printed_command_goes_on(folder: Path, number: int, code: int) -> None:
    training = Training(folder, "tiny.yaml")
    training.wait_for("epoch   2/500")
    training.send(number)
    returned, errors = training.ends()
    assert returned == code, errors
    words = (
        r"interrupted in epoch (\d+) of 500, after \d+ of 1438 recordings; saved; to go on: decolle-hw (train .*)\n$"
    )
    found = re.search(words, errors)
    assert found is not None, errors
    epochs = int(found[1])
    assert not json.loads((run_of(folder) / METRICS).read_text())["finished"]
    if number == signal.SIGTERM:
        return  # what follows is the same
    for arguments in (
        [*shlex.split(found[2]), "--epochs", str(epochs)],
        ["train", "tiny.yaml", "--epochs", str(epochs), "--runs", "whole"],
    ):
        command = [sys.executable, "-m", "decolle_hw.cli", *arguments]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0 and f"epoch {epochs:3d}/{epochs}" in done.stdout, done.stderr
    (whole,) = (folder / "whole" / "tiny").iterdir()
    for name in (LAST, CHECKPOINT):
        require_same_tensors(whole / name, run_of(folder) / name)


def test_a_second_signal_stops_at_once(folder: Path) -> None:
    training = Training(folder, "tiny.yaml", code=SLOW)
    training.wait_for("asleep")
    training.send(signal.SIGINT)
    time.sleep(0.5)
    assert training.process.poll() is None  # finishing the step
    training.send(signal.SIGINT)
    began = time.monotonic()
    code, errors = training.ends()
    assert code == 130 and time.monotonic() - began < 20
    assert "again to stop at once" in errors and errors.endswith("stopped at once; what was saved before is intact\n")
    assert not (folder / "runs").exists()  # stopped in its first epoch: nothing had been saved


def test_killed_without_notice_the_last_epoch_is_there(folder: Path) -> None:
    training = Training(folder, "tiny.yaml")
    training.wait_for("epoch   2/500")
    training.send(signal.SIGKILL)
    training.process.communicate(timeout=LIMIT)
    run = run_of(folder)
    assert (run / RESUME).is_file() and (run / CHECKPOINT).is_file()
    epochs = len(json.loads((run / METRICS).read_text())["history"])
    assert epochs >= 2
    command = [sys.executable, "-m", "decolle_hw.cli", "train", "--resume", "--epochs", str(epochs + 1)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and f"continuing {Path('runs') / 'tiny' / run.name}" in done.stdout, done.stderr
    metrics = json.loads((run / METRICS).read_text())
    assert metrics["finished"] and len(metrics["history"]) == epochs + 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_the_first_step_nothing_is_left(folder: Path, number: int, code: int) -> None:
    training = Training(folder, "tiny.yaml", code=READING)
    training.wait_for("asleep")
    training.send(number)
    returned, errors = training.ends()
    assert returned == code and errors.strip() == "error: interrupted"
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]
