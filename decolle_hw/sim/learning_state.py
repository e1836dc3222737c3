"""All that a network which learns remembers between two recordings, and its file.

The state of random generators is not among it: their numbers are functions of the seeds and of how many recordings
there were (see `decolle_hw.sim.learning_randoms`).
"""

# B runs, I inputs, N neurons, C classes

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from decolle_hw.atomic import new_file
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.plasticity import EPOCH_MAX, LEARNED_WEIGHT_MAX, LEARNED_WEIGHT_MIN, TRACE_MAX
from decolle_hw.errors import ArtifactError, UsageError
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.sim.frozen import lead_in
from decolle_hw.sim.learning_kernels import LayerState
from decolle_hw.sim.learning_randoms import ROUNDINGS, SEED_MAX, Rounding

FORMAT = "decolle-hw learning state 1"
Arrays = TypeVar("Arrays", bound=tuple[Any, ...])
MOST_PRESENTED = 1 << 40  # recordings: their steps still fit 64 bits, whatever the length
REGISTER = (-STATE_LIMIT, STATE_LIMIT - 1)
LIMITS = {  # of what a file holds
    "weight": (LEARNED_WEIGHT_MIN, LEARNED_WEIGHT_MAX), "u": REGISTER, "v": REGISTER, "r": REGISTER, "z": REGISTER,
    "spikes": (0, 1), "tail": (0, 1), "x": (0, TRACE_MAX), "y": (0, TRACE_MAX),
    "tx": (0, EPOCH_MAX), "ty": (0, EPOCH_MAX),
}  # fmt: skip


@dataclass(frozen=True)
class LearningState:
    """Of B independent runs of one network."""

    digest: str  # of the network, `LearningProgram.digest`
    rounding: Rounding
    seeds: NDArray[np.int64]  # (B,)
    presented: int  # recordings so far, of each run
    tail: NDArray[np.uint8]  # (B, steps, I) spikes of the frozen layers that are still to come: see `frozen`
    layers: tuple[LayerState, ...]  # from the first plastic one on

    @property
    def runs(self) -> int:
        return len(self.seeds)

    def weights(self, learning: LearningProgram, layer: int) -> NDArray[np.int32]:
        """(B, N, I) of a plastic layer, as they are now."""
        weight_BNI: NDArray[np.int32] = self.layers[layer - learning.first].weight.transpose(0, 2, 1).astype(np.int32)
        return weight_BNI

    def copy(self) -> LearningState:
        return replace(self, tail=self.tail.copy(), layers=tuple(map(copied, self.layers)))

    def take(self, runs: Sequence[int]) -> LearningState:
        """Some of the runs, in this order; one may come more than once."""
        chosen = list(runs)
        layers = tuple(LayerState(*(array[chosen] for array in layer)) for layer in self.layers)
        return replace(self, seeds=self.seeds[chosen], tail=self.tail[chosen], layers=layers)


def copied(arrays: Arrays) -> Arrays:
    """A NamedTuple of arrays with arrays of its own."""
    return type(arrays)(*(array.copy() for array in arrays))


def start_state(
    learning: LearningProgram, seeds: Sequence[int] | NDArray[np.int64] = (1,), rounding: Rounding = "lava"
) -> LearningState:
    """One run per seed, all with the weights of the program.

    Raises `UsageError` for a seed or a rounding that there is not.
    """
    seeds_B = np.asarray(seeds, np.int64)
    if seeds_B.ndim != 1 or seeds_B.size == 0 or seeds_B.min() < 0 or seeds_B.max() > SEED_MAX:
        raise UsageError(f"seeds {list(seeds)}: expected one or more of 0..{SEED_MAX}")
    if rounding not in ROUNDINGS:
        raise UsageError(f"rounding {rounding!r}: expected one of {', '.join(ROUNDINGS)}")
    runs, layers = len(seeds_B), []
    for index in range(learning.first, len(learning.program.layers)):
        layer = learning.program.layers[index]
        inputs, neurons = layer.num_inputs, layer.num_neurons
        classes = len(learning.program.classes)
        layers.append(
            LayerState(
                weight=np.repeat(np.ascontiguousarray(layer.weight.T, np.int16)[None], runs, 0),
                sum=np.zeros((runs, neurons), np.int32),
                u=np.zeros((runs, neurons), np.int32),
                v=np.zeros((runs, neurons), np.int32),
                r=np.zeros((runs, neurons), np.int32),
                spikes=np.zeros((runs, neurons), np.uint8),
                x=np.zeros((runs, 2, inputs), np.int16),
                tx=np.zeros((runs, inputs), np.uint8),
                y=np.zeros((runs, 2, neurons), np.int16),
                ty=np.zeros((runs, neurons), np.uint8),
                readout=np.zeros((runs, classes), np.int32),
                z=np.zeros((runs, classes), np.int32),
                feedback=np.zeros((runs, neurons), np.int32),
            )
        )
    tail = np.repeat(lead_in(learning.program, learning.first)[None], runs, 0)
    return LearningState(learning.digest(), rounding, seeds_B, 0, tail, tuple(layers))


def save_state(path: Path, state: LearningState) -> None:
    """Write it to a file, which appears complete or not at all."""
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "digest": np.array(state.digest),
        "rounding": np.array(state.rounding),
        "seeds": state.seeds,
        "presented": np.array(state.presented),
        "tail": state.tail,
    }
    for index, layer in enumerate(state.layers):
        arrays |= {f"layer{index}.{name}": array for name, array in layer._asdict().items()}
    with new_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_state(path: Path, learning: LearningProgram) -> LearningState:
    """Read a file that `save_state` has written.

    Raises `ArtifactError` if it cannot be read, is something else, or belongs to another network.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("holds a single array")
        with file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ArtifactError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ArtifactError(f"{path}: cannot be read as a learning state: {error}") from None
    if str(arrays.get("format")) != FORMAT:
        raise ArtifactError(f"{path}: is no {FORMAT!r}, found {str(arrays.get('format'))!r}")
    if str(arrays.get("digest")) != learning.digest():
        raise ArtifactError(
            f"{path}: is the state of another network, or of this one with other rules; "
            f"{learning.program.name} has {learning.digest()[:12]}, the file {str(arrays.get('digest'))[:12]}"
        )
    try:
        if arrays["seeds"].dtype.kind not in "iu" or arrays["presented"].dtype.kind not in "iu":
            raise ValueError("seeds and presented are no whole numbers")
        presented = int(arrays["presented"])
        if not 0 <= presented <= MOST_PRESENTED:
            raise ValueError(f"presented is {presented}, expected 0..{MOST_PRESENTED}")
        fresh = start_state(learning, arrays["seeds"], str(arrays["rounding"]))  # type: ignore[arg-type]
        layers = tuple(
            LayerState(*(_same(arrays[f"layer{index}.{name}"], like, name) for name, like in layer._asdict().items()))
            for index, layer in enumerate(fresh.layers)
        )
        return replace(fresh, presented=presented, tail=_same(arrays["tail"], fresh.tail, "tail"), layers=layers)
    except (KeyError, ValueError, TypeError, UsageError) as error:
        raise ArtifactError(f"{path}: is damaged: {error}") from None


def _same(found: NDArray[Any], like: NDArray[Any], name: str) -> NDArray[Any]:
    if found.shape != like.shape or found.dtype != like.dtype:
        raise ValueError(f"{name} is {found.dtype} {found.shape}, expected {like.dtype} {like.shape}")
    low, high = LIMITS.get(name, (np.iinfo(like.dtype).min, np.iinfo(like.dtype).max))
    if found.size and not low <= found.min() <= found.max() <= high:
        raise ValueError(f"{name} has values {found.min()}..{found.max()}, expected {low}..{high}")
    return found
