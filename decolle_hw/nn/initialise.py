"""Initial weights: uniform, the authors', or scaled on data so that every layer starts at the edge of spiking (LSUV).

``uniform``: W uniform in +-1/sqrt(fan-in), b = 0.

``decolle`` (LIFLayer of decolle-public): W and b uniform in +-1/sqrt(fan-in), as `torch.nn` begins; then
``b *= (1-alpha)(1-beta)``, and W of a dense layer ``*= 0.05``. That of a convolution stays.

``lsuv`` (Mishkin, Matas 2016, "All you need is a good init", with the bias as decolle-public adapted it): W
orthogonal, b = 0; then, layer after layer, until mean m and variance v of U at the last step of some recordings are
near those asked for: ``W *= sqrt(variance / v)``, ``b -= 0.15 (m - mean)``.

All numbers are drawn on the CPU from the generator given, layer after layer, so that they depend on nothing else.
"""

# T steps, B batch, I inputs, M neurons after pooling

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from decolle_hw.errors import UsageError
from decolle_hw.nn.layer import DecolleLayer
from decolle_hw.nn.network import DecolleNetwork

DENSE_SCALE = 0.05  # decolle-public, LIFLayer
LSUV_ROUNDS = 50
LSUV_TOLERANCE = 0.1  # of the variance; of the standard deviation for the mean
LSUV_CLOSE_ENOUGH = 0.5  # in the same units: after all rounds, not worth an error
LSUV_BIAS_STEP = 0.15  # decolle-public, init_LSUV
LSUV_SMALLEST = 1e-2  # of the variance asked for: W grows tenfold in a round at most
STEPS_AT_ONCE = 32  # potentials and traces of so many steps are in memory at a time


class Activity(NamedTuple):
    """What a layer does on the recordings: U at the last step over recordings and neurons, and all its spikes."""

    mean: float
    variance: float
    spikes_TBM: torch.Tensor  # uint8


@torch.no_grad()
def initialise(network: DecolleNetwork, how: str, generator: torch.Generator) -> None:
    """Draw weights and biases of all layers anew; readouts and time constants stay.

    Args:
        network: changed in place. how: `uniform` or `decolle`. generator: on the CPU.
    """
    assert how in ("uniform", "decolle"), how  # lsuv needs recordings: `lsuv`
    for layer in network:
        bound = layer.shape.fan_in**-0.5
        weight = _uniform(layer.weight.shape, bound, generator)
        bias = torch.zeros(layer.bias.shape)
        if how == "decolle":
            if layer.has_bias:
                bias = _uniform(layer.bias.shape, bound, generator)
                bias *= (1.0 - layer.dynamics.alpha) * (1.0 - layer.dynamics.beta)
            if layer.shape.kind == "dense":
                weight *= DENSE_SCALE
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


@torch.no_grad()
def lsuv(
    network: DecolleNetwork, spikes_TBI: torch.Tensor, mean: float, variance: float, generator: torch.Generator
) -> None:
    """Scale orthogonal weights on recordings until U has the mean and variance asked for in every layer.

    A layer without a bias keeps the mean that it has. A round is one pass of all recordings through the layer, and
    there may be `LSUV_ROUNDS` of them: a few dozen recordings are enough.

    Args:
        network: changed in place. spikes_TBI: a batch of training recordings, 0/1 of any dtype, on the network's
        device. mean, variance: of U at the last step, over recordings and neurons. generator: on the CPU.

    Raises `UsageError` that names the layer, what it has, and a remedy, where input does not reach a layer or its
    potential does not settle.
    """
    for layer in network:
        weight = torch.empty(layer.weight.shape)
        torch.nn.init.orthogonal_(weight, generator=generator)
        layer.weight.copy_(weight)
        layer.bias.zero_()
    for index, layer in enumerate(network):
        if not spikes_TBI.any():
            steps, batch, _ = spikes_TBI.shape
            source = "the recordings hold" if index == 0 else f"layer {index - 1} sends"
            raise UsageError(
                f"network.init lsuv: layer {index} gets no input: {source} no spikes in {batch} recordings of {steps} "
                f"steps; raise lsuv_mean or lsuv_variance, or use init decolle"
            )
        spikes_TBI = _settle(layer, spikes_TBI, mean, variance)


def _settle(layer: DecolleLayer, spikes_TBI: torch.Tensor, mean: float, variance: float) -> torch.Tensor:
    """Scale one layer on the spikes of the one below; the spikes that it then sends."""
    deviation = math.sqrt(variance)

    def is_near(found: Activity, tolerance: float) -> bool:
        mean_fits = not layer.has_bias or abs(found.mean - mean) <= tolerance * deviation
        return mean_fits and abs(found.variance - variance) <= tolerance * variance

    found = _run(layer, spikes_TBI)
    rounds = 0
    while rounds < LSUV_ROUNDS and math.isfinite(found.mean + found.variance) and not is_near(found, LSUV_TOLERANCE):
        layer.weight.mul_(math.sqrt(variance / max(found.variance, LSUV_SMALLEST * variance)))
        if layer.has_bias:
            layer.bias.sub_(LSUV_BIAS_STEP * (found.mean - mean))
        found = _run(layer, spikes_TBI)
        rounds += 1
    if not is_near(found, LSUV_CLOSE_ENOUGH):
        raise UsageError(
            f"network.init lsuv: after {rounds} rounds U of layer {layer.index} has mean {found.mean:.3g} and variance "
            f"{found.variance:.3g}, not {mean:.3g} and {variance:.3g}; change lsuv_mean or lsuv_variance (the "
            f"refractory trace R alone varies by up to wrp), raise dataset.chunk_size_train, or use init decolle"
        )
    return found.spikes_TBM


def _run(layer: DecolleLayer, spikes_TBI: torch.Tensor) -> Activity:
    """All recordings through one layer, some steps at a time: of all of them only the spikes are kept."""
    state = layer.zero_state(spikes_TBI.shape[1])
    spikes = []
    for piece_TBI in spikes_TBI.split(STEPS_AT_ONCE):
        output, state = layer(piece_TBI, state)
        spikes.append(output.spikes_TBN.to(torch.uint8))
    last_BM = output.potential_TBN[-1].double()
    return Activity(float(last_BM.mean()), float(last_BM.var(correction=0)), torch.cat(spikes))


def _uniform(shape: torch.Size, bound: float, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
