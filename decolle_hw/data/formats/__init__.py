"""Recordings of event cameras as they write them.

>>> from pathlib import Path
>>> from decolle_hw.data import formats
>>> recorded = formats.read_events(Path("recording.bin"))
>>> recorded.events.dtype.names  # sorted by t, in microseconds
('x', 'y', 't', 'p')
"""

from decolle_hw.data.formats.events import EVENTS, Recorded
from decolle_hw.data.formats.reading import STREAM_FORMATS, SUFFIXES, TITLES, event_blocks, read_events

__all__ = ["EVENTS", "STREAM_FORMATS", "SUFFIXES", "TITLES", "Recorded", "event_blocks", "read_events"]
