"""Neurons of a netx file as registers: ``lava.lib.dl.netx.hdf5.Network.get_neuron_params``, for what a chip can do."""

# N neurons

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.netx import NETX_BIAS_EXP
from decolle_hw.fixedpoint import BIAS_EXP_MAX, BIAS_MANT_MAX, BIAS_MANT_MIN, DECAY_UNITY, VTH_MAX
from decolle_hw.interchange.findings import Findings
from decolle_hw.interchange.netx_file import Entry, Value

STOCK = ("CUBA", "LOIHI")
# In netx a threshold from here on is above every voltage; the register ends one before it.
NEVER = VTH_MAX + 1
LARGEST_THRESHOLD = (1 << 24) - 1  # shifted by 6 it still fits Lava's 32 bits
OTHER_NEURONS = {
    "SDNN": "sigma-delta neurons with graded spikes",
    "RF": "resonate-and-fire neurons",
    "RF_PHASE": "resonate-and-fire neurons",
    "ADRF": "adaptive resonate-and-fire neurons",
    "ALIF": "adaptive neurons",
}


@dataclass(frozen=True)
class Neurons:
    """Registers of stock LIF neurons.

    Attributes:
        never: their threshold in netx is above every voltage, so they must not spike at VTH_MAX either.
        summed: netx adds up in u and copies it to v; here u forgets at once and v adds up, which is the same v.
    """

    du: int
    dv: int
    vth: int
    never: bool = False
    summed: bool = False


# What netx makes of a dense layer without neurons (`create_dense`): u adds up, v is u, and its threshold of 1 << 18 - 1
# is one above the highest voltage.
WITHOUT_NEURONS = Neurons(du=DECAY_UNITY - 1, dv=0, vth=VTH_MAX, never=True, summed=True)


def read_neurons(entry: Entry, findings: Findings) -> Neurons | None:
    """Registers of the neurons of a layer that has any; None where a finding says why not."""
    values, where = entry.neuron, entry.where
    assert values is not None
    kind = values.get("type")
    if not isinstance(kind, str):
        findings.problem(where, "neuron/type is missing; export the network again")
        return None
    if kind not in STOCK:
        what = f", {OTHER_NEURONS[kind]}," if kind in OTHER_NEURONS else ""
        findings.problem(where, f"neuron type {kind!r}{what} is not supported; known: {', '.join(STOCK)}")
        return None
    for name, what in (("gradedSpike", "graded spikes"), ("messageBits", "graded spikes")):
        if name in values and _number(values, name, where, findings):
            findings.problem(where, f"neuron/{name}: {what} are not supported; export with binary spikes")
            return None
    for name, usual in (("refDelay", 1), ("wgtExp", 0)):
        found = _number(values, name, where, findings) if name in values else usual
        if found is not None and found != usual:
            findings.inexact(where, f"neuron/{name} is {found}", f"taken as {usual}, as netx does")
    wanted = [_number(values, name, where, findings) for name in ("iDecay", "vDecay", "vThMant")]
    if wanted[0] is None or wanted[1] is None or wanted[2] is None:
        return None
    return _registers(wanted[0], wanted[1], wanted[2], where, findings)


def _registers(current: int, voltage: int, threshold: int, where: str, findings: Findings) -> Neurons | None:
    wrong = [
        f"neuron/{name} is {value}, which is not in 0..{limit}"
        for name, value, limit in (
            ("iDecay", current, DECAY_UNITY), ("vDecay", voltage, DECAY_UNITY),
            ("vThMant", threshold, LARGEST_THRESHOLD),
        )
        if not 0 <= value <= limit
    ]  # fmt: skip
    for what in wrong:
        findings.problem(where, f"{what}; export the network again")
    if wrong:
        return None
    vth, never = min(threshold, VTH_MAX), threshold >= NEVER
    if current == 0 and voltage == DECAY_UNITY:
        return Neurons(DECAY_UNITY - 1, 0, vth, never, summed=True)
    if current == 0:
        findings.inexact(where, "neuron/iDecay is 0, and currents decay by 1/4096 at least", "iDecay 1")
    if voltage == DECAY_UNITY:
        findings.inexact(where, "neuron/vDecay is 4096, and voltages keep 1/4096 at least", "vDecay 4095")
    return Neurons(max(current - 1, 0), min(voltage, DECAY_UNITY - 1), vth, never)


def _number(values: dict[str, Value], name: str, where: str, findings: Findings) -> int | None:
    """A whole number, or the one that all neurons share."""
    value = values.get(name)
    if not isinstance(value, np.ndarray) or value.size == 0:
        findings.problem(where, f"neuron/{name} is {'not a number' if name in values else 'missing'}; export again")
        return None
    first = float(np.ravel(value)[0])
    if not np.all(value == first):
        findings.problem(
            where, f"neuron/{name} differs from neuron to neuron; stock LIF has one for all: train with shared_param"
        )
        return None
    if not math.isfinite(first) or first != math.floor(first):
        findings.problem(where, f"neuron/{name} is {first:g}, not a whole number; export the network again")
        return None
    return int(first)


def whole_numbers(entry: Entry, name: str, findings: Findings) -> NDArray[np.int64] | None:
    """A dataset of whole numbers; netx cuts off what is behind the point."""
    value = entry.values.get(name)
    if not isinstance(value, np.ndarray) or value.size == 0:
        what = "is missing" if name not in entry.values else "holds no numbers"
        if name in entry.groups:
            what = "is complex or in parts, which is not supported"
        findings.problem(entry.where, f"{name} {what}; export the network again")
        return None
    if value.dtype.kind == "f":
        if not np.all(np.isfinite(value)) or float(np.abs(value).max()) >= 1 << 31:
            findings.problem(entry.where, f"{name} holds values that are not finite, or beyond 31 bits; train again")
            return None
        fractions = int(np.count_nonzero(value != np.trunc(value)))
        if fractions:
            findings.inexact(
                entry.where, f"{fractions} of {value.size} values of {name} are not whole numbers",
                "cut off behind the point, as netx does",
            )  # fmt: skip
    elif value.dtype.kind in "iu" and (value.min() <= -(1 << 31) or value.max() >= 1 << 31):
        findings.problem(entry.where, f"{name} holds values beyond 31 bits; export the network again")
        return None
    numbers: NDArray[np.int64] = value.astype(np.int64)
    return numbers


def bias_registers(bias_N: NDArray[np.int64], where: str, findings: Findings) -> tuple[NDArray[np.int32], int]:
    """(mantissas, exponent) of biases that netx gives the exponent 6; 7 where only that makes them fit 13 bits."""
    exponent = NETX_BIAS_EXP
    if (bias_N.min() < BIAS_MANT_MIN or bias_N.max() > BIAS_MANT_MAX) and not np.any(bias_N & 1):
        bias_N, exponent = bias_N >> 1, BIAS_EXP_MAX
    if bias_N.min() < BIAS_MANT_MIN or bias_N.max() > BIAS_MANT_MAX:
        findings.inexact(
            where, f"biases {bias_N.min()}..{bias_N.max()} are beyond the 13 bits of a mantissa",
            f"clipped to {BIAS_MANT_MIN}..{BIAS_MANT_MAX}",
        )  # fmt: skip
        bias_N = np.clip(bias_N, BIAS_MANT_MIN, BIAS_MANT_MAX)
    return bias_N.astype(np.int32), exponent
