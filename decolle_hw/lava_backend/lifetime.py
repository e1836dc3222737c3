"""How long processes live: signals that wait until a run is cleaned up, and children that end with their parent.

Lava executes this file a second time under its bare name when it looks for process models: keep it free of effects.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache

STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what a system sends that wants a program to end
PR_SET_PDEATHSIG = 1  # linux/prctl.h

_forking = threading.local()  # parent: id of this process while the thread is in `forks_end_with_this_process`


class WorkerError(Exception):
    """Cause of an error that came from another process, so that where a traceback is shown, the worker's is too."""


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block, where their handlers then see the first that came.

    The blocked signals are for the workers forked in the block, which inherit them. They do not protect this process:
    a thread of a numerical library may take a signal. Hence the handlers; where Python lets us set none, outside the
    main thread, no KeyboardInterrupt is raised either.
    """
    came: list[int] = []
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in STOPPING}
        handlers = {number: handler for number, handler in found.items() if handler is not None}
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: came.append(number))
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)  # one that was held back now comes to our handler
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """On Linux, have the kernel send this signal to this process as soon as its parent ends, were it by SIGKILL.

    Elsewhere nothing happens. `parent` is its process id, in case it has ended already. Strictly, what counts is the
    end of the parent's thread that started this process.
    """
    if not sys.platform.startswith("linux"):
        return
    _libc().prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


@contextlib.contextmanager
def forks_end_with_this_process() -> Iterator[None]:
    """On Linux, what this thread forks in the block is killed by the kernel when this process ends, however it does."""
    _notice_forks()
    _forking.parent = os.getpid()
    try:
        yield
    finally:
        _forking.parent = None


@lru_cache(maxsize=1)
def _notice_forks() -> None:
    _libc()  # loaded here, as little as possible happens between a fork and its work
    os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    parent = getattr(_forking, "parent", None)
    if parent is not None:
        _forking.parent = None  # what this child forks is its own business
        end_with_parent(parent, signal.SIGKILL)


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
