"""Blocks that come when they come, and word of it when none does: so that silence takes time as well."""

# E events

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

POLL_SECONDS = 0.01
BLOCKS_AHEAD = 64  # read and not taken yet; then the reader waits, and whoever writes to the pipe with it

Blocks = Callable[[BinaryIO], Iterator[np.ndarray]]


class _End:
    """Of the stream, and why."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def blocks_or_silence(
    stream: BinaryIO, blocks_of: Blocks, poll_seconds: float = POLL_SECONDS
) -> Iterator[np.ndarray | None]:
    """(E,) events each, as `blocks_of` has them; None whenever none came for `poll_seconds`.

    Raises what `blocks_of` raises.
    """
    arrived: queue.Queue[np.ndarray | _End] = queue.Queue(BLOCKS_AHEAD)
    # A daemon: it may wait for the pipe for ever, which is no reason for us to stay.
    threading.Thread(target=_read, args=(_own(stream), blocks_of, arrived), name="events", daemon=True).start()
    while True:
        try:
            found = arrived.get(timeout=poll_seconds)
        except queue.Empty:
            yield None
            continue
        if isinstance(found, _End):
            if found.error is not None:
                raise found.error
            return
        yield found


def _read(stream: BinaryIO, blocks_of: Blocks, arrived: queue.Queue[np.ndarray | _End]) -> None:
    try:
        with stream:
            for events_E in blocks_of(stream):
                arrived.put(events_E)
    except BaseException as error:  # it is raised where the events are taken
        arrived.put(_End(error))
    else:
        arrived.put(_End(None))


def _own(stream: BinaryIO) -> BinaryIO:
    """The same pipe for the thread alone: Python locks standard input at its end, and dies where a thread has it."""
    try:
        descriptor = stream.fileno()
    except (AttributeError, io.UnsupportedOperation):  # in memory
        return stream
    return _Named(os.dup(descriptor), getattr(stream, "name", None))


class _Named(io.BufferedReader):
    """Keeps the name that messages give it."""

    def __init__(self, descriptor: int, name: object) -> None:
        super().__init__(io.FileIO(descriptor, "rb"))
        self._name = name

    @property
    def name(self) -> object:  # type: ignore[override]
        return self._name
