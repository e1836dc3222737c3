"""Work for the jobs of `test_lava_jobs`, which import it from here: light, as each of them does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

Report = Callable[[int, int], None]


def add(shared: int, task: int, report: Report) -> int:
    """The first task takes longest."""
    time.sleep(0.5 if task == 0 else 0)
    report(1, 1)
    return shared + task


def process_folder_and_session(shared: None, task: int, report: Report) -> tuple[int, str, int]:
    """Long enough that another job gets the next task."""
    time.sleep(0.3)
    return os.getpid(), os.environ["TMPDIR"], os.getsid(0)


def fail(shared: Exception, task: int, report: Report) -> None:
    """In one task; the others take a minute."""
    if task == 1:
        raise shared
    time.sleep(60)


def die(shared: None, task: int, report: Report) -> None:
    """Like a job that has no more memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def be_deaf(shared: None, task: int, report: Report) -> None:
    """For a minute, and say so by a file in the job's temporary folder."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(os.environ["TMPDIR"], "deaf").touch()
    time.sleep(60)
