"""Spikes as they are, for networks whose input is no event camera: one .npz file.

Arrays: ``spikes`` (R, T, I) or (R, T, c, h, w) of 0 and 1, ``labels`` (R,), which are classes of the network.
"""

# R recordings, T steps, B batch, I inputs; c, h, w channels, height, width

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.images import array_names, read_array
from decolle_hw.data.pixels import read_classes
from decolle_hw.data.recordings import BinnedRecordings
from decolle_hw.data.source import evenly_spread
from decolle_hw.errors import DataError

NEEDED = "needed are spikes (R, T, I) or (R, T, c, h, w) of 0 and 1, and labels (R,)"


@dataclass(frozen=True)
class SpikeArrays:
    """Labelled spikes; has what `decolle_hw.execution.execute` asks of a stream of recordings."""

    spikes_RTI: NDArray[np.uint8]
    labels: NDArray[np.int64]  # (R,) index into classes
    names: tuple[str, ...]  # for reports, for example ``spikes/3``
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]

    @property
    def steps(self) -> int:
        return int(self.spikes_RTI.shape[1])

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[BinnedRecordings]:
        """All recordings in order, `size` at a time; the last batch may be smaller."""
        for first in range(0, len(self), size):
            those = slice(first, first + size)
            frames_BE = self.spikes_RTI[those].reshape(-1, self.steps * math.prod(self.input_shape))
            recording, active = np.nonzero(frames_BE)
            indptr = np.searchsorted(recording, np.arange(len(frames_BE) + 1))
            yield BinnedRecordings(
                indptr.astype(np.int64), active.astype(np.int32), self.labels[those], self.names[those], self.classes,
                self.steps, self.input_shape,
            )  # fmt: skip


def stream_spikes(
    path: str | Path, input_shape: tuple[int, int, int], classes: Sequence[str], steps: int,
    samples: int | None = None, *, labelled: bool = True,
) -> SpikeArrays:  # fmt: skip
    """Recordings of a file.

    Args:
        input_shape: (c, h, w) of the network's inputs.
        classes: names of the network's classes; a label is one of them.
        steps: of a recording of the network.
        samples: at most so many, evenly spread over the file.
        labelled: False: the file needs no labels, and those that it has are not read; all are of the first class.

    Raises `DataError` for a file that is missing, damaged, or does not fit the network.
    """
    file = Path(path).expanduser()
    found = array_names(file)
    if not ({"spikes", "labels"} if labelled else {"spikes"}) <= set(found):
        raise DataError(f"{file}: {NEEDED} (found: {', '.join(found) or 'none'})")
    spikes = read_array(file, "spikes")
    inputs = math.prod(input_shape)
    if spikes.ndim < 3 or 0 in spikes.shape or spikes.shape[2:] not in ((inputs,), tuple(input_shape)):
        raise DataError(f"{file}: spikes has shape {spikes.shape}, the network takes {input_shape}; {NEEDED}")
    if spikes.dtype.kind not in "iubf" or not np.isin(spikes, (0, 1)).all():
        raise DataError(f"{file}: spikes has values other than 0 and 1; {NEEDED}")
    if spikes.shape[1] != steps:
        raise DataError(
            f"{file}: its recordings have {spikes.shape[1]} steps, those of the network {steps}; compile the network "
            f"with --steps {spikes.shape[1]}, or cut or fill up the recordings"
        )
    labels = read_classes(file, "labels", classes) if labelled else np.zeros(len(spikes), np.int64)
    if len(labels) != len(spikes):
        raise DataError(f"{file}: {len(spikes)} recordings have {len(labels)} labels; {NEEDED}")
    chosen = evenly_spread(len(labels), samples)
    chosen = np.arange(len(labels)) if chosen is None else chosen
    spikes_RTI = spikes[chosen].reshape(len(chosen), steps, inputs).astype(np.uint8)
    names = tuple(f"spikes/{index}" for index in chosen)
    return SpikeArrays(spikes_RTI, labels[chosen], names, tuple(classes), input_shape)
