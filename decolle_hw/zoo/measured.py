"""The figures of `measured.yaml`: each was printed by a command, and none is computed here."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from decolle_hw.errors import SpecError
from decolle_hw.section import NonNegativeFloat, PositiveInt, Section
from decolle_hw.yamlfile import describe, read_yaml

FILE = Path(__file__).with_name("measured.yaml")
Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class Source(Section):
    """What printed a figure."""

    command: str
    commit: str = Field(pattern=r"^[0-9a-f]{7,40}$", description="of decolle-hw, at or before which it was printed")
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")


class Accuracy(Section):
    """Of the last layer, in percent of the test recordings."""

    before_integers: Percent = Field(description="of the float network; of the epoch that did best on the same ones")
    integers: Percent | None = Field(None, description="8-bit weights; None: not measured")
    interval: list[Percent] = Field(min_length=2, max_length=2, description="95 % (Wilson), of the last figure above")
    recordings: PositiveInt
    trained_on: PositiveInt
    source: str


class Cores(Section):
    """Of loihi2."""

    cores: PositiveInt
    source: str


class Energy(Section):
    """Dynamic energy on loihi2, as `compile` estimates it from the activity of test recordings."""

    nj_per_step: NonNegativeFloat
    source: str


class Measured(Section):
    """Of one model; None: not measured."""

    accuracy: Accuracy | None = None
    cores: Cores | None = None
    energy: Energy | None = None


class Figures(Section):
    """The whole file."""

    sources: dict[str, Source]
    models: dict[str, Measured]

    @model_validator(mode="after")
    def _sources_exist(self) -> Figures:
        for name, measured in self.models.items():
            for figure in (measured.accuracy, measured.cores, measured.energy):
                if figure is not None and figure.source not in self.sources:
                    raise ValueError(f"models.{name}: source {figure.source!r} is not among the sources")
        return self


@lru_cache(maxsize=1)
def figures() -> Figures:
    """Read the file. Raises `SpecError` where it is damaged."""
    try:
        return Figures.model_validate(read_yaml(FILE))
    except ValidationError as error:
        raise SpecError(f"{FILE}: {describe(error, Figures)}; install decolle-hw again") from None
