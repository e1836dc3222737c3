"""Files of event cameras written byte by byte from the public descriptions of their formats; no reader is used here.

Each `*_bytes` takes events as a list of (x, y, t, p).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import h5py
import numpy as np

Event = tuple[int, int, int, int]  # x, y, t (us), p (0 or 1)
CRLF = "\r\n"


def events_array(events: Sequence[Event]) -> np.ndarray:
    """As the readers should give them, in the order given."""
    return np.array(
        [(x, y, t, bool(p)) for x, y, t, p in events], [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]
    )


def some_events(count: int, height: int, width: int, seed: int, first_us: int = 1000, step_us: int = 40) -> list[Event]:
    """Events in order of time."""
    rng = np.random.default_rng(seed)
    t = first_us + np.cumsum(rng.integers(0, step_us, count))
    x, y, p = rng.integers(0, width, count), rng.integers(0, height, count), rng.integers(0, 2, count)
    return [tuple(int(value) for value in event) for event in zip(x, y, t, p, strict=True)]


def nmnist_bytes(events: Sequence[Event]) -> bytes:
    """x, y, p and 23 bits of time; the counter starts again where it is full."""
    content = bytearray()
    for x, y, t, p in events:
        counter = t % (1 << 23)
        content += bytes([x, y, (p << 7) | (counter >> 16), (counter >> 8) & 255, counter & 255])
    return bytes(content)


def aedat2_header(chip: str | None) -> bytes:
    lines = ["#!AER-DAT2.0", "# This is a raw AE data file - do not edit"]
    lines += ["# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event"]
    lines += ["# Timestamps tick is 1 us", "# created Mon Nov 23 06:28:18 CET 2015"]
    lines += [f"# AEChip: {chip}"] if chip else []
    return "".join(line + CRLF for line in lines).encode("ascii")


def dvs128_bytes(events: Sequence[Event], chip: str | None = "ch.unizh.ini.jaer.chip.retina.DVS128") -> bytes:
    """jAER counts x from the right, y from the bottom, and writes 0 for ON."""
    records = [struct.pack(">II", (127 - y) << 8 | (127 - x) << 1 | (1 - p), t % (1 << 32)) for x, y, t, p in events]
    return aedat2_header(chip) + b"".join(records)


def davis_bytes(events: Sequence[Event], chip: str, height: int, width: int) -> bytes:
    """With a sample of a frame and an inertial sample after each event, which are none."""
    content = aedat2_header(f"eu.seebetter.ini.chips.davis.{chip}") + b"# End of ASCII Header" + CRLF.encode()
    for x, y, t, p in events:
        content += struct.pack(">II", (height - 1 - y) << 22 | (width - 1 - x) << 12 | p << 11, t % (1 << 32))
        content += struct.pack(">II", 1 << 31 | 5 << 22 | 7 << 12 | 333, t % (1 << 32))
        content += struct.pack(">II", 1 << 10 | 9 << 12, t % (1 << 32))
    return content


def aedat3_bytes(events: Sequence[Event], per_packet: int = 64, source: str = "DVS128", version: str = "3.1") -> bytes:
    """Packets of polarity events; between them one special event and one invalid event, which are none."""
    header = [f"#!AER-DAT{version}", "#Format: RAW", f"#Source 1: {source}"]
    header += ["#Start-Time: 2016-03-07 14:14:30 (TZ+0100)", "#!END-HEADER"]
    content = "".join(line + CRLF for line in header).encode("ascii")
    for first in range(0, len(events), per_packet):
        packet = events[first : first + per_packet]
        overflow = packet[0][2] >> 31
        assert packet[-1][2] >> 31 == overflow, "the description puts the overflow into a packet of its own"
        content += struct.pack("<hhiiiiii", 0, 1, 8, 4, overflow, 1, 1, 1) + struct.pack("<II", 1 | 2 << 1, 0)
        content += struct.pack("<hhiiiiii", 1, 1, 8, 4, overflow, len(packet) + 1, len(packet) + 1, len(packet))
        content += struct.pack("<Ii", 3 << 17 | 4 << 2, 5)
        for x, y, t, p in packet:
            content += struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF)
    return content


AEDAT4_INFO = """<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">
<node name="{stream}" path="/mainloop/Recorder/outInfo/{stream}/">
<attr key="compression" type="string">NONE</attr>
<attr key="typeIdentifier" type="string">{kind}</attr>
<node name="info" path="/mainloop/Recorder/outInfo/{stream}/info/">
<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>
<attr key="source" type="string">DVXplorer</attr></node></node></node></dv>"""


def aedat4_bytes(
    events: Sequence[Event], height: int, width: int, per_packet: int = 64, kind: str = "EVTS", table: bool = True
) -> bytes:
    """FlatBuffers by hand, not compressed; the table of packets is only hinted at (readers go through the packets)."""
    stream = 3
    info = AEDAT4_INFO.format(stream=stream, kind=kind, width=width, height=height).encode("ascii")
    packets = b""
    for first in range(0, len(events), per_packet):
        packet = events[first : first + per_packet]
        # Root at 16, whose field 0 is a vector at 28; the vtable is at 8.
        body = struct.pack("<I4sHHHxxiI4xI", 16, b"EVTS", 6, 8, 4, 8, 8, len(packet))
        body += b"".join(struct.pack("<qhhB3x", t, x, y, p) for x, y, t, p in packet)
        content = struct.pack("<I", len(body)) + body
        packets += struct.pack("<ii", stream, len(content)) + content
    # Root at 24: compression, position of the table, text at 44; the vtable is at 8.
    header_bytes = 44 + 4 + len(info) + 1
    position = 14 + 4 + header_bytes + len(packets) if table else -1
    header = struct.pack("<I4sHHHHH6xiiqI", 24, b"IOHE", 10, 20, 4, 8, 16, 16, 0, position, 4)
    header += struct.pack("<I", len(info)) + info + b"\0"
    assert len(header) == header_bytes, "the offsets above are those of this layout"
    end = struct.pack("<I4sHHHxxi4x", 16, b"FTAB", 4, 4, 0, 8) if table else b""
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header + packets + end


def dat_bytes(events: Sequence[Event], height: int | None = None, width: int | None = None, kind: int = 12) -> bytes:
    """Version 2, with the size of the sensor where it is given."""
    header = "% Data file containing CD events\n% Date 2020-09-14 14:18:29\n% Version 2\n"
    header += f"% Width {width}\n% Height {height}\n" if height else ""
    records = [struct.pack("<II", t % (1 << 32), p << 28 | y << 14 | x) for x, y, t, p in events]
    return header.encode("ascii") + bytes([kind, 8]) + b"".join(records)


def raw_header(evt: str, height: int, width: int) -> bytes:
    lines = ["camera_integrator_name Prophesee", "date 2023-03-29 16:37:46", f"evt {evt}"]
    lines += [
        f"format EVT{evt[0]};height={height};width={width}",
        "generation 4.2",
        f"geometry {width}x{height}",
        "end",
    ]
    return "".join(f"% {line}\n" for line in lines).encode("ascii")


def evt2_bytes(events: Sequence[Event], height: int, width: int) -> bytes:
    """A new upper part of the time where it changes, and a trigger here and there, which is no event."""
    words, high = [], None
    for index, (x, y, t, p) in enumerate(events):
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 28 | high % (1 << 28))
        if index % 50 == 7:
            words.append(0xA << 28 | (t & 63) << 22 | 1)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return raw_header("2.0", height, width) + np.array(words, "<u4").tobytes()


def evt3_bytes(events: Sequence[Event], height: int, width: int, vectors: bool = True) -> bytes:
    """What changes is written before each event; neighbours in a row of one time and polarity share a vector."""
    words, high, low, row, index = [], None, None, None, 0
    while index < len(events):
        x, y, t, p = events[index]
        if t >> 12 != high:
            high, low = t >> 12, None
            words.append(0x8 << 12 | high % (1 << 12))
        if t & 4095 != low:
            low = t & 4095
            words.append(0x6 << 12 | low)
        if y != row:
            row = y
            words.append(0x0 << 12 | y)
        run = [x]
        while vectors and index + len(run) < len(events):
            x2, y2, t2, p2 = events[index + len(run)]
            if (y2, t2, p2) != (y, t, p) or not run[-1] < x2 < x + 32:
                break
            run.append(x2)
        index += len(run)
        if len(run) == 1:
            words.append(0x2 << 12 | p << 11 | x)
            continue
        words.append(0x3 << 12 | p << 11 | x)
        for first, bits, kind in ((x, 12, 0x4), (x + 12, 12, 0x4), (x + 24, 8, 0x5)):
            words.append(kind << 12 | sum(1 << (column - first) for column in run if first <= column < first + bits))
        words.append(0xE << 12 | 5)  # other words are no events
    return raw_header("3.0", height, width) + np.array(words, "<u2").tobytes()


def of_fields(events, **names):
    """A structured array with other names and types of the fields."""
    array = events_array(events)
    columns = {field: array[old].astype(kind) for old, (field, kind) in names.items()}
    return np.rec.fromarrays(list(columns.values()), names=list(columns))


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(compressed=False, **members):
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **members)
    return stream.getvalue()


def h5(datasets, attributes=(), compression=None):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, content in datasets.items():
            file.create_dataset(name, data=content, compression=compression)
        for name, value in dict(attributes).items():
            file.attrs[name] = value
    return stream.getvalue()


def columns(events, prefix="", names="xytp"):
    array = events_array(events)
    return {prefix + name: array[field] for name, field in zip(names, "xytp", strict=True)}
