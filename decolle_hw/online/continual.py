"""Classes arrive one after the other: what is learned, and what is forgotten.

The features know some classes. The output layer knows none at first; it is taught all examples of one class, then all
of the next, those that the features know first. With replay, some examples of each class of before are shown among
those of the new one.
"""

# B lives (seeds), C classes, K recordings shown

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console

from decolle_hw.online.life import Backend, Life, Stage, live, seeds_of
from decolle_hw.online.material import Material


@dataclass(frozen=True)
class ContinualSettings:
    """What is tried."""

    shots: int = 40  # of each class
    passes: int = 5
    replay: int = 20  # examples of each earlier class among those of a new one, in every pass
    seeds: int = 3
    backend: Backend = "reference"


@dataclass(frozen=True)
class Sequence:
    """Accuracy in the course of the classes, mean over seeds."""

    name: str
    accuracy: list[list[float | None]]  # [after which class][of which class]; None: not yet taught
    average: list[float]  # over the classes so far, by recordings
    compared: int = 0

    @property
    def forgetting(self) -> float:
        """How far a class falls from its best to its end, on average over all but the last (Chaudhry et al. 2018)."""
        falls = []
        for label in range(len(self.accuracy) - 1):
            of_class = [row[label] for row in self.accuracy if row[label] is not None]
            falls.append(max(value for value in of_class if value is not None) - (of_class[-1] or 0.0))
        return float(np.mean(falls)) if falls else 0.0


@dataclass(frozen=True)
class Continual:
    """Result of `continual`."""

    settings: ContinualSettings
    classes: tuple[str, ...]  # in the order of their arrival
    known: int  # so many of them are known to the features
    tested: int
    sequences: tuple[Sequence, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        rows = [asdict(one) | {"forgetting": one.forgetting} for one in self.sequences]
        return {"experiment": "continual", **asdict(self), "sequences": rows}


def continual(material: Material, settings: ContinualSettings, console: Console) -> Continual:
    """Teach class after class, with and without replay, and test all classes so far after each."""
    labels = [*material.known, *material.new]
    names = tuple(material.recorded.classes[label] for label in labels)
    sequences = tuple(
        _sequence(material, settings, labels, replay, console) for replay in dict.fromkeys((settings.replay, 0))
    )
    return Continual(settings, names, len(material.known), len(material.recorded.tests()), sequences)


def _sequence(
    material: Material, settings: ContinualSettings, labels: list[int], replay: int, console: Console
) -> Sequence:
    recorded, seeds = material.recorded, seeds_of(settings.seeds)
    name = f"replay of {replay}" if replay else "no replay"
    lived = live(
        material.learning, _life(material, settings, labels, replay), recorded.spikes, recorded.labels, seeds,
        console, backend=settings.backend, frames=material.frames, what=f"class after class, {name}",
    )  # fmt: skip
    accuracy: list[list[float | None]] = []
    average = []
    for arrived in range(1, len(labels) + 1):
        stage = f"after {arrived}"
        so_far: list[float | None] = [float(lived.accuracy(stage, [label]).mean()) for label in labels[:arrived]]
        accuracy.append(so_far + [None] * (len(labels) - arrived))
        average.append(float(lived.accuracy(stage).mean()))
    return Sequence(name, accuracy, average, lived.compared)


def _life(material: Material, settings: ContinualSettings, labels: list[int], replay: int) -> Life:
    recorded, stages = material.recorded, []
    generators = [np.random.default_rng([seed, 4]) for seed in seeds_of(settings.seeds)]
    examples = [
        {label: rng.permutation(recorded.of_class(label))[: settings.shots] for label in labels} for rng in generators
    ]
    for arrived, label in enumerate(labels, 1):
        orders = []
        for rng, of_classes in zip(generators, examples, strict=True):
            passes = [
                _pass(rng, of_classes[label], [of_classes[old] for old in labels[: arrived - 1]], replay)
                for _ in range(settings.passes)
            ]
            orders.append(np.concatenate(passes))
        tests = recorded.tests(labels[:arrived])
        stages += [Stage("lessons", np.stack(orders), True), Stage.test(f"after {arrived}", tests, settings.seeds)]
    return Life(tuple(stages))


def _pass(rng: np.random.Generator, new: np.ndarray, before: list[np.ndarray], replay: int) -> np.ndarray:
    """(K,) all examples of the new class and `replay` of each earlier one, mixed."""
    again = [rng.permutation(of_class)[:replay] for of_class in before]
    mixed: np.ndarray = rng.permutation(np.concatenate([new, *again]))
    return mixed
