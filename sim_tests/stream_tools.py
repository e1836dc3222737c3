"""What the tests of streams share: small compiled networks with a description, and streams of events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from small_programs import INPUT_SHAPE, STEPS, make_program

from decolle_hw.compiler.artifact import save_artifact
from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.compiler.program import Program
from decolle_hw.data.formats import EVENTS

DELTAT = 1000
SPEC = f"""
name: small
dataset: {{name: folder, path: nowhere, input_shape: {list(INPUT_SHAPE)}, deltat: {DELTAT}, chunk_size_train: {STEPS},
  chunk_size_test: {STEPS}EXTRA}}
network: {{neuron: NEURON, Mhid: [7]VTH}}
training: {{burnin_steps: 3}}
"""


def described(kind: str, neuron: NeuronKind, extra: str = "") -> Program:
    """A network of `small_programs` that says what it was trained on; `extra`: more keys of its data set."""
    vth = ", vth: 0.1" if neuron == "cuba" else ""
    yaml = SPEC.replace("EXTRA", extra).replace("NEURON", neuron).replace("VTH", vth)
    return replace(make_program(kind, neuron), spec_yaml=yaml)


def saved(folder: Path, kind: str = "dense", neuron: NeuronKind = "decolle", extra: str = "") -> Program:
    program = described(kind, neuron, extra)
    save_artifact(program, folder / "small.net")
    return program


def draw_events(
    seed: int, count: int, last_us: int, height: int = INPUT_SHAPE[1], width: int = INPUT_SHAPE[2]
) -> np.ndarray:
    """Sorted by time."""
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENTS)
    events["x"], events["y"] = rng.integers(0, width, count), rng.integers(0, height, count)
    events["p"] = rng.random(count) < 0.5
    events["t"] = np.sort(rng.integers(0, last_us, count))
    return events


def as_text(events: np.ndarray) -> str:
    rows = zip(*(events[name].astype(int).tolist() for name in "xytp"), strict=True)
    return "".join(f"{x},{y},{t},{p}\n" for x, y, t, p in rows)


def as_nmnist(events: np.ndarray) -> bytes:
    """Five bytes each; see `decolle_hw.data.formats.nmnist`."""
    t = events["t"].astype(np.int64)
    rows = [events["x"], events["y"], events["p"].astype(int) << 7 | t >> 16, t >> 8 & 255, t & 255]
    return np.stack(rows, 1).astype(np.uint8).tobytes()
