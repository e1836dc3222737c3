"""NIR's neurons, which are differential equations, as the steps that a chip takes.

NIR gives time constants in seconds and leaves the step to whoever runs the graph. Here it is `dt`, and a step is one
of forward Euler, as snnTorch, Norse and SpikingJelly take it::

    IF        v += dt r I
    LIF       v += dt/tau ((v_leak - v) + r I)
    CubaLIF   u += dt/tau_syn (w_in I - u);   v += dt/tau_mem ((v_leak - v) + r u)      (u first, then v with the new u)

so that ``current_keep = 1 - dt/tau_syn`` and ``voltage_keep = 1 - dt/tau_mem`` are what remains of u and v, the factors
before I are one gain per neuron, which goes into the weights, and v_leak is a constant drive, which goes into the bias.
A spike is ``v > v_threshold``; then v becomes v_reset. NIR has no other reset: a tool that subtracts the threshold
writes the same node (snnTorch does), and nothing in the file tells.

Which dt a graph was made with stands in its metadata ('dt') or nowhere. snnTorch and SpikingJelly write graphs for
1e-4, Norse for 1e-3 unless told otherwise. sinabs counts time in steps, so its graphs need a dt of 1; its own LIF
decays by exp(-1/tau) and takes no dt/tau of its input, where forward Euler makes 1 - 1/tau and does.
"""

# N neurons

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from decolle_hw.fixedpoint import DECAY_UNITY
from decolle_hw.interchange.findings import Findings
from decolle_hw.interchange.float_synapse import Floats, Shape

SAME = 1e-6  # relative: numbers that differ by less were equal before float32 rounded them
# Time constants of so many steps and more are meant as "never": 12 bits end at 8192, recordings long before.
ENDLESS_STEPS = 1 << 20
FIELDS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
}


@dataclass(frozen=True)
class Neurons:
    """``u = current_keep u + gain I;   v = voltage_keep v + u + drive;   spike where v > vth, then v = 0``

    gain, drive, vth: (N,).
    """

    current_keep: float
    voltage_keep: float
    gain: Floats
    drive: Floats
    vth: Floats


def discretise(node: Any, where: str, shape: Shape, dt: float, findings: Findings) -> Neurons | None:
    """The steps of a node of type LIF, CubaLIF or IF whose neurons stand in `shape`; None where something is wrong.

    Thresholds differ no more within a layer when they are returned: each neuron's potential is counted in units of its
    own threshold over the largest one, which changes no spike.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is named when it has met its weights
        return _discretise(node, where, shape, dt, findings)


def _discretise(node: Any, where: str, shape: Shape, dt: float, findings: Findings) -> Neurons | None:
    before = len(findings.problems)
    kind = type(node).__name__
    values = {name: _spread(getattr(node, name), f"{where}: {name}", shape, findings) for name in FIELDS[kind]}
    if len(findings.problems) > before:
        return None
    r_N, vth_N = values["r"], values["v_threshold"]
    zeros_N = np.zeros_like(r_N)
    leak_N, current_keep = values.get("v_leak", zeros_N), 0.0
    if kind == "IF":
        voltage_keep, rate_N, gain_N = 1.0, zeros_N, dt * r_N
        if np.all(r_N == 1.0) and dt != 1.0:
            findings.note(where, f"IF with r = 1 integrates dt = {dt:g} of its input per step; if the graph counts "
                                 "time in steps, as sinabs and Norse write it, give a dt of 1")  # fmt: skip
    else:
        tau = "tau" if kind == "LIF" else "tau_mem"
        voltage_keep, rate_N = _decay(values[tau], tau, where, dt, findings)
        gain_N = rate_N * r_N
        if kind == "CubaLIF":
            current_keep, current_rate_N = _decay(values["tau_syn"], "tau_syn", where, dt, findings)
            gain_N = gain_N * current_rate_N * values["w_in"]
    if np.any(values["v_reset"]):
        findings.inexact(
            where, f"v_reset is {_range(values['v_reset'])}, and the chip resets to zero",
            "potentials are counted from v_reset, where the network then starts, too",
        )  # fmt: skip
        leak_N, vth_N = leak_N - values["v_reset"], vth_N - values["v_reset"]
    if vth_N.min() < 0 or (vth_N.min() == 0 < vth_N.max()):
        findings.problem(where, f"v_threshold is {_range(vth_N)} above the reset; the chip has one of at least zero")
    if len(findings.problems) > before:
        return None
    # Tools that mean "as it is" write r = tau/dt.
    gain_N = np.where(np.abs(gain_N - 1.0) <= SAME, 1.0, gain_N)
    return _of_one_threshold(Neurons(current_keep, voltage_keep, gain_N, rate_N * leak_N, vth_N))


def _of_one_threshold(neurons: Neurons) -> Neurons:
    largest = neurons.vth.max()
    if _all_same(neurons.vth):
        return neurons
    share_N = largest / neurons.vth
    return Neurons(
        neurons.current_keep, neurons.voltage_keep, neurons.gain * share_N, neurons.drive * share_N,
        np.full_like(neurons.vth, largest),
    )  # fmt: skip


def _decay(tau_N: Floats, name: str, where: str, dt: float, findings: Findings) -> tuple[float, Floats]:
    """What remains after a step, one number for the layer, and (N,) dt/tau."""
    rate_N = dt / np.where(tau_N > 0, tau_N, dt)
    if tau_N.min() <= 0:
        findings.problem(where, f"{name} is {_range(tau_N)}, must be positive")
    elif rate_N.max() > 1 + SAME:
        findings.problem(where, f"{name} is {_range(tau_N)} s, shorter than a step of dt = {dt:g} s; give a smaller dt")
    rate_N = _settled(np.minimum(rate_N, 1.0))
    rate = float(rate_N[0]) if _all_same(rate_N) else float(rate_N.mean())
    if not _all_same(rate_N):
        findings.inexact(
            where, f"{name} differs within the layer ({_range(tau_N)} s), and a layer on chip has one decay",
            f"all keep {1 - rate:.6g} per step, the mean",
        )  # fmt: skip
    if 1 / ENDLESS_STEPS < rate < 0.5 / DECAY_UNITY:
        findings.inexact(
            where,
            f"{name} is {_range(tau_N)} s, {1 / rate:.3g} steps of dt = {dt:g} s, and decays on chip end at "
            f"{2 * DECAY_UNITY} steps; is dt right?",
            "no decay at all",
        )
    return 1.0 - rate, rate_N


def _settled(rate_N: Floats) -> Floats:
    """Rates that were those of a chip, before a quotient rounded them, are so again."""
    parts_N = rate_N * DECAY_UNITY
    whole_N = np.rint(parts_N)
    return np.where(np.abs(parts_N - whole_N) <= SAME * whole_N, whole_N / DECAY_UNITY, rate_N)


def _spread(values: Any, where: str, shape: Shape, findings: Findings) -> Floats:
    """(N,) of a parameter that is one number, one per channel (c, 1, 1), or one per neuron."""
    array = np.asarray(values, np.float64)
    size = math.prod(shape)
    if array.size == 1:
        return np.full(size, array.item())
    if array.shape == shape or (len(shape) == 3 and array.shape == (shape[0], 1, 1)):
        return np.broadcast_to(array, shape).reshape(-1).copy()
    findings.problem(where, f"is of shape {array.shape}, the neurons are of shape {shape}")
    return np.zeros(size)


def _all_same(values_N: Floats) -> bool:
    return bool(np.ptp(values_N) <= SAME * np.abs(values_N).max())


def _range(values_N: Floats) -> str:
    low, high = values_N.min(), values_N.max()
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"
