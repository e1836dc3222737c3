"""Lines of text, one event each: ``x,y,t,p`` in whole numbers, t in microseconds, or as a first line names them.

Between the numbers stand commas, semicolons or blanks. Empty lines and lines that begin with ``#`` are passed over.
"""

# E events, F fields of a line

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.arrays import blocks_of_columns
from decolle_hw.data.formats.columns import find_columns, missing_notes
from decolle_hw.data.formats.events import BLOCK_BYTES, Block, Opened
from decolle_hw.errors import DataError

TITLE = "text lines x,y,t,p"
ORDER = ("x", "y", "t", "p")
SEPARATORS = bytes.maketrans(b",;\t", b"   ")
EXPECTED = "lines x,y,t,p of whole numbers (t in microseconds), or names in the first line"
LONGEST_LINE = 1000  # bytes; what is longer holds no event


class Lines(NamedTuple):
    """Some lines that hold something, in words."""

    numbers: list[int]  # counted from 1, for messages
    words: list[list[bytes]]


def open_text(stream: BinaryIO, place: str) -> Opened:
    """Names in the first line are read at once; without names the order is that of `ORDER`."""
    parts = _parts(stream, place)
    first = next(parts, Lines([], []))
    header, fields = list(ORDER), dict(zip(ORDER, ORDER, strict=True))
    if first.words and not _is_number(first.words[0][0]):
        header = [word.decode("ascii", "replace") for word in first.words[0]]
        fields = find_columns(header, f"{place}, line {first.numbers[0]}")
        first = Lines(first.numbers[1:], first.words[1:])
    at = {column: header.index(field) for column, field in fields.items()}
    blocks = _blocks(chain([first], parts), len(header), at, place)
    return Opened("text", blocks, notes=missing_notes(fields))


def _blocks(parts: Iterator[Lines], width: int, at: Mapping[str, int], place: str) -> Iterator[Block]:
    def columns() -> Iterator[dict[str, NDArray[np.int64]]]:
        for lines in parts:
            numbers_EF = _numbers(lines, width, place)
            yield {column: numbers_EF[:, index] for column, index in at.items()}

    return blocks_of_columns(columns(), place)


def _numbers(lines: Lines, width: int, place: str) -> NDArray[np.int64]:
    """(E, F). Raises `DataError` that names the first line that is not so many whole numbers."""
    if not lines.words:
        return np.empty((0, width), np.int64)
    try:
        if {len(words) for words in lines.words} == {width}:
            return np.array(lines.words).astype(np.int64)
    except (ValueError, OverflowError):
        pass
    limits = np.iinfo(np.int64)
    for number, words in zip(lines.numbers, lines.words, strict=True):
        if len(words) != width:
            raise DataError(f"{place}: line {number} has {len(words)} values, not {width}; expected {EXPECTED}")
        for word in words:
            if not _is_number(word, int) or not limits.min <= int(word) <= limits.max:
                shown = word.decode("ascii", "backslashreplace")
                raise DataError(f"{place}: line {number} has {shown!r}, which is no whole number; expected {EXPECTED}")
    return np.array([[int(word) for word in words] for words in lines.words], np.int64)


def _parts(stream: BinaryIO, place: str) -> Iterator[Lines]:
    """What is there, as soon as it is there, in whole lines."""
    read = getattr(stream, "read1", stream.read)
    rest, number = b"", 0
    while True:
        chunk = read(BLOCK_BYTES)
        whole, newline, rest = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
        if len(rest) > LONGEST_LINE:
            raise DataError(f"{place}: line {number + 1} is longer than {LONGEST_LINE} bytes; expected {EXPECTED}")
        lines = whole.translate(SEPARATORS).split(b"\n") if whole or newline else []
        split = [(number + index, line.split()) for index, line in enumerate(lines, 1)]
        number += len(lines)
        kept = [(at, words) for at, words in split if words and not words[0].startswith(b"#")]
        if kept:
            yield Lines([at for at, _ in kept], [words for _, words in kept])
        if not chunk:
            return


def _is_number(word: bytes, kind: Callable[[bytes], object] = float) -> bool:
    try:
        kind(word)
    except ValueError:
        return False
    return True
