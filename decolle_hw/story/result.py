"""What came of a story: the result of every step, and the one table that sums it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiling.pipeline import Compiled
from decolle_hw.data import BinnedRecordings
from decolle_hw.fidelity.chain import LAVA
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.sim.compare import Comparison
from decolle_hw.sim.trace import Trace
from decolle_hw.story.cast import Cast
from decolle_hw.story.new_class import OnChip
from decolle_hw.story.request import Files
from decolle_hw.training.runs import Run
from decolle_hw.verify.verification import Verification

STEPS = ("learn", "compile", "certify", "run", "new class")  # in their order; a picture of them comes last


@dataclass(frozen=True)
class InLava:
    """The test recordings that the compiled network decided on in Lava."""

    recordings: BinnedRecordings
    decisions: NDArray[np.int64]  # (R,)
    trace: Trace
    comparison: Comparison  # every spike, with the reference

    @property
    def hits(self) -> int:
        return int((self.decisions == self.recordings.labels).sum())


@dataclass(frozen=True)
class Row:
    """One line of the table. What a step has nothing to say about is None."""

    step: str
    what: str
    hits: int | None = None
    recordings: int | None = None
    hits_before: int | None = None  # of the same recordings, before the step
    compared: int | None = None  # values; none of them differed, or there would be no table
    cores: int | None = None
    energy_pj: float | None = None  # dynamic, of a recording, estimated
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Shares of 1, with the 95 % Wilson interval."""
        known = self.hits is not None and bool(self.recordings)
        hits, count = (self.hits or 0), (self.recordings or 1)
        before = None if self.hits_before is None else self.hits_before / count
        return {
            "step": self.step,
            "what": self.what,
            "recordings": self.recordings,
            "accuracy": hits / count if known else None,
            "accuracy_interval_95": list(wilson_interval(hits, count)) if known else None,
            "accuracy_before": before,
            "compared_values": self.compared,
            "mismatches": None if self.compared is None else 0,
            "cores": self.cores,
            "energy_pj_per_recording": self.energy_pj,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Story:
    """Result of `tell_story`."""

    cast: Cast
    run: Run
    compiled: Compiled
    verification: Verification
    in_lava: InLava
    learner: Compiled | None  # with the empty output layer; None: nothing was learned on chip
    on_chip: OnChip | None
    why_none: str  # why not
    seconds: dict[str, float]  # by step
    files: Files
    commands: dict[str, str]  # by step, and `demo` for all of it

    @property
    def compared(self) -> int:
        """Values that Lava and the reference were compared in; all equal."""
        assert self.verification.chain.comparison is not None
        on_chip = 0 if self.on_chip is None else self.on_chip.comparison.compared
        return self.verification.chain.comparison.compared + self.in_lava.comparison.compared + on_chip

    def rows(self) -> tuple[Row, ...]:
        """The table, a line per step; of the last one a line for the new class and one for the others."""
        chain, run, fidelity = self.verification.chain, self.run, self.compiled.fidelity
        assert chain.comparison is not None and fidelity is not None
        tests = run.metrics["test_recordings"]
        trained = Row(
            "1 learn", "float network, PyTorch", round(run.best["test_accuracy"][-1] * tests), tests,
            seconds=self.seconds["learn"],
        )  # fmt: skip
        compiled = Row(
            "2 compile", "integers, reference simulator", fidelity.integer_hits, fidelity.recordings,
            cores=len(self.compiled.mapped.placement.cores), energy_pj=energy_of(self.compiled),
            seconds=self.seconds["compile"],
        )  # fmt: skip
        certified = Row(
            "3 certify", "Lava, every spike and register", chain.hits(LAVA), len(chain.labels),
            compared=chain.comparison.compared, seconds=self.seconds["certify"],
        )  # fmt: skip
        ran = Row(
            "4 run", "Lava, every spike", self.in_lava.hits, len(self.in_lava.decisions),
            compared=self.in_lava.comparison.compared, seconds=self.seconds["run"],
        )  # fmt: skip
        drawn = Row("6 look", "table, page, pictures", seconds=self.seconds["draw"])
        return trained, compiled, certified, ran, *self._rows_of_new_class(), drawn

    def _rows_of_new_class(self) -> tuple[Row, ...]:
        if self.on_chip is None or self.learner is None:
            return (Row("5 new class", "skipped", seconds=self.seconds["new class"]),)
        first, last = self.on_chip.exams[0], self.on_chip.exams[-1]
        (was_new, new), (was_known, known) = self.on_chip.of_new(first), self.on_chip.of_known(first)
        return (
            Row(
                "5 new class", f"class {self.cast.new}, learned on chip", self.on_chip.of_new(last)[0], new, was_new,
                self.on_chip.comparison.compared, len(self.learner.mapped.placement.cores), energy_of(self.learner),
                self.seconds["new class"],
            ),
            Row("", "the classes known before", self.on_chip.of_known(last)[0], known, was_known),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The table, and every figure behind it."""
        return {
            "network": self.run.spec.name,
            "command": self.commands["demo"],
            "known_classes": list(self.cast.known),
            "new_class": self.cast.new,
            "table": [row.to_json() for row in self.rows()],
            "seconds": {**self.seconds, "all": sum(self.seconds.values())},
            "compared_values": self.compared,
            "mismatches": 0,
            "commands": self.commands,
            "run": str(self.run.folder),
            "files": {name: str(path) for name, path in self.files._asdict().items()},
            "verification": self.verification.to_json(),
            "on_chip": self._on_chip_to_json(),
        }

    def _on_chip_to_json(self) -> dict[str, Any]:
        if self.on_chip is None:
            return {"skipped": self.why_none}
        found, classes = self.on_chip, self.on_chip.learning.program.classes
        return {
            "examples": found.examples,
            "in_lava": found.in_lava,
            "compared_values": found.comparison.compared,
            "mismatches": found.comparison.mismatches,
            "per_quantity": {name: compared for name, (compared, _) in found.comparison.per_quantity.items()},
            "seconds_in_lava": found.seconds_in_lava,
            "seconds_in_reference": found.seconds_in_reference,
            "exams": [
                {"when": exam.when, "shown": exam.shown, **exam.accuracy.to_json(classes)} for exam in found.exams
            ],
        }


def energy_of(compiled: Compiled) -> float | None:
    """Dynamic energy of a recording that is decided on, pJ; None where the target has no figures."""
    estimate = compiled.estimate
    if estimate is None or estimate.energy is None:
        return None
    return estimate.energy.total / estimate.recordings
