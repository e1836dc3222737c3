"""Nothing half-written: files and folders appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decolle_hw.errors import UsageError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Fail before the work, not after it.
        with open(partial, "wb"):
            pass
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        partial.unlink(missing_ok=True) if path.parent.is_dir() else None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well and vanishes otherwise."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
        partial.chmod(0o755)
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        yield partial
        try:
            os.rename(partial, path)
        except OSError as error:
            raise _cannot_write(path, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> UsageError:
    reason = error.strerror or str(error)
    return UsageError(f"{path}: cannot be written: {reason}; choose another place or change its permissions")
