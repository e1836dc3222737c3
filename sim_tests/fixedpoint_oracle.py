"""The chip's arithmetic a second time, in unbounded Python integers: what tests hold `decolle_hw.fixedpoint` against.

Written from Lava's models and not from our own: nothing is imported from the package, widths are spelled out, and one
value goes through at a time. A register is what `signed` leaves of a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

STATE_LIMIT = 2**23
REGISTERS = range(4096)  # what fits 12 bits


def signed(value: int, bits: int) -> int:
    """What the lowest `bits` bits of a number stand for in two's complement."""
    kept = value & (2**bits - 1)
    return kept - 2**bits if kept & 2 ** (bits - 1) else kept


def to_int32(value: int) -> int:
    return signed(value, 32)


def wrap24(value: int) -> int:
    return signed(value, 24)


def decay(state: int, parts: int) -> int:
    """parts/4096 of the magnitude are lost, and the fraction that remains of it."""
    kept = abs(state) * (4096 - parts) // 4096
    return kept if state >= 0 else -kept


def wrap_current(value: int) -> int:
    """One turn of 2**24 for what is beyond 24 bits, where +2**23 still belongs to them and -2**23 does not."""
    if value > STATE_LIMIT:
        return value - 2 * STATE_LIMIT
    if value <= -STATE_LIMIT:
        return value + 2 * STATE_LIMIT
    return value


def saturate(value: int) -> int:
    return max(1 - STATE_LIMIT, min(STATE_LIMIT - 1, value))


def shift_sum(total: int, weight_exp: int) -> int:
    """Python divides towards minus infinity, as a shift to the right does."""
    return to_int32(total * 2**weight_exp if weight_exp > 0 else total // 2**-weight_exp)


def align(value: int) -> int:
    return to_int32(value * 64)


def nearest_decays(factor: float, offset: int) -> list[int]:
    """All 12-bit registers whose factor (4096 - register - offset) / 4096 comes nearest, found by trying each.

    In exact fractions: the distances are multiplied by 4096 times the factor's own denominator.
    """
    numerator, denominator = factor.as_integer_ratio()
    distances = [abs((4096 - register - offset) * denominator - 4096 * numerator) for register in REGISTERS]
    nearest = min(distances)
    return [register for register in REGISTERS if distances[register] == nearest]


class State(NamedTuple):
    """Of one neuron between two steps."""

    u: int = 0
    v: int = 0
    r: int = 0
    spike: int = 0


@dataclass(frozen=True)
class Registers:
    """Of one neuron and the synapses that feed it."""

    weight_exp: int
    du: int
    dv: int
    vth: int
    bias: int = 0  # mantissa and exponent put together; cuba only
    dr: int = 0  # decolle only
    rho: int = 0  # decolle only


def cuba_step(state: State, total: int, registers: Registers) -> State:
    """Stock LIF with reset; `total` is the sum of the weights whose inputs spiked."""
    u, v = _integrate(state, total, registers)
    spike = int(v > align(registers.vth))
    return State(u, 0 if spike else v, 0, spike)


def decolle_step(state: State, total: int, registers: Registers) -> State:
    """The paper's neuron: no reset, but a refractory register that is compared together with v."""
    u, v = _integrate(state, total, registers)
    r = saturate(decay(state.r, registers.dr) - registers.rho * state.spike)
    return State(u, v, r, int(v + r > align(registers.vth)))


def _integrate(state: State, total: int, registers: Registers) -> tuple[int, int]:
    synaptic = align(shift_sum(total, registers.weight_exp))
    u = wrap_current(to_int32(decay(state.u, registers.du + 1) + synaptic))
    v = saturate(to_int32(decay(state.v, registers.dv) + u + registers.bias))
    return u, v
