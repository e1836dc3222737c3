"""The Python of the README runs as it stands, behind the commands shown before it; its YAML describes a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import load_model_spec
from decolle_hw.training.learner import Learner
from decolle_hw.training.optimizers import check_training

ROOT = Path(__file__).resolve().parent.parent


def test_python_block_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    command = [sys.executable, "-m", "decolle_hw.cli"]
    for arguments in (["train", "--epochs", "1"], ["compile", "--target", "loihi2"]):
        subprocess.run([*command, *arguments], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shape, accuracy = re.fullmatch(r"(\(.*\)) ([\d.]+)\n", done.stdout).groups()
    assert shape == "(64, 60, 512)" and float(accuracy) > 0.5


def test_yaml_block_learns(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    spec = load_model_spec(str(tmp_path / "mine.yaml"))
    check_training(spec.training, spec.network.layers)
    network = DecolleNetwork(spec, 10, torch.Generator().manual_seed(0))
    spikes = (np.random.default_rng(0).random((60, 2, spec.num_inputs)) < 0.02).astype(np.uint8)
    losses = Learner(network, spec.training, torch.device("cpu")).learn_batch(
        torch.from_numpy(spikes), torch.eye(10)[:2]
    )
    assert losses.shape == (50, 3) and losses[:, 0].eq(0).all() and (losses[:, 1:] > 0).all()
