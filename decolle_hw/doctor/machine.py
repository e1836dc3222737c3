"""The machine and the folders that decolle-hw writes to."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from decolle_hw.doctor.finding import Finding, State, existing, write_problem
from decolle_hw.doctor.packages import LAVA_PYTHON

LITTLE_MEMORY = 2e9  # bytes: torch, Lava and a batch of recordings together have about one
LITTLE_DISK = 1e9  # bytes: of a run of the largest model of the zoo


def check_python() -> Iterator[Finding]:
    version = platform.python_version()
    name = f"{platform.python_implementation()} {version} ({sys.executable})"
    if sys.version_info < LAVA_PYTHON:
        yield Finding("Python", "broken", f"{name}: 3.10 is needed", "python3.10 -m venv .venv")
    elif sys.version_info[:2] != LAVA_PYTHON:
        yield Finding(
            "Python", "limited", f"{name}: Lava imports on 3.10 only; the rest works, with --backend reference",
            "python3.10 -m venv .venv",
        )  # fmt: skip
    else:
        yield Finding("Python", "ok", name)


def check_machine() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    if platform.system() == "Linux":
        yield Finding("platform", "ok", system)
    else:
        yield Finding("platform", "limited", f"{system}: decolle-hw is tested on Linux only")
    yield Finding("processors", "ok", f"{_processors()} of {os.cpu_count()} to use")
    memory = _memory()
    if memory is None:
        yield Finding("memory", "ok", "not known on this platform")
    elif memory < LITTLE_MEMORY:
        yield Finding("memory", "limited", f"{memory / 1e9:.1f} GB is little",
                      "decolle-hw run --sim --batch 1, and a smaller training.batch_size")  # fmt: skip
    else:
        yield Finding("memory", "ok", f"{memory / 1e9:.1f} GB")


def check_folders() -> Iterator[Finding]:
    yield _folder("working folder", Path.cwd(), "cd to a folder that you may write to", "broken")
    yield _folder("runs/", Path("runs"), "decolle-hw train --runs FOLDER", "limited")
    yield _folder("temporary folder", Path(tempfile.gettempdir()), "export TMPDIR=FOLDER", "broken")
    try:
        from decolle_hw.data import cache
    except ImportError as error:
        yield Finding("cache", "limited", f"not examined: {error}")
        return
    folder, remedy = cache.folder(), f"export {cache.FOLDER_VARIABLE}=FOLDER"
    if folder is None:
        yield Finding("cache", "limited", "none: this user has no home; recordings are read at every command", remedy)
    else:
        yield _folder("cache", folder, remedy, "limited")


def _folder(name: str, folder: Path, remedy: str, otherwise: State) -> Finding:
    """Whether files can be made there, and how much they may hold; `otherwise`: what it is if they cannot."""
    problem = write_problem(folder)
    if problem is not None:
        return Finding(name, otherwise, f"{folder}: cannot be written to: {problem}", remedy)
    free = shutil.disk_usage(existing(folder)).free
    found = f"{folder}: writable, {free / 1e9:.1f} GB free"
    return Finding(name, "ok", found) if free >= LITTLE_DISK else Finding(name, "limited", found, remedy)


def _processors() -> int:
    """Those that this process may use, which containers and `taskset` lower."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    """Bytes that this process may use: of the machine, or of the container that it runs in."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return total
