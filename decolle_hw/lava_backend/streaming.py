"""A compiled network in the Lava CPU simulator that is fed a few steps at a time and goes on for ever.

The processes are those of `decolle_hw.lava_backend.runner`. Lava makes so many steps and pauses; meanwhile the next
input is written, and what was written is read. Both lie in files that are used round and round, so their size does not
grow with the length of the stream.

Lava executes this file a second time under its bare name when it looks for process models: keep it free of effects.
"""

# K steps, I inputs, N neurons

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from numpy.typing import NDArray

from decolle_hw.compiler.program import Program
from decolle_hw.lava_backend.processes import RecordedSpikes
from decolle_hw.lava_backend.runner import connect_program, simulator, temporary_folder
from decolle_hw.lava_backend.supervision import SupervisedRuntime, supervised
from decolle_hw.lava_backend.tape import Tape
from decolle_hw.sim.trace import is_recorded, register_names

ROWS = 256  # of a tape; Lava is never asked for more steps at once
ENDLESS = 1 << 40  # steps until the next reset of a network that is reset only once


class Round:
    """An array in which row t stands at ``t mod rows``."""

    def __init__(self, rows_TN: np.ndarray) -> None:
        self.rows_TN = rows_TN

    def __getitem__(self, step: int) -> np.ndarray:
        return self.rows_TN[step % len(self.rows_TN)]

    def __setitem__(self, step: int, row_N: np.ndarray) -> None:
        self.rows_TN[step % len(self.rows_TN)] = row_N

    def places(self, first: int, count: int) -> NDArray[np.int64]:
        """Where so many consecutive rows stand."""
        return np.arange(first, first + count) % len(self.rows_TN)


class RoundTape(Tape):
    """A `Tape` of which only the last rows are kept; its writers and readers count steps as on any other."""

    def open(self, quantity: str, mode: str = "r") -> Any:
        return Round(super().open(quantity, mode))


class LavaStream:
    """A network in Lava between two steps; made by `open_stream`."""

    def __init__(self, runtime: SupervisedRuntime, source: RoundTape, tapes: list[RoundTape]) -> None:
        self._runtime, self._source = runtime, source.open("spikes", "r+")
        self._layers = [{name: tape.open(name) for name in ("spikes", *tape.registers)} for tape in tapes]
        self._step = 0  # of the whole run

    def run(self, spikes_KI: NDArray[np.uint8]) -> list[dict[str, np.ndarray]]:
        """The next K steps on chip, at most `ROWS`: of each layer (K, N) spikes, and the registers that decide.

        Raises `DecolleHwError` where a Lava process fails or dies.
        """
        steps = len(spikes_KI)
        assert 0 < steps <= ROWS
        self._source.rows_TN[self._source.places(self._step, steps)] = spikes_KI
        self._runtime.start(RunSteps(num_steps=steps))
        found = [
            {name: rows.rows_TN[rows.places(self._step, steps)] for name, rows in layer.items()}
            for layer in self._layers
        ]
        self._step += steps
        return found


@contextlib.contextmanager
def open_stream(program: Program, recording: int | None) -> Iterator[LavaStream]:
    """Start Lava; its processes end with the block.

    Args:
        recording: steps after which all layers are reset, followed by `program.delays[-1]` silent ones on chip; None:
            they leave their reset state at the beginning and never again.
    """
    assert program.input_block is None, "an image is no stream"
    slot = ENDLESS if recording is None else program.slot_steps(recording)
    logging.getLogger("lava").setLevel(logging.ERROR)
    with temporary_folder() as folder:
        source_tape = RoundTape(*Tape.create(folder, "input", ROWS, program.num_inputs, ()))
        tapes = []
        for index, layer in enumerate(program.layers):
            names = register_names(layer) if is_recorded(program, index, False) else ()
            tapes.append(RoundTape(*Tape.create(folder, f"layer{index}", ROWS, layer.num_neurons, names)))
        source = RecordedSpikes(tape=source_tape, width=program.num_inputs)
        source.name = "the input"
        connect_program(program, source, tapes, slot)
        with supervised(source, simulator()) as runtime:
            yield LavaStream(runtime, source_tape, tapes)
