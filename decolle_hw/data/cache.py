"""Binned recordings on disk, so that they are read and binned once and not at every command.

A file ``binned-<key>.cache`` holds indptr and active of `BinnedRecordings`, and nothing that could be executed (see
`HEAD`). Its key is the SHA-256 of all that decides about them: the recordings (for files: paths, sizes, times), the
part of the description that matters, and the source text of this package's reader. Labels, names and classes are
never cached: they come from the listing, which is always made anew.

The cache is a convenience: a damaged file is written again, and where nothing can be written work goes on.
"""

# R recordings

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import warnings
import zlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decolle_hw.atomic import new_file
from decolle_hw.data.source import Source
from decolle_hw.errors import UsageError
from decolle_hw.spec import DatasetSpec

Packed = tuple[NDArray[np.int64], NDArray[np.int32]]  # indptr (R+1,), active (total,)

FOLDER_VARIABLE = "DECOLLE_HW_CACHE"
# Key, lengths of indptr and active, CRC-32 of what follows: indptr (int64) and active (int32), little-endian.
HEAD = struct.Struct("<64s2QI")
LARGEST_BYTES = 20_000_000_000  # of all files together; the least recently used ones make room


class CacheWarning(UserWarning):
    """Binned recordings could not be kept; they will be read again next time."""


def folder() -> Path | None:
    """$DECOLLE_HW_CACHE, else $XDG_CACHE_HOME/decolle-hw, else ~/.cache/decolle-hw; None for a user without a home."""
    own = os.environ.get(FOLDER_VARIABLE)
    if own:
        return Path(own).expanduser()
    general = os.environ.get("XDG_CACHE_HOME", "")
    # The standard says that a relative path there is to be ignored.
    if os.path.isabs(general):
        return Path(general) / "decolle-hw"
    try:
        return Path.home() / ".cache" / "decolle-hw"
    except RuntimeError:
        return None


def key_of(source: Source, spec: DatasetSpec, steps: int | None) -> str:
    """64 hexadecimal digits that change whenever the binned recordings may have changed.

    `steps` of each recording, or None for all that it has. Raises `DataError` for a file that is gone.
    """
    decisive = [
        _version(),
        type(source).__name__,
        source.identity(spec),
        [list(spec.input_shape), spec.deltat, steps],
    ]
    # File names need not be UTF-8; JSON escapes the surrogates that Python then carries.
    return hashlib.sha256(json.dumps(decisive).encode("ascii")).hexdigest()


def read(key: str, recordings: int) -> Packed | None:
    """What `write` kept under this key, or None; a file that is damaged or not ours counts as none."""
    file = _file(key)
    if file is None:
        return None
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD.size)
            if len(head) < HEAD.size:
                return None
            found, rows, entries, checksum = HEAD.unpack(head)
            size = os.fstat(stream.fileno()).st_size
            if found != key.encode() or rows != recordings + 1 or size != HEAD.size + 8 * rows + 4 * entries:
                return None
            indptr, active = np.fromfile(stream, "<i8", rows), np.fromfile(stream, "<i4", entries)
    except OSError:
        return None
    if checksum != _checksum(indptr, active):
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # for `_make_room`
    return indptr.astype(np.int64, copy=False), active.astype(np.int32, copy=False)


def write(key: str, packed: Packed) -> None:
    """Keep packed entries; where that is impossible, a `CacheWarning` and nothing else."""
    file = _file(key)
    if file is None:
        return
    indptr, active = packed
    try:
        with new_file(file) as partial, partial.open("wb") as stream:
            stream.write(HEAD.pack(key.encode(), len(indptr), len(active), _checksum(indptr, active)))
            stream.write(indptr.astype("<i8", copy=False).data)
            stream.write(active.astype("<i4", copy=False).data)
        _make_room(file)
    except UsageError as error:
        warnings.warn(
            f"binned recordings are not kept: {error}; or set ${FOLDER_VARIABLE}, or dataset.cache to false",
            CacheWarning,
            stacklevel=3,
        )


@lru_cache(maxsize=1)
def _version() -> str:
    """Of the reader: its source text, so that nobody has to remember to count up a number."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return f"{digest.hexdigest()} tonic {metadata.version('tonic')}"


def _file(key: str) -> Path | None:
    where = folder()
    return None if where is None else where / f"binned-{key}.cache"


def _checksum(indptr: NDArray[np.int64], active: NDArray[np.int32]) -> int:
    return zlib.crc32(active.astype("<i4", copy=False).data, zlib.crc32(indptr.astype("<i8", copy=False).data))


def _make_room(newest: Path) -> None:
    """Remove the least recently used files until all together are small enough."""
    with contextlib.suppress(OSError):
        files = [(file.stat().st_mtime_ns, file.stat().st_size, file) for file in newest.parent.glob("binned-*.cache")]
        excess = sum(size for _, size, _ in files) - LARGEST_BYTES
        for _, size, file in sorted(files):
            if excess <= 0 or file == newest:
                return
            file.unlink()
            excess -= size
