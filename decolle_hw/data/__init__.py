"""Event data sets as binary frames: embedded digits, folders of recordings, still images, tonic's data sets.

>>> from decolle_hw.data import load_split
>>> from decolle_hw.spec import DatasetSpec
>>> test = load_split(DatasetSpec(deltat=5000, chunk_size_test=60), "test")
>>> test.dense([0, 1]).shape  # steps, batch, inputs
(60, 2, 512)
"""

from decolle_hw.data.binning import Progress
from decolle_hw.data.load import (
    dataset_classes,
    has_train_and_test,
    load_folder,
    load_split,
    load_unlabelled,
    of_folder,
    recording_events,
    source_of,
    stream_folder,
    stream_split,
)
from decolle_hw.data.pixels import StillImages, stream_images
from decolle_hw.data.recordings import BinnedRecordings, Skipped
from decolle_hw.data.spike_arrays import SpikeArrays, stream_spikes
from decolle_hw.data.stream import RecordingStream
from decolle_hw.data.usable import SkippedWarning

__all__ = [
    "BinnedRecordings",
    "Progress",
    "RecordingStream",
    "Skipped",
    "SkippedWarning",
    "SpikeArrays",
    "StillImages",
    "dataset_classes",
    "has_train_and_test",
    "load_folder",
    "load_split",
    "load_unlabelled",
    "of_folder",
    "recording_events",
    "source_of",
    "stream_folder",
    "stream_images",
    "stream_spikes",
    "stream_split",
]
