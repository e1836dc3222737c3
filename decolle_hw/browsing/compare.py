"""Runs side by side: in what their descriptions differ, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decolle_hw.browsing.runs import FoundRun
from decolle_hw.spec import ModelSpec


@dataclass(frozen=True)
class ComparedRuns:
    """Two runs or more."""

    runs: tuple[FoundRun, ...]
    differing: dict[str, tuple[Any, ...]]  # key of the description -> its value in each run

    @property
    def same_test(self) -> bool:
        """Whether the accuracies can be compared: as many test recordings, binned alike, of the same data."""
        tested = {(run.metrics.get("test_recordings"), run.data, *_classes(run)) for run in self.runs}
        steps = {(run.spec.dataset.deltat, run.spec.dataset.chunk_size_test) for run in self.runs}
        return len(tested) == 1 and len(steps) == 1

    def to_json(self) -> dict[str, Any]:
        return {
            "runs": [run.to_json() | {"history": run.history} for run in self.runs],
            "differing": {key: list(values) for key, values in self.differing.items()},
            "same_test": self.same_test,
        }


def compare_runs(runs: Sequence[FoundRun]) -> ComparedRuns:
    """What differs in what was to be trained, in the order of the description."""
    values = [_leaves(run.spec) for run in runs]
    keys = dict.fromkeys(key for of_run in values for key in of_run)
    rows = {key: tuple(of_run.get(key) for of_run in values) for key in keys}
    return ComparedRuns(tuple(runs), {key: row for key, row in rows.items() if any(one != row[0] for one in row)})


def _classes(run: FoundRun) -> tuple[str, ...]:
    return tuple(run.metrics.get("classes", ()))


def _leaves(spec: ModelSpec) -> dict[str, Any]:
    return dict(_flat(spec.model_dump(), ""))


def _flat(values: dict[str, Any], section: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{section}{key}.") if isinstance(value, dict) else [(f"{section}{key}", value)]
    return found
