"""The random numbers that Lava's learning engine rounds with, as functions of a seed and the time.

A `LearningDense` holds five NumPy generators and draws from them whatever happens: twice in every step for its
traces, once in every epoch for its weights. So the number in use at any time is known from the time alone, and the
state of the generators need not be kept. Source: ``lava.magma.core.learning.random`` and
``lava.magma.core.model.py.connection`` (`_init_randoms`, `recv_traces`, `run_lrn`).

=================  =============  =================================  ==============================
what is rounded    seed           drawn                              a number for
=================  =============  =================================  ==============================
decay of x1, x2    seed           ``random()``, twice a step         all neurons, both, whole epoch
impulse of x1, x2  seed + 1       ``integers(0, 128)``, twice a      likewise
                                  step
decay of y1, y2    seed + 2       as of x                            likewise
weights            2, whatever    ``random()``, once an epoch        the whole matrix
                   was asked for
=================  =============  =================================  ==============================

One number for a whole matrix makes its rounding errors move together. On silicon each synapse has its own: that is
the rounding `per-synapse`, which is ours (a hash of seed, layer, epoch and synapse), for runs that are not to be
compared with Lava.
"""

# B runs, E epochs

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Rounding = Literal["lava", "per-synapse"]
ROUNDINGS = ("lava", "per-synapse")
LAVA_WEIGHT_SEED = 2  # lava.magma.core.learning.random.ConnVarRandom has no other
SEED_MAX = (1 << 31) - 4

Array = Any


class EpochRandoms(NamedTuple):
    """(B, E) numbers of consecutive epochs."""

    x_decay: NDArray[np.float64]  # in [0, 1)
    x_impulse: NDArray[np.int64]  # 0..127
    y_decay: NDArray[np.float64]  # in [0, 1)
    weight: NDArray[np.int64]  # 0..127: the number in [0, 1) times 128, rounded down


def epoch_randoms(seeds_B: NDArray[np.int64], first: int, count: int, epoch: int) -> EpochRandoms:
    """Numbers of the epochs first .. first + count - 1 (the first of a run is 1) of so many steps each.

    A weight is rounded up where its 7 bits of fraction exceed `weight`.
    """
    ends_E = np.arange(first, first + count) * epoch  # Lava's time steps
    doubles = [_doubles(int(seed), 2 * ends_E) for seed in seeds_B]
    weight_E = np.floor(_doubles(LAVA_WEIGHT_SEED, np.arange(first, first + count)) * 128).astype(np.int64)
    return EpochRandoms(
        x_decay=_stack(doubles, count, np.float64),
        x_impulse=_stack([_seven_bits(int(seed) + 1, ends_E) for seed in seeds_B], count, np.int64),
        y_decay=_stack([_doubles(int(seed) + 2, 2 * ends_E) for seed in seeds_B], count, np.float64),
        weight=np.broadcast_to(weight_E, (len(seeds_B), count)).copy(),
    )


@njit(cache=True)
def synapse_bits(seed: int, layer: int, epoch: int, synapse: int) -> Any:
    """0..127 for a synapse of its own: SplitMix64's mixing function of where and when it is."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(layer) * np.uint64(0xD1B54A32D192ED03)
    z += np.uint64(epoch) * np.uint64(0x8CB92BA72F3D8DD7) + np.uint64(synapse) * np.uint64(0xABC98388FB8FAC03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(57))


def _words(seed: int, indices: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The 64-bit words of these increasing indices that ``np.random.default_rng(seed)`` draws from."""
    if len(indices) == 0:
        return np.zeros(0, np.uint64)
    bits = np.random.PCG64(seed)
    bits.advance(int(indices[0]))
    words: NDArray[np.uint64] = bits.random_raw(int(indices[-1] - indices[0]) + 1)
    chosen: NDArray[np.uint64] = words[indices - indices[0]]
    return chosen


def _doubles(seed: int, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """``Generator.random()`` of these indices."""
    doubles: NDArray[np.float64] = (_words(seed, indices) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return doubles


def _seven_bits(seed: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """``Generator.integers(0, 128)`` of every second draw: it takes 32 bits at a time, the lower half first."""
    return ((_words(seed, indices) & np.uint64(0xFFFFFFFF)) >> np.uint64(25)).astype(np.int64)


def _stack(rows: list[NDArray[Any]], count: int, dtype: type) -> NDArray[Any]:
    return np.stack(rows) if rows else np.zeros((0, count), dtype)
