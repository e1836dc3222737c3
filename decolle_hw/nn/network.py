"""A stack of DECOLLE layers and the decision that is read from it."""

# T steps of a chunk, B batch, I inputs, N neurons, C classes, L layers

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import nn

from decolle_hw.errors import SpecError
from decolle_hw.fixedpoint import CURRENT_DECAY_OFFSET, VOLTAGE_DECAY_OFFSET, nearest_decay, realised_factor
from decolle_hw.nn.layer import DecolleLayer, Dynamics, LayerOutput, LayerState
from decolle_hw.spec import ModelSpec

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}  # of factors; None: that of the weights


class DecolleNetwork(nn.Module):
    """Layers in order; each learns from its own readout, none passes a gradient on.

    With `training.quantize` decays are realisable ones from the beginning, weights are on their grid from the first
    `quantize` on. Raises `SpecError` where a layer has no such twin.
    """

    def __init__(self, spec: ModelSpec, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        net = spec.network
        self.classes = classes
        self.prediction = net.prediction
        quantize = spec.training.quantize
        if quantize is not None:
            require_quantizable(spec)
        of = {key: net.of_layers(key) for key in ("alpha", "beta", "alpharp", "wrp", "vth", "lc_ampl", "dropout")}
        self.dropout: list[float] = of["dropout"]
        layers = []
        for index, shape in enumerate(spec.shapes(classes)):
            alpha, beta, alpharp, wrp, vth = (of[key][index] for key in ("alpha", "beta", "alpharp", "wrp", "vth"))
            dynamics = Dynamics(net.neuron, alpha, beta, alpharp or 0.0, wrp or 0.0, vth or 0.0)
            layer = DecolleLayer(
                shape, classes, dynamics if quantize is None else realisable(dynamics), index,
                bias=net.bias, lc_ampl=of["lc_ampl"][index], lc_bias=net.lc_bias, generator=generator,
                is_output=net.output_layer and index == net.hidden_layers,
                random_feedback=spec.training.feedback == "random",
                precision=PRECISIONS[spec.training.precision],
                weight_bits=None if quantize is None else quantize.weight_bits,
            )  # fmt: skip
            if net.random_tau is not None:
                tau = net.random_tau
                layer.draw_time_constants(tau.spread, tau.tau_min, tau.tau_max, generator)
            layers.append(layer)
        self.layers = nn.ModuleList(layers)

    def __iter__(self) -> Iterator[DecolleLayer]:
        return iter(self.layers)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.layers)

    def quantize(self) -> None:
        """Put all weights on the best grid for the learned ones; nothing happens where weights stay float."""
        for layer in self:
            layer.quantize()

    @contextmanager
    def learned_weights(self) -> Iterator[None]:
        """Within the block weights are the learned floats, for whoever changes them; then on their grid again."""
        with ExitStack() as stack:
            for layer in self:
                stack.enter_context(layer.learned_weight())
            yield

    def zero_state(self, batch: int) -> list[LayerState]:
        """State of all layers before the first step of `batch` recordings."""
        return [layer.zero_state(batch) for layer in self]

    def forward(
        self, spikes_TBI: torch.Tensor, state: list[LayerState], masks: Sequence[torch.Tensor | None] | None = None
    ) -> tuple[list[LayerOutput], list[LayerState]]:
        """A chunk of steps through all layers, layer after layer. Memory does not grow with the steps done before.

        Args:
            spikes_TBI: 0/1, (T, B, I) with I = polarities * height * width, flattened in this order.
            state: from `zero_state` or the chunk before.
            masks: dropout, one (T, B, M) or None per layer.
        """
        outputs, states = [], []
        for layer, layer_state, mask in zip(self, state, masks or [None] * len(self), strict=True):
            output, layer_state = layer(spikes_TBI, layer_state, mask)
            outputs.append(output)
            states.append(layer_state)
            spikes_TBI = output.spikes_TBN
        return outputs, states


def realisable(dynamics: Dynamics) -> Dynamics:
    """The same with decays that 12-bit registers realise."""
    alpha, alpharp = (
        realised_factor(nearest_decay(factor, VOLTAGE_DECAY_OFFSET), VOLTAGE_DECAY_OFFSET)
        for factor in (dynamics.alpha, dynamics.alpharp)
    )
    beta = realised_factor(nearest_decay(dynamics.beta, CURRENT_DECAY_OFFSET), CURRENT_DECAY_OFFSET)
    if dynamics.neuron == "cuba":  # has no R
        alpharp = dynamics.alpharp
    return replace(dynamics, alpha=alpha, beta=beta, alpharp=alpharp)


def require_quantizable(spec: ModelSpec) -> None:
    """Raise `SpecError` that names the key where a network has no twin with 12-bit decays."""
    net = spec.network
    if net.random_tau is not None:
        raise SpecError(
            "training.quantize: network.random_tau draws decays per input, a core has them per neuron; leave out one"
        )
    for key in ("alpha", "alpharp"):
        for index, factor in enumerate(net.of_layers(key)):
            matters = factor is not None and (key == "alpha" or net.of_layers("wrp")[index] > 0.0)
            if matters and nearest_decay(factor, VOLTAGE_DECAY_OFFSET) == 0:
                largest = realised_factor(1, VOLTAGE_DECAY_OFFSET)
                raise SpecError(
                    f"training.quantize: network.{key} {factor} of layer {index} is too close to 1 for a 12-bit decay, "
                    f"the largest is {largest:.5f}; use a smaller one, or longer steps (dataset.deltat)"
                )


def decide(readout_TBC: torch.Tensor, burnin_steps: int, prediction: str = "sum") -> torch.Tensor:
    """(B,) class from the readouts of the steps after burn-in; the lowest index wins a tie.

    Args:
        readout_TBC: of all steps.
        burnin_steps: steps that do not count.
        prediction: `sum`: largest sum over steps; `mode`: the authors': most frequent largest readout of a step.
    """
    counted_TBC = readout_TBC[burnin_steps:]
    if prediction == "sum":
        return counted_TBC.sum(0).argmax(1)
    votes_TB = counted_TBC.argmax(2)
    return torch.nn.functional.one_hot(votes_TB, readout_TBC.shape[2]).sum(0).argmax(1)
