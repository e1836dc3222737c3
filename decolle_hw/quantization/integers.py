"""One float layer on a chosen grid, in integers: a layer of the program, and its pooling stage if it has one."""

# N neurons of the map, I inputs, M neurons after pooling, C classes

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import READOUT_MAX, ConvLayer, DenseLayer, Layer, NeuronKind, pooling_stage
from decolle_hw.compiler.netx import NETX_BIAS_EXP, as_netx_runs_it
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import BIAS_MANT_MAX, BIAS_MANT_MIN, STATE_LIMIT, VTH_MAX
from decolle_hw.nn.layer import DecolleLayer
from decolle_hw.quantization.calibration import FloatRanges
from decolle_hw.quantization.scale import (
    ALIGN,
    Decays,
    Grid,
    GridSpace,
    realise,
    register_limits,
    sign_mode_of,
    weight_error,
)
from decolle_hw.weightgrid import SignMode


@dataclass(frozen=True)
class LayerPlan:
    """All that is known of a layer before its grid is chosen."""

    layer: DecolleLayer
    weight: NDArray[np.float32]  # (N, I) or (channels, input channels / groups, k, k)
    bias: NDArray[np.float64]  # per unit or channel
    decays: Decays
    limits: dict[str, float]  # the largest weight scale that each register allows
    space: GridSpace

    @property
    def index(self) -> int:
        return self.layer.index

    @property
    def neuron(self) -> NeuronKind:
        return cast(NeuronKind, self.layer.dynamics.neuron)

    @property
    def binding(self) -> str:
        """The register that limits the scale most."""
        return min(self.limits, key=lambda name: self.limits[name])


def plan_layer(layer: DecolleLayer, ranges: FloatRanges, bits: int, sign_mode: SignMode | None = None) -> LayerPlan:
    """Decays and limits of a layer whose weights shall have `bits` bits.

    Args:
        ranges: of its float registers.
        sign_mode: default: that of its weights.

    Raises `CompileError` where a time constant or all weights are beyond the registers.
    """
    dynamics = layer.dynamics
    weight = layer.weight.detach().float().numpy()
    bias = layer.bias.detach().double().numpy()
    decays = realise(dynamics, layer.index)
    limits = register_limits(dynamics, decays, ranges, float(np.abs(bias).max()))
    cuttable = dynamics.neuron == "decolle" and layer.shape.kind == "dense"
    space = GridSpace(bits, sign_mode or sign_mode_of(weight), min(limits.values()), cuttable)
    plan = LayerPlan(layer, weight, bias, decays, limits, space)
    # The finest grid there is: where that rounds all to zero, every other one does.
    if np.any(weight) and np.abs(weight).max() * space.limit <= space.smallest_unit / 2:
        raise CompileError(
            f"layer {layer.index}: {plan.binding} leaves a weight scale of {space.limit:.3g}, all weights round to "
            f"zero: {_too_large(plan)}, or shorter time constants (smaller alpha, beta)"
        )
    return plan


def _too_large(plan: LayerPlan) -> str:
    """What the binding register has no room for beside the weights, and what would help."""
    dynamics, fan_in = plan.layer.dynamics, plan.layer.shape.fan_in
    if plan.binding in ("u", "v"):  # go with the weights: smaller ones change nothing
        return f"at a fan-in of {fan_in} it does not fit 24 bits; use fewer inputs"
    name, value = "the largest bias", float(np.abs(plan.bias).max())
    if plan.binding == "r":
        name, value = "wrp", dynamics.wrp
    elif plan.binding == "vth" and dynamics.neuron == "cuba":
        name, value = "vth", dynamics.vth
    remedy = "smaller biases" if name == "the largest bias" else f"a smaller {name}"
    largest = float(np.abs(plan.weight).max())
    return f"{name} {value:.3g} fills its register beside weights of at most {largest:.3g}; use {remedy}"


def build(plan: LayerPlan, grid: Grid) -> tuple[Layer, ...]:
    """The layer in integers, and its pooling stage where it has one."""
    layer, decays, shape = plan.layer, plan.decays, plan.layer.shape
    stored, weight_exp, bits = grid.stored(grid.integers(plan.weight))
    pooled = shape.pool_size > 1
    readout_weight, readout_bias, _ = integer_readout(layer)
    nothing = np.zeros((0, shape.neurons), np.int32), np.zeros(0, np.int32)
    neurons: dict[str, Any] = {
        "neuron": plan.neuron, "weight": stored, "weight_exp": weight_exp,
        "weight_bits": bits, "sign_mode": grid.sign_mode, "du": decays.du, "dv": decays.dv,
        "readout_weight": nothing[0] if pooled else readout_weight,
        "readout_bias": nothing[1] if pooled else readout_bias,
    } | _thresholds(plan, grid)  # fmt: skip
    if shape.kind == "dense":
        return (DenseLayer(**neurons),)
    convolution = ConvLayer(
        **neurons, input_shape=cast(tuple[int, int, int], shape.input_shape), stride=shape.stride,
        padding=shape.padding, dilation=shape.dilation, groups=shape.groups,
    )  # fmt: skip
    if not pooled:
        return (convolution,)
    return convolution, pooling_stage(convolution.map_shape, shape.pool_size, readout_weight, readout_bias)


def _thresholds(plan: LayerPlan, grid: Grid) -> dict[str, Any]:
    """vth, bias and refractory registers on the scale of a grid."""
    dynamics, decays, shape = plan.layer.dynamics, plan.decays, plan.layer.shape
    per_unit = decays.per_weight_unit * grid.scale
    bias_N = plan.bias.repeat(shape.neurons // len(plan.bias))
    zeros_N = np.zeros(shape.neurons, np.int32)
    if plan.neuron == "decolle":
        cut_off = grid.give_back * (1.0 - grid.unit) / 2 if grid.is_lossy else 0.0
        vth_N = -per_unit * bias_N / ALIGN - cut_off * decays.per_weight_unit / ALIGN
        rho = min(round(per_unit * (1.0 - decays.gamma) * dynamics.wrp), STATE_LIMIT - 1)
        return {
            "vth": np.clip(np.rint(vth_N), -VTH_MAX, VTH_MAX).astype(np.int32),
            "bias_mant": zeros_N, "bias_exp": 0, "dr": decays.dr, "rho": rho,
        }  # fmt: skip
    vth = min(round(per_unit * dynamics.vth / ALIGN), VTH_MAX)
    mantissa_N = np.rint(per_unit * (1.0 - decays.alpha) * bias_N / (1 << NETX_BIAS_EXP))
    return {
        "vth": np.full(shape.neurons, vth, np.int32),
        "bias_mant": np.clip(mantissa_N, BIAS_MANT_MIN, BIAS_MANT_MAX).astype(np.int32),
        "bias_exp": NETX_BIAS_EXP, "dr": 0, "rho": 0,
    }  # fmt: skip


def integer_readout(layer: DecolleLayer) -> tuple[NDArray[np.int32], NDArray[np.int32], float]:
    """Signed 8-bit readout; its bias on the same scale (it is added once per step, so it may be larger); rms error."""
    weight_CM = layer.readout_weight.detach().double().numpy()
    bias_C = layer.readout_bias.detach().double().numpy()
    scale = READOUT_MAX / max(float(np.abs(weight_CM).max()), 1e-30)
    q_CM = np.rint(weight_CM * scale)
    error = np.sqrt(((q_CM / scale - weight_CM) ** 2).mean() / max(float((weight_CM**2).mean()), 1e-30))
    return q_CM.astype(np.int32), np.rint(bias_C * scale).astype(np.int32), float(error)


def runs_in_netx(plan: LayerPlan, grid: Grid) -> bool:
    """Whether netx would run a stock layer with the weights it has; microcode neurons it does not know."""
    if plan.neuron != "cuba":
        return True
    effective = grid.integers(plan.weight) * int(grid.unit)
    if not np.any(effective):
        return True  # refused where the artifact is written, whatever the grid
    stored, exponent = as_netx_runs_it(effective)
    return bool(np.array_equal(stored, effective << -exponent))


def figures(plan: LayerPlan, grid: Grid) -> dict[str, Any]:
    """How good the integers are: scales and errors."""
    dynamics, decays = plan.layer.dynamics, plan.decays
    q = grid.integers(plan.weight)
    return {
        "weight_scale": grid.scale,
        "register_units_per_potential": decays.per_weight_unit * grid.scale,
        "weight_step": grid.step,
        "largest_effective_weight": float(grid.unit * np.abs(q).max()),
        "weight_error_rms": weight_error(grid, plan.weight),
        "alpha_error": decays.alpha - dynamics.alpha,
        "beta_error": decays.beta - dynamics.beta,
        "alpharp_error": decays.gamma - dynamics.alpharp,
        "readout_error_rms": integer_readout(plan.layer)[2],
        "limit": plan.binding,
    } | {f"limit_{name}": float(value) for name, value in plan.limits.items()}  # fmt: skip
