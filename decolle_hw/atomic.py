"""Nothing half-written: files and folders appear complete or not at all."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decolle_hw.errors import UsageError


def check_writable(path: Path) -> None:
    """Raise `UsageError` now if a file could not be written at `path` later: before the work, not after it."""
    if not path.name:
        raise UsageError(f"{str(path)!r}: is a folder; give the name of a file to write")
    try:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; give the name of a file to write")
        if path.exists() and not path.is_file():
            raise UsageError(
                f"{path}: is a device or a pipe, which cannot be replaced at once; give the name of a file"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise _cannot_write(path, error) from None


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and vanishes otherwise."""
    check_writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~umask())
        os.replace(partial, path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        partial.unlink(missing_ok=True)


def umask() -> int:
    """What the user's umask says; files of mkstemp and folders of mkdtemp are only for their owner until then."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def json_text(content: dict[str, Any]) -> str:
    """As all our JSON files are written; what is not a number or infinite, for which JSON has no word, is null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(content: dict[str, Any], path: Path) -> None:
    """A JSON file, complete or not at all."""
    with new_file(path) as partial:
        partial.write_text(json_text(content), encoding="utf-8")


def _cannot_write(path: Path, error: OSError) -> UsageError:
    reason = error.strerror or str(error)
    return UsageError(f"{path}: cannot be written: {reason}; choose another place or change its permissions")
