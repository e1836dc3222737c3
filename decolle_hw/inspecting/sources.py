"""An `Inspection` of a data set that is not a folder of files: the embedded digits, images, what tonic has saved.

Its recordings are looked at as the network would get them; of many, some.
"""

# R recordings

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data import source_of
from decolle_hw.data.binning import Progress
from decolle_hw.data.source import Source, evenly_spread
from decolle_hw.errors import DataError
from decolle_hw.inspecting.analysis import Gathering, Inspection, Kind, Measured
from decolle_hw.inspecting.pixels import TIME_BINS, Frame, count_events, picture_of_moment
from decolle_hw.spec import DatasetSpec

TITLES = {"digits": "embedded images, simulated camera", "array": "images, simulated camera"}
MOST_RECORDINGS = 500  # that are read; simulating or decoding all of a large data set would take minutes


class _Part(NamedTuple):
    """The training or the test recordings, or some of them."""

    name: str
    source: Source
    spec: DatasetSpec


def inspect_source(
    what: str, spec: DatasetSpec, kind: Kind, sensor_origin: str, progress: Progress | None = None
) -> Inspection:
    """Recordings of both splits of a description, at most `MOST_RECORDINGS` of them, evenly spread.

    Raises `DataError` or `SpecError` for a data set that cannot be used.
    """
    every = [_Part("train", *source_of(spec, "train")), _Part("test", *source_of(spec, "test"))]
    total = sum(len(part.source.labels) for part in every)
    chosen = [_some(part, total) for part in every]
    count = sum(len(part.source.labels) for part in chosen)
    _, height, width = spec.input_shape
    # Two readings, as of files: how long recordings last must be known before they are counted over time.
    longest = 0
    for done, (_, _, _, events) in enumerate(_read(chosen), 1):
        longest = max(longest, _duration(events))
        if progress is not None:
            progress(done, 2 * count)
    frame = Frame(height, width, longest // TIME_BINS + 1)
    gathering = Gathering(frame, every[0].source.classes)
    measured = []
    for index, (name, label, part, events) in enumerate(_read(chosen)):
        duration = _duration(events)
        counts = count_events([events], frame, int(events["t"][0]), duration)
        gathering.add(index, label, counts, duration)
        measured.append(
            Measured(
                name,
                label,
                part,
                TITLES.get(spec.name, spec.name),
                len(events),
                counts.on,
                duration,
                int(events["t"][-1]),
            )
        )
        if progress is not None:
            progress(count + index + 1, 2 * count)
    places = [(part, place) for part in chosen for place in range(len(part.source.labels))]

    def moment(index: int, start_us: int, length_us: int) -> NDArray[np.int64]:
        part, place = places[index]
        events = next(iter(part.source.take(np.array([place])).read(part.spec)))
        return picture_of_moment([events], frame, int(events["t"][0]) + start_us, length_us)

    return Inspection(
        what=what,
        layout="train and test" if count == total else f"of {total:,} of train and test, evenly spread",
        recordings=tuple(measured),
        broken=(),
        others=(),
        sensor=(height, width),
        sensor_origin=sensor_origin,
        polarities=spec.input_shape[0],
        hot=gathering.hot(),
        panels=gathering.panels(moment),
        panels_of=gathering.offered,
        class_names=every[0].source.classes,
        bin_us=frame.bin_us,
        kind=kind,
        total=total,
    )


def _some(part: _Part, total: int) -> _Part:
    count = len(part.source.labels)
    which = evenly_spread(count, max(1, MOST_RECORDINGS * count // total)) if total > MOST_RECORDINGS else None
    return part if which is None else part._replace(source=part.source.take(which))


def _read(parts: list[_Part]) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Name, class, part and events of each recording."""
    for part in parts:
        source = part.source
        for name, label, events in zip(source.names, source.labels, source.read(part.spec), strict=True):
            if not len(events):
                raise DataError(f"{name}: holds no events")
            yield name, source.classes[label], part.name, events


def _duration(events_E: np.ndarray) -> int:
    return int(events_E["t"][-1] - events_E["t"][0])
