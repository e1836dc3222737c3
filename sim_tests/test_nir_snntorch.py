"""A network that snnTorch made and exported: its own forward pass against what is imported and compiled."""

# T steps

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from decolle_hw.interchange.float_network import dequantized, simulate
from decolle_hw.interchange.nir_export import export_nir
from decolle_hw.interchange.nir_import import read_nir
from decolle_hw.interchange.nir_quantize import import_nir
from decolle_hw.sim.reference import run_reference
from sim_tests.nir_tools import writable
from sim_tests.small_programs import make_program, make_spikes

pytest.importorskip("nirtorch", reason="snnTorch exports with nirtorch: pip install nirtorch")
snntorch = pytest.importorskip("snntorch", reason="test extra: pip install --no-deps snntorch")

import nir  # noqa: E402
from snntorch.export_nir import export_to_nir  # noqa: E402
from snntorch.import_nir import import_from_nir  # noqa: E402

STEPS = 40
# snnTorch runs and exports in float32: potentials of about 1 that some twenty sums made, 6e-8 each. What stands closer
# to a threshold may fall either way.
CLOSE = 2e-6


def neurons(kind, *shape, beta=0.9, vth=1.0, **options):
    """With one parameter per neuron, as NIR's type checks need it."""
    given = {"beta": torch.full(shape, beta), "threshold": torch.full(shape, vth)} | options
    return kind(init_hidden=True, reset_mechanism="zero", **given)


def dense_network():
    torch.manual_seed(1)
    return (30,), torch.nn.Sequential(
        torch.nn.Linear(30, 20), neurons(snntorch.Leaky, 20), torch.nn.Linear(20, 12, bias=False),
        neurons(snntorch.Synaptic, 12, alpha=torch.full((12,), 0.7), vth=0.6, reset_delay=False),
        torch.nn.Linear(12, 4), neurons(snntorch.Leaky, 4, beta=0.75, vth=0.4),
    )  # fmt: skip


def conv_network():
    torch.manual_seed(2)
    return (2, 8, 8), torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, padding=1, stride=2), neurons(snntorch.Leaky, 6, 4, 4, vth=0.3),
        torch.nn.Conv2d(6, 8, 3, groups=2), neurons(snntorch.Leaky, 8, 2, 2, beta=0.8, vth=0.3),
        torch.nn.Flatten(0), torch.nn.Linear(32, 5), neurons(snntorch.Leaky, 5, vth=0.3),
    )  # fmt: skip


def forward(module, spikes_TX):
    """Spikes of every spiking layer at every step, by snnTorch itself."""
    seen: dict[int, list[np.ndarray]] = {}
    with torch.no_grad():
        for x in torch.tensor(spikes_TX, dtype=torch.float32):
            for index, part in enumerate(module):
                x = part(x)
                if isinstance(part, snntorch.SpikingNeuron):
                    seen.setdefault(index, []).append(x.numpy().reshape(-1).copy())
    return [np.array(rows).astype(np.uint8) for rows in seen.values()]


@pytest.mark.parametrize("make", [dense_network, conv_network])
def test_spikes_are_those_of_snntorch(tmp_path, make, record_property):
    shape, module = make()
    path = tmp_path / "net.nir"
    nir.write(path, export_to_nir(module, torch.zeros(shape)))
    for part in module:
        if isinstance(part, snntorch.SpikingNeuron):
            part.reset_mem()
    spikes_TX = (np.random.default_rng(3).random((STEPS, *shape)) < 0.4).astype(np.uint8)
    theirs = forward(module, spikes_TX)
    if make is dense_network:  # a bias before Synaptic would be filtered: there is none, and nothing is approximated
        assert not [note for note in read_nir(path).notes if "approximated" in note]
    reading = read_nir(path)
    spikes_RTI = spikes_TX.reshape(1, STEPS, -1)
    floats = simulate(reading.network, spikes_RTI)
    imported = import_nir(path, steps=STEPS)
    integers = run_reference(imported.program, spikes_RTI).layers
    for index, (trace, layer) in enumerate(zip(floats, reading.network.layers, strict=True)):
        late = reading.network.first_step(index)
        assert late == index + 1  # one step for each synapse, which NIR and snnTorch know nothing of
        asked = trace.asked[0, late:]
        assert np.abs(asked - layer.vth).min() > CLOSE
        assert 0.02 < theirs[index].mean() < 0.9
        np.testing.assert_array_equal(trace.spikes[0, late:], theirs[index][: STEPS - late])
        agreement = float((integers[index].spikes[0, late:] == theirs[index][: STEPS - late]).mean())
        record_property(f"layer {index}: integers agree with snnTorch", agreement)
        print(f"layer {index}: {agreement:.4f} of {asked.size} spikes of the integers agree with snnTorch")
        assert agreement > 0.9


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("du", [4095, 900])
def test_snntorch_runs_what_we_export(tmp_path, kind, du):
    """The other way round. Behind tau_syn a bias stands in v_leak, which snnTorch does not take: none there."""
    program = writable(make_program(kind, "cuba", 2, {"du": du, "dv": 500, "dr": 0}))
    if du < 4095:
        silent = [dataclasses.replace(layer, bias_mant=0 * layer.bias_mant) for layer in program.layers]
        program = dataclasses.replace(program, layers=tuple(silent))
    graph = nir.read(export_nir(program, tmp_path / "net.nir").graph)
    module = import_from_nir(graph)
    spikes_RTI = make_spikes(3, recordings=1)
    ours = simulate(dequantized(program), spikes_RTI)[-1].spikes[0, len(program.layers) :]
    shape = tuple(graph.nodes["input"].input_type["input"])
    found = []
    with torch.no_grad():
        for x in torch.tensor(spikes_RTI[0].reshape(-1, *shape), dtype=torch.float32):
            out = module(x)
            found.append((out[0] if isinstance(out, tuple) else out).numpy().reshape(-1))
    assert 0.05 < ours.mean() < 0.9
    np.testing.assert_array_equal(np.array(found)[: len(ours)], ours)
