"""Bytes of a file or a pipe in pieces of whole records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from decolle_hw.data.formats.events import BLOCK_BYTES, cut_short
from decolle_hw.errors import DataError

LONGEST_LINE = 4096  # bytes of a header; what is longer is data


def pieces(
    stream: BinaryIO, record_bytes: int, place: str, title: str, rest: bytes = b"", most: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """What is there, as soon as it is there, in whole records of about `most` bytes.

    Args: rest: was read of the stream already. Raises `DataError` where the last record is cut short.
    """
    # A pipe gives what has arrived; `read` would wait until the block is full.
    read = getattr(stream, "read1", stream.read)
    while True:
        chunk = read(most)
        rest += chunk
        whole = len(rest) - len(rest) % record_bytes
        if whole:
            yield rest[:whole]
            rest = rest[whole:]
        if not chunk:
            break
    if rest:
        raise cut_short(place, len(rest), record_bytes, title)


def header_lines(stream: BinaryIO, mark: bytes, ends: tuple[str, ...]) -> tuple[list[str], bytes]:
    """Lines of text that begin with `mark`, without it, and what was read beyond them.

    Args: ends: lines that end the header, where there is one.
    """
    lines: list[str] = []
    while True:
        start = stream.read(len(mark))
        rest = stream.readline(LONGEST_LINE) if start == mark else b""
        # An event may begin with the mark too, but hardly goes on as a line of text.
        if start != mark or not rest.endswith(b"\n") or not _is_text(rest):
            return lines, start + rest
        line = rest.decode("ascii").strip()
        if line in ends:
            return lines, b""
        lines.append(line)


def _is_text(line: bytes) -> bool:
    return line.isascii() and line.strip().replace(b"\t", b" ").decode("ascii").isprintable()


def exactly(stream: BinaryIO, count: int, place: str, what: str, may_end: bool = False) -> bytes:
    """So many bytes; none where the file may end here and does. Raises `DataError` where it ends within them."""
    content = stream.read(count)
    if len(content) == count or (may_end and not content):
        return content
    raise DataError(
        f"{place}: ends {count - len(content)} bytes before the end of {what}, so the file is truncated; copy it again "
        f"or remove it"
    )
