"""A network of random weights that learns everything on chip, each layer from its own fixed readout.

Nothing is trained off chip. Weights are drawn, scaled once so that neurons spike (recordings without labels), and made
integers; from there on all learning is the local rule of the engine, in all layers at once.
"""

# B lives (seeds), K recordings shown

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw import data
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.data.source import evenly_spread
from decolle_hw.online.life import Backend, Life, Stage, live, seeds_of
from decolle_hw.online.material import Recorded
from decolle_hw.progress import working
from decolle_hw.quantization.lower_rule import float_layers, lower_rule
from decolle_hw.quantization.untrained import untrained_program
from decolle_hw.spec import ModelSpec, parse_model_spec
from decolle_hw.workflow import spread

CALIBRATION_RECORDINGS = 64


@dataclass(frozen=True)
class FromScratchSettings:
    """What is tried."""

    units: tuple[int, ...] = (256, 128)  # of the hidden layers, all plastic
    passes: int = 10
    lessons: int | None = None  # recordings in a pass, the same in each; None: all training recordings
    seeds: int = 1  # of the order and the engine; the weights are those of `network_seed`
    network_seed: int = 1
    corrected: float = 0.1  # share of its readout's error that a recording takes away: see `lower_rule`
    backend: Backend = "reference"


@dataclass(frozen=True)
class FromScratch:
    """Result of `from_scratch`."""

    settings: FromScratchSettings
    trained: int  # recordings in a pass
    tested: int
    learning_rates: tuple[float, ...]  # of each layer, of the float rule
    before: list[float]  # accuracy with random weights, one per seed
    after: dict[int, list[float]]  # by passes
    compared: int = 0

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return {"experiment": "from-scratch", **asdict(self)}


def of_layers(spec: ModelSpec, units: Sequence[int]) -> ModelSpec:
    """The model with other dense layers, on all classes."""
    values = spec.model_dump()
    values["network"]["Mhid"] = list(units)
    values["dataset"]["classes"] = None
    values["on_chip"] |= {"plastic": [], "classes": None}
    return parse_model_spec(values, f"{spec.name} with hidden layers of {', '.join(map(str, units))}")


def random_network(
    spec: ModelSpec, recorded: Recorded, settings: FromScratchSettings
) -> tuple[LearningProgram, tuple[float, ...]]:
    """It, with all layers plastic, and the learning rate of each.

    Raises `SpecError` where the model has values per layer that do not fit these layers.
    """
    random_spec = of_layers(spec, settings.units)
    calibration = spread(data.load_split(random_spec.dataset, "train"), CALIBRATION_RECORDINGS)
    program, floats = untrained_program(random_spec, recorded.classes, settings.network_seed, calibration, "loihi2")
    lowered = lower_rule(
        program, floats, spec.on_chip, calibration, tuple(float_layers(program)), corrected=settings.corrected
    )
    return lowered.learning, tuple(layer.learning_rate for layer in lowered.layers)


def from_scratch(spec: ModelSpec, recorded: Recorded, settings: FromScratchSettings, console: Console) -> FromScratch:
    """Show all training recordings, in a new order in every pass, and test after each."""
    with working(console, "drawing a network"):
        learning, rates = random_network(spec, recorded, settings)
    seeds = seeds_of(settings.seeds)
    lived = live(
        learning, _life(recorded, settings, seeds), recorded.spikes, recorded.labels, seeds, console,
        backend=settings.backend, what="learning from scratch",
    )  # fmt: skip
    after = {passes: lived.accuracy(f"after {passes}").tolist() for passes in range(1, settings.passes + 1)}
    return FromScratch(
        settings, len(_lessons(recorded, settings)), len(recorded.tests()), rates, lived.accuracy("before").tolist(),
        after, lived.compared,
    )  # fmt: skip


def _life(recorded: Recorded, settings: FromScratchSettings, seeds: Sequence[int]) -> Life:
    tests = recorded.tests()
    stages = [Stage.test("before", tests, len(seeds))]
    for number in range(1, settings.passes + 1):
        order = [np.random.default_rng([seed, 5, number]).permutation(_lessons(recorded, settings)) for seed in seeds]
        stages += [Stage("lessons", np.stack(order), True), Stage.test(f"after {number}", tests, len(seeds))]
    return Life(tuple(stages))


def _lessons(recorded: Recorded, settings: FromScratchSettings) -> NDArray[np.int64]:
    """Training recordings that are shown, evenly spread."""
    which = evenly_spread(recorded.trained, settings.lessons)
    return np.arange(recorded.trained) if which is None else which
