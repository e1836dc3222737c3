"""Networks as lava-dl ships or writes them, for the tests of their import."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

SHIPPED = (
    Path(sysconfig.get_paths()["purelib"]) / "tests/lava/lib/dl/netx"
)  # where the lava-dl wheel puts its own tests


def shipped(name: str) -> Path:
    """A file of lava-dl's own tests; the test is skipped where there is none."""
    path = SHIPPED / name
    if not path.exists():
        pytest.skip(f"{path} does not exist: lava-dl 0.6.0 is not installed here")
    return path


PILOTNET = ("conv-0", "conv-1", "conv-2", "conv-3", "conv-4", "fc-0", "fc-1", "fc-2")
FIRED = 128  # what pilotnet's arrays show as v of a neuron that has just spiked


def pilotnet_array(name: str) -> np.ndarray:
    """(T, N), channels first, of an array (x, y, channel, T) or (N, T)."""
    values = np.load(shipped(f"gts/pilotnet_lif/{name}.npy"))
    return values.transpose(*range(values.ndim)[::-1]).reshape(values.shape[-1], -1)


NEURON: dict[str, Any] = {
    "type": "CUBA", "iDecay": 1024, "vDecay": 123, "vThMant": 80, "refDelay": 1, "gradedSpike": False,
}  # fmt: skip
STEPS = 16


def make_layers() -> list[dict[str, Any]]:
    """An input block, a convolution, a dense layer with delays and an average, as SLAYER exports them."""
    rng = np.random.default_rng(0)

    def even(*shape: int) -> np.ndarray:
        return (2 * rng.integers(-20, 30, shape)).astype(np.float32)

    return [
        {"type": "input", "shape": [2, 6, 5], "weight": np.float32([30]), "bias": np.float32([20]), "neuron": NEURON},
        {
            "type": "conv", "shape": [3, 4, 3], "stride": [1, 2], "padding": [0, 1], "dilation": [1, 1], "groups": 1,
            "weight": even(3, 2, 3, 3)[..., None], "bias": np.float32([1, -2, 3]), "neuron": NEURON,
        },
        {"type": "flatten", "shape": [36, 1, 1]},
        {
            "type": "dense", "shape": [6, 1, 1], "weight": even(6, 36), "delay": np.arange(6).astype(np.float32),
            "neuron": NEURON,
        },
        {"type": "average", "shape": [3, 1, 1]},
    ]  # fmt: skip


def write_layers(path: Path, layers: list[dict[str, Any]], steps: int | None = STEPS) -> Path:
    """Texts as SLAYER writes them: of fixed length for a layer, of variable length for a neuron."""
    with h5py.File(path, "w") as file:
        file.create_group("layer")
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for name, value in layer.items():
                if name == "neuron":
                    for key, number in value.items():
                        group[f"neuron/{key}"] = number
                elif name == "type":
                    group.create_dataset("type", (1,), "S10", [value.encode()])
                else:
                    group[name] = value
        if steps is not None:
            file["simulation/Ts"], file["simulation/tSample"] = 1, steps
    return path
