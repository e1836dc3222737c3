"""What makes the steps of a stream: the integer reference, or Lava with the reference beside it.

Both give the spikes of the last layer in the float network's time (`decolle_hw.compiler.program`). In Lava they come
`program.delays[-1]` steps later, as on chip.
"""

# K steps, I inputs, N neurons

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import Program
from decolle_hw.execution import Backend, lava_runner
from decolle_hw.sim.compare import Comparison
from decolle_hw.sim.stepping import Stepper
from decolle_hw.streaming.aligned import Aligned

if TYPE_CHECKING:
    from decolle_hw.lava_backend.streaming import LavaStream


class LastLayer(NamedTuple):
    """Its next steps, as far as they are known."""

    spikes_KN: NDArray[np.uint8]
    voltage_KN: NDArray[np.int32] | None  # v, where the network decides by it


def no_steps(program: Program) -> LastLayer:
    """Of the last layer."""
    neurons = program.layers[-1].num_neurons
    by_voltage = program.prediction == "voltage"
    return LastLayer(np.zeros((0, neurons), np.uint8), np.zeros((0, neurons), np.int32) if by_voltage else None)


class Engine(Protocol):
    """A network between two steps of a stream."""

    @property
    def comparison(self) -> Comparison | None:
        """So far; None: there is nothing to compare."""

    def run(self, frames_KI: NDArray[np.uint8]) -> LastLayer:
        """The next K steps."""

    def end_recording(self) -> LastLayer:
        """Steps that were still on their way; then the network is in its reset state."""


@contextlib.contextmanager
def open_engine(program: Program, backend: Backend, recording: int | None) -> Iterator[Engine]:
    """Args: recording: steps between two resets; None: there is but the one at the beginning.

    Raises:
        UsageError: a network that takes images, or Lava is missing.
        DecolleHwError: a Lava process failed or died.
    """
    stepper = Stepper(program)
    # Loads the compiled kernels, so that the first events need not wait for that.
    stepper.step(np.zeros((1, program.num_inputs), np.uint8), stepper.reset_state())
    if backend == "reference":
        yield ReferenceEngine(stepper)
        return
    lava_runner()  # fails in one line where Lava cannot be imported
    from decolle_hw.lava_backend.streaming import open_stream

    with open_stream(program, recording) as stream:
        yield LavaEngine(stepper, stream)


class ReferenceEngine:
    """The integer reference alone."""

    comparison: Comparison | None = None

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._state = stepper.reset_state()
        self._by_voltage = stepper.program.prediction == "voltage"

    def run(self, frames_KI: NDArray[np.uint8]) -> LastLayer:
        if not self._by_voltage:
            spikes, self._state = self._stepper.step(frames_KI, self._state)
            return LastLayer(spikes[-1], None)
        spikes_KN, voltage_KN = [], []
        for frame_I in frames_KI:  # registers are those after the last step
            spikes, self._state = self._stepper.step(frame_I[None], self._state)
            spikes_KN.append(spikes[-1])
            voltage_KN.append(self._stepper.registers(self._state, len(spikes) - 1)["v"])
        return LastLayer(np.concatenate(spikes_KN), np.stack(voltage_KN))

    def end_recording(self) -> LastLayer:
        self._state = self._stepper.reset_state()
        return no_steps(self._stepper.program)


class LavaEngine:
    """Lava, and the reference that every spike is compared with."""

    def __init__(self, stepper: Stepper, stream: LavaStream) -> None:
        self._stepper, self._stream = stepper, stream
        self._state = stepper.reset_state()
        self._aligned = Aligned(stepper.program)

    @property
    def comparison(self) -> Comparison | None:
        return self._aligned.comparison

    def run(self, frames_KI: NDArray[np.uint8]) -> LastLayer:
        spikes, self._state = self._stepper.step(frames_KI, self._state)
        return LastLayer(*self._aligned.add(spikes, self._stream.run(frames_KI)))

    def end_recording(self) -> LastLayer:
        program = self._stepper.program
        rest = no_steps(program)
        if program.delays[-1]:
            silence_KI = np.zeros((program.delays[-1], program.num_inputs), np.uint8)
            nothing = [np.zeros((0, layer.num_neurons), np.uint8) for layer in program.layers]
            rest = LastLayer(*self._aligned.add(nothing, self._stream.run(silence_KI)))
        self._aligned.start_again()
        self._state = self._stepper.reset_state()
        return rest
