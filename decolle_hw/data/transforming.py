"""Tonic's transforms of events, as `dataset.transforms` lists them.

They see pixels of the sensor and microseconds from the recording's (or window's) beginning. Random ones draw from
NumPy's global generator: it is seeded for each recording and transform, and afterwards as it was. A transform is made
anew for each recording, for some of tonic's keep what they found in the first one.
"""

# E events

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from decolle_hw.data.denoising import denoised
from decolle_hw.data.formats import EVENTS
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec
from decolle_hw.spec_transforms import EVENT_TRANSFORMS

# Tonic's transforms are written for numbers: noise of a boolean polarity would always be on.
WIDE = np.dtype([(field, np.int64) for field in EVENTS.names or ()])
FLOATS = ("p", "duration_ratio", "area_ratio")  # tonic refuses 0 where it wants 0.0


def transformed(events_E: np.ndarray, spec: DatasetSpec, name: str, place: object) -> np.ndarray:
    """Events after all of `spec.transforms`, sorted by t.

    Args: name: of the recording, on which random transforms depend. place: what messages call it.

    Raises `DataError` for a recording that a transform cannot take.
    """
    events = events_E.astype(WIDE)
    for step, (entry, (height, width)) in enumerate(zip(spec.transforms, spec.sensors, strict=False)):
        if not len(events):
            break
        ((transform, arguments),) = entry.items()
        try:
            with _seeded(spec.transform_seed, step, name):
                events = _apply(transform, arguments, (width, height, _polarities(spec)), events)
        except (AssertionError, ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{place}: dataset.transforms {transform} cannot take it: {reason}; leave it out") from None
    if len(events) and events["t"].min() < 0:
        raise DataError(
            f"{place}: dataset.transforms move an event to {events['t'].min()} us, before the recording begins; change "
            f"them"
        )
    return events[np.argsort(events["t"], kind="stable")].astype(EVENTS)


def _apply(
    transform: str, arguments: Mapping[str, Any], sensor_size: tuple[int, int, int], events: np.ndarray
) -> np.ndarray:
    if transform == "Denoise":
        return denoised(events, arguments["filter_time"])
    # Here and not on top: tonic imports torch, which most recordings do not need.
    from tonic import transforms as of_tonic

    kind = EVENT_TRANSFORMS[transform]
    with_defaults = kind.arguments.model_validate(arguments).model_dump()  # ours: tonic's jitter leaves the sensor
    given = {key: _as_tonic_wants(key, value) for key, value in with_defaults.items()}
    if kind.needs_sensor:
        given["sensor_size"] = sensor_size
    result: np.ndarray = getattr(of_tonic, transform)(**given)(events)
    return result


def _as_tonic_wants(key: str, value: Any) -> Any:
    if isinstance(value, list) and key != "coordinates":
        return tuple(value)
    return float(value) if key in FLOATS else value


def _polarities(spec: DatasetSpec) -> int:
    return 2 if spec.tonic is None else spec.tonic.polarities


@contextmanager
def _seeded(seed: int, step: int, name: str) -> Iterator[None]:
    """NumPy's global generator, seeded by all three, for as long as the block lasts."""
    before = np.random.get_state()
    # Names need not be UTF-8; Python then carries their bytes as surrogates.
    digest = hashlib.sha256(f"{seed} {step} {name}".encode("utf-8", "surrogateescape")).digest()
    np.random.seed(np.frombuffer(digest, np.uint32))
    try:
        yield
    finally:
        np.random.set_state(before)
