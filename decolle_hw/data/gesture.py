"""DVS Gesture as tonic saves it: PATH/DVSGesture/ibmGesture{Train,Test}/<user>_<lighting>/<class>.npy.

Amir et al. 2017, "A low power, fully event-based gesture recognition system": 11 gestures of 29 users before a DVS128
of 128x128 pixels; users 1-23 are for training and 24-29 for testing. tonic's archives are cut into one file per
gesture, an array (E, 4) with columns x, y, p, t and t in milliseconds (`tonic.datasets.DVSGesture`). A recording is
cut from a longer one, so its time is counted from its first event.

tonic downloads (`DVSGesture(PATH, train=True)`); here only what lies there already is read, and the archives may have
been removed.
"""

# E events, R recordings

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tonic.datasets import DVSGesture
from tonic.io import events_struct

from decolle_hw.data.folder import Listing
from decolle_hw.data.prepare import prepare
from decolle_hw.data.source import cannot_be_read
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

CLASSES = tuple(DVSGesture.classes)
TRAIN, TEST = "ibmGestureTrain", "ibmGestureTest"
US_PER_TICK = 1000  # times are saved in milliseconds
LAYOUT = f"expected PATH/DVSGesture/{TRAIN}/<user>_<lighting>/<class 0..{len(CLASSES) - 1}>.npy"


@dataclass(frozen=True)
class Gestures(Listing):
    """Files of one split; named ``user01_fluorescent/0.npy``."""

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Event arrays one by one, so that never all of them are in memory."""
        return (read_gesture(file, spec, name) for file, name in zip(self.files, self.names, strict=True))


def split_of(spec: DatasetSpec) -> tuple[Gestures, Gestures]:
    """Training and test recordings, by the users that the data set's authors chose.

    `path` is the folder that tonic saves to, or the folder DVSGesture in it. Raises `DataError` for a folder of
    another layout, `SpecError` for a description that names none.
    """
    if spec.path is None:
        raise SpecError("dataset.path: is missing, and dataset.name is 'dvs_gesture'; set it to tonic's folder")
    path = Path(spec.path).expanduser()
    root = path if (path / TRAIN).is_dir() or (path / TEST).is_dir() else path / DVSGesture.__name__
    return _gestures(root / TRAIN, path), _gestures(root / TEST, path)


def read_gesture(file: Path, spec: DatasetSpec, name: str = "") -> np.ndarray:
    """Events (x, y, t, p) of one file as tonic's structured array, sorted by t; t in microseconds from the first event.

    x and y count inputs, not pixels (see `sensor`). `DataError` for a file that is no such array, or is empty.
    """
    try:
        columns_E4 = np.load(file, allow_pickle=False)
    except OSError as error:
        raise cannot_be_read(file, error) from None
    except (ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: is not an array of NumPy: {reason}; extract tonic's archive again") from None
    if not isinstance(columns_E4, np.ndarray) or columns_E4.ndim != 2 or columns_E4.shape[1] != 4:
        found = getattr(columns_E4, "shape", type(columns_E4).__name__)
        raise DataError(f"{file}: has shape {found}, not (events, 4); extract tonic's archive again")
    if not len(columns_E4):
        raise DataError(f"{file}: holds no events; extract tonic's archive again, or remove the file")
    if columns_E4.dtype.kind not in "iufb" or not np.isfinite(columns_E4).all():
        raise DataError(f"{file}: holds {columns_E4.dtype} values that are not all numbers; extract the archive again")
    x, y, p, t = columns_E4.astype(np.int64).T
    limits = np.iinfo(np.int16)
    if p.min() < 0 or p.max() > 1 or min(x.min(), y.min()) < limits.min or max(x.max(), y.max()) > limits.max:
        raise DataError(f"{file}: its columns are not x, y, p (0 or 1), t; extract tonic's archive again")
    events = np.empty(len(t), events_struct)
    events["x"], events["y"], events["p"] = x, y, p
    events["t"] = (t - t.min()) * US_PER_TICK
    return prepare(events, spec, file, name)


def _gestures(folder: Path, path: Path) -> Gestures:
    try:
        users = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        files = [file for user in users for file in user.iterdir() if file.suffix == ".npy"]
    except FileNotFoundError:
        raise DataError(
            f"{path}: has no {DVSGesture.__name__}/{folder.name}; {LAYOUT}; to download it, run in Python: from "
            f"tonic.datasets import DVSGesture; DVSGesture({str(path)!r}, True); DVSGesture({str(path)!r}, False)"
        ) from None
    except OSError as error:
        raise cannot_be_read(folder, error) from None
    for file in files:
        if not file.stem.isdecimal() or int(file.stem) >= len(CLASSES):
            raise DataError(f"{file}: is not named after a class 0..{len(CLASSES) - 1}; {LAYOUT}; move it away")
    if not files:
        raise DataError(f"{folder}: holds no recordings; {LAYOUT}; extract tonic's archive again")
    files.sort(key=lambda file: (file.parent.name, int(file.stem)))
    return Gestures(tuple(files), np.array([int(file.stem) for file in files], np.int64), CLASSES)
