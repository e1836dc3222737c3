"""Small recordings of events for tests of the data pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from decolle_hw.data.formats import EVENTS
from decolle_hw.spec import DatasetSpec


def drawn_events(seed: int, count: int = 200, last_us: int = 300_000, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """Events sorted by time, the first at 0 and the last at `last_us`, on a sensor of (height, width)."""
    rng = np.random.default_rng(seed)
    events = np.empty(count, EVENTS)
    events["x"], events["y"] = rng.integers(0, size[1], count), rng.integers(0, size[0], count)
    events["t"], events["p"] = np.sort(rng.integers(0, last_us + 1, count)), rng.random(count) < 0.5
    events["t"][[0, -1]] = 0, last_us
    return events


def write_npy(file: Path, events: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, events)
    return file


def write_bin(file: Path, events: np.ndarray) -> Path:
    """N-MNIST's five bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    x, y, t, p = (events[field].astype(np.int64) for field in "xytp")
    file.write_bytes(np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes())
    return file


def folder_spec(path: object, **values: object) -> DatasetSpec:
    return DatasetSpec(**{"name": "folder", "path": str(path), "input_shape": [2, 8, 8], "deltat": 10_000, **values})


def one_line(error: object, *parts: object) -> None:
    """The message of a caught error is one line with these parts."""
    message = str(error.value)  # type: ignore[attr-defined]
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message
