"""Typed hardware limits of a deployment target, read from `deploy/*.yaml`.

Every limit carries its source and how sure we are of it, so that a report can print both beside the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from decolle_hw.errors import SpecError, nearest
from decolle_hw.library import find_yaml, shipped_names
from decolle_hw.yamlfile import describe, read_yaml

Confidence = Literal["published", "derived", "secondary", "assumed"]
PositiveInt = Annotated[int, Field(ge=1, le=2**40)]
RegisterBits = Annotated[int, Field(ge=1, le=32)]
# Lava's and our integer paths hold weights of at most 8 bits including the sign (fixedpoint.MIXED_WEIGHT_*).
WeightBits = Annotated[int, Field(ge=2, le=8)]
ExponentRange = Annotated[list[int], Field(min_length=2, max_length=2)]
NeuronModels = Annotated[list[Literal["cuba", "decolle"]], Field(min_length=1)]
MeshSize = Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
NonNegativeInt = Annotated[int, Field(ge=0, le=2**40)]
Picojoules = Annotated[float, Field(ge=0.0, le=1e9)]
Nanoseconds = Annotated[float, Field(ge=0.0, le=1e9)]
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


class Energy(_Section):
    """Dynamic energy of one event, pJ. Static power is apart: see `Target.static_power_mw`."""

    synaptic_op: Limit[Picojoules] = Field(description="one spike through one synapse")
    neuron_update_active: Limit[Picojoules] = Field(description="update of a neuron that takes input or spikes")
    neuron_update_idle: Limit[Picojoules] = Field(description="update of one that does not")
    learning_update: Limit[Picojoules] = Field(description="update of one plastic synapse")
    spike_within_tile: Limit[Picojoules] = Field(description="one spike message inside a tile of the mesh")
    hop_east_west: Limit[Picojoules] = Field(description="one tile further along a row")
    hop_north_south: Limit[Picojoules] = Field(description="one tile further along a column")


class Time(_Section):
    """How long one event takes a core, ns."""

    synaptic_op: Limit[Nanoseconds]
    neuron_update_active: Limit[Nanoseconds]
    neuron_update_idle: Limit[Nanoseconds]
    learning_update: Limit[Nanoseconds]
    barrier: Limit[Nanoseconds] = Field(description="synchronisation of all cores at the end of a time step")


class Target(_Section):
    """One YAML file of `deploy/`. Per core, unless the name says otherwise."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    description: str = ""
    cores_per_chip: Limit[PositiveInt] = Field(description="neuromorphic cores on the die")
    usable_cores: Limit[PositiveInt] = Field(description="cores of one chip that a network may occupy")
    neurons_per_core: Limit[PositiveInt]
    synaptic_memory_bits: Limit[PositiveInt] = Field(description="bits of synaptic memory of one core")
    in_axons: Limit[PositiveInt] = Field(description="input axons that one core can tell apart")
    out_axons: Limit[PositiveInt] = Field(description="(axon, destination core) pairs of one core")
    axon_atoms: Limit[PositiveInt] = Field(
        description="neurons of one pixel, one per channel, that share an axon of a convolution; 1: none do"
    )
    shared_axon_slots: Limit[PositiveInt] = Field(description="out-axons that a shared axon takes")
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
    tag_bits: Limit[NonNegativeInt] = Field(description="bits of the tag of a plastic synapse")
    trace_bits: Limit[NonNegativeInt] = Field(description="bits of x1 and x2 together, kept for each plastic axon")
    shared_weights: Limit[bool] = Field(description="a convolution kernel is stored once per core")
    neuron_models: Limit[NeuronModels] = Field(description="neurons that it can run")
    mesh: Limit[MeshSize] = Field(description="tiles of a chip: columns (east-west), rows (north-south)")
    cores_per_tile: Limit[PositiveInt]
    energy: Energy | None = Field(None, description="dynamic energy per event; null: not known")
    time: Time | None = Field(None, description="time per event; null: not known")
    static_power_mw: Limit[Annotated[float, Field(ge=0.0, le=1e9)]] | None = Field(
        None, description="of one chip, mW; null: not known"
    )
    boards: Annotated[dict[str, Limit[PositiveInt]], Field(min_length=1)] = Field(
        description="systems that were built, and their chips"
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Target:
        contradictions = list(self._contradictions())
        if contradictions:
            raise ValueError("; ".join(contradictions))
        return self

    def _contradictions(self) -> Iterator[str]:
        cores, per_core = self.cores_per_chip.value, self.neurons_per_core.value
        if self.usable_cores.value > cores:
            yield f"usable_cores {self.usable_cores.value} exceeds cores_per_chip {cores}"
        if self.neurons_per_chip.value > cores * per_core:
            yield (
                f"neurons_per_chip {self.neurons_per_chip.value} exceeds cores_per_chip {cores} x neurons_per_core "
                f"{per_core} = {cores * per_core}"
            )
        if per_core > self.neurons_per_chip.value:
            yield f"neurons_per_core {per_core} exceeds neurons_per_chip {self.neurons_per_chip.value}"
        low, high = self.weight_exp.value
        if low > high:
            yield f"weight_exp {self.weight_exp.value}: the smaller exponent comes first"
        columns, rows = self.mesh.value
        if columns * rows * self.cores_per_tile.value < cores:
            yield (
                f"mesh {columns}x{rows} with cores_per_tile {self.cores_per_tile.value} has room for "
                f"{columns * rows * self.cores_per_tile.value} cores, cores_per_chip is {cores}"
            )
        if self.axon_atoms.value == 1 and self.shared_axon_slots.value != 1:
            yield f"shared_axon_slots {self.shared_axon_slots.value}: axon_atoms 1 shares no axon, so it must be 1"
        if len(set(self.neuron_models.value)) != len(self.neuron_models.value):
            yield f"neuron_models {self.neuron_models.value}: each at most once"

    @property
    def limits(self) -> Iterator[tuple[str, Limit[Any]]]:
        """Every limit by name; those of a section as `energy.synaptic_op`."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Limit):
                yield name, value
            elif isinstance(value, _Section):
                yield from ((f"{name}.{key}", getattr(value, key)) for key in type(value).model_fields)

    @property
    def board_chips(self) -> dict[str, int]:
        """Boards and their chips, the smallest first."""
        return dict(sorted(((name, board.value) for name, board in self.boards.items()), key=lambda item: item[1]))

    def chips_of(self, board: str) -> int:
        """Chips of a board by name, upper or lower case. Raises `SpecError` with the boards there are."""
        for name, chips in self.board_chips.items():
            if name.casefold() == board.casefold():
                return chips
        raise SpecError(f"{self.name} has no board {board!r}; {nearest(board, self.board_chips)}")

    @property
    def largest_board(self) -> tuple[str, int]:
        """Name and chip count of the system with the most chips."""
        return list(self.board_chips.items())[-1]


def load_target(name_or_path: str) -> Target:
    """Read a target by shipped name or path.

    Raises `SpecError`, in one line, for an unknown name, an unreadable file, an unknown key or a wrong value.
    """
    path = find_yaml(name_or_path, "deploy", "target")
    try:
        return Target.model_validate(read_yaml(path))
    except ValidationError as error:
        raise SpecError(f"{path}: {describe(error, Target)}") from None


def shipped_targets() -> list[Target]:
    """All of `deploy/`, by name."""
    return [load_target(name) for name in shipped_names("deploy")]


def shown(value: Any) -> str:
    """A limit's value, as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}"
