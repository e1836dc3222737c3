"""A compiled network on a whole data set: batch after batch, on the reference or in Lava, and what came out of each.

Of a recording only its decision and its spike counts stay; traces go with their batch. So memory depends on the size
of a batch and not on the number of recordings.
"""

# R recordings, B batch, T steps, I inputs, N neurons, C classes, L layers

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.atomic import new_file
from decolle_hw.compiler.program import Program
from decolle_hw.errors import UsageError
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.sim.compare import Comparison, compare
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import Trace, decide, readouts

if TYPE_CHECKING:  # jobs import this module, and need neither tonic nor torch
    from decolle_hw.data import BinnedRecordings, RecordingStream, SpikeArrays, StillImages

Backend = Literal["lava", "reference"]
Progress = Callable[[int, int], None]

LARGEST_BATCH = 256
BATCH_BYTES = 256_000_000  # of spikes, by default; Lava, the reference and the comparison each hold them once
COPIES = {"reference": 2, "lava": 4}  # of a batch's spikes: input and trace, Lava's tapes and trace, what differs


class Batch(NamedTuple):
    """Input of some recordings, as the entries that hold an event: small enough to be sent to another process."""

    indptr: NDArray[np.int64]  # (B+1,)
    active: NDArray[np.int32]  # (indptr[-1],) step * I + input
    steps: int
    inputs: int

    @property
    def recordings(self) -> int:
        return len(self.indptr) - 1

    def dense(self) -> NDArray[np.uint8]:
        """(B, T, I) of 0 and 1."""
        counts = np.diff(self.indptr)
        frames = np.zeros((len(counts), self.steps * self.inputs), np.uint8)
        frames[np.repeat(np.arange(len(counts)), counts), self.active] = 1
        return frames.reshape(len(counts), self.steps, self.inputs)


class ImageBatch(NamedTuple):
    """Bias mantissas of some images: what a network with an input block is given."""

    mantissa_BI: NDArray[np.int16]

    @property
    def recordings(self) -> int:
        return len(self.mantissa_BI)

    def dense(self) -> NDArray[np.int16]:
        """(B, I)"""
        return self.mantissa_BI


AnyBatch = Batch | ImageBatch


class BatchResult(NamedTuple):
    """What stays of a batch."""

    predictions_B: NDArray[np.int64]
    readouts_BC: NDArray[np.int64]
    spikes_BL: NDArray[np.int64]  # of all neurons and steps
    comparison: Comparison | None


@dataclass(frozen=True)
class Executed:
    """Result of `execute`."""

    program: Program
    backend: Backend
    labels: NDArray[np.int64]  # (R,)
    predictions: NDArray[np.int64]  # (R,)
    readouts: NDArray[np.int64]  # (R, C) integers, of which the largest decides
    spikes: NDArray[np.int64]  # (R, L) of each layer, all neurons and steps together
    names: tuple[str, ...]
    steps: int
    seconds: float
    batch: int
    jobs: int
    comparison: Comparison | None  # Lava against the reference, every spike; None for the reference itself

    @property
    def hits(self) -> int:
        return int((self.labels == self.predictions).sum())

    @property
    def firing_rates(self) -> list[float]:
        """Spikes per neuron and step of each layer."""
        neurons_L = np.array([layer.num_neurons for layer in self.program.layers])
        rates: list[float] = (self.spikes.mean(0) / (neurons_L * self.steps)).tolist()
        return rates

    def per_class(self) -> dict[str, dict[str, float]]:
        """Recordings and accuracy of each class that occurs."""
        found = {}
        for label in np.unique(self.labels):
            right = self.predictions[self.labels == label] == label
            found[self.program.classes[label]] = {"recordings": len(right), "accuracy": float(right.mean())}
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything, recording by recording."""
        return {
            "network": self.program.name,
            "backend": self.backend,
            "recordings": len(self.labels),
            "accuracy": self.hits / len(self.labels),
            "accuracy_interval_95": list(wilson_interval(self.hits, len(self.labels))),
            "per_class": self.per_class(),
            "firing_rates": self.firing_rates,
            "seconds": self.seconds,
            "batch": self.batch,
            "jobs": self.jobs,
            "compared_values": self.comparison.compared if self.comparison else None,
            "mismatches": self.comparison.mismatches if self.comparison else None,
            "predictions": [
                {"recording": name, "label": label, "prediction": prediction}
                for name, label, prediction, *_ in self._rows()
            ],
        }

    def _rows(self) -> Iterator[list[Any]]:
        """Name, names of label and prediction, 1 if they agree, then the readout of each class."""
        classes = self.program.classes
        for name, label, prediction, sums_C in zip(
            self.names, self.labels, self.predictions, self.readouts, strict=True
        ):
            yield [name, classes[label], classes[prediction], int(label == prediction), *sums_C.tolist()]

    def write_csv(self, path: Path) -> None:
        """One line per recording: name, label, prediction, correct (1 or 0), and the integer readout of each class."""
        header = ["recording", "label", "prediction", "correct", *(f"readout_{name}" for name in self.program.classes)]
        # File names need not be UTF-8; their bytes are written as they are.
        text: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        with new_file(path) as partial, partial.open("w", **text) as stream:
            lines = csv.writer(stream, lineterminator="\n")
            lines.writerow(header)
            lines.writerows(self._rows())


def execute(
    program: Program,
    stream: RecordingStream | StillImages | SpikeArrays,
    backend: Backend,
    *,
    batch: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Executed:
    """Run all recordings of a stream; in Lava, compare every spike with the reference as it goes.

    Args:
        stream: recordings, or, for a network with an input block, images.
        batch: recordings at a time; by default as many as memory of `BATCH_BYTES` holds. It changes no result.
        jobs: processes that run Lava side by side.
        progress: called with (recordings done, recordings in all).

    Whatever is raised ends all processes that were started.

    Raises:
        DecolleHwError: a Lava process failed or died, or Lava is missing.
        DataError: a recording cannot be used.
    """
    assert jobs == 1 or backend == "lava", "the reference runs in this process"
    total = len(stream)
    size = batch or default_batch(program, stream.steps, backend, total, jobs)
    tasks = (_to_batch(program, given) for given in stream.batches(size))
    began = time.perf_counter()
    if backend == "lava" and jobs > 1:
        from decolle_hw.lava_backend.jobs import run_in_jobs

        report = None if progress is None else lambda done: progress(done, total)
        results = run_in_jobs(run_batch_in_lava, program, tasks, min(jobs, -(-total // size)), report)
    else:
        results = _run_here(program, tasks, backend, total, progress)
    seconds = time.perf_counter() - began
    return Executed(
        program, backend, stream.labels,
        np.concatenate([result.predictions_B for result in results]),
        np.concatenate([result.readouts_BC for result in results]),
        np.concatenate([result.spikes_BL for result in results]),
        stream.names, stream.steps, seconds, size, jobs, merged([result.comparison for result in results], size),
    )  # fmt: skip


def default_batch(program: Program, steps: int, backend: Backend, recordings: int, jobs: int) -> int:
    """Recordings whose spikes fill `BATCH_BYTES` in each job, at most `LARGEST_BATCH`, and work for every job."""
    neurons = sum(layer.num_neurons for layer in program.layers)
    bytes_each = COPIES[backend] * steps * (program.num_inputs + neurons)
    fitting = min(LARGEST_BATCH, max(1, BATCH_BYTES // bytes_each))
    return max(1, min(fitting, math.ceil(recordings / jobs)))


def _run_here(
    program: Program, tasks: Iterator[AnyBatch], backend: Backend, total: int, progress: Progress | None
) -> list[BatchResult]:
    results: list[BatchResult] = []
    done = 0
    for task in tasks:
        before = done

        def report(of_batch: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + of_batch, total)

        if backend == "lava":
            results.append(run_batch_in_lava(program, task, report))
        else:
            results.append(_kept(program, run_reference(program, task.dense()), None))
        done += task.recordings
        report(done - before, total)
    return results


def run_batch_in_lava(program: Program, task: AnyBatch, progress: Progress) -> BatchResult:
    """One batch in Lava and in the reference. A function of the module, so that jobs can be told to call it."""
    given = task.dense()
    trace = lava_runner()(program, given, progress=progress)
    return _kept(program, trace, compare(program, run_reference(program, given), trace))


def _kept(program: Program, trace: Trace, comparison: Comparison | None) -> BatchResult:
    spikes_LB = [layer.spikes.sum((1, 2), dtype=np.int64) for layer in trace.layers]
    return BatchResult(decide(program, trace), readouts(program, trace), np.stack(spikes_LB, 1), comparison)


def _to_batch(program: Program, given: BinnedRecordings | NDArray[np.float32]) -> AnyBatch:
    """Of recordings, or of (B, I) pixels."""
    if isinstance(given, np.ndarray):
        assert program.input_block is not None, "images are for a network with an input block"
        return ImageBatch(program.input_block.mantissas(given).astype(np.int16))
    assert given.random_windows is None, "recordings are run from their start"
    return Batch(given.indptr, given.active, given.steps, given.num_inputs)


def as_given(program: Program, batch: BinnedRecordings | NDArray[np.float32]) -> NDArray[Any]:
    """A batch of a stream as `run_reference` and Lava take it: (B, T, I) spikes, or (B, I) bias mantissas."""
    return _to_batch(program, batch).dense()


def merged(parts: Sequence[Comparison | None], size: int) -> Comparison | None:
    """Comparisons of consecutive batches of `size` recordings as one, in which recordings are counted on."""
    whole: Comparison | None = None
    for number, part in enumerate(parts):
        whole = whole.followed_by(part, number * size) if whole is not None and part is not None else part
    return whole


def lava_runner() -> Callable[..., Trace]:
    """`lava_backend.runner.run_lava`; imported here, as Lava takes seconds to import and needs Python 3.10."""
    try:
        from decolle_hw.lava_backend.runner import run_lava
    except Exception as error:  # with a Python or NumPy that is not its own, it is not only ImportError
        raise UsageError(
            f"Lava cannot be imported ({type(error).__name__}: {error}): it needs Python 3.10 with lava-nc 0.10.0; "
            "`run --sim` and `verify` with --backend reference work without it"
        ) from None
    return run_lava
