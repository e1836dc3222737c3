"""Few-shot learning on chip: features that know some classes, and k examples of each of the others.

Two lives for every k and seed:

* **alone**: an output layer that knows nothing is taught the new classes, and tested on them after some passes;
* **joint**: it is taught the old classes first, then the new ones, with or without as many examples of each old class
  between them (replay), and tested on all classes.

A pass shows each example once, one after another. Examples, their order, and the engine's random numbers depend on the
seed.
"""

# B lives (seeds), K recordings shown

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw.errors import UsageError
from decolle_hw.online.anchor import ridge_accuracy
from decolle_hw.online.life import Backend, Life, Lived, Stage, lessons, live, live_in_float, seeds_of
from decolle_hw.online.material import Material, Recorded

OLD_SHOTS, OLD_PASSES = 50, 5  # how the old classes are taught before the new ones come


@dataclass(frozen=True)
class FewShotSettings:
    """What is tried."""

    shots: tuple[int, ...] = (1, 5, 10, 20, 50)
    passes: tuple[int, ...] = (1, 5, 20)  # after which the new classes are tested; the joint test comes after the last
    seeds: int = 3
    old_shots: int = OLD_SHOTS
    old_passes: int = OLD_PASSES
    backend: Backend = "reference"


@dataclass(frozen=True)
class Shots:
    """Accuracies at one k, each a list with one per seed."""

    shots: int
    alone: dict[int, list[float]]  # by passes
    alone_float: dict[int, list[float]]
    ridge: list[float]
    old_before: list[float]  # of the old classes, before the new ones came, among all
    joint: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # replay, no replay: new, old, all
    compared: int = 0


@dataclass(frozen=True)
class FewShot:
    """Result of `few_shot`."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    settings: FewShotSettings
    tested_new: int
    tested_old: int
    rows: tuple[Shots, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return {"experiment": "few-shot", **asdict(self)}


def few_shot(material: Material, settings: FewShotSettings, console: Console) -> FewShot:
    """Run it. Raises as `check`."""
    check(material.recorded, [material.recorded.classes[label] for label in material.known], settings)
    recorded, rows = material.recorded, []
    for shots in settings.shots:
        examples = [_examples(material, shots, seed) for seed in seeds_of(settings.seeds)]
        alone = _alone(material, settings, examples)
        named = f"{shots} shot{'' if shots == 1 else 's'}"
        lived = _live(material, settings, alone, f"{named}, new classes", console)
        in_float = live_in_float(
            material.learning, alone, recorded.spikes, recorded.labels, console, frames=material.frames
        )
        joint, before, compared = {}, [], lived.compared
        for name, replay in (("replay", True), ("no replay", False)):
            life = _joint(material, settings, examples, replay)
            both = _live(material, settings, life, f"{named}, all classes, {name}", console)
            tested = {"new": material.new, "old": material.known, "all": None}
            joint[name] = {which: both.accuracy("end", labels).tolist() for which, labels in tested.items()}
            before = both.accuracy("before").tolist()
            compared += both.compared
        rows.append(
            Shots(
                shots, _after(lived, settings), _after(in_float, settings), _ridge(material, examples), before, joint,
                compared,
            )
        )  # fmt: skip
    names = recorded.classes
    return FewShot(
        tuple(names[label] for label in material.known), tuple(names[label] for label in material.new), settings,
        len(recorded.tests(material.new)), len(recorded.tests(material.known)), tuple(rows),
    )  # fmt: skip


def check(recorded: Recorded, known: Sequence[str], settings: FewShotSettings) -> None:
    """Raise `UsageError` where no class is new, or one has fewer training recordings than shots."""
    if len(known) == len(recorded.classes):
        raise UsageError("--known: all classes are known to the features; leave one or more to be learned on chip")
    most, rarest = min((len(recorded.of_class(label)), name) for label, name in enumerate(recorded.classes))
    too_many = [shots for shots in settings.shots if shots > most]
    if too_many:
        raise UsageError(
            f"--shots {','.join(map(str, too_many))}: class {rarest} has {most} training recordings; ask for at most "
            f"{most}"
        )


@dataclass(frozen=True)
class _Examples:
    """What one seed learns from."""

    seed: int
    new: list[NDArray[np.int64]]  # of each new class
    old: list[NDArray[np.int64]]  # of each old class, those that are replayed first


def _examples(material: Material, shots: int, seed: int) -> _Examples:
    def drawn(label: int) -> NDArray[np.int64]:
        # Of a class and a seed: five shots are the first five of ten.
        chosen: NDArray[np.int64] = np.random.default_rng([seed, label]).permutation(material.recorded.of_class(label))
        return chosen

    new = [drawn(label)[:shots] for label in material.new]
    return _Examples(seed, new, [drawn(label) for label in material.known])


def _alone(material: Material, settings: FewShotSettings, examples: Sequence[_Examples]) -> Life:
    tests, stages, done = material.recorded.tests(material.new), [], 0
    generators = [np.random.default_rng([one.seed, 1]) for one in examples]
    for passes in settings.passes:
        order = [lessons(rng, one.new, passes - done) for rng, one in zip(generators, examples, strict=True)]
        stages += [Stage("lessons", np.stack(order), True), Stage.test(f"after {passes}", tests, len(examples))]
        done = passes
    return Life(tuple(stages))


def _joint(material: Material, settings: FewShotSettings, examples: Sequence[_Examples], replay: bool) -> Life:
    base, later = [], []
    for one in examples:
        rng = np.random.default_rng([one.seed, 2])
        base.append(lessons(rng, [old[: settings.old_shots] for old in one.old], settings.old_passes))
        shots = len(one.new[0])
        shown = one.new + ([old[:shots] for old in one.old] if replay else [])
        later.append(lessons(rng, shown, settings.passes[-1]))
    recorded, lives = material.recorded, len(examples)
    return Life(
        (
            Stage("old classes", np.stack(base), True),
            Stage.test("before", recorded.tests(material.known), lives),
            Stage("new classes", np.stack(later), True),
            Stage.test("end", recorded.tests(), lives),
        )
    )


def _live(material: Material, settings: FewShotSettings, life: Life, what: str, console: Console) -> Lived:
    recorded = material.recorded
    return live(
        material.learning, life, recorded.spikes, recorded.labels, seeds_of(settings.seeds), console,
        backend=settings.backend, frames=material.frames, what=what,
    )  # fmt: skip


def _after(lived: Lived, settings: FewShotSettings) -> dict[int, list[float]]:
    return {passes: lived.accuracy(f"after {passes}").tolist() for passes in settings.passes}


def _ridge(material: Material, examples: Sequence[_Examples]) -> list[float]:
    counts, labels = material.feature_counts, material.recorded.labels
    tests, found = material.recorded.tests(material.new), []
    for one in examples:
        learned = np.concatenate(one.new)
        found.append(ridge_accuracy(counts[learned], labels[learned], counts[tests], labels[tests]))
    return found
