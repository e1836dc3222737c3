"""From a trained float network to integers: one scale per layer, chosen so that nothing overflows.

With realised decays a = (4096 - dv)/4096 and b = (4096 - du - 1)/4096, one unit of the float potential U becomes
``s = 64 k / ((1 - a)(1 - b))`` units of the register v, where k is the weight scale (integer weight = k W): the
normalisation of the float traces, (1 - a)(1 - b), moves into the weights, and 64 is the alignment shift of synaptic
input. k is the largest that satisfies every limit at once:

* weights:   k max|W| <= 254
* v:         s max|W P| <= (2**23 - 1) / margin, measured on calibration recordings; for cuba, which resets at vth,
             only negative v count
* u:         64 k / (1 - b) max|W Q| <= (2**23 - 1) / margin, measured likewise
* r:         s rho <= 2**23 - 1, as |R| <= rho always
* vth, bias: their mantissas fit in 17 and 13 bits

Where the weights then need fewer than 8 bits, they are shifted up to fill the synapse and `weight_exp` shifts the sum
back down, which is exact. Effective weights are therefore plain integers, which is also all that netx can express.
"""

# T steps, B batch, I inputs, N neurons, C classes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from decolle_hw.compiler.netx import NETX_BIAS_EXP
from decolle_hw.compiler.program import DenseLayer, NeuronKind
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    BIAS_MANT_MAX,
    CURRENT_DECAY_OFFSET,
    MIXED_WEIGHT_MAX,
    STATE_LIMIT,
    VOLTAGE_DECAY_OFFSET,
    VTH_MAX,
    WEIGHT_EXP_MIN,
    nearest_decay,
    realised_factor,
)
from decolle_hw.nn.layer import DecolleLayer, LayerOutput
from decolle_hw.nn.network import DecolleNetwork

RANGE_MARGIN = 2.0  # head room over the largest register value seen in calibration
READOUT_MAX = 127  # signed 8 bit
ALIGN = 1 << ALIGN_SHIFT
CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class FloatRanges:
    """Largest magnitudes that one layer's float registers reached on the calibration recordings."""

    voltage: float  # |W P| (decolle), or how far v went below zero (cuba)
    current: float  # |W Q|


@torch.no_grad()
def calibrate(network: DecolleNetwork, recordings: BinnedRecordings) -> list[FloatRanges]:
    """Run the float network on recordings and measure the register ranges of each layer."""
    largest = [FloatRanges(0.0, 0.0) for _ in network.layers]
    for start in range(0, len(recordings), CALIBRATION_BATCH):
        which = np.arange(start, min(start + CALIBRATION_BATCH, len(recordings)))
        spikes_TBI = torch.from_numpy(recordings.dense(which)).float()
        outputs, _ = network(spikes_TBI, network.zero_state(len(which)))
        for index, (layer, output) in enumerate(zip(network.layers, outputs, strict=True)):
            seen = _ranges(layer, output)
            largest[index] = FloatRanges(
                max(seen.voltage, largest[index].voltage), max(seen.current, largest[index].current)
            )
    return largest


def _ranges(layer: DecolleLayer, output: LayerOutput) -> FloatRanges:
    dynamics = layer.dynamics
    voltage_TBN = torch.nn.functional.linear(output.trace_TBI, layer.weight)
    # W Q follows from W P, as P filters Q: (P[t] - alpha P[t-1]) / (1 - alpha) = Q[t-1].
    before_TBN = torch.cat([torch.zeros_like(voltage_TBN[:1]), voltage_TBN[:-1]])
    current = (voltage_TBN - dynamics.alpha * before_TBN).abs().max().item() / (1.0 - dynamics.alpha)
    if dynamics.neuron == "cuba":
        lowest = (output.potential_TBN + dynamics.vth).min().item()
        return FloatRanges(max(0.0, -lowest), current)
    return FloatRanges(voltage_TBN.abs().max().item(), current)


def quantize_layer(layer: DecolleLayer, ranges: FloatRanges, index: int) -> tuple[DenseLayer, dict[str, float]]:
    """Integers of one layer, and the figures that say how good they are.

    Raises `CompileError` if no scale satisfies all limits.
    """
    dyn = layer.dynamics
    neuron: NeuronKind = "decolle" if dyn.neuron == "decolle" else "cuba"
    du = nearest_decay(dyn.beta, CURRENT_DECAY_OFFSET)
    dv = nearest_decay(dyn.alpha, VOLTAGE_DECAY_OFFSET)
    if dv == 0:
        raise CompileError(
            f"layer {index}: alpha {dyn.alpha} is too close to 1 for a 12-bit decay, the largest is "
            f"{realised_factor(1, VOLTAGE_DECAY_OFFSET):.5f}; use a smaller alpha, or longer steps (dataset.deltat)"
        )
    beta = realised_factor(du, CURRENT_DECAY_OFFSET)
    alpha = realised_factor(dv, VOLTAGE_DECAY_OFFSET)
    weight_NI = layer.weight.detach().double().numpy()
    bias_N = layer.bias.detach().double().numpy()
    # Register units of v per unit of float potential, for a weight scale of 1.
    per_weight_unit = ALIGN / ((1.0 - alpha) * (1.0 - beta))
    limits = {
        "weight": MIXED_WEIGHT_MAX / _positive(np.abs(weight_NI).max()),
        "v": (STATE_LIMIT - 1) / RANGE_MARGIN / _positive(per_weight_unit * ranges.voltage),
        "u": (STATE_LIMIT - 1) / RANGE_MARGIN / _positive(ALIGN / (1.0 - beta) * ranges.current),
    }
    largest_bias = _positive(np.abs(bias_N).max())
    if neuron == "decolle":
        limits["r"] = (STATE_LIMIT - 1) / _positive(per_weight_unit * dyn.wrp)
        limits["vth"] = VTH_MAX * ALIGN / _positive(per_weight_unit * largest_bias)
    else:
        limits["vth"] = VTH_MAX * ALIGN / (per_weight_unit * dyn.vth)
        limits["bias"] = (BIAS_MANT_MAX << NETX_BIAS_EXP) / _positive(per_weight_unit * (1.0 - alpha) * largest_bias)
    binding = min(limits, key=lambda name: limits[name])
    scale = limits[binding]
    effective_NI, stored_NI, weight_exp = _integer_weights(weight_NI, scale)
    if not np.any(stored_NI) and np.any(weight_NI):
        raise CompileError(
            f"layer {index}: {binding} leaves a weight scale of {scale:.3g}, all weights round to zero; "
            "use shorter time constants (smaller alpha, beta) or smaller weights"
        )
    per_unit = per_weight_unit * scale
    units = len(bias_N)
    zeros_N = np.zeros(units, np.int32)
    if neuron == "decolle":
        dr = nearest_decay(dyn.alpharp, VOLTAGE_DECAY_OFFSET)
        if dr == 0 and dyn.wrp > 0:
            raise CompileError(
                f"layer {index}: alpharp {dyn.alpharp} is too close to 1 for a 12-bit decay, the largest is "
                f"{realised_factor(1, VOLTAGE_DECAY_OFFSET):.5f}; use a smaller alpharp"
            )
        gamma = realised_factor(dr, VOLTAGE_DECAY_OFFSET)
        rho = min(round(per_unit * (1.0 - gamma) * dyn.wrp), STATE_LIMIT - 1)
        vth_N = np.clip(np.rint(-per_unit * bias_N / ALIGN), -VTH_MAX, VTH_MAX).astype(np.int32)
        bias_mant_N, bias_exp = zeros_N, 0
    else:
        dr, gamma, rho = 0, dyn.alpharp, 0
        vth_N = np.full(units, min(round(per_unit * dyn.vth / ALIGN), VTH_MAX), np.int32)
        bias_mant_N = np.rint(per_unit * (1.0 - alpha) * bias_N / (1 << NETX_BIAS_EXP)).astype(np.int32)
        bias_exp = NETX_BIAS_EXP
    readout_CN, readout_bias_C = _integer_readout(layer)
    integers = DenseLayer(
        neuron=neuron, weight=stored_NI, weight_exp=weight_exp, du=du, dv=dv, vth=vth_N,
        bias_mant=bias_mant_N, bias_exp=bias_exp, dr=dr, rho=rho,
        readout_weight=readout_CN, readout_bias=readout_bias_C,
    )  # fmt: skip
    error_NI = effective_NI / scale - weight_NI
    figures = {
        "weight_scale": scale,
        "register_units_per_potential": per_unit,
        "largest_effective_weight": float(np.abs(effective_NI).max()),
        "weight_error_rms": float(np.sqrt((error_NI**2).mean() / _positive((weight_NI**2).mean()))),
        "alpha_error": alpha - dyn.alpha,
        "beta_error": beta - dyn.beta,
        "alpharp_error": gamma - dyn.alpharp,
        "v_share_of_range": per_unit * ranges.voltage / STATE_LIMIT,
        "u_share_of_range": scale * ALIGN / (1.0 - beta) * ranges.current / STATE_LIMIT,
    }
    return integers, {"limit_" + name: float(value) for name, value in limits.items()} | figures


def _integer_weights(weight_NI: NDArray[np.float64], scale: float) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
    """(effective integer weights, stored 8-bit weights, weight_exp): ``stored = effective << -weight_exp``."""
    largest = scale * np.abs(weight_NI).max()
    shift = 0
    while largest * (1 << (shift + 1)) <= MIXED_WEIGHT_MAX and shift < -WEIGHT_EXP_MIN:
        shift += 1
    # Unshifted weights must be even (sign mode MIXED); from one bit of shift on, every integer will do.
    step = 2 if shift == 0 else 1
    effective = (step * np.rint(weight_NI * scale / step)).astype(np.int64)
    effective = np.clip(effective, -(MIXED_WEIGHT_MAX >> shift), MIXED_WEIGHT_MAX >> shift)
    return effective, (effective << shift).astype(np.int32), -shift


def _integer_readout(layer: DecolleLayer) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Signed 8-bit readout; its bias on the same scale (it is added once per step, so it may be larger)."""
    weight_CN = layer.readout_weight.detach().double().numpy()
    bias_C = layer.readout_bias.detach().double().numpy()
    scale = READOUT_MAX / _positive(np.abs(weight_CN).max())
    return np.rint(weight_CN * scale).astype(np.int32), np.rint(bias_C * scale).astype(np.int32)


def _positive(value: float) -> float:
    """A divisor: zero (nothing seen, nothing to fit) becomes so small that its limit never binds."""
    return max(float(value), 1e-30)
