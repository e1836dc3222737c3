"""The README: every block runs as the blocks of the documents do, and what it shows first is what it says."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import yaml
from docs_library import make_library
from docs_rules import ROOT
from docs_runner import Reader, blocks_of

from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import parse_model_spec
from decolle_hw.training.learner import Learner
from decolle_hw.training.optimizers import check_training

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(tmp_path_factory.mktemp("readme") / "page", make_library(tmp_path_factory.mktemp("library")))


def test_blocks_run_in_order(reader, digits_drawn_once):
    reader.follow(README)
    (printed,) = [text for text in reader.printed if re.match(r"\(\d+, \d+, \d+\) ", text)]
    shape, accuracy = re.fullmatch(r"(\(.*\)) ([\d.]+)\n", printed).groups()
    assert shape.startswith("(") and "60" in shape and 0 <= float(accuracy) <= 1


def test_python_is_short(reader):
    (block,) = [block for block in blocks_of(README) if block.language == "python"]
    assert len(block.text.strip().splitlines()) <= 16


def test_yaml_block_learns():
    """More than parsing: a batch is learned with every key of the description at work."""
    blocks = [block for block in blocks_of(README) if block.language == "yaml" and "learning_rate" in block.text]
    if not blocks:
        blocks = [
            block for block in blocks_of(ROOT / "docs" / "tutorials" / "own-network.md") if block.language == "yaml"
        ]
    spec = parse_model_spec(yaml.safe_load(blocks[0].text), blocks[0].place)
    check_training(spec.training, spec.network.layers)
    network = DecolleNetwork(spec, 10, torch.Generator().manual_seed(0))
    spikes = (np.random.default_rng(0).random((60, 2, spec.num_inputs)) < 0.02).astype(np.uint8)
    losses = Learner(network, spec.training, torch.device("cpu")).learn_batch(
        torch.from_numpy(spikes), torch.eye(10)[:2]
    )
    assert losses.shape == (50, 3) and losses[:, 0].eq(0).all() and (losses[:, 1:] > 0).all()
