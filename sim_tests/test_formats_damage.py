"""What cannot be read is an error of one line that names what was found and the remedy, whatever the bytes."""

import os
import struct

import format_tools as tools
import numpy as np
import pytest

from decolle_hw.data import formats
from decolle_hw.errors import DataError

EVENTS = tools.some_events(60, 128, 128, seed=4)
ARRAY = tools.events_array(EVENTS)


def changed(**values):
    """The array with other values of event 7."""
    array = ARRAY.astype([("x", "<i8"), ("y", "<i8"), ("t", "<i8"), ("p", "<i8")])
    for field, value in values.items():
        array[field][7] = value
    return tools.npy(array)


def with_time(values):
    """The array with a column t of its own type."""
    array = np.zeros(len(values), [("x", "<u2"), ("y", "<u2"), ("t", values.dtype), ("p", "?")])
    array["t"] = values
    return tools.npy(array)


def packed_with_a_filter_that_is_missing():
    """As Metavision writes them; the number of the filter is Prophesee's."""
    content = bytearray(tools.h5({"CD/events": ARRAY}, compression="gzip"))
    usual = b"deflate\0"
    at = content.index(usual)
    content[at - 8 : at - 6] = struct.pack("<H", 0x8ECF)
    return bytes(content)


GOOD = {
    "a.bin": tools.nmnist_bytes(EVENTS),
    "a.aedat": tools.dvs128_bytes(EVENTS),
    "b.aedat": tools.aedat3_bytes(EVENTS),
    "a.aedat4": tools.aedat4_bytes(EVENTS, 128, 128, per_packet=20),
    "a.dat": tools.dat_bytes(EVENTS, 128, 128),
    "a.raw": tools.evt2_bytes(EVENTS, 128, 128),
    "b.raw": tools.evt3_bytes(EVENTS, 128, 128),
    "a.npy": tools.npy(ARRAY),
    "a.npz": tools.npz(**tools.columns(EVENTS)),
    "a.h5": tools.h5(tools.columns(EVENTS, "events/")),
    "a.csv": b"\n".join(b"%d,%d,%d,%d" % event for event in EVENTS),
}
AEDAT3 = tools.aedat3_bytes(EVENTS, per_packet=60)
BAD = {
    "bin of another length": ("a.bin", GOOD["a.bin"][:-2], "ends with 3 of the 5 bytes of an event .* truncated"),
    "empty": ("a.bin", b"", r"holds no events \(0 bytes\); record it again or remove it"),
    "text as bin": ("a.bin", b"hello" * 4, "is a text file, not a recording of events; accepted are N-MNIST .bin"),
    "text as raw": ("a.raw", b"x,y,t,p\n1,2,3,1\n", "is a text file"),
    "picture": ("a.npy", b"\x89PNG\r\n\x1a\n" + bytes(40), "is a PNG picture"),
    "archive": ("a.dat", b"\x1f\x8b" + bytes(40), "is a gzip archive"),
    "unknown": ("a.raw", bytes(range(64)), r"no known format \(it begins with 00 01 02 03"),
    "aedat 1": ("a.aedat", b"#!AER-DAT1.0\r\n" + bytes(12), "is an AEDAT file of another version than 2, 3 and 4"),
    "aedat 2 cut": ("a.aedat", GOOD["a.aedat"][:-3], "ends with 5 of the 8 bytes of an event"),
    "unknown camera": ("a.aedat", tools.dvs128_bytes(EVENTS, "x.y.CochleaAMS1c"), "recorded by CochleaAMS1c .* known"),
    "not of a dvs128": (
        "a.aedat",
        tools.dvs128_bytes(EVENTS, None) + struct.pack(">II", 1 << 20, 9000),
        "addresses that a DVS128 cannot send .* no line '# AEChip",
    ),
    "aedat 3 cut": ("b.aedat", AEDAT3[:-3], "ends 3 bytes before the end of the events of packet 2"),
    "aedat 3 cut in a head": ("b.aedat", AEDAT3[: AEDAT3.index(b"END-HEADER") + 30], "the header of a packet"),
    "aedat 3.0": ("b.aedat", tools.aedat3_bytes(EVENTS, version="3.0"), "is AEDAT 3.0; AEDAT 3.1 can be read"),
    "aedat 3 packed": ("b.aedat", AEDAT3.replace(b"RAW", b"Serial-TS"), "packed as Serial-TS; only RAW"),
    "aedat 3 damaged": (
        "b.aedat",
        AEDAT3.replace(struct.pack("<hhi", 1, 1, 8), struct.pack("<hhi", 1, 1, -8)),
        "packet 2 claims 61 of 61 events of type 1 and -8 bytes",
    ),
    "aedat 4 cut": ("a.aedat4", GOOD["a.aedat4"][:-40], "before its table of packets .* truncated"),
    "aedat 4 cut without a table": (
        "a.aedat4",
        tools.aedat4_bytes(EVENTS, 128, 128, table=False)[:-40],
        "packet 1 claims 996 bytes, more than the file holds",
    ),
    "aedat 4 with nothing but its first line": ("a.aedat4", b"#!AER-DAT4.0\r\n", "ends 4 bytes before .* its header"),
    "aedat 4 without events": (
        "a.aedat4",
        tools.aedat4_bytes([], 128, 128, kind="IMUS"),
        "holds no stream of events .* imus",
    ),
    "aedat 4 whose insides are damaged": (
        "a.aedat4",
        GOOD["a.aedat4"].replace(b"EVTS\x06\0\x08\0", b"EVTS\xff\xff\xff\xff"),
        r"is damaged \(AEDAT 4\)",
    ),
    "dat cut": ("a.dat", GOOD["a.dat"][:-1], "ends with 7 of the 8 bytes of an event"),
    "dat without events": ("a.dat", tools.dat_bytes([]), "holds no events .* record it again"),
    "dat of triggers": ("a.dat", tools.dat_bytes(EVENTS, kind=14), "holds events of type 14 .* export the CD events"),
    "dat of another version": ("a.dat", GOOD["a.dat"].replace(b"ion 2", b"ion 1"), "a DAT file of version 1"),
    "dat off its sensor": (
        "a.dat",
        tools.dat_bytes([*EVENTS, (130, 5, 9999, 1)], 128, 128),
        "event 60 at x=130, y=5 is outside of the 128x128",
    ),
    "raw cut": ("a.raw", GOOD["a.raw"][:-1], "ends with 3 of the 4 bytes of an event"),
    "raw of EVT 2.1": ("a.raw", tools.raw_header("2.1", 128, 128), "is a Prophesee file of EVT 2.1; EVT 2.0 and 3.0"),
    "raw that ends after its header": ("b.raw", tools.raw_header("3.0", 128, 128), "holds no events"),
    "plain array": ("a.npy", tools.npy(np.zeros((9, 4))), "shape .9, 4. .* nothing says which column .*dvs_gesture"),
    "numbers": ("a.npy", tools.npy(np.zeros(9)), "an array of float64 without fields"),
    "objects": ("a.npy", tools.npy(np.array([{"x": 1}])), "holds Python objects, which could run code"),
    "npy cut": ("a.npy", GOOD["a.npy"][:-5], "ends 5 bytes before its last event"),
    "npy head": ("a.npy", GOOD["a.npy"].replace(b"'descr'", b"'descr("), "has a damaged header"),
    "no time": ("a.npy", tools.npy(tools.of_fields(EVENTS, x=("x", "u2"), y=("y", "u2"))), "among them no t or ts"),
    "two times": (
        "a.npy",
        tools.npy(tools.of_fields(EVENTS, x=("x", "u2"), t=("t", "i8"), y=("ts", "i8"))),
        "both 't' and 'ts' may be t",
    ),
    "text in an array": (
        "a.npy",
        tools.npy(tools.of_fields(EVENTS, x=("x", "S4"), t=("t", "i8"))),
        r"its x are of type \|S4, not numbers",
    ),
    "negative x": ("a.npy", changed(x=-3), r"event 7 has x = -3, which is no pixel \(0..32767\)"),
    "absurd y": ("a.npy", changed(y=40_000), "event 7 has y = 40000, which is no pixel"),
    "polarity 2": ("a.npy", changed(p=2), "polarities hold 2 at event 7; they must be 0 and 1, or -1 and 1"),
    "polarities 0 and -1": ("a.npy", changed(p=-1), "polarities hold both 0 and -1"),
    "one negative time": ("a.npy", changed(t=-4), "event 7 has the negative time -4 us after others"),
    "seconds": ("a.npy", with_time(np.array([0.0, 0.5])), "event 1 has the time 0.5, and fractions may be seconds"),
    "no number": ("a.npy", with_time(np.array([0.0, np.nan])), "event 1 has the time nan"),
    "beyond int64": ("a.npy", with_time(np.array([5, 2**63], np.uint64)), "event 1 has the time 9223372036854775808"),
    "float beyond int64": ("a.npy", with_time(np.array([5.0, 1e19])), r"event 1 has the time 1e\+19"),
    "npz of images": (
        "a.npz",
        tools.npz(images=np.zeros((2, 8, 8)), labels=np.zeros(2)),
        "set dataset.name to 'array'",
    ),
    "npz of two": ("a.npz", tools.npz(a=ARRAY, b=ARRAY), r"several structured arrays \(a, b\)"),
    "npz of uneven columns": (
        "a.npz",
        tools.npz(**(tools.columns(EVENTS) | {"p": np.zeros(3)})),
        "differ in length .*p: 3",
    ),
    "npz cut": ("a.npz", GOOD["a.npz"][:-30], "is a damaged file of NumPy: File is not a zip file"),
    "h5 of SHD": ("a.h5", tools.h5({"spikes/times": [0.1], "spikes/units": [1]}), "dataset.name to 'tonic:SHD'"),
    "h5 of other things": ("a.h5", tools.h5({"data": [1], "more": [2]}), "holds data, more and no events in a known"),
    "h5 without a time": (
        "a.h5",
        tools.h5({"events/x": [1], "events/y": [2]}),
        "/?events: has the fields x, y, .* no t",
    ),
    "h5 without fields": ("a.h5", tools.h5({"events": np.zeros((3, 4))}), r"shape \(3, 4\) without fields"),
    "h5 of uneven columns": (
        "a.h5",
        tools.h5(tools.columns(EVENTS, "events/") | {"events/p": [1]}),
        "differ in length .*p: 1",
    ),
    "h5 cut": ("a.h5", GOOD["a.h5"][:-500], "is a damaged file of HDF5: .*truncated"),
    "h5 with ECF": (
        "a.h5",
        packed_with_a_filter_that_is_missing(),
        "HDF5 filter 36559, which is not installed; install Prophesee's hdf5_ecf plugin",
    ),
    "csv line": ("a.csv", b"1,2,3,1\n1,2,3\n", "line 2 has 3 values, not 4; expected lines x,y,t,p"),
    "csv fraction": ("a.csv", b"1,2,3,1\n1,2,0.5,0\n", "line 2 has '0.5', which is no whole number"),
    "csv names": ("a.csv", b"col,row,t,p\n1,2,3,1\n", "line 1: has the fields col, row, t, p, among them no x or xs"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_error_names_what_was_found(tmp_path, case):
    name, content, message = BAD[case]
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        formats.read_events(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    with pytest.raises(DataError):  # the blocks say so too, but for a file that is only empty
        assert list(formats.event_blocks(file)) or formats.read_events(file)


@pytest.mark.parametrize("name", GOOD)
def test_no_damage_escapes_as_another_error(tmp_path, name, capfd):
    """Bytes cut off, put in and changed; nothing but a `DataError` of one line, or events."""
    rng = np.random.default_rng(sum(name.encode()))
    file, good = tmp_path / name, GOOD[name]
    for attempt in range(25):
        damaged, at = bytearray(good), int(rng.integers(len(good)))
        if attempt % 3 == 0:
            del damaged[at:]
        elif attempt % 3 == 1:
            damaged[at:at] = rng.bytes(int(rng.integers(1, 20)))
        else:
            damaged[at] = int(rng.integers(256))
        file.write_bytes(bytes(damaged))
        try:
            assert len(formats.read_events(file).events)
        except DataError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr() == ("", ""), "not a word from compiled code either"


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(DataError, match=r"absent\.bin: cannot be read: No such file or directory"):
        formats.read_events(tmp_path / "absent.bin")
    with pytest.raises(DataError, match="is a folder, not a file"):
        formats.read_events(tmp_path)
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(DataError, match="is a device or a pipe, not a file"):
        formats.read_events(tmp_path / "pipe.bin")


def test_names_need_not_be_utf8(tmp_path):
    for suffix, name in ((b".bin", "a.bin"), (b".h5", "a.h5"), (b".aedat4", "a.aedat4")):
        file = tmp_path / os.fsdecode(b"caf\xe9" + suffix)
        file.write_bytes(GOOD[name])
        assert len(formats.read_events(file).events) == len(EVENTS)
