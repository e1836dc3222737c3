"""The same work on many things in several processes, in order and a bounded number ahead.

Processes are not forked from this one, whose threads of torch and Numba may hold locks that a fork would copy locked,
but from a server that imports the modules of the work once and does nothing else (a second or two). So they pay for
thousands of recordings and not for a few. The server ends with this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection
from multiprocessing.context import BaseContext
from typing import TypeVar

from decolle_hw.errors import DataError

Errand = TypeVar("Errand")
Result = TypeVar("Result")

ERRANDS_PER_PROCESS = 4  # begun or waiting; no more, or results would pile up where they are used slowly
PRELOADED = ("decolle_hw.data.workers", "decolle_hw.data.survey")


def in_processes(
    work: Callable[[Errand], Result], errands: Iterable[Errand], processes: int
) -> Generator[Result, None, None]:
    """``work(errand)`` of each, in order.

    Args:
        work: a function of a module, which travels by its name.
        errands: travel to the processes, and results back.

    Raises what `work` raises for the first errand that fails, and `DataError` where a process dies.
    """
    executor = ProcessPoolExecutor(processes, _context(), _live_as_long_as_the_parent)
    waiting: deque[Future[Result]] = deque()
    remaining = iter(errands)

    def send(most: int) -> None:
        with _interrupts_later():
            waiting.extend(executor.submit(work, errand) for errand in islice(remaining, most))

    try:
        send(ERRANDS_PER_PROCESS * processes)
        while waiting:
            yield waiting.popleft().result()
            send(1)
    except BrokenProcessPool:
        raise DataError(
            "a process that reads recordings ended by itself, perhaps for want of memory; lower dataset.workers, or "
            "set it to 0 (in a script of your own, workers also need the usual `if __name__ == '__main__':`)"
        ) from None
    finally:
        # An interrupt or an error ends here too: what has not begun is dropped, what has is waited for.
        executor.shutdown(wait=True, cancel_futures=True)


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
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
