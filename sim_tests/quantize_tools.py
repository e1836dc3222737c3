"""What the tests of the quantizer share: small networks of any kind, and random recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from decolle_hw.data import BinnedRecordings
from decolle_hw.nn.layer import DecolleLayer, Dynamics
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import LayerShape, ModelSpec, parse_model_spec

NEURONS = ("decolle", "cuba")
CLASSES = ("a", "b", "c")
STEPS = 40


def make_layer(neuron: str, *, alpha=0.9, beta=0.85, seed=0, inputs=30, units=20, index=0) -> DecolleLayer:
    dynamics = Dynamics(neuron, alpha, beta, alpharp=0.65, wrp=1.0, vth=0.1)
    generator = torch.Generator().manual_seed(seed)
    shape = LayerShape.dense(inputs, units)
    layer = DecolleLayer(shape, 4, dynamics, index, bias=True, lc_ampl=0.5, generator=generator)
    with torch.no_grad():
        layer.bias.uniform_(-0.1, 0.1, generator=generator)
    return layer


def make_spec(neuron: str, input_shape=(2, 5, 5), training: dict[str, Any] | None = None, **changes: Any) -> ModelSpec:
    network = {"neuron": neuron, "Mhid": [40, 20], "alpha": 0.9, "beta": 0.85} | changes
    return parse_model_spec(
        {
            "name": "x",
            "dataset": {"input_shape": list(input_shape), "chunk_size_train": STEPS, "chunk_size_test": STEPS},
            "network": network,
            "training": {"burnin_steps": 5} | (training or {}),
        },
        "test",
    )


def make_network(neuron: str, **changes: Any) -> DecolleNetwork:
    return DecolleNetwork(make_spec(neuron, **changes), len(CLASSES), torch.Generator().manual_seed(1))


class FakeRun:
    """What `compile_run` needs of a training run, without training: `trained` may be changed before."""

    def __init__(self, spec: ModelSpec, size: float = 1.0, bias: float = 0.0) -> None:
        self.spec = spec
        self.classes = CLASSES
        self.trained = DecolleNetwork(spec, len(CLASSES), torch.Generator().manual_seed(1))
        generator = torch.Generator().manual_seed(2)
        for layer in self.trained:
            layer.weight.data.mul_(size)
            if bias:
                layer.bias.data.uniform_(-bias, bias, generator=generator)

    def network(self) -> DecolleNetwork:
        self.trained.quantize()
        return self.trained

    def checkpoint_sha256(self) -> str:
        return "0" * 64


def random_recordings(seed: int, count: int = 12, rate: float = 0.05, input_shape=(2, 5, 5)) -> BinnedRecordings:
    rng = np.random.default_rng(seed)
    inputs = int(np.prod(input_shape))
    active, bounds = [], [0]
    for _ in range(count):
        flat = np.flatnonzero(rng.random(STEPS * inputs) < rate)
        active.append(flat)
        bounds.append(bounds[-1] + len(flat))
    return BinnedRecordings(
        np.array(bounds), np.concatenate(active).astype(np.int32), rng.integers(0, 3, count),
        tuple(str(i) for i in range(count)), CLASSES, STEPS, input_shape,
    )  # fmt: skip
