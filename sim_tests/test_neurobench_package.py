"""NeuroBench's metrics against the `neurobench` package, on models of PyTorch and snnTorch."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from estimate_tools import with_zeros
from small_programs import KINDS, make_program, make_spikes
from torch import nn

from decolle_hw.compiler.estimates import neurobench as ours
from decolle_hw.compiler.estimates.activity import Activity, LayerActivity
from decolle_hw.compiler.layers import ConvLayer, DenseLayer
from decolle_hw.compiler.program import Program
from decolle_hw.sim.activity import activity_of
from decolle_hw.sim.reference import run_reference

snntorch = pytest.importorskip("snntorch", reason="snntorch is not installed (extra: test)")
pytest.importorskip("neurobench", reason="neurobench is not installed (extra: test)")

RECORDINGS = 3


class Replay(snntorch.SpikingNeuron):
    """A spiking layer that sends what it is told, so that every layer of a model sees what ours saw."""

    def __init__(self, spikes_TRN: torch.Tensor, potential_TRN: torch.Tensor):
        super().__init__(init_hidden=True)
        self.spikes, self.potential, self.step = spikes_TRN, potential_TRN, -1
        self.mem = torch.zeros(0)

    def forward(self, sums: torch.Tensor) -> torch.Tensor:
        self.step += 1
        self.mem = self.potential[self.step].reshape(sums.shape)
        return self.spikes[self.step].reshape(sums.shape)

    def reset_mem(self):
        self.step = -1


class Replayed(nn.Module):
    """The layers of a compiled network as torch modules with its weights, around neurons that replay a trace."""

    def __init__(self, program: Program, trace):
        super().__init__()
        stages: list[nn.Module] = []
        for layer, run in zip(program.layers, trace.layers, strict=True):
            if layer.is_pooling:
                stages.append(nn.MaxPool2d(layer.kernel_size))
                continue
            if isinstance(layer, ConvLayer):
                channels, _, *kernel = layer.weight.shape
                synapse = nn.Conv2d(
                    layer.input_shape[0], channels, kernel, layer.strides, layer.paddings, layer.dilations, layer.groups
                )
            else:
                stages.append(nn.Flatten())
                synapse = nn.Linear(layer.num_inputs, layer.num_neurons)
            synapse.weight.data = torch.tensor(layer.weight, dtype=torch.float64)
            synapse.bias.data = synapse.bias.data.double()
            potential = run.registers["v"].astype(np.int64) + run.registers.get("r", 0)
            neuron = Replay(*(torch.tensor(values.swapaxes(0, 1).astype(float)) for values in (run.spikes, potential)))
            stages += [synapse, neuron]
        self.stages = nn.Sequential(*stages)

    def forward(self, frame):
        spikes = self.stages(frame)
        return spikes, spikes

    def reset(self):
        for stage in self.stages:
            if isinstance(stage, Replay):
                stage.reset_mem()


def of_the_package(net: nn.Module, frames: torch.Tensor) -> dict:
    """All metrics of `neurobench` on one batch of (R, T, c, h, w) or (R, T, I)."""
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
    from neurobench.models import SNNTorchModel
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(frames, torch.zeros(len(frames))), batch_size=len(frames))
    metrics = [[Footprint, ConnectionSparsity], [ActivationSparsity, MembraneUpdates, SynapticOperations]]
    with torch.no_grad():
        return Benchmark(SNNTorchModel(net), loader, [], [], metrics).run(quiet=True)


def assert_same(found: ours.NeuroBench, package: dict) -> None:
    assert round(found.connection_sparsity, 4) == pytest.approx(package["ConnectionSparsity"], abs=1e-4)
    assert found.activation_sparsity == pytest.approx(package["ActivationSparsity"], abs=1e-12)
    assert dataclasses.asdict(found.synaptic_operations) == package["SynapticOperations"]
    assert found.membrane_updates == package["MembraneUpdates"]


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_package_says_the_same_of_a_torch_model_with_equal_weights_and_spikes(kind, neuron):
    program = with_zeros(make_program(kind, neuron), np.random.default_rng(1))
    spikes_RTI = make_spikes(7, RECORDINGS)
    trace = run_reference(program, spikes_RTI, record=True)
    assert all(0 < rate < 1 for rate in trace.firing_rates()), "a silent network would prove little"
    frames = torch.tensor(spikes_RTI.astype(float)).reshape(*spikes_RTI.shape[:2], *program.input_shape)
    package = of_the_package(Replayed(program, trace), frames)
    found = ours.neurobench_metrics(program, activity_of(program, spikes_RTI, trace))
    assert package["SynapticOperations"]["Effective_ACs"] > 0 < package["MembraneUpdates"]
    assert_same(found, package)


class Leaky(nn.Module):
    """A network of snnTorch with neurons of its own: their reset comes a step later than that of the chip."""

    def __init__(self, program: Program):
        super().__init__()
        first, second = program.layers
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, bias=False)
        self.conv.weight.data = torch.tensor(first.weight, dtype=torch.float32)
        self.leaky = snntorch.Leaky(beta=0.875, threshold=40.0, init_hidden=True)
        self.linear = nn.Linear(second.num_inputs, second.num_neurons, bias=False)
        self.linear.weight.data = torch.tensor(second.weight, dtype=torch.float32)
        self.last = snntorch.Leaky(beta=0.5, threshold=30.0, init_hidden=True, reset_mechanism="zero", output=True)

    def forward(self, frame):
        return self.last(self.linear(self.leaky(self.conv(frame)).flatten(1)))


def test_the_package_says_the_same_of_a_network_that_snntorch_runs():
    rng = np.random.default_rng(5)
    registers = {"neuron": "cuba", "weight_exp": 0, "du": 0, "dv": 0, "bias_exp": 0, "dr": 0, "rho": 0}

    def layer(kind, shape, neurons, **geometry):
        weight = (2 * rng.integers(-10, 14, shape) * (rng.random(shape) > 0.3)).astype(np.int32)
        nothing_N = np.zeros(neurons, np.int32)
        readout = {"readout_weight": np.zeros((2, neurons), np.int32), "readout_bias": np.zeros(2, np.int32)}
        return kind(weight=weight, vth=nothing_N, bias_mant=nothing_N, **registers, **readout, **geometry)

    layers = (
        layer(ConvLayer, (4, 1, 3, 3), 4 * 4 * 3, input_shape=(2, 7, 6), stride=2, padding=1, groups=2),
        layer(DenseLayer, (5, 48), 5),
    )
    program = Program("snn", layers, ("a", "b"), (2, 7, 6), 12, 0, "loihi2", "", "")
    spikes_RTI = (rng.random((RECORDINGS, 12, 84)) < 0.2).astype(np.uint8)
    frames = torch.tensor(spikes_RTI, dtype=torch.float32).reshape(RECORDINGS, 12, 2, 7, 6)

    net, seen = Leaky(program), {"leaky": [], "last": []}
    hooks = [
        getattr(net, name).register_forward_hook(
            lambda module, _, out, name=name: seen[name].append(
                ((out[0] if isinstance(out, tuple) else out).flatten(1), module.mem.flatten(1))
            )
        )
        for name in seen
    ]
    with torch.no_grad():
        for frame in frames.swapaxes(0, 1):
            net(frame)
    for hook in hooks:
        hook.remove()
    measured = []
    for steps in seen.values():
        spikes_TRN, potential_TRN = (np.stack(list(map(np.asarray, part))) for part in zip(*steps, strict=True))
        assert 0 < spikes_TRN.mean() < 1
        changes = potential_TRN[0].size + np.count_nonzero(np.diff(potential_TRN, axis=0))
        measured.append(LayerActivity(spikes_TRN.sum((0, 1)).astype(np.int64), None, int(changes)))
    activity = Activity(RECORDINGS, 12, spikes_RTI.sum((0, 1), dtype=np.int64), tuple(measured))
    assert_same(ours.neurobench_metrics(program, activity), of_the_package(Leaky(program), frames))


def test_the_package_says_the_same_of_the_bytes_of_integer_weights():
    from neurobench.metrics.static import Footprint
    from neurobench.models import TorchModel

    program = make_program("pooled", "cuba")
    holder = nn.Module()
    expected = 0
    for index, layer in enumerate(program.layers):
        if not layer.is_pooling:
            assert layer.weight_bits == 8
            holder.register_buffer(f"weight{index}", torch.tensor(layer.weight // 2, dtype=torch.int8))
            expected += sum(-(-count * bits // 8) for name, count, bits in ours.arrays(layer) if name == "weight")
    assert Footprint()(TorchModel(holder)) == expected
