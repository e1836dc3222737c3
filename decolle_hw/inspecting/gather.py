"""From files to an `Inspection`: every recording is read twice, and held in memory never.

The first reading (`data.survey`, which remembers files that have not changed) finds sizes and durations, the second
counts events by pixel and by time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from decolle_hw import sizes
from decolle_hw.data.binning import Progress
from decolle_hw.data.formats import TITLES, event_blocks
from decolle_hw.data.prepare import origin_us
from decolle_hw.data.processes import in_processes
from decolle_hw.data.survey import Surveyed, survey_files
from decolle_hw.errors import DataError
from decolle_hw.inspecting.analysis import Gathering, Inspection, Measured
from decolle_hw.inspecting.found import UNSORTED, Found, Place, shown
from decolle_hw.inspecting.pixels import TIME_BINS, Counts, Frame, count_events, picture_of_moment
from decolle_hw.spec import DatasetSpec

Errand = tuple[Place, Surveyed, Frame]


def inspect_files(found: Found, workers: int = 0, progress: Progress | None = None) -> Inspection:
    """All recordings that were found.

    Args:
        workers: processes that read; 0: this one.
        progress: called with (done, total), where each recording counts twice.

    Raises `DataError` where not one recording can be read.
    """
    count = len(found.places)
    half = None if progress is None else lambda done, total: progress(done, 2 * count)
    surveyed = survey_files([place.file for place in found.places], workers=workers, progress=half)
    good = [entry for entry in surveyed if entry.error is None]
    if not good:
        raise DataError(f"{shown(found.path)}: none of {count} recordings can be read; {surveyed[0].error}")
    sensor, origin = sizes.sensor_of(good)
    frame = Frame(*sensor, max(entry.last_us - entry.first_us for entry in good) // TIME_BINS + 1)
    gathering = Gathering(frame, list(dict.fromkeys(_panel(place) for place in found.places)))
    measured = []
    errands = [(place, entry, frame) for place, entry in zip(found.places, surveyed, strict=True)]
    for index, (recording, counts) in enumerate(_in_turn(errands, workers)):
        measured.append(recording)
        if counts is not None:
            gathering.add(index, _panel(found.places[index]), counts, recording.duration_us)
        if progress is not None:
            progress(count + index + 1, 2 * count)

    def moment(index: int, start_us: int, length_us: int) -> NDArray[np.int64]:
        begin = surveyed[index].first_us + start_us
        return picture_of_moment(event_blocks(found.places[index].file), frame, begin, length_us)

    return Inspection(
        what=str(found.path), layout=found.layout,
        recordings=tuple(recording for recording in measured if recording.error is None),
        broken=tuple(recording for recording in measured if recording.error is not None),
        others=tuple(str(file) for file in found.others),
        sensor=sensor, sensor_origin=origin, polarities=max(entry.polarities for entry in good),
        hot=gathering.hot(), panels=gathering.panels(moment), panels_of=gathering.offered,
        class_names=tuple(dict.fromkeys(place.label for place in found.places)), bin_us=frame.bin_us,
        kind="files",
        total=count,
    )  # fmt: skip


def _panel(place: Place) -> str:
    return place.name if place.label == UNSORTED else place.label


def _in_turn(errands: Sequence[Errand], workers: int) -> Iterator[tuple[Measured, Counts | None]]:
    if not workers:
        return map(_measure, errands)
    return in_processes(_measure, errands, min(workers, len(errands)))


def _measure(errand: Errand) -> tuple[Measured, Counts | None]:
    place, entry, frame = errand
    recording = Measured(place.name, place.label, place.part, TITLES.get(entry.format, ""), error=entry.error)
    if entry.error is not None:
        return recording, None
    duration = entry.last_us - entry.first_us
    origin = origin_us(DatasetSpec(), entry.format, entry.first_us)
    try:
        counts = count_events(event_blocks(place.file), frame, entry.first_us, duration)
    except DataError as error:  # changed since it was surveyed
        return replace(recording, error=str(error)), None
    return replace(
        recording,
        events=entry.events,
        on=counts.on,
        duration_us=duration,
        length_us=entry.last_us - origin,
        notes=tuple(entry.notes),
    ), counts
