"""What is known of recordings after all of them were read: figures, hot pixels, pictures of the classes."""

# H W pixels, h w cells of a picture, B bins of time

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.source import evenly_spread
from decolle_hw.inspecting.found import UNSORTED
from decolle_hw.inspecting.pixels import MOMENT_US, Counts, Frame, busiest_moment, hot_pixels

# Files of events, still images before the simulated camera, or a data set that a description names.
Kind = Literal["files", "images", "described"]

MOST_PANELS = 20  # pictures of classes, or of recordings that have none
LISTED_HOT = 200  # hot pixels in the JSON; the table has fewer


@dataclass(frozen=True)
class Measured:
    """One recording."""

    name: str
    label: str  # `UNSORTED` where nobody has named it
    part: str  # train, test, or neither
    format: str
    events: int = 0
    on: int = 0
    duration_us: int = 0  # from the first event to the last
    length_us: int = 0  # to the last from where training begins to count (`data.prepare.origin_us`)
    notes: tuple[str, ...] = ()  # what was mended
    error: str | None = None  # why it cannot be used

    @property
    def rate_hz(self) -> float:
        """Events per second of the whole sensor; of a single instant, as if it had lasted a millisecond."""
        return self.events / max(self.duration_us / 1e6, 1e-3)


@dataclass(frozen=True)
class HotPixel:
    """See `pixels.hot_pixels`."""

    y: int
    x: int
    events: int
    rate_hz: float  # over all recordings


@dataclass(frozen=True)
class Panel:
    """A class, or a recording of none, as it is drawn."""

    name: str
    recordings: int
    picture_2hw: NDArray[np.int64]  # OFF, ON; all events
    moment_2hw: NDArray[np.int64]  # the busiest moment of one of its recordings
    moment_us: int
    rate_hz_B: NDArray[np.float64]  # of a recording, nan after the last has ended


@dataclass(frozen=True)
class Inspection:
    """All that `data inspect` has to say."""

    what: str
    layout: str
    recordings: tuple[Measured, ...]  # those that can be used
    broken: tuple[Measured, ...]
    others: tuple[str, ...]  # files that are no recordings by their names
    sensor: tuple[int, int]  # height, width
    sensor_origin: str
    polarities: int
    hot: tuple[HotPixel, ...]
    panels: tuple[Panel, ...]
    panels_of: int  # classes, or recordings of none, of which the panels are some
    class_names: tuple[str, ...]  # in their order; `UNSORTED` where recordings have none
    bin_us: int
    kind: Kind
    total: int  # recordings that there are, read or not

    @property
    def classes(self) -> dict[str, list[Measured]]:
        """The usable recordings of each class; of one that holds only broken ones none."""
        named: dict[str, list[Measured]] = {name: [] for name in self.class_names}
        for recording in self.recordings:
            named[recording.label].append(recording)
        return named

    @property
    def unsorted(self) -> bool:
        """Whether no recording has a class."""
        return self.class_names == (UNSORTED,)

    @property
    def durations_us(self) -> list[int]:
        return [recording.duration_us for recording in self.recordings]

    @property
    def lengths_us(self) -> list[int]:
        return [recording.length_us for recording in self.recordings]

    @property
    def formats(self) -> dict[str, int]:
        """How many recordings there are of each format."""
        return dict(Counter(recording.format for recording in self.recordings).most_common())

    @property
    def mended(self) -> list[Measured]:
        return [recording for recording in self.recordings if recording.notes]

    @property
    def events(self) -> int:
        return sum(recording.events for recording in self.recordings)

    @property
    def on_share(self) -> float:
        """Share of the events that are ON."""
        return sum(recording.on for recording in self.recordings) / max(1, self.events)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures."""
        from decolle_hw.inspecting.suggestions import suggestions

        return {
            "what": self.what,
            "layout": self.layout,
            "recordings": self.total,
            "used": len(self.recordings),
            "formats": self.formats,
            "classes": {
                name or "(none)": {
                    "recordings": len(members),
                    **{part: sum(member.part == part for member in members) for part in ("train", "test")},
                    "events": sum(member.events for member in members),
                    "on_share": sum(member.on for member in members) / max(1, sum(member.events for member in members)),
                    "duration_us": spread_of([member.duration_us for member in members]),
                    "rate_hz": spread_of([member.rate_hz for member in members]),
                }
                for name, members in self.classes.items()
            },
            "sensor_size": list(self.sensor),
            "sensor_origin": self.sensor_origin,
            "duration_us": spread_of(self.durations_us),
            "events": self.events,
            "events_per_recording": spread_of([recording.events for recording in self.recordings]),
            "rate_hz": spread_of([recording.rate_hz for recording in self.recordings]),
            "on_share": self.on_share,
            "hot_pixels": len(self.hot),
            "hot_pixel_list": [
                {"y": pixel.y, "x": pixel.x, "events": pixel.events, "rate_hz": pixel.rate_hz}
                for pixel in self.hot[:LISTED_HOT]
            ],
            "mended": [{"recording": recording.name, "notes": list(recording.notes)} for recording in self.mended],
            "unreadable": [{"recording": recording.name, "error": recording.error} for recording in self.broken],
            "other_files": list(self.others),
            "suggestions": [{"text": entry.text, "yaml": entry.yaml} for entry in suggestions(self)],
        }


def spread_of(values: Sequence[float]) -> dict[str, float] | None:
    """Smallest, middle and largest; None of nothing."""
    if not values:
        return None
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


# (index of a recording, start in it, length; both in microseconds) -> (2, h, w) events of each polarity in between.
Moments = Callable[[int, int, int], NDArray[np.int64]]


class Gathering:
    """Counts of recordings as they come: of all of them by pixel, and of some classes for pictures.

    Memory holds one array of the sensor and two of each panel, however many recordings there are.
    """

    def __init__(self, frame: Frame, panels: Sequence[str]) -> None:
        self.frame = frame
        self.shown = _chosen(panels)
        self.offered = len(panels)
        self.pixels_HW = np.zeros((frame.height, frame.width), np.int64)
        self.total_us = 0
        self._of_panel: dict[str, Counts] = {}
        self._members: dict[str, list[_Member]] = {}

    def add(self, index: int, panel: str, counts: Counts, duration_us: int) -> None:
        """One recording more, which `panels` will call by its index."""
        self.pixels_HW += counts.pixels_HW
        self.total_us += duration_us
        if panel not in self.shown:
            return
        sofar = self._of_panel.get(panel)
        self._of_panel[panel] = counts if sofar is None else sofar + counts
        start = busiest_moment(counts.over_time_B, self.frame.bin_us, MOMENT_US)
        self._members.setdefault(panel, []).append(_Member(int(counts.over_time_B.sum()), index, start))

    def hot(self) -> tuple[HotPixel, ...]:
        """The worst first."""
        seconds = max(self.total_us / 1e6, 1e-3)
        counted = ((y, x, int(self.pixels_HW[y, x])) for y, x in hot_pixels(self.pixels_HW))
        return tuple(HotPixel(y, x, events, events / seconds) for y, x, events in counted)

    def panels(self, moments: Moments) -> tuple[Panel, ...]:
        """In the order of the classes; the moment is one of the recording with a middling number of events."""
        panels = []
        for name in self.shown:
            if name not in self._of_panel:  # nothing of it could be read
                continue
            counts, members = self._of_panel[name], sorted(self._members[name])
            running_B = np.where(counts.running_B > 0, counts.running_B, np.nan)
            rate_hz_B = counts.over_time_B / (running_B * self.frame.bin_us / 1e6)
            _, place, start_us = members[len(members) // 2]
            moment_2hw = moments(place, start_us, MOMENT_US)
            panels.append(Panel(name, len(members), counts.picture_2hw, moment_2hw, MOMENT_US, rate_hz_B))
        return tuple(panels)


class _Member(NamedTuple):
    """A recording of a panel; by number of events."""

    events: int
    place: int
    moment_start_us: int


def _chosen(names: Sequence[str]) -> tuple[str, ...]:
    which = evenly_spread(len(names), MOST_PANELS)
    return tuple(names) if which is None else tuple(names[index] for index in which)
