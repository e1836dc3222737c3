"""What the registers of a compiled network are asked to hold on recordings, clipped and turned-over values included."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.ranges import RegisterRange, proven_ranges
from decolle_hw.data import BinnedRecordings
from decolle_hw.fixedpoint import STATE_LIMIT, VOLTAGE_DECAY_OFFSET, decay
from decolle_hw.quantization.search import pieces
from decolle_hw.sim.reference import run_layer
from decolle_hw.sim.trace import LayerTrace

# A register of 32 bits and what is worked out from it in 64, for a few arrays at a time.
BYTES_PER_ENTRY = 64
RECORDINGS_AT_A_TIME = 32


@np.errstate(all="raise")
def measured_ranges(program: Program, recordings: BinnedRecordings) -> tuple[
    tuple[tuple[RegisterRange, ...], ...], tuple[int, ...]
]:  # fmt: skip
    """(proven and measured ranges of each layer, spikes of each layer), on all recordings."""
    ranges = [
        proven_ranges(layer, first=program.first_step(index), steps=max(program.steps, recordings.window))
        for index, layer in enumerate(program.layers)
    ]
    spikes = [0] * len(ranges)
    for at in range(0, len(recordings), RECORDINGS_AT_A_TIME):
        which = np.arange(at, min(at + RECORDINGS_AT_A_TIME, len(recordings)))
        frames_RTI = np.ascontiguousarray(recordings.dense(which).transpose(1, 0, 2))
        for start, stop in pieces(program.layers, len(which), recordings.window, BYTES_PER_ENTRY):
            part_RTI = frames_RTI[start:stop]
            for index, layer in enumerate(program.layers):
                first = program.first_step(index)
                trace = run_layer(layer, part_RTI, first=first, record=True)
                asked = asked_of(layer, trace, first)
                ranges[index] = tuple(_widened(register, *asked[register.name]) for register in ranges[index])
                part_RTI = trace.spikes
                spikes[index] += int(np.count_nonzero(part_RTI))
    return tuple(ranges), tuple(spikes)


def asked_of(layer: Layer, trace: LayerTrace, first: int) -> dict[str, tuple[int, int]]:
    """Smallest and largest value that each register was asked to hold in a recorded trace.

    What was clipped follows exactly from the registers of the step before. A u that turned over shows as a jump of
    2**23 or more against what had been left of it, which a sum within 2**23 cannot make.
    """
    asked: dict[str, tuple[int, int]] = {}
    registers = {name: values[:, first:] for name, values in trace.registers.items()}
    u, v = registers["u"], registers["v"]
    kept_u = decay(_before(u), layer.du + 1)
    jump = u - kept_u
    turned = np.where(jump >= STATE_LIMIT, -2 * STATE_LIMIT, np.where(jump <= -STATE_LIMIT, 2 * STATE_LIMIT, 0))
    asked["u"] = _extremes(u + turned)
    bias_N = layer.bias
    v_asked = decay(_before(v), layer.dv + VOLTAGE_DECAY_OFFSET) + u + bias_N
    if layer.neuron == "cuba":  # a clipped top fires and is reset, whatever it was
        v_asked = np.minimum(v_asked, STATE_LIMIT - 1)
    else:
        spiked = _before(trace.spikes[:, first:])
        asked["r"] = _extremes(decay(_before(registers["r"]), layer.dr) - layer.rho * spiked.astype(np.int64))
    asked["v"] = _extremes(v_asked)
    return asked


def _before(values: NDArray[Any]) -> NDArray[Any]:
    """(R, T, N) of the step before; zero before the first."""
    shifted = np.zeros_like(values)
    shifted[:, 1:] = values[:, :-1]
    return shifted


def _extremes(values: NDArray[np.int64]) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if values.size else (0, 0)


def _widened(register: RegisterRange, low: int, high: int) -> RegisterRange:
    return replace(
        register,
        measured_low=min(register.measured_low, low),
        measured_high=max(register.measured_high, high),
    )
