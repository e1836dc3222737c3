"""A stack of DECOLLE layers and the decision that is read from it."""

# T steps of a chunk, B batch, I inputs, N neurons, C classes, L layers

from __future__ import annotations

import torch
from torch import nn

from decolle_hw.nn.layer import DecolleLayer, Dynamics, LayerOutput, LayerState
from decolle_hw.spec import ModelSpec


class DecolleNetwork(nn.Module):
    """Layers in order; each learns from its own readout, none passes a gradient on."""

    def __init__(self, spec: ModelSpec, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        net = spec.network
        dynamics = Dynamics(net.neuron, net.alpha, net.beta, net.alpharp or 0.0, net.wrp or 0.0, net.vth or 0.0)
        layers = []
        inputs = spec.num_inputs
        for index, units in enumerate(net.Mhid):
            layers.append(
                DecolleLayer(
                    inputs, units, classes, dynamics, index,
                    bias=net.bias, lc_ampl=net.lc_ampl, generator=generator,
                )
            )  # fmt: skip
            inputs = units
        self.layers = nn.ModuleList(layers)

    def __iter__(self):
        return iter(self.layers)

    def zero_state(self, batch: int) -> list[LayerState]:
        """State of all layers before the first step of `batch` recordings."""
        return [layer.zero_state(batch) for layer in self]

    def forward(self, spikes_TBI: torch.Tensor, state: list[LayerState]) -> tuple[list[LayerOutput], list[LayerState]]:
        """A chunk of steps through all layers, layer after layer. Memory does not grow with the steps done before."""
        outputs, states = [], []
        for layer, layer_state in zip(self.layers, state, strict=True):
            output, layer_state = layer(spikes_TBI, layer_state)
            outputs.append(output)
            states.append(layer_state)
            spikes_TBI = output.spikes_TBN
        return outputs, states


def decide(readout_TBC: torch.Tensor, burnin_steps: int) -> torch.Tensor:
    """(B,) class with the largest readout summed over the steps after burn-in; the lowest index wins a tie."""
    return readout_TBC[burnin_steps:].sum(0).argmax(1)
