"""Split a batch over the cores: each takes some recordings through all layers on its own.

Recordings only meet in the sum of their gradients. So one fork and one join per chunk of steps are enough, where
torch forks and joins in each of some hundred operations. That also keeps training fast on a busy machine: torch's
threads wait for each other by spinning, and where several programs did that on two cores an epoch of the digits
took 50 s in place of 2 s.

The split depends on the number of threads only, and sums are taken in order: on one machine a run repeats itself
bit for bit.
"""

# B batch

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Argument = TypeVar("Argument")
Result = TypeVar("Result")

SMALLEST_SHARD = 8  # recordings; below that a matrix product is not worth a thread


class Shards:
    """Worker threads for one device: as many as torch uses on a CPU, none where the device is not a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.count = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool = None
        if device.type == "cpu":
            # Torch's thread count is a setting of each thread: 1 in the workers, untouched elsewhere.
            self._pool = ThreadPoolExecutor(self.count, "decolle", torch.set_num_threads, (1,))

    def split(self, size: int) -> list[slice]:
        """Slices of a batch, almost equal in size; at least one."""
        parts = max(1, min(self.count, size // SMALLEST_SHARD))
        bounds = [size * part // parts for part in range(parts + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

    def map(self, function: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
        """Results in the order of the arguments; raises what a call raises."""
        if self._pool is None:
            return [function(argument) for argument in arguments]
        return list(self._pool.map(function, arguments))
