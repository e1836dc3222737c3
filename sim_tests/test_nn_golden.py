"""The front end against numbers from the authors' own code, `shared/golden/dense-*.npz`.

Tolerances: both sides are float32 (eps = 2**-23 = 1.2e-7) and differ in the order of sums only.

* P, Q, R and the readouts are sums of terms below 1 in magnitude that decay or number 24 at most: 8 eps.
* U is a sum of 73 products with sum |W| P < 4, plus R: partial sums stay below 4, eight roundings of that: 4 x 8 eps.
* A gradient sums 5 x 32 terms delta P with |delta| < 1e-2, |P| < 1: 160 terms x 1e-2 x eps = 2e-7.
* A weight after 32 online updates, element by element: either side rounds each update to half a unit in the last place
  of a value that moved by 32 lr at most, together 32 units; and the step is lr times gradient over largest gradient, in
  which the terms of the sum over a batch may cancel a hundredfold: 32 lr x 100 eps.
"""

# T steps, B batch, I inputs, N neurons, C classes

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from decolle_hw.nn.losses import LOSSES
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import parse_model_spec
from decolle_hw.training.learner import Learner

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
EPS = 2.0**-23
LEARNING_RATE = 1e-3  # of the online files, see their meta
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not there: numbers of the authors' code")


def load(name: str):
    """Arrays and parameters of a file, a network with its initial weights, and (T, B, I) input."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = {key: file[key] for key in file.files}
    meta = json.loads(str(golden.pop("meta")))
    values = {
        "name": "golden",
        "dataset": {"input_shape": meta["input_shape"], "chunk_size_train": meta["steps"]},
        "network": {
            "Mhid": meta["dense_units"],
            "alpha": meta["alpha"],
            "beta": meta["beta"],
            "alpharp": meta["alpha_refractory"],
            "wrp": meta["refractory_weight"],
        },
        "training": {
            "batch_size": meta["batch"],
            "learning_rate": LEARNING_RATE,
            "burnin_steps": meta["burn_in"],
            "update_every": 1,
            "loss": meta["loss"],
        },
    }
    spec = parse_model_spec(values, name)
    network = DecolleNetwork(spec, golden["target"].shape[1], torch.Generator())
    for index, layer in enumerate(network.layers):
        for attribute in ("weight", "bias", "readout_weight", "readout_bias"):
            getattr(layer, attribute).data.copy_(torch.from_numpy(golden[f"{attribute}_{index}"]))
    spikes_TBI = torch.from_numpy(golden["input"]).transpose(0, 1).flatten(2)
    return golden, spec, network, spikes_TBI


def close(actual: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=tolerance)


def assert_same_spikes(spikes_TBN: torch.Tensor, potential_TBN: torch.Tensor, expected_BTN: np.ndarray) -> None:
    nearest = potential_TBN.abs().min().item()
    np.testing.assert_array_equal(
        spikes_TBN.transpose(0, 1).numpy(), expected_BTN, err_msg=f"smallest |U| is {nearest:.1e}"
    )


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "torch"])
@pytest.mark.parametrize("loss", ["smooth_l1", "mse"])
def test_sequence(loss: str, compiled: bool, monkeypatch) -> None:
    golden, spec, network, spikes_TBI = load(f"dense-{loss}-sequence")
    if not compiled:
        from decolle_hw.nn import neurons
        from decolle_hw.nn.layer import DecolleLayer

        monkeypatch.setattr(DecolleLayer, "_ops", lambda self: neurons)
    burnin = spec.training.burnin_steps
    batch = spikes_TBI.shape[1]
    _, state = network(spikes_TBI[:burnin], network.zero_state(batch))
    outputs, state = network(spikes_TBI[burnin:], state)
    target_BC = torch.from_numpy(golden["target"])
    for index, (layer, output) in enumerate(zip(network.layers, outputs, strict=True)):
        assert_same_spikes(output.spikes_TBN, output.potential_TBN, golden[f"spikes_{index}"])
        close(output.potential_TBN.transpose(0, 1), golden[f"potential_{index}"], 32 * EPS)
        close(output.readout_TBC.transpose(0, 1), golden[f"readout_{index}"], 8 * EPS)
        close(state[index].traces.P_BI, golden[f"P_end_{index}"], 8 * EPS)
        close(state[index].traces.Q_BI, golden[f"Q_end_{index}"], 8 * EPS)
        close(state[index].neurons.register_BN, golden[f"R_end_{index}"], 8 * EPS)
        gradient = layer.local_gradient(output, target_BC, LOSSES[loss], batch)
        close(gradient.loss_T, golden["losses"][:, index], 8 * EPS)
        close(gradient.weight_NI, golden[f"grad_weight_{index}"], 160 * 1e-2 * EPS)
        close(gradient.bias_N, golden[f"grad_bias_{index}"], 160 * 1e-2 * EPS)


@pytest.mark.parametrize("loss", ["smooth_l1", "mse"])
def test_online(loss: str) -> None:
    golden, spec, network, spikes_TBI = load(f"dense-{loss}-online")
    seen = []
    network.register_forward_hook(lambda _module, _arguments, result: seen.append(result[0]))
    losses_TL = Learner(network, spec.training, torch.device("cpu")).learn_batch(
        spikes_TBI, torch.from_numpy(golden["target"])
    )
    for index, layer in enumerate(network.layers):
        steps = [outputs[index] for outputs in seen[1:]]  # the first chunk is the burn-in
        spikes_TBN = torch.cat([output.spikes_TBN for output in steps])
        potential_TBN = torch.cat([output.potential_TBN for output in steps])
        assert_same_spikes(spikes_TBN, potential_TBN, golden[f"spikes_{index}"])
        for name in ("weight", "bias"):
            expected = golden[f"{name}_end_{index}"]
            last_place = np.spacing(np.abs(expected) + np.float32(32 * LEARNING_RATE))
            error = np.abs(getattr(layer, name).numpy() - expected)
            np.testing.assert_array_less(error, 32 * last_place + 32 * LEARNING_RATE * 100 * EPS)
    close(losses_TL, golden["losses"], 8 * EPS)
