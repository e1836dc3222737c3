"""Texts of variable length in HDF5, read from the bytes of the file.

HDF5 keeps such a text in a heap that has no checksum, and where that heap is damaged its library may read for ever, out
of reach of any signal. A dataset of one text is 16 bytes: length, address of a heap, index in it. A heap is 16 bytes of
header and then one object after the other::

    "GCOL", version 1, 3 bytes, size of the heap (8);   index (2), count (2), 4 bytes, size (8), data, filled up to 8

Source: HDF5 File Format Specification 3.0, sections III.E (global heap) and IV.B (variable-length data), for addresses
and sizes of 8 bytes, as all files have that h5py writes.
"""

from __future__ import annotations

import struct

REFERENCE = struct.Struct("<IQI")
HEAP = struct.Struct("<4sB3xQ")
OBJECT = struct.Struct("<HH4xQ")


def heap_text(content: bytes, offset: int) -> bytes:
    """The text whose 16 bytes of reference lie at `offset` of a file with this content.

    Raises ValueError where they lead nowhere.
    """
    try:
        length, address, wanted = REFERENCE.unpack_from(content, offset)
        signature, version, size = HEAP.unpack_from(content, address)
        if signature != b"GCOL" or version != 1:
            raise ValueError("there is no heap")
        place, end = address + HEAP.size, min(address + size, len(content))
        while place + OBJECT.size <= end:
            index, _, held = OBJECT.unpack_from(content, place)
            start = place + OBJECT.size
            if index == wanted and index and length <= held and start + length <= end:
                return content[start : start + length]
            place = start + (held + 7) // 8 * 8
    except (struct.error, OverflowError):
        pass
    raise ValueError("the heap does not hold the text")
