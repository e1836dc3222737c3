"""Plain integer weights of a netx file as a synapse stores them, and what of them it cannot hold."""

# N neurons, I inputs

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.netx import as_netx_runs_it
from decolle_hw.fixedpoint import WEIGHT_EXP_MAX, WEIGHT_EXP_MIN, weight_limits
from decolle_hw.interchange.findings import Findings
from decolle_hw.weightgrid import BITS_MAX, BITS_MIN, SIGN_MODES, SignMode

Ints = NDArray[np.int64]
NETX_LOW, NETX_HIGH = -256, 254  # lava.lib.dl.netx.utils.optimize_weight_bits clips mixed weights to these
EXCITATORY_HIGH = 255


def dense_fields(weight_NI: Ints, where: str, findings: Findings) -> dict[str, Any] | None:
    """Fields weight, weight_exp, weight_bits, sign_mode of a dense layer: what netx on Lava makes of the integers.

    None where netx itself cannot load them, or would run others; it is among the findings then.
    """
    weight_NI = _clipped(weight_NI, where, findings)
    lowest, highest = int(weight_NI.min()), int(weight_NI.max())
    if not lowest and not highest:
        findings.problem(where, "all weights are zero, which netx cannot load; remove the layer")
        return None
    if highest > EXCITATORY_HIGH or lowest < NETX_LOW:
        findings.problem(
            where, f"weights are {lowest}..{highest}, of one sign and beyond {NETX_LOW}..{EXCITATORY_HIGH}, which netx "
            "cannot load; export with weights of 8 bits",
        )  # fmt: skip
        return None
    stored, exponent = as_netx_runs_it(weight_NI.astype(np.int32))
    filled = weight_NI << -exponent
    if lowest < 0 < highest and np.any(filled & 1):
        even = weight_NI >> 1 << 1
        findings.inexact(
            where, f"{_count(weight_NI & 1)} weights are odd while others are beyond -128..127; a synapse of mixed "
            "signs holds even ones there", "rounded down to even ones",
        )  # fmt: skip
        return dense_fields(even, where, findings) if findings.approximate else None
    changed = stored != filled
    if np.any(changed):
        neuron, source = (int(i) for i in np.argwhere(changed)[0])
        findings.problem(
            where, f"weight {weight_NI[neuron, source]} of neuron {neuron}, input {source} becomes "
            f"{stored[neuron, source] / 2.0**-exponent:g} in netx, as no weight of the layer is positive; "
            "export with other weights",
        )  # fmt: skip
        return None
    return _on_grid(stored.astype(np.int64), exponent)


def conv_fields(weight: Ints, where: str, findings: Findings) -> dict[str, Any] | None:
    """The same of a convolution. Lava's `Conv` takes any integer as it is; a synapse holds 8 bits of them."""
    for shift in range(-WEIGHT_EXP_MIN, -WEIGHT_EXP_MAX - 1, -1):
        if shift < 0 and np.any(weight & ((1 << -shift) - 1)):
            continue
        filled = weight << shift if shift >= 0 else weight >> -shift
        found = _on_grid(filled, -shift)
        if found is not None:
            return found
    lowest, highest = int(weight.min()), int(weight.max())
    what = f"weights {lowest}..{highest} need more than the 8 bits that a synapse has; netx does not check"
    for shift in range(-WEIGHT_EXP_MIN, -WEIGHT_EXP_MAX - 1, -1):
        low, high, step = weight_limits(BITS_MAX, "mixed")
        unit = step / 2.0**shift
        if low <= lowest * 2.0**shift and highest * 2.0**shift <= high:
            nearest = np.clip(np.rint(weight / unit) * step, low, high).astype(np.int64)
            findings.inexact(where, what, f"rounded to multiples of {unit:g}")
            return _on_grid(nearest, -shift) if findings.approximate else None
    findings.problem(where, f"{what}, and no exponent makes them fit; export with smaller weights")
    return None


def _clipped(weight_NI: Ints, where: str, findings: Findings) -> Ints:
    """As netx clips weights of both signs; it prints a line about it."""
    lowest, highest = int(weight_NI.min()), int(weight_NI.max())
    if not ((highest > NETX_HIGH and lowest < 0) or (lowest < NETX_LOW and highest > 0)):
        return weight_NI
    clipped: Ints = np.clip(weight_NI, NETX_LOW, NETX_HIGH)
    findings.inexact(
        where, f"{_count(clipped != weight_NI)} weights are beyond {NETX_LOW}..{NETX_HIGH} ({lowest}..{highest})",
        "clipped, as netx does",
    )  # fmt: skip
    return clipped


def _on_grid(stored: Ints, exponent: int) -> dict[str, Any] | None:
    """With the fewest bits that hold them; Lava's sign mode is that of the values."""
    lowest, highest = int(stored.min()), int(stored.max())
    inferred: SignMode = "excitatory" if lowest >= 0 else "inhibitory" if highest <= 0 else "mixed"
    for sign_mode in (inferred, *(mode for mode in SIGN_MODES if mode != inferred)):
        for bits in range(BITS_MIN, BITS_MAX + 1):
            low, high, step = weight_limits(bits, sign_mode)
            if low <= lowest and highest <= high and not np.any(stored % step):
                weight = stored.astype(np.int32)
                return {"weight": weight, "weight_exp": exponent, "weight_bits": bits, "sign_mode": sign_mode}
    return None


def _count(which: NDArray[Any]) -> str:
    return f"{int(np.count_nonzero(which))} of {which.size}"
