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
import threading
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
        self._pool = self._helpers = None
        if device.type == "cpu":
            self._pool = _single_threaded_workers(self.count)
            self._helpers = _single_threaded_workers(self.count - 1) if self.count > 1 else None

    def split(self, size: int) -> list[slice]:
        """Slices of a batch, almost equal in size; at least one."""
        parts = max(1, min(self.count, size // SMALLEST_SHARD))
        bounds = [size * part // parts for part in range(parts + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

    def map(self, function: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
        """Results in the order of the arguments; raises what a call raises."""
        if self._pool is None:
            return [function(argument) for argument in arguments]
        if getattr(_here, "is_worker", False):
            return self.share(function, arguments)
        return list(self._pool.map(function, arguments))

    def share(self, function: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
        """As `map`, from within a worker: it does the first itself, and helpers of its own the others."""
        first, *others = arguments
        if self._helpers is None or not others:
            return [function(argument) for argument in (first, *others)]
        pending = [self._helpers.submit(function, argument) for argument in others]
        return [function(first), *(result.result() for result in pending)]


_starting = threading.Lock()
_here = threading.local()


def _single_threaded_workers(count: int) -> ThreadPoolExecutor:
    """Workers in which torch uses one thread; elsewhere it uses as many as before.

    `torch.set_num_threads` sets the calling thread, and what threads start with that meet torch later. Without the
    second call below these would have 1 thread, and a learner made in one of them other numbers.
    """
    ready = threading.Barrier(count + 1)

    def use_one_thread() -> None:
        _here.is_worker = True
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread takes the common setting at its first use of torch: now, not later

    with _starting:
        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(count, "decolle", use_one_thread)
        for _ in range(count):  # a worker starts with a task for which none is free
            pool.submit(ready.wait)
        ready.wait()
        torch.set_num_threads(before)
    return pool
