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
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from decolle_hw.atomic import new_file
from decolle_hw.data.recordings import offsets
from decolle_hw.data.source import Source
from decolle_hw.errors import DataError, SpecError, UsageError
from decolle_hw.spec import DatasetSpec

Content = TypeVar("Content")
Packed = tuple[NDArray[np.int64], NDArray[np.int32]]  # indptr (R+1,), active (total,)

FOLDER_VARIABLE = "DECOLLE_HW_CACHE"
# Key, lengths of indptr and active, CRC-32 of active and then indptr. What follows: indptr (int64) and active (int32),
# little-endian.
HEAD = struct.Struct("<64s2QI")
BLOCK_BYTES = 1 << 20  # at a time where a file is only checked
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


def is_used_for(spec: DatasetSpec) -> bool:
    """Not for the embedded digits: all of them are recorded in a second."""
    return spec.cache and spec.name != "digits"


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


class Kept(NamedTuple):
    """A file that was checked, to be read in parts."""

    file: Path
    indptr: NDArray[np.int64]  # (R+1,)

    def entries(self, stream: BinaryIO, rows: Sequence[int] | NDArray[np.int64]) -> Iterator[NDArray[np.int32]]:
        """Active entries of the recordings with these numbers, one by one.

        Args: stream: `file`, open; it stays readable even when another process makes room meanwhile.
        Raises `DataError` for a file that was shortened by hand.
        """
        begin = HEAD.size + 8 * len(self.indptr)
        for row in rows:
            first, last = int(self.indptr[row]), int(self.indptr[row + 1])
            # Read and not mapped: pages of a map would count as memory of this process until the end.
            stream.seek(begin + 4 * first)
            content = stream.read(4 * (last - first))
            if len(content) != 4 * (last - first):
                raise DataError(f"{self.file}: was shortened while it was read; run the command again")
            yield np.frombuffer(content, "<i4").astype(np.int32, copy=False)


def is_kept(key: str, recordings: int) -> bool:
    """Whether there is a file of this key and the right size; what is in it is checked when it is read."""
    file = _file(key)
    try:
        if file is None:
            return False
        with file.open("rb") as stream:
            return _head(stream, key, recordings) is not None
    except OSError:
        return False


def find(key: str, recordings: int) -> Kept | None:
    """What `write` kept under this key, whole and checked but not read; otherwise as `read`."""

    def look(stream: BinaryIO, entries: int) -> tuple[None, int]:
        checksum = 0
        while block := stream.read(BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
        return None, checksum

    found = _checked(key, recordings, look)
    return None if found is None else Kept(found[0], found[1])


def read(key: str, recordings: int) -> Packed | None:
    """What `write` kept under this key, or None; a file that is damaged or not ours counts as none."""

    def take(stream: BinaryIO, entries: int) -> tuple[NDArray[np.int32], int]:
        active = np.fromfile(stream, "<i4", entries)
        return active, zlib.crc32(active.data)

    found = _checked(key, recordings, take)
    return None if found is None else (found[1], found[2].astype(np.int32, copy=False))


def _checked(
    key: str, recordings: int, content: Callable[[BinaryIO, int], tuple[Content, int]]
) -> tuple[Path, NDArray[np.int64], Content] | None:
    """(file, offsets, content) where the checksum of both is right; `content` reads the rest and sums it up."""
    file = _file(key)
    if file is None:
        return None
    try:
        with file.open("rb") as stream:
            head = _head(stream, key, recordings)
            if head is None:
                return None
            indptr = np.fromfile(stream, "<i8", recordings + 1)
            active, checksum = content(stream, head.entries)
    except OSError:
        return None
    if head.checksum != zlib.crc32(indptr.data, checksum):
        return None
    _mark_as_used(file)
    return file, indptr.astype(np.int64, copy=False), active


def write(key: str, packed: Packed) -> bool:
    """Keep packed entries. See `write_pieces`."""
    indptr, active = packed
    pieces = (active[first:last] for first, last in pairwise(indptr))
    return write_pieces(key, len(indptr) - 1, pieces)


def write_pieces(key: str, recordings: int, pieces: Iterable[NDArray[np.int32]]) -> bool:
    """Keep active entries that come recording by recording; only one recording at a time is in memory.

    Returns False where nothing can be kept, with a `CacheWarning` that says why; some of the pieces may then be used
    up. What fails in the pieces themselves is raised.
    """
    file = _file(key)
    if file is None:
        return False
    counts, checksum = [], 0
    try:
        with new_file(file) as partial, partial.open("wb") as stream:
            stream.seek(HEAD.size + 8 * (recordings + 1))
            for piece in pieces:
                content = piece.astype("<i4", copy=False).data
                checksum = zlib.crc32(content, checksum)
                stream.write(content)
                counts.append(len(piece))
            assert len(counts) == recordings, "one piece for each recording"
            indptr = offsets(np.array(counts, np.int64)).astype("<i8", copy=False)
            stream.seek(0)
            stream.write(HEAD.pack(key.encode(), len(indptr), int(indptr[-1]), zlib.crc32(indptr.data, checksum)))
            stream.write(indptr.data)
    except (DataError, SpecError):
        raise
    except UsageError as error:
        warnings.warn(
            f"binned recordings are not kept: {error}; or set ${FOLDER_VARIABLE}, or dataset.cache to false",
            CacheWarning,
            stacklevel=3,
        )
        return False
    _make_room(file)
    return True


@lru_cache(maxsize=1)
def _version() -> str:
    """Of the reader: its source text, so that nobody has to remember to count up a number."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return f"{digest.hexdigest()} tonic {metadata.version('tonic')}"


def _file(key: str) -> Path | None:
    where = folder()
    return None if where is None else where / f"binned-{key}.cache"


class _Head(NamedTuple):
    entries: int
    checksum: int


def _head(stream: BinaryIO, key: str, recordings: int) -> _Head | None:
    """Head of a file of this key, for so many recordings and of the right size."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    found, rows, entries, checksum = HEAD.unpack(head)
    size = os.fstat(stream.fileno()).st_size
    if found != key.encode() or rows != recordings + 1 or size != HEAD.size + 8 * rows + 4 * entries:
        return None
    return _Head(entries, checksum)


def _mark_as_used(file: Path) -> None:
    """For `_make_room`."""
    with contextlib.suppress(OSError):
        os.utime(file)


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
