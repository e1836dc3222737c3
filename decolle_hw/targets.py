"""Typed hardware limits of a deployment target, read from `deploy/*.yaml`.

Every limit carries its source and how sure we are of it, so that a report can print both beside the number.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from decolle_hw.errors import SpecError
from decolle_hw.library import find_yaml
from decolle_hw.yamlfile import describe, read_yaml

Confidence = Literal["published", "derived", "secondary", "assumed"]
PositiveInt = Annotated[int, Field(ge=1, le=2**40)]
RegisterBits = Annotated[int, Field(ge=1, le=32)]
# Lava's and our integer paths hold weights of at most 8 bits including the sign (fixedpoint.MIXED_WEIGHT_*).
WeightBits = Annotated[int, Field(ge=2, le=8)]
ExponentRange = Annotated[list[int], Field(min_length=2, max_length=2)]
NeuronModels = Annotated[list[Literal["cuba", "decolle"]], Field(min_length=1)]
Boards = Annotated[dict[str, PositiveInt], Field(min_length=1)]
T = TypeVar("T")


class _Section(BaseModel):
    # Strict, as in spec.py: a limit that needs guessing is a wrong limit.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Limit(_Section, Generic[T]):
    """One number (or list) of the hardware and where it comes from."""

    value: T
    source: str = Field(min_length=1, description="paper, tool or page that states it")
    confidence: Confidence = Field(
        description="published by the maker | derived from what is | secondary source | assumed by us"
    )
    note: str = Field("", description="conflicts between sources, and what was taken")


class Target(_Section):
    """One YAML file of `deploy/`. Per core, unless the name says otherwise."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    description: str = ""
    cores_per_chip: Limit[PositiveInt] = Field(description="neuromorphic cores on the die")
    usable_cores: Limit[PositiveInt] = Field(description="cores of one chip that a network may occupy")
    neurons_per_core: Limit[PositiveInt]
    synaptic_memory_bits: Limit[PositiveInt] = Field(description="bits of synaptic memory of one core")
    in_axons: Limit[PositiveInt] = Field(description="input axons that one core can tell apart")
    out_axons: Limit[PositiveInt] = Field(description="(neuron, destination core) pairs of one core")
    neurons_per_chip: Limit[PositiveInt]
    synapses_per_chip: Limit[PositiveInt]
    weight_bits: Limit[WeightBits] = Field(description="bits stored per weight with its sign (MIXED)")
    weight_exp: Limit[ExponentRange] = Field(description="smallest and largest shift of the dendritic sum")
    decay_bits: Limit[RegisterBits] = Field(description="width of the decay registers du and dv, unsigned")
    vth_bits: Limit[RegisterBits] = Field(description="width of the threshold mantissa")
    bias_mant_bits: Limit[RegisterBits] = Field(description="width of the bias mantissa, signed")
    bias_exp_bits: Limit[PositiveInt] = Field(description="width of the bias exponent, unsigned")
    max_delay: Limit[Annotated[int, Field(ge=0)]] = Field(description="longest synaptic delay in time steps")
    graded_payload_bits: Limit[Annotated[int, Field(ge=0)]] = Field(description="spike payload; 0: binary spikes")
    shared_weights: Limit[bool] = Field(description="a convolution kernel is stored once per core")
    neuron_models: Limit[NeuronModels] = Field(description="neurons that it can run")
    boards: Limit[Boards] = Field(description="systems that were built, and their chips")

    @model_validator(mode="after")
    def _is_consistent(self) -> Target:
        if self.usable_cores.value > self.cores_per_chip.value:
            raise ValueError(
                f"usable_cores {self.usable_cores.value} exceeds cores_per_chip {self.cores_per_chip.value}"
            )
        low, high = self.weight_exp.value
        if low > high:
            raise ValueError(f"weight_exp {self.weight_exp.value}: the smaller exponent comes first")
        return self

    @property
    def largest_board(self) -> tuple[str, int]:
        """Name and chip count of the system with the most chips."""
        return max(self.boards.value.items(), key=lambda board: board[1])


def load_target(name_or_path: str) -> Target:
    """Read a target by shipped name or path.

    Raises `SpecError`, in one line, for an unknown name, an unreadable file, an unknown key or a wrong value.
    """
    path = find_yaml(name_or_path, "deploy", "target")
    try:
        return Target.model_validate(read_yaml(path))
    except ValidationError as error:
        raise SpecError(f"{path}: {describe(error, Target)}") from None
