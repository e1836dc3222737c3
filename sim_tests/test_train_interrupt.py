"""Ctrl-C and SIGTERM at `decolle-hw train`, as a shell sends them: saved, told how to go on, nothing half-written.

What only the end of a process shows has a process of its own; elsewhere this one sends the signal to itself.
"""

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

import numpy as np
import pytest
import torch
from train_tools import require_same_tensors

from decolle_hw import data
from decolle_hw.training.learner import Learner
from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, RESUME

TINY = """
name: tiny
dataset:
  {name: folder, path: mine, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20}
network: {neuron: decolle, Mhid: [16, 12], alpha: 0.8, beta: 0.7, dropout: 0.2}
training: {num_epochs: 500, learning_rate: 0.02, burnin_steps: 4, update_every: 4, batch_size: 8}
"""
# The command with a step that takes for ever, before batch number 3.
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
INTERRUPTED = re.compile(
    r"interrupted in epoch (\d+) of 500, after \d+ of 48 recordings; saved; to go on: decolle-hw (train .*)\n$"
)
LIMIT = 120  # seconds: a busy machine imports torch and compiles kernels


class Training:
    """A training in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, code: str | None = None) -> None:
        command = ["-m", "decolle_hw.cli"] if code is None else ["-c", code]
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *command, "train", *arguments], cwd=folder, text=True, bufsize=1,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},  # their number decides how sums round
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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a model and its 60 recordings, so few that an epoch takes a moment."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    rng = np.random.default_rng(0)
    for index in range(60):
        recording = tmp_path / "mine" / str(index % 3) / f"{index}.bin"
        recording.parent.mkdir(parents=True, exist_ok=True)
        x, y, p, t = (rng.integers(0, end, 200) for end in (12, 12, 2, 300_000))
        t.sort()
        events = np.stack([x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255], 1)
        recording.write_bytes(events.astype(np.uint8).tobytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs" / "tiny").iterdir()
    return run


def test_the_first_signal_saves_and_the_printed_command_goes_on(folder: Path, decolle_hw) -> None:
    training = Training(folder, "tiny.yaml")
    training.wait_for("epoch   2/500")
    training.send(signal.SIGINT)
    returned, errors = training.ends()
    assert returned == 130, errors
    found = INTERRUPTED.search(errors)
    assert found is not None, errors
    epochs = int(found[1])
    assert not json.loads((run_of(folder) / METRICS).read_text())["finished"]
    for arguments in (
        [*shlex.split(found[2]), "--epochs", str(epochs)],
        ["train", "tiny.yaml", "--epochs", str(epochs), "--runs", "whole"],
    ):
        code, out, err = decolle_hw(*arguments)
        assert code == 0 and f"epoch {epochs:3d}/{epochs}" in out, err
        assert "not exact to the bit" not in out + err
    (whole,) = (folder / "whole" / "tiny").iterdir()
    for name in (LAST, CHECKPOINT):
        require_same_tensors(whole / name, run_of(folder) / name)


def test_sigterm_has_a_code_of_its_own(folder: Path, decolle_hw, monkeypatch: pytest.MonkeyPatch) -> None:
    learn_epoch = Learner.learn_epoch

    def struck(self, *arguments):
        for count, batch in enumerate(learn_epoch(self, *arguments)):
            if count == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(Learner, "learn_epoch", struck)
    code, _, err = decolle_hw("train", "tiny.yaml")
    assert code == 143 and INTERRUPTED.search(err), err
    assert not json.loads((run_of(folder) / METRICS).read_text())["finished"]
    assert not [path for path in folder.rglob("*") if "partial" in path.name]


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


def test_killed_without_notice_the_last_epoch_is_there(folder: Path, decolle_hw) -> None:
    training = Training(folder, "tiny.yaml")
    training.wait_for("epoch   2/500")
    training.send(signal.SIGKILL)
    training.process.communicate(timeout=LIMIT)
    run = run_of(folder)
    assert (run / RESUME).is_file() and (run / CHECKPOINT).is_file()
    epochs = len(json.loads((run / METRICS).read_text())["history"])
    assert epochs >= 2
    code, out, err = decolle_hw("train", "--resume", "--epochs", str(epochs + 1))
    assert code == 0 and f"continuing {Path('runs') / 'tiny' / run.name}" in out, err
    metrics = json.loads((run / METRICS).read_text())
    assert metrics["finished"] and len(metrics["history"]) == epochs + 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_the_first_step_nothing_is_left(
    folder: Path, decolle_hw, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def struck(*arguments):
        os.kill(os.getpid(), number)
        time.sleep(LIMIT)
        pytest.fail("reading went on")

    monkeypatch.setattr(data, "load_split", struck)
    returned, _, err = decolle_hw("train", "tiny.yaml")
    assert returned == code and err.strip() == "error: interrupted"
    assert sorted(path.name for path in folder.iterdir()) == ["mine", "tiny.yaml"]
