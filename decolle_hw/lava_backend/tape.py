"""A tape: what a Lava process did at each step, written to a memory-mapped file.

Reading a Lava Var back sends it element by element through a pipe (70 s for 1.5 million values), and probing it at
each step halves the speed of a run. A file that both sides map costs neither.
"""

# T steps of the whole run, N neurons

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Tape(NamedTuple):  # not a dataclass: Lava executes this file under a bare name, which dataclasses cannot bear
    """Files of one process: `spikes` (T, N) uint8 and one (T, N) int32 file per register."""

    folder: str
    name: str
    registers: tuple[str, ...]
    width: int  # N

    @staticmethod
    def create(folder: Path, name: str, steps: int, width: int, registers: tuple[str, ...]) -> Tape:
        """Reserve the files (sparse until written)."""
        tape = Tape(str(folder), name, registers, width)
        for quantity in ("spikes", *registers):
            dtype = np.uint8 if quantity == "spikes" else np.int32
            np.lib.format.open_memmap(tape.path(quantity), mode="w+", dtype=dtype, shape=(steps, width))
        return tape

    def path(self, quantity: str) -> Path:
        return Path(self.folder) / f"{self.name}.{quantity}.npy"

    def open(self, quantity: str, mode: str = "r") -> np.ndarray:
        """The (T, N) array behind one quantity."""
        return np.lib.format.open_memmap(self.path(quantity), mode=mode)


class TapeWriter:
    """Writes one row per time step; lives in the process that does the stepping."""

    def __init__(self, tape: Tape) -> None:
        self._files = {quantity: tape.open(quantity, "r+") for quantity in ("spikes", *tape.registers)}

    def write(self, time_step: int, values: dict[str, np.ndarray]) -> None:
        """Record one step; Lava counts time steps from 1."""
        for quantity, rows in self._files.items():
            rows[time_step - 1] = values[quantity].reshape(-1)
