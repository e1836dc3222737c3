"""What the tests of `compile` share: a network that is trained in seconds."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from decolle_hw.spec import load_model_spec
from decolle_hw.workflow import train_model

TINY = """
name: tiny
dataset:
  {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20,
   train_limit: 300DATA}
network: {NETWORK, alpha: 0.8, beta: 0.7}
training: {num_epochs: EPOCHS, learning_rate: 0.02, burnin_steps: 4, update_every: 4, batch_size: 128TRAINING}
"""


def train(folder: Path, network: str, training: str = "", dataset: str = "", epochs: int = 1) -> None:
    text = TINY.replace("NETWORK", network).replace("TRAINING", training).replace("DATA", dataset)
    (folder / "tiny.yaml").write_text(text.replace("EPOCHS", str(epochs)))
    train_model(load_model_spec(str(folder / "tiny.yaml")), folder / "runs", "cpu", Console(quiet=True))
