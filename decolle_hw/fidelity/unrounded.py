"""A compiled network in real numbers: what its integers stand for, with registers of any width and no rounding.

The equations are those of `decolle_hw.compiler.layers`, with the decays that the registers realise,

    a = (4096 - dv)/4096,  b = (4096 - du - 1)/4096,  g = (4096 - dr)/4096,  x[t] = 64 * 2**weight_exp * sum[t]:

    cuba:     u[t] = b u[t-1] + x[t];  v[t] = a v[t-1] + u[t] + bias;  S[t] = v[t] > 64 vth;  v[t] = 0 where S[t]
    decolle:  u, v as above without bias;  r[t] = g r[t-1] - rho S[t-1];  S[t] = v[t] + r[t] > 64 vth

It stands between the float network and the integer reference: from the one it differs by the rounding of parameters
only, from the other by the rounding, wrapping and saturation of registers only. Spikes do not depend on the unit that
a potential is measured in, so the weight scale of each layer need not be known.
"""

# R recordings, T steps, I inputs, N neurons; c, h, w channels, height, width

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    CURRENT_DECAY_OFFSET,
    STATE_LIMIT,
    VOLTAGE_DECAY_OFFSET,
    realised_factor,
)
from decolle_hw.sim.reference import run_input_block
from decolle_hw.sim.trace import LayerTrace, Trace

EXACT_IN_FLOAT32 = 1 << 24  # whole numbers below add up without rounding
ALIGN = float(1 << ALIGN_SHIFT)


class Unrounded(NamedTuple):
    """Spikes of a run in real numbers, and the largest |u|, |v| (and |r|) of each layer, in units of the registers."""

    trace: Trace
    peaks: tuple[dict[str, float], ...]


def run_unrounded(program: Program, recordings: NDArray[Any]) -> Unrounded:
    """Run recordings through what the integers stand for, each from the reset state.

    Args: recordings: as `run_reference` takes them; what an input block makes of images is in integers here too.

    Raises: ValueError if the input is not binary or does not fit the network.
    """
    program.check_input(recordings)
    spikes_RTI = recordings
    if program.input_block is not None:
        spikes_RTI = run_input_block(program.input_block, recordings, program.steps).spikes
    layers: list[LayerTrace] = []
    peaks: list[dict[str, float]] = []
    for index, layer in enumerate(program.layers):
        if layer.is_pooling:
            assert isinstance(layer, ConvLayer)
            spikes_RTI = _pooled(layer, spikes_RTI)
            peaks.append({})
            layers.append(LayerTrace(spikes_RTI, {}))
        else:
            spikes_RTI, v_RN, peak = _neurons(layer, _sums(layer, spikes_RTI), program.first_step(index))
            peaks.append(peak)
            # Of the last step alone, which is all that a decision by voltage reads.
            layers.append(LayerTrace(spikes_RTI, {"v": np.rint(v_RN).astype(np.int32)[:, None]}))
    return Unrounded(Trace(tuple(layers)), tuple(peaks))


def _neurons(
    layer: Layer, sum_RTN: NDArray[np.floating], first: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], dict[str, float]]:
    """(R, T, N) spikes, (R, N) potentials after the last step, and the largest magnitudes."""
    recordings, steps, neurons = sum_RTN.shape
    a, b = realised_factor(layer.dv, VOLTAGE_DECAY_OFFSET), realised_factor(layer.du, CURRENT_DECAY_OFFSET)
    g = realised_factor(layer.dr, VOLTAGE_DECAY_OFFSET)
    unit = ALIGN * 2.0**layer.weight_exp
    threshold_N, bias_N = ALIGN * layer.vth, layer.bias.astype(np.float64)
    is_decolle = layer.neuron == "decolle"
    u_RN, v_RN, r_RN = (np.zeros((recordings, neurons)) for _ in range(3))
    out = np.zeros((recordings, steps, neurons), np.uint8)
    peaks = dict.fromkeys("uvr" if is_decolle else "uv", 0.0)
    for t in range(first, steps):
        u_RN = b * u_RN + unit * sum_RTN[:, t]
        v_RN = a * v_RN + u_RN
        if is_decolle:
            r_RN = g * r_RN - (layer.rho * out[:, t - 1].astype(np.float64) if t > 0 else 0.0)
            fired_RN = v_RN + r_RN > threshold_N
        else:
            v_RN += bias_N
            fired_RN = v_RN > threshold_N
        out[:, t] = fired_RN
        for name, values in (("u", u_RN), ("v", v_RN), ("r", r_RN)):
            if name in peaks and values.size:
                highest = float(values.max())
                if name == "v" and not is_decolle:
                    highest = min(highest, STATE_LIMIT - 1.0)  # fires and is reset, however much is clipped off
                peaks[name] = max(peaks[name], highest, -float(values.min()))
        if not is_decolle:
            v_RN[fired_RN] = 0.0
    return out, v_RN, peaks


def _sums(layer: Layer, spikes_RTI: NDArray[np.uint8]) -> NDArray[np.floating]:
    """(R, T, N) what arrives at each step, before `weight_exp`: exact, as all of it are whole numbers."""
    largest = int(np.abs(layer.weight).max()) * int(np.prod(layer.weight.shape[1:]))
    dtype = torch.float32 if largest < EXACT_IN_FLOAT32 else torch.float64
    weight = torch.from_numpy(np.ascontiguousarray(layer.weight)).to(dtype)
    recordings, steps, _ = spikes_RTI.shape
    sent_RTI = torch.from_numpy(np.ascontiguousarray(spikes_RTI)).to(dtype)
    if isinstance(layer, ConvLayer):
        maps = sent_RTI.reshape(recordings * steps, *layer.input_shape)
        sums = functional.conv2d(maps, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
        return _later(sums.reshape(recordings, steps, -1).numpy(), 1)
    assert isinstance(layer, DenseLayer)
    if not layer.max_delay:
        return _later(functional.linear(sent_RTI, weight).numpy(), 1)
    delay = torch.from_numpy(layer.delay)
    arriving = np.zeros((recordings, steps, layer.num_neurons))
    for steps_late in np.unique(layer.delay):
        sums_RTN = functional.linear(sent_RTI, weight * (delay == int(steps_late))).numpy()
        arriving += _later(sums_RTN, 1 + int(steps_late))
    return arriving


def _later(values_RTN: NDArray[np.floating], steps: int) -> NDArray[np.floating]:
    moved = np.zeros_like(values_RTN)
    moved[:, steps:] = values_RTN[:, : max(0, values_RTN.shape[1] - steps)]
    return moved


def _pooled(layer: ConvLayer, spikes_RTI: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The OR over each window, of the same step."""
    (channels, height, width), size = layer.map_shape, layer.kernel_size
    maps = spikes_RTI.reshape(*spikes_RTI.shape[:2], *layer.input_shape)
    covered = maps[..., : height * size, : width * size]
    windows = covered.reshape(*covered.shape[:2], channels, height, size, width, size)
    pooled: NDArray[np.uint8] = windows.max((4, 6)).reshape(*spikes_RTI.shape[:2], -1)
    return pooled
