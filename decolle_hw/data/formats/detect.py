"""Which format a file has: by its first bytes, for suffixes lie. Only N-MNIST's ``.bin`` has nothing to know it by."""

from __future__ import annotations

import re
import string

from decolle_hw.errors import DataError

HEAD_BYTES = 4096
ACCEPTED = "N-MNIST .bin, AEDAT 2, 3.1 and 4, Prophesee .dat and .raw (EVT 2.0 and 3.0), .npy, .npz and .h5"
MAGIC = {
    b"#!AER-DAT2": "aedat2",
    b"#!AER-DAT3": "aedat3",
    b"#!AER-DAT4": "aedat4",
    b"\x93NUMPY": "npy",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"PK\x03\x04": "npz",
}
PROPHESEE = re.compile(rb"%\s?[A-Za-z]")
PROPHESEE_RAW = {"2.0": "evt2", "3.0": "evt3", "2.1": "evt2.1", "EVT2": "evt2", "EVT3": "evt3", "EVT21": "evt2.1"}
EVT_LINE = re.compile(rb"^% ?(?:evt (\d\.\d)|format (EVT\d+))", re.MULTILINE)
TEXT = string.printable.encode("ascii")
OTHER_FILES = {
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"#ROSBAG": "a ROS bag",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"RIFF": "a RIFF file (WAV or AVI)",
    b"%PDF": "a PDF document",
    b"MATLAB": "a MATLAB file",
    b"#!AER-DAT": "an AEDAT file of another version than 2, 3 and 4",
}


def detect(head: bytes, suffix: str, place: str) -> str:
    """Key of the format of a file that begins with `head`.

    Args: suffix: lower case, of the name of the file.

    Raises `DataError` that says what was found instead.
    """
    if not head:
        raise DataError(f"{place}: holds no events (0 bytes); record it again or remove it")
    for magic, name in MAGIC.items():
        # Four bytes may also be the first event of an N-MNIST file.
        if head.startswith(magic) and not (suffix == ".bin" and len(magic) < 6):
            return name
    if PROPHESEE.match(head) and b"\n" in head:
        return _prophesee(head, place)
    is_text = not head.translate(None, TEXT)
    if suffix == ".bin" and not is_text:
        return "nmnist"
    if suffix in (".csv", ".txt") and is_text:
        return "text"
    found = next((what for magic, what in OTHER_FILES.items() if head.startswith(magic)), None)
    if found is None:
        found = "a text file" if is_text else f"no known format (it begins with {head[:8].hex(' ')})"
    raise DataError(f"{place}: is {found}, not a recording of events; accepted are {ACCEPTED}; move or convert it")


def _prophesee(head: bytes, place: str) -> str:
    line = EVT_LINE.search(head)
    if line is None:
        return "dat"
    version = (line.group(1) or line.group(2)).decode("ascii")
    name = PROPHESEE_RAW.get(version)
    if name is None or name == "evt2.1":
        raise DataError(
            f"{place}: is a Prophesee file of EVT {version}; EVT 2.0 and 3.0 can be read; convert it, for example with "
            f"metavision_file_to_dat"
        )
    return name
