"""Arrays of NumPy: ``.npy`` with one structured array, ``.npz`` with one or with a member for each of x, y, t, p.

Read in blocks, and never unpickled. A plain array (events, 4) is refused: those of tonic's DVS Gesture are x, y, p, t
in milliseconds, those of others t, x, y, p, and nothing in the file says which.
"""

# E events

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from tokenize import TokenError
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from decolle_hw.data.formats.clock import Clock, unwrap
from decolle_hw.data.formats.columns import REMEDY, find_columns, make_events, missing_notes
from decolle_hw.data.formats.events import BLOCK_BYTES, Block, Opened
from decolle_hw.errors import DataError

SUFFIX = ".npy"
# Of a damaged header, which is parsed as a Python literal.
UNREADABLE_HEAD = (ValueError, EOFError, SyntaxError, TokenError, TypeError, KeyError, OverflowError, RecursionError)
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Head(NamedTuple):
    """What the header of an array says."""

    rows: int
    dtype: np.dtype[Any]


def open_npy(stream: BinaryIO, place: str) -> Opened:
    """A structured array. Raises `DataError` for any other."""
    head = _head(stream, place)
    if head.dtype.names is None:
        raise DataError(f"{place}: is an array of {head.dtype} without fields; {REMEDY}")
    return _structured("npy", stream, head, place)


def open_npz(stream: BinaryIO, place: str) -> Opened:
    """One structured array, or members x, y, t, p. Raises `DataError` for other contents."""
    try:
        archive = zipfile.ZipFile(stream)
        names = [name.removesuffix(SUFFIX) for name in archive.namelist() if name.endswith(SUFFIX)]
        _refuse_images(names, place)
        heads = {}
        for name in names:
            with archive.open(name + SUFFIX) as member:
                heads[name] = _head(member, f"{place}, {name}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(place, error) from None
    structured = [name for name, head in heads.items() if head.dtype.names is not None]
    if len(structured) > 1:
        raise DataError(f"{place}: holds several structured arrays ({', '.join(structured)}); save one per file")
    if structured:
        member = archive.open(structured[0] + SUFFIX)
        return _structured("npz", member, _head(member, place), place)
    fields = find_columns(heads, place)
    lengths = {heads[name].rows for name in fields.values()}
    if len(lengths) > 1:
        found = ", ".join(f"{name}: {heads[name].rows}" for name in fields.values())
        raise DataError(f"{place}: its columns differ in length ({found}); mend or remove it")
    return Opened("npz", _from_members(archive, fields, place), notes=missing_notes(fields))


def _refuse_images(names: Sequence[str], place: str) -> None:
    if {"images", "x_train"} & set(names):
        raise DataError(
            f"{place}: holds still images ({', '.join(names)}), not events; set dataset.name to 'array' to show them "
            f"to the simulated camera"
        )


def _structured(name: str, stream: IO[bytes], head: Head, place: str) -> Opened:
    assert head.dtype.names is not None, "was looked at before"
    fields = find_columns(head.dtype.names, place)
    for field in fields.values():
        if head.dtype[field].shape:
            raise DataError(f"{place}: its field {field!r} holds {head.dtype[field].shape} values per event; {REMEDY}")

    def columns() -> Iterator[dict[str, NDArray[Any]]]:
        for rows_E in _rows(stream, head, BLOCK_BYTES // head.dtype.itemsize, place):
            yield {column: rows_E[field] for column, field in fields.items()}

    return Opened(name, blocks_of_columns(columns(), place), notes=missing_notes(fields))


def _from_members(archive: zipfile.ZipFile, fields: Mapping[str, str], place: str) -> Iterator[Block]:
    with ExitStack() as stack:
        members = [stack.enter_context(archive.open(name + SUFFIX)) for name in fields.values()]
        heads = [_head(member, place) for member in members]
        at_once = BLOCK_BYTES // sum(head.dtype.itemsize for head in heads)
        parts = [_rows(member, head, at_once, place) for member, head in zip(members, heads, strict=True)]
        blocks = (dict(zip(fields, columns, strict=True)) for columns in zip(*parts, strict=True))
        yield from blocks_of_columns(blocks, place)


def blocks_of_columns(blocks: Iterator[Mapping[str, NDArray[Any]]], place: str) -> Iterator[Block]:
    """Events of columns that come in blocks, their times continued where the counter of the sensor was full."""
    clock, first = Clock(bits=None), 0
    for columns in blocks:
        events_E = make_events(columns, first, place)
        events_E["t"], clock = unwrap(events_E["t"], clock)
        first += len(events_E)
        yield Block(events_E, clock.wraps)


def _head(stream: IO[bytes], place: str) -> Head:
    try:
        version = npy.read_magic(stream)
        if version not in HEADERS:
            raise DataError(f"{place}: is a NumPy file of version {version[0]}.{version[1]}; {REMEDY}")
        shape, _, dtype = HEADERS[version](stream)
    except UNREADABLE_HEAD:
        raise DataError(f"{place}: has a damaged header (NumPy); copy it again or remove it") from None
    if dtype.itemsize == 0:
        raise DataError(f"{place}: its elements have no bytes ({dtype}); {REMEDY}")
    if dtype.hasobject:
        raise DataError(f"{place}: holds Python objects, which could run code when they are read; {REMEDY}")
    return Head(_length(shape, dtype, place), dtype)


def _length(shape: Sequence[int], dtype: np.dtype[Any], place: str) -> int:
    """Number of events; axes of length 1 do not matter."""
    long_axes = [length for length in shape if length != 1]
    if len(long_axes) > 1:
        raise DataError(
            f"{place}: is an array of shape {tuple(shape)} and type {dtype}, and nothing says which column is which; "
            f"{REMEDY}; tonic's DVS Gesture is read with dataset.name 'dvs_gesture'"
        )
    return long_axes[0] if long_axes else 1


def _rows(stream: IO[bytes], head: Head, at_once: int, place: str) -> Iterator[NDArray[Any]]:
    left = head.rows
    while left:
        wanted = min(left, max(at_once, 1)) * head.dtype.itemsize
        try:
            content = stream.read(wanted)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _damaged(place, error) from None
        if len(content) != wanted:
            raise DataError(
                f"{place}: ends {left * head.dtype.itemsize - len(content)} bytes before its last event, so it is "
                f"truncated; copy it again or remove it"
            )
        rows_E = np.frombuffer(content, head.dtype)
        left -= len(rows_E)
        yield rows_E


def _damaged(place: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{place}: is a damaged file of NumPy: {reason}; copy it again or remove it")
