"""The sensor changes, accuracy falls, and the network learns to see again where it is.

Changes act on the binary input, step by step and pixel by pixel; the frozen layers keep what they were trained for.
"""

# B lives (seeds), R recordings, T steps, I inputs, P polarities, H W pixels

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw.online.life import Backend, Life, Stage, lessons, live, seeds_of
from decolle_hw.online.material import Material, Recorded
from decolle_hw.sim.frozen import frozen_frames

DEGREES = 40.0
DEAD = 0.4  # share of pixels
CONTRAST = 0.34  # share of what it was
CHANGE_SEED = 11  # the same pixels die for every seed of the learning

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # (R, T, P, H, W) of both


def rotated(spikes: NDArray[np.uint8], degrees: float = DEGREES) -> NDArray[np.uint8]:
    """Turned about the centre; every pixel shows the nearest one of before, and nothing beyond the old edge."""
    height, width = spikes.shape[-2:]
    y_HW, x_HW = np.indices((height, width), float)
    middle_y, middle_x, angle = (height - 1) / 2, (width - 1) / 2, np.deg2rad(degrees)
    from_y = np.rint(middle_y + np.cos(angle) * (y_HW - middle_y) - np.sin(angle) * (x_HW - middle_x)).astype(int)
    from_x = np.rint(middle_x + np.sin(angle) * (y_HW - middle_y) + np.cos(angle) * (x_HW - middle_x)).astype(int)
    inside = (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
    turned = spikes[..., np.clip(from_y, 0, height - 1), np.clip(from_x, 0, width - 1)]
    return turned * inside.astype(np.uint8)


def with_dead_pixels(spikes: NDArray[np.uint8], share: float = DEAD) -> NDArray[np.uint8]:
    """A share of the pixels is silent, in both polarities."""
    alive = np.random.default_rng(CHANGE_SEED).random(spikes.shape[-2:]) >= share
    return spikes * alive.astype(np.uint8)


def flipped(spikes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ON is OFF."""
    return np.ascontiguousarray(spikes[:, :, ::-1])


def low_contrast(spikes: NDArray[np.uint8], share: float = CONTRAST) -> NDArray[np.uint8]:
    """Light changes by a share of what it did: a pixel needs ``1 / share`` of its old events to send one.

    Of the n-th event of a pixel and polarity is left what makes ``floor(n share)`` rise.
    """
    count = spikes.cumsum(1, dtype=np.int32)
    kept = np.floor(count * share) > np.floor((count - 1) * share)
    return spikes * kept.astype(np.uint8)


CHANGES: dict[str, Change] = {
    "rotation": rotated, "dead pixels": with_dead_pixels, "polarity flip": flipped, "contrast": low_contrast,
}  # fmt: skip


@dataclass(frozen=True)
class DriftSettings:
    """What is tried."""

    changes: tuple[str, ...] = tuple(CHANGES)
    shots: int = 60  # lessons per class and pass, before the change and after
    passes: int = 5
    seeds: int = 3
    backend: Backend = "reference"


@dataclass(frozen=True)
class Changed:
    """Accuracies of one change of the sensor, each a list with one per seed."""

    change: str
    before: list[float]
    after: list[float]  # at once after the change
    relearned: dict[int, list[float]]  # by lessons since then
    compared: int = 0

    @property
    def recovered(self) -> float | None:
        """Share of the lost accuracy that learning brought back, over all seeds; None: nothing was lost."""
        lost = sum(self.before) - sum(self.after)
        return None if lost <= 0 else (sum(list(self.relearned.values())[-1]) - sum(self.after)) / lost


@dataclass(frozen=True)
class Drift:
    """Result of `drift`."""

    settings: DriftSettings
    tested: int
    changes: tuple[Changed, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        rows = [asdict(one) | {"recovered": one.recovered} for one in self.changes]
        return {"experiment": "drift", **asdict(self), "changes": rows}


def drift(material: Material, settings: DriftSettings, console: Console) -> Drift:
    """Teach all classes, change the sensor, test, teach again, and test after every pass."""
    recorded, found = material.recorded, []
    for name in settings.changes:
        shape = (*recorded.spikes.shape[:2], *material.learning.program.input_shape)
        changed = CHANGES[name](recorded.spikes.reshape(shape)).reshape(recorded.spikes.shape)
        both = recorded.followed_by(changed, recorded.labels)
        learning = material.learning
        frames = np.concatenate([material.frames, frozen_frames(learning.program, changed, learning.first)])
        life, counts = _life(recorded, settings)
        lived = live(
            learning, life, both.spikes, both.labels, seeds_of(settings.seeds), console,
            backend=settings.backend, frames=frames, what=name,
        )  # fmt: skip
        relearned = {lessons: lived.accuracy(f"after {lessons}").tolist() for lessons in counts}
        found.append(
            Changed(
                name, lived.accuracy("before").tolist(), lived.accuracy("changed").tolist(), relearned, lived.compared
            )
        )
    return Drift(settings, len(recorded.tests()), tuple(found))


def _life(recorded: Recorded, settings: DriftSettings) -> tuple[Life, list[int]]:
    """And after how many lessons it is tested. Recordings of the changed sensor follow those of the old one."""
    later, tests = len(recorded.labels), recorded.tests()
    generators = [np.random.default_rng([seed, 3]) for seed in seeds_of(settings.seeds)]
    members = [
        [rng.permutation(recorded.of_class(label))[: settings.shots] for label in range(len(recorded.classes))]
        for rng in generators
    ]
    pairs = list(zip(generators, members, strict=True))
    first = np.stack([lessons(rng, of_classes, settings.passes) for rng, of_classes in pairs])
    stages = [
        Stage("lessons", first, True), Stage.test("before", tests, settings.seeds),
        Stage.test("changed", tests + later, settings.seeds),
    ]  # fmt: skip
    counts, done = [], 0
    for _ in range(settings.passes):
        order = np.stack([lessons(rng, of_classes) for rng, of_classes in pairs]) + later
        done += order.shape[1]
        counts.append(done)
        stages += [Stage("lessons", order, True), Stage.test(f"after {done}", tests + later, settings.seeds)]
    return Life(tuple(stages)), counts
