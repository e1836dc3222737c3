"""Recordings of every format, written byte by byte in `format_tools`, are read event for event."""

import io
import os
from pathlib import Path

import format_tools as tools
import numpy as np
import pytest
from expelliarmus import Wizard
from tonic.io import events_struct, read_aedat4, read_davis_346, read_mnist_file

from decolle_hw.data import formats
from decolle_hw.data.formats.events import BLOCK_BYTES
from decolle_hw.errors import UsageError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_dvs128 = pytest.mark.skipif(not (DATA / "dvs128_recordings").is_dir(), reason="the DVS128 recordings are absent")
needs_nmnist = pytest.mark.skipif(not (DATA / "nmnist_small").is_dir(), reason="the N-MNIST recordings are absent")
SMALL = tools.some_events(300, 128, 128, seed=1)
WIDE = tools.some_events(300, 260, 346, seed=2)


# Neighbours in a row at one time, which EVT 3.0 puts into vectors.
ROWS = [(x, k % 200, 4000 + 20 * k, k % 2) for k in range(120) for x in range(k, k + 31, 1 + k % 5)]
USUAL = {"x": ("x", "<u2"), "y": ("y", "<u2"), "t": ("timestamp", "<i8"), "p": ("polarity", "<i2")}
FLOATS = {"x": ("X", "<f4"), "y": ("Y", "<f4"), "t": ("ts", "<f8"), "p": ("pol", "<f4")}
FILES = {
    "nmnist.bin": (tools.nmnist_bytes(SMALL), SMALL, "nmnist", None),
    "dvs128.aedat": (tools.dvs128_bytes(SMALL), SMALL, "aedat2", (128, 128)),
    "davis240.aedat": (tools.davis_bytes(SMALL, "Davis240C", 180, 240), SMALL, "aedat2", (180, 240)),
    "davis346.aedat": (tools.davis_bytes(WIDE, "Davis346blue", 260, 346), WIDE, "aedat2", (260, 346)),
    "gesture.aedat": (tools.aedat3_bytes(SMALL), SMALL, "aedat3", (128, 128)),
    "dv.aedat4": (tools.aedat4_bytes(WIDE, 260, 346), WIDE, "aedat4", (260, 346)),
    "killed.aedat4": (tools.aedat4_bytes(WIDE, 260, 346, table=False), WIDE, "aedat4", (260, 346)),
    "cd.dat": (tools.dat_bytes(WIDE, 260, 346), WIDE, "dat", (260, 346)),
    "old.dat": (tools.dat_bytes(WIDE, kind=0), WIDE, "dat", None),
    "two.raw": (tools.evt2_bytes(WIDE, 260, 346), WIDE, "evt2", (260, 346)),
    "three.raw": (tools.evt3_bytes(WIDE, 260, 346), WIDE, "evt3", (260, 346)),
    "vectors.raw": (tools.evt3_bytes(ROWS, 260, 346), ROWS, "evt3", (260, 346)),
    "tonic.npy": (tools.npy(tools.events_array(WIDE)), WIDE, "npy", None),
    "usual.npy": (tools.npy(tools.of_fields(WIDE, **USUAL)), WIDE, "npy", None),
    "column.npy": (tools.npy(tools.events_array(WIDE)[:, None]), WIDE, "npy", None),
    "floats.npy": (tools.npy(tools.of_fields(WIDE, **FLOATS)), WIDE, "npy", None),
    "one.npz": (tools.npz(compressed=True, events=tools.of_fields(WIDE, **USUAL)), WIDE, "npz", None),
    "four.npz": (tools.npz(**tools.columns(WIDE)), WIDE, "npz", None),
    "dsec.h5": (tools.h5({**tools.columns(WIDE, "events/"), "ms_to_idx": np.arange(9)}), WIDE, "hdf5", None),
    "e2vid.h5": (tools.h5(tools.columns(WIDE, "events/", ["xs", "ys", "ts", "ps"])), WIDE, "hdf5", None),
    "metavision.hdf5": (
        tools.h5({"CD/events": tools.of_fields(WIDE, **USUAL)}, {"geometry": "346x260"}),
        WIDE,
        "hdf5",
        (260, 346),
    ),
    "plain.h5": (
        tools.h5({"events": tools.events_array(WIDE)}, {"height": 300, "width": 400}),
        WIDE,
        "hdf5",
        (300, 400),
    ),
    "top.h5": (tools.h5(tools.columns(WIDE)), WIDE, "hdf5", None),
}


NOTES = {"gesture.aedat": ("5 events that are marked as invalid or have no time were left out",)}


@pytest.mark.parametrize("name", FILES)
def test_every_event_is_read(tmp_path, name):
    content, events, format, sensor_size = FILES[name]
    file = tmp_path / name
    file.write_bytes(content)
    recorded = formats.read_events(file)
    assert recorded.events.dtype == events_struct
    np.testing.assert_array_equal(recorded.events, tools.events_array(events))
    assert (recorded.format, recorded.sensor_size) == (format, sensor_size)
    assert recorded.notes == NOTES.get(name, ())
    assert file.suffix in formats.SUFFIXES
    np.testing.assert_array_equal(np.concatenate(list(formats.event_blocks(file))), tools.events_array(events))


@pytest.mark.parametrize("name", [name for name in FILES if name != "nmnist.bin"])
def test_the_content_decides_and_not_the_suffix(tmp_path, name):
    content, events, format, _ = FILES[name]
    suffixes = [".dat", ".RAW"] if format == "npz" else [".dat", ".bin"]  # two letters may begin a .bin by chance
    for suffix in suffixes:
        file = tmp_path / f"recording{suffix}"
        file.write_bytes(content)
        recorded = formats.read_events(file)
        assert (recorded.format, len(recorded.events)) == (format, len(events))


def test_the_files_of_these_tests_are_what_other_readers_take_them_for(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(FILES[name][0])
    small, wide = tools.events_array(SMALL), tools.events_array(WIDE)
    np.testing.assert_array_equal(read_davis_346(str(tmp_path / "davis346.aedat"))[2][::3], wide)
    np.testing.assert_array_equal(read_mnist_file(str(tmp_path / "nmnist.bin"), events_struct), small)
    found = {name: read_aedat4(str(tmp_path / name)) for name in ("dv.aedat4", "killed.aedat4")}
    for encoding, name in (("dat", "cd.dat"), ("evt2", "two.raw"), ("evt3", "three.raw")):
        found[name] = Wizard(encoding=encoding).read(tmp_path / name)
    for name, events in found.items():
        # Of EVT 3.0, expelliarmus adds 4096 us where the lower half of the time falls, although the upper has risen.
        for field in "xyp" if name == "three.raw" else "xytp":
            np.testing.assert_array_equal(events[field], wide[field])


@needs_dvs128
def test_real_recordings_of_a_dvs128():
    for file in sorted((DATA / "dvs128_recordings").glob("*.bin"))[:3]:
        recorded = formats.read_events(file)
        expected = read_mnist_file(str(file), events_struct)
        np.testing.assert_array_equal(recorded.events, expected[np.argsort(expected["t"], kind="stable")])
        assert recorded.events["x"].max() == recorded.events["y"].max() == 127
        assert 1_440_000 < recorded.events["t"][-1] < 1_450_000


@needs_nmnist
def test_real_recordings_of_nmnist():
    for file in sorted((DATA / "nmnist_small").rglob("*.bin"))[::100]:
        expected = read_mnist_file(str(file), events_struct)
        recorded = formats.read_events(file)
        np.testing.assert_array_equal(recorded.events, expected[np.argsort(expected["t"], kind="stable")])


STREAMS = {"nmnist": "nmnist.bin", "aedat2": "davis346.aedat", "aedat3": "gesture.aedat", "dat": "cd.dat"}
STREAMS |= {"evt2": "two.raw", "evt3": "vectors.raw", "text": "lines"}
LINES = {"lines": (b"\n".join(b"%d,%d,%d,%d" % event for event in SMALL), SMALL)}


class Dribble(io.BytesIO):
    """A pipe that gives 33 bytes at a time, in the middle of events."""

    def read1(self, size=-1):
        return super().read1(33)


@pytest.mark.parametrize("format", formats.STREAM_FORMATS)
def test_a_pipe_gives_what_the_file_gives_however_it_is_cut(format):
    content, events, *_ = (LINES | FILES)[STREAMS[format]]
    for stream in (io.BytesIO(content), Dribble(content)):
        blocks = list(formats.event_blocks(stream, format))
        np.testing.assert_array_equal(np.concatenate(blocks), tools.events_array(events))
    assert len(blocks) > 4


@pytest.mark.parametrize("format", ["nmnist", "text", "dat"])
def test_events_come_before_the_pipe_is_closed(format):
    content, events, *_ = (LINES | FILES)[STREAMS[format]]
    receiver, sender = os.pipe()
    with os.fdopen(receiver, "rb") as stream, os.fdopen(sender, "wb", buffering=0) as writer:
        blocks = formats.event_blocks(stream, format)
        writer.write(content[: len(content) // 2])
        first = next(blocks)
        assert 0 < len(first) < len(events)
        np.testing.assert_array_equal(first, tools.events_array(events)[: len(first)])


def test_a_stream_needs_a_format_that_can_be_streamed():
    with pytest.raises(UsageError, match="the format of a stream must be given; it is one of nmnist, aedat2"):
        next(formats.event_blocks(io.BytesIO(b"")))
    with pytest.raises(UsageError, match=r"'nmist' is no format .* did you mean 'nmnist'"):
        next(formats.event_blocks(io.BytesIO(b""), "nmist"))


@pytest.mark.parametrize("name", ["tonic.npy", "four.npz", "one.npz", "dsec.h5", "metavision.hdf5", "gesture.aedat"])
def test_blocks_are_bounded(tmp_path, monkeypatch, name):
    monkeypatch.setattr("decolle_hw.data.formats.arrays.BLOCK_BYTES", 40 * 14)
    monkeypatch.setattr("decolle_hw.data.formats.hdf5.BLOCK_EVENTS", 40)
    monkeypatch.setattr("decolle_hw.data.formats.aedat3.BLOCK_BYTES", 320)
    file = tmp_path / name
    file.write_bytes(FILES[name][0])
    blocks = list(formats.event_blocks(file))
    assert max(map(len, blocks)) <= 44 and len(blocks) > 6
    np.testing.assert_array_equal(np.concatenate(blocks), tools.events_array(FILES[name][1]))


def test_no_more_is_read_than_a_block():
    """Of an endless recording: what is taken of it for the first events."""

    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            self.taken += size
            return bytes(size)

    stream = Endless()
    assert len(next(formats.event_blocks(stream, "nmnist"))) * 5 <= BLOCK_BYTES
    assert stream.taken == BLOCK_BYTES


@pytest.mark.parametrize(
    "text",
    [
        "5,6,70,1\n\n# a remark\n7;8;90;0\n",
        "x y t p\r\n5 6 70 1\r\n7\t8\t90\t0",
        "timestamp,polarity,x,y\n70,1,5,6\n90,-1,7,8\n",
    ],
)
def test_lines_of_text(tmp_path, text):
    for name in ("events.csv", "events.txt"):
        (tmp_path / name).write_text(text, newline="")
        recorded = formats.read_events(tmp_path / name)
        np.testing.assert_array_equal(recorded.events, tools.events_array([(5, 6, 70, 1), (7, 8, 90, 0)]))


def test_what_a_file_does_not_say_is_assumed_and_noted(tmp_path):
    np.save(tmp_path / "cochlea.npy", tools.of_fields(SMALL, x=("x", "<u2"), t=("t", "<i8")))
    recorded = formats.read_events(tmp_path / "cochlea.npy")
    assert (recorded.events["y"] == 0).all() and recorded.events["p"].all()
    assert recorded.notes == ("no y: all events are in row 0", "no polarity: all events are ON")
    (tmp_path / "old.aedat").write_bytes(tools.dvs128_bytes(SMALL, chip=None))
    recorded = formats.read_events(tmp_path / "old.aedat")
    np.testing.assert_array_equal(recorded.events, tools.events_array(SMALL))
    assert recorded.notes == ("the header names no camera: read as DVS128",)


def test_dsec_counts_from_an_offset(tmp_path):
    (tmp_path / "dsec.h5").write_bytes(tools.h5({**tools.columns(WIDE, "events/"), "t_offset": 51_000_000_000}))
    recorded = formats.read_events(tmp_path / "dsec.h5")
    np.testing.assert_array_equal(recorded.events["t"], tools.events_array(WIDE)["t"] + 51_000_000_000)
