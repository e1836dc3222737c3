"""Reading and binning of many recordings, in this process or in several.

Processes are not forked from this one, whose threads of torch and Numba may hold locks that a fork would copy locked,
but from a server that imports this module once and does nothing else (several seconds, for tonic imports torch). So
workers pay for thousands of recordings and not for a few. The server ends with this process.
"""

# R recordings

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from multiprocessing import connection
from multiprocessing.context import BaseContext

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.binning import Progress, entries_of
from decolle_hw.data.source import Source
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec

LARGEST_PIECE = 64  # recordings per errand: short enough that an interrupt is obeyed within a second
ERRANDS_PER_PROCESS = 4  # begun or waiting; no more, or recordings would pile up where they are used slowly


def read_entries(
    source: Source, spec: DatasetSpec, steps: int | None, progress: Progress | None = None
) -> list[NDArray[np.int32]]:
    """Active entries of each recording, in the order of the source, read by ``spec.workers`` processes.

    Args:
        steps: of each recording; None: all that it has.
        progress: called with (recordings done, R) after each.

    Raises the `DataError` of the first recording that cannot be used, and `DataError` where a process dies.
    """
    return list(stream_entries(source, spec, steps, progress))


def stream_entries(
    source: Source, spec: DatasetSpec, steps: int | None, progress: Progress | None = None
) -> Generator[NDArray[np.int32], None, None]:
    """The same one by one, read as they are asked for; with processes a bounded number of recordings ahead."""
    total = len(source.labels)
    pieces = _in_processes(source, spec, steps) if spec.workers else _read(source, spec, steps)
    with closing(pieces):
        for done, piece in enumerate(pieces, 1):
            yield piece
            if progress is not None:
                progress(done, total)


def _read(source: Source, spec: DatasetSpec, steps: int | None) -> Generator[NDArray[np.int32], None, None]:
    for place, events in zip(source.places, source.read(spec), strict=True):
        yield entries_of(events, spec, steps, place)


def _in_processes(source: Source, spec: DatasetSpec, steps: int | None) -> Generator[NDArray[np.int32], None, None]:
    count = len(source.labels)
    size = max(1, min(LARGEST_PIECE, count // (4 * spec.workers)))
    firsts = iter(range(0, count, size))
    if not count:
        return
    processes = min(spec.workers, -(-count // size))
    executor = ProcessPoolExecutor(processes, _context(), _live_as_long_as_the_parent)
    errands: deque[Future[list[NDArray[np.int32]]]] = deque()

    def send(most: int) -> None:
        with _interrupts_later():
            for first in islice(firsts, most):
                piece = source.take(np.arange(first, min(first + size, count)))
                errands.append(executor.submit(_read_piece, piece, spec, steps))

    try:
        send(ERRANDS_PER_PROCESS * processes)
        while errands:
            yield from errands.popleft().result()
            send(1)
    except BrokenProcessPool:
        raise DataError(
            f"dataset.workers {spec.workers}: a process that reads recordings ended by itself, perhaps for want of "
            f"memory; lower it, or set it to 0 (in a script of your own, workers also need the usual "
            f"`if __name__ == '__main__':`)"
        ) from None
    finally:
        # An interrupt or an error ends here too: what has not begun is dropped, what has is waited for.
        executor.shutdown(wait=True, cancel_futures=True)


def _read_piece(piece: Source, spec: DatasetSpec, steps: int | None) -> list[NDArray[np.int32]]:
    return list(_read(piece, spec, steps))


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Processes that are started here are deaf to Ctrl-C from the first moment; the caller hears it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live_as_long_as_the_parent() -> None:
    """Run first in each process. Ctrl-C reaches all processes at once, but only the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for processes that were spawned"

    def end_with_it() -> None:
        # A parent that is killed cannot say goodbye, and its children would wait for errands for ever.
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
