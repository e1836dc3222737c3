"""What came of a session of learning."""

# R recordings, K recordings shown

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.execution import Backend
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.sim.compare_learning import LearningComparison
from decolle_hw.sim.learning_randoms import Rounding
from decolle_hw.training.runs import Run


@dataclass(frozen=True)
class Accuracy:
    """Decisions of a network that does not learn meanwhile."""

    labels: NDArray[np.int64]  # (R,)
    decisions: NDArray[np.int64]  # (R,)

    @property
    def hits(self) -> int:
        return int((self.labels == self.decisions).sum())

    @property
    def recordings(self) -> int:
        return len(self.labels)

    def of_class(self, label: int) -> tuple[int, int]:
        """(hits, recordings) of one class."""
        own = self.labels == label
        return int((self.decisions[own] == label).sum()), int(own.sum())

    def to_json(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Accuracy with its interval, and that of each class that occurs."""
        per_class = {name: self.of_class(label) for label, name in enumerate(classes)}
        return {
            "recordings": self.recordings,
            "accuracy": self.hits / self.recordings,
            "accuracy_interval_95": list(wilson_interval(self.hits, self.recordings)),
            "per_class": {
                name: {"recordings": count, "accuracy": hits / count}
                for name, (hits, count) in per_class.items() if count
            },
        }  # fmt: skip


@dataclass(frozen=True)
class LayerChange:
    """What became of the weights of a plastic layer."""

    layer: int  # of the program, pooling counted
    weights: int
    updates: int  # changes of a weight, over all epochs
    different: int  # weights that are other than before
    rms: float  # of the difference, in units of the stored weight
    at_limit: int  # weights at the end of their 9 bits


@dataclass(frozen=True)
class Session:
    """Result of `decolle_hw.learning.session.learn_on_chip`."""

    learning: LearningProgram
    artifact: Path
    backend: Backend
    rounding: Rounding
    seed: int
    passes: int
    presented_before: int  # recordings before this session
    names: tuple[str, ...]  # (K,) in the order in which they were shown
    labels: NDArray[np.int64]  # (K,)
    decisions: NDArray[np.int64]  # (K,) while being taught
    before: Accuracy | None  # None: there is nothing to test on
    after: Accuracy | None
    note: str
    changes: tuple[LayerChange, ...]
    comparison: LearningComparison | None  # Lava against the reference; None: of the reference alone
    seconds: float
    saved_artifact: Accuracy | None = None
    checkpoint: Run | None = None
    written: tuple[Path, ...] = ()

    @property
    def hits(self) -> int:
        """Recordings decided rightly while being taught."""
        return int((self.labels == self.decisions).sum())

    def with_file(self, path: Path) -> Session:
        return replace(self, written=(*self.written, path))

    def with_artifact(self, accuracy: Accuracy) -> Session:
        return replace(self, saved_artifact=accuracy)

    def with_checkpoint(self, run: Run) -> Session:
        return replace(self.with_file(run.folder), checkpoint=run)

    def to_json(self) -> dict[str, Any]:
        """Everything, recording by recording."""
        classes, comparison = self.learning.program.classes, self.comparison
        tests = {"before": self.before, "after": self.after, "saved_artifact": self.saved_artifact}
        return {
            "network": self.learning.program.name,
            "artifact": str(self.artifact),
            "backend": self.backend,
            "rounding": self.rounding,
            "seed": self.seed,
            "passes": self.passes,
            "presented_before": self.presented_before,
            "presented": self.presented_before + len(self.labels),
            "classes": list(classes),
            "test": {name: None if one is None else one.to_json(classes) for name, one in tests.items()},
            "test_note": self.note,
            "checkpoint_accuracy": None if self.checkpoint is None else self.checkpoint.metrics["test_accuracy"][-1],
            "while_learning": {"recordings": len(self.labels), "accuracy": self.hits / len(self.labels)},
            "layers": [asdict(change) for change in self.changes],
            "seconds": self.seconds,
            "compared_values": None if comparison is None else comparison.compared,
            "mismatches": None if comparison is None else comparison.mismatches,
            "shown": [
                {"recording": name, "label": classes[label], "decision": classes[decision]}
                for name, label, decision in zip(self.names, self.labels, self.decisions, strict=True)
            ],
        }
