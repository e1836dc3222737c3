"""Ctrl-C and SIGTERM while training: the first finishes the step and saves, the second stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from decolle_hw.errors import DecolleHwError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HEARD = b"interrupted: finishing the step, then saving; again to stop at once without saving\n"


class TrainingInterrupted(DecolleHwError):  # noqa: N818 - it was asked for
    """A run was saved and stopped by a signal. Exit code as shells report it: 130 SIGINT, 143 SIGTERM."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class TrainingAborted(KeyboardInterrupt):
    """A second signal: stop now, without saving."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class Interruption:
    """Listens for signals within its block; `number` is the first one that came, None before.

    Outside of the main thread there are no signals to listen for. A signal that the process was told to ignore
    (nohup, a background job) stays ignored.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not Python's to give back
                    self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def may_stop_anywhere(self) -> Iterator[None]:
        """Work that changes nothing, such as a test: here the first signal raises `KeyboardInterrupt`."""
        self._at_once = True
        try:
            if self.number is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise TrainingAborted(number)
        self.number = number
        if self._at_once:
            self._at_once = False
            raise KeyboardInterrupt
        with suppress(OSError):  # nobody may listen any more
            # Not print: the signal may have struck in the middle of one. On a terminal it stands between the bars,
            # and the line after it is what they erase when they are drawn again.
            os.write(2, b"\n" + HEARD + b"\n" if os.isatty(2) else HEARD)
