"""The integer reference simulator: the definition of the chip's arithmetic, for whole batches."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import DenseLayer, Program, first_step
from decolle_hw.sim.kernels import cuba_layer, decolle_layer
from decolle_hw.sim.trace import LayerTrace, Trace


def run_reference(program: Program, spikes_RTI: NDArray[np.uint8], *, record: bool = False) -> Trace:
    """Run recordings through a compiled network, each from the reset state.

    Args:
        program: the compiled network.
        spikes_RTI: binary input, (R, T, I).
        record: keep u, v (and r) of every neuron at every step as well as the spikes.

    Raises: ValueError if the input is not binary or does not fit the network.
    Memory: R*T*N bytes per layer, 9 or 13 times that with `record`.
    """
    program.check_input(spikes_RTI)
    layers = []
    for index, layer in enumerate(program.layers):
        trace = run_layer(layer, spikes_RTI, first=first_step(layer, index), record=record)
        layers.append(trace)
        spikes_RTI = trace.spikes
    return Trace(tuple(layers))


def run_layer(layer: DenseLayer, spikes_RTI: NDArray[np.uint8], *, first: int, record: bool) -> LayerTrace:
    """One layer, zero until step `first`. See `run_reference`."""
    shape = (*spikes_RTI.shape[:2], layer.num_neurons)
    names = ("u", "v", "r") if layer.neuron == "decolle" else ("u", "v")
    spikes = np.zeros(shape, np.uint8)
    registers = {name: np.zeros(shape if record else (0, 0, 0), np.int32) for name in names}
    weight_IN = np.ascontiguousarray(layer.weight.T, dtype=np.int16)
    words_RTI = _whole_words(spikes_RTI)
    if layer.neuron == "decolle":
        decolle_layer(
            words_RTI, weight_IN, layer.weight_exp, layer.du, layer.dv, layer.vth, layer.bias, layer.dr, layer.rho,
            record, spikes, registers["u"], registers["v"], registers["r"],
        )  # fmt: skip
    else:
        cuba_layer(
            words_RTI, weight_IN, layer.weight_exp, layer.du, layer.dv, layer.vth, layer.bias,
            first, record, spikes, registers["u"], registers["v"],
        )  # fmt: skip
    return LayerTrace(spikes, registers if record else {})


def _whole_words(spikes_RTI: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Contiguous, with silent inputs added up to a multiple of 8: the kernels look at 64 bits at once."""
    missing = -spikes_RTI.shape[2] % 8
    padded = np.pad(spikes_RTI, ((0, 0), (0, 0), (0, missing))) if missing else spikes_RTI
    return np.ascontiguousarray(padded, dtype=np.uint8)
