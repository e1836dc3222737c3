"""Integer primitives of Loihi neurons and synapses: the smallest steps that every integer path is built from.

All widths are those of Lava 0.10.0's fixed-point models:

=================  ==========================================  =====================================
constant           value                                       read from
=================  ==========================================  =====================================
DECAY_BITS         12: decays are parts of 4096                lava.proc.lif.models (decay_shift)
STATE_BITS         24: u, v (and our r)                        lava.proc.lif.models (uv_bitwidth)
ALIGN_SHIFT        6: synaptic input and vth shift left        lava.proc.lif.models (act_shift, vth_shift)
VTH_BITS           17                                          lava.proc.lif.models (vth precision)
BIAS_MANT_*        13 bit signed                               lava.proc.lif.models (bias_mant precision)
weight_limits      2..8 bit by sign mode                       lava.utils.weightutils (clip_, truncate_weights)
WEIGHT_EXP_*       4 bit signed                                nengo-loihi (Synapse.weight_exponent)
DELAY_MAX          6 bit                                       lava.proc.dense.models (PyDelayDenseModelBitAcc)
SUM_BITS           24: the sum of a convolution                lava.proc.conv.models (clamp_precision)
=================  ==========================================  =====================================

Each primitive is written once, as a scalar function that Numba turns into a NumPy ufunc: it works element by
element on arrays of any shape, and inside the compiled kernels of `decolle_hw.sim`, always in 64 bits. Where Lava
overflows a 32-bit register, so do we (`to_int32`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Numba carries no annotations, and what it makes of a scalar function (a ufunc) no type checker can follow.
_vectorize: Callable[..., Any] = numba.vectorize

DECAY_BITS = 12
DECAY_UNITY = 1 << DECAY_BITS
STATE_BITS = 24
STATE_LIMIT = 1 << (STATE_BITS - 1)
ALIGN_SHIFT = 6
VTH_BITS = 17
VTH_MAX = (1 << VTH_BITS) - 1
BIAS_MANT_MIN, BIAS_MANT_MAX = -(1 << 12), (1 << 12) - 1
BIAS_EXP_MAX = 7
WEIGHT_BITS = 8  # of a synapse; mixed signs take one of them
WEIGHT_EXP_MIN, WEIGHT_EXP_MAX = -8, 7
DELAY_MAX = 63
SUM_BITS = 24
SUM_LIMIT = 1 << (SUM_BITS - 1)

CURRENT_DECAY_OFFSET = 1  # lava.proc.lif.models: ds_offset; du = 4095 is full decay
VOLTAGE_DECAY_OFFSET = 0  # lava.proc.lif.models: dm_offset


@_vectorize(cache=True)
def to_int32(value: Any) -> Any:
    """What survives a 32-bit signed register (two's complement)."""
    return np.int64(np.int32(np.int64(value)))


@_vectorize(cache=True)
def decay(state: Any, decay_parts: Any) -> Any:
    """``sign(x) * ((|x| * (4096 - d)) >> 12)``: decay by d/4096, rounded towards zero.

    Args: state x, 32 bit at most; decay_parts d in 0..4096, the *effective* decay (du + 1 for currents, dv for
    voltages). Source: ``lava.proc.lif.models.AbstractPyLifModelFixed.subthr_dynamics``.
    """
    wide = np.int64(state)
    kept = (abs(wide) * (DECAY_UNITY - np.int64(decay_parts))) >> DECAY_BITS
    return kept if wide >= 0 else -kept


@_vectorize(cache=True)
def wrap_current(value: Any) -> Any:
    """u beyond 24 bits turns over once: above 2**23 minus 2**24, at or below -2**23 plus 2**24.

    +2**23 itself is a legal u in Lava and -2**23 is not; a value further out than one turn stays out of range.
    Source: ``lava.proc.lif.models.AbstractPyLifModelFixed.subthr_dynamics`` (wrapped_curr).
    """
    wide = np.int64(value)
    if wide > STATE_LIMIT:
        return wide - 2 * STATE_LIMIT
    if wide <= -STATE_LIMIT:
        return wide + 2 * STATE_LIMIT
    return wide


@_vectorize(cache=True)
def saturate(value: Any) -> Any:
    """v (and r) clip at +-(2**23 - 1). Source: ``lava.proc.lif.models`` (pos_voltage_limit)."""
    wide = np.int64(value)
    return min(max(wide, np.int64(-STATE_LIMIT + 1)), np.int64(STATE_LIMIT - 1))


@_vectorize(cache=True)
def shift_sum(accumulated: Any, weight_exp: Any) -> Any:
    """``weight_exp`` shifts the dendritic sum, not each weight: left where positive, else right (floor).

    The result leaves the synapse through a 32-bit port. Source: ``lava.proc.dense.models``.
    """
    wide, exponent = np.int64(accumulated), np.int64(weight_exp)
    shifted = wide << exponent if exponent > 0 else wide >> -exponent
    return np.int64(np.int32(shifted))


@_vectorize(cache=True)
def wrap24(value: Any) -> Any:
    """``(x + 2**23) mod 2**24 - 2**23``: the sum of a convolution turns over within 24 bits, as often as need be.

    Source: ``lava.proc.conv.utils.signed_clamp``.
    """
    return ((np.int64(value) + SUM_LIMIT) & (2 * SUM_LIMIT - 1)) - SUM_LIMIT


@_vectorize(cache=True)
def align(value: Any) -> Any:
    """Shift left by 6 within 32 bits, as synaptic input and vth are. Source: ``lava.proc.lif.models``."""
    return np.int64(np.int32(np.int64(value) << ALIGN_SHIFT))


def weight_limits(bits: int, sign_mode: str) -> tuple[int, int, int]:
    """(lowest, highest, step) of the weights that a synapse of so many bits stores.

    A stored weight always fills the synapse: fewer bits are cut off at the lower end. Mixed signs take one bit:
    -256..254 in steps of 2 at 8 bits, else 0..255 or -255..0 in steps of 1.
    Source: ``lava.utils.weightutils.{clip,truncate}_weights``.
    """
    step = 1 << (WEIGHT_BITS - bits + (sign_mode == "mixed"))
    full = 1 << WEIGHT_BITS
    low = {"mixed": -full, "excitatory": 0, "inhibitory": step - full}[sign_mode]
    high = {"mixed": full - step, "excitatory": full - step, "inhibitory": 0}[sign_mode]
    return low, high, step


def nearest_decay(factor: float, offset: int) -> int:
    """The 12-bit register that comes nearest to ``state *= factor`` per step.

    The factor realised is ``(4096 - register - offset) / 4096``.
    """
    register = DECAY_UNITY - round(DECAY_UNITY * factor) - offset  # 1 - factor would be rounded before
    return int(min(max(register, 0), DECAY_UNITY - 1))


def realised_factor(register: int, offset: int) -> float:
    """The decay factor per step that a register stands for."""
    return (DECAY_UNITY - register - offset) / DECAY_UNITY
