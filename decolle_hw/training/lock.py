"""One process at a time trains in a run folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from decolle_hw.errors import UsageError

try:
    import fcntl
except ImportError:  # not a POSIX system: nobody is kept out there
    fcntl = None  # type: ignore[assignment]

BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class FolderLock:
    """Held from construction to `release`, or to the end of the process, however it ends.

    It lies on the folder itself and leaves no file. A file system that knows no locks keeps nobody out.
    """

    def __init__(self, folder: Path) -> None:
        self._handle: int | None = None
        if not folder.is_dir():
            raise UsageError(f"{folder}: is not a folder")
        if fcntl is None:
            return
        try:
            self._handle = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be opened: {error.strerror or error}") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY:
                self.release()
                raise UsageError(f"{folder}: is being trained by another process; wait for it, or stop it") from None

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def is_locked(folder: Path) -> bool:
    """Whether a process is training in a folder just now."""
    try:
        FolderLock(folder).release()
    except UsageError:
        return True
    return False
