"""What the page says: plain values and arrays, whoever computed them.

Only the name of the network, the target and the placement are needed. Whatever else is left out leaves its section
out, and the page says at its end what it does not hold. A page so depends on no simulator, dataset or trained network.
"""

# T steps, N neurons

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEURONS, MEMORY, IN_AXONS, OUT_AXONS = "neurons", "synaptic memory", "in-axons", "out-axons"
RESOURCES = (NEURONS, MEMORY, IN_AXONS, OUT_AXONS)


@dataclass(frozen=True)
class Figure:
    """One number (or word) with its unit."""

    name: str
    value: float | int | str | None  # None: not known
    unit: str = ""
    note: str = ""  # definition, source, what is left out


@dataclass(frozen=True)
class CoreUse:
    """What one core holds. (x, y) is its tile in the mesh of its chip; the cores of a tile share it."""

    index: int
    chip: int
    x: int
    y: int
    population: str
    neurons: int
    memory_bits: int
    in_axons: int
    out_axons: int
    block: str = ""  # which neurons, in words: "channels 0-63, rows 0-7, columns 0-31"
    busy_ns: float | None = None  # of a time step, estimated

    @property
    def used(self) -> dict[str, int]:
        """By resource."""
        return dict(zip(RESOURCES, (self.neurons, self.memory_bits, self.in_axons, self.out_axons), strict=True))


@dataclass(frozen=True)
class PopulationUse:
    """One layer of the map of cores; what its cores hold together is summed from them."""

    name: str
    shape: tuple[int, ...]
    neuron: str = ""
    role: str = ""
    synapses: int | None = None
    memory_format: str = ""
    lower_bound: int | None = None  # cores that it needs in any placement
    limited_by: str = ""  # the resource that asks for the most cores, or why


@dataclass(frozen=True)
class PlacementFigures:
    """Where the network lies. `limits` are those of one core that the placement kept to, by resource."""

    cores: tuple[CoreUse, ...]
    populations: tuple[PopulationUse, ...]
    limits: Mapping[str, int]
    mesh: tuple[int, int] = (8, 4)  # tiles of a chip: columns, rows
    cores_per_tile: int = 4
    usable_cores: int | None = None  # of one chip
    utilisation: float = 1.0  # share of each limit that the placement was allowed
    board: str | None = None  # None: there is none that large
    board_chips: int | None = None
    bound: int | None = None  # cores of the whole network in any placement; None: the sum of those of its populations
    traffic: tuple[Figure, ...] = ()  # messages within tiles, between tiles, between chips
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        absent = [name for name in RESOURCES if self.limits.get(name, 0) < 1]
        if absent:
            raise ValueError(f"limits: {', '.join(absent)} must be given, at least 1")
        strangers = sorted({core.population for core in self.cores} - {one.name for one in self.populations})
        if strangers:
            raise ValueError(f"cores of unknown populations: {', '.join(strangers)}")

    @property
    def chips(self) -> int:
        """Chips that hold a core."""
        return len({core.chip for core in self.cores})

    @property
    def lower_bound(self) -> int | None:
        """Cores in any placement; None where that is not known."""
        if self.bound is not None:
            return self.bound
        bounds = [population.lower_bound for population in self.populations]
        return sum(bound or 0 for bound in bounds) if bounds and None not in bounds else None


@dataclass(frozen=True)
class Problem:
    """Something that keeps the network off the target."""

    where: str  # "network", "layer 2 'dense2'"
    what: str
    value: str
    limit: str
    remedy: str = ""


@dataclass(frozen=True, eq=False)
class Raster:
    """Spikes of one layer in one recording."""

    layer: str
    spikes_TN: NDArray[Any]  # 0 or 1

    def __post_init__(self) -> None:
        if self.spikes_TN.ndim != 2:
            raise ValueError(f"raster of {self.layer}: expected (T, N) spikes, got {self.spikes_TN.shape}")


@dataclass(frozen=True)
class Rate:
    """Spikes per neuron and step of one layer; None: not known."""

    layer: str
    float_rate: float | None = None
    integer_rate: float | None = None


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of one layer, both arrays in units of the float network: integers times their scale."""

    layer: str
    after: NDArray[Any]  # quantized
    step: float  # of the grid of `after`, in the same units
    before: NDArray[Any] | None = None  # None: there is no float network
    bits: int | None = None
    error_rms: float | None = None  # of after against before, relative


@dataclass(frozen=True)
class AccuracyStage:
    """Right decisions of one representation of the network."""

    name: str  # float network, quantized weights, integer reference, Lava
    hits: int
    recordings: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.recordings or self.recordings < 1:
            raise ValueError(f"accuracy of {self.name}: {self.hits} of {self.recordings} recordings")


@dataclass(frozen=True)
class LayerCost:
    """Events of one layer in one time step, on average over the recordings that were measured."""

    layer: str
    synops: float
    updates: float
    spikes: float
    messages: float
    energy_pj: Mapping[str, float] = field(default_factory=dict)  # dynamic, by kind of event


@dataclass(frozen=True)
class Costs:
    """Estimates of what the network costs to run."""

    layers: tuple[LayerCost, ...]
    energy_label: str = ""  # whose figures: "Loihi 1, pre-silicon (Davies et al. 2018), an upper-side estimate"
    static_power: Figure = Figure("static power", None, "mW")
    time: tuple[Figure, ...] = ()  # time step, steps per second, the core that limits it
    neurobench: tuple[Figure, ...] = ()  # under NeuroBench's own names
    not_modelled: tuple[str, ...] = ()
    measured_on: str = ""  # "100 test recordings of 300 steps"


@dataclass(frozen=True)
class LimitLine:
    """One limit of the target."""

    name: str
    value: str
    source: str
    confidence: str  # published, derived, secondary, assumed
    note: str = ""


@dataclass(frozen=True)
class PageContent:
    """The whole page."""

    name: str
    target: str
    placement: PlacementFigures
    target_description: str = ""
    problems: tuple[Problem, ...] = ()
    rasters: tuple[Raster, ...] = ()
    raster_of: str = ""  # which recording: "test recording 12, class 'seven'"
    rates: tuple[Rate, ...] = ()
    weights: tuple[Weights, ...] = ()
    accuracy: tuple[AccuracyStage, ...] = ()
    costs: Costs | None = None
    limits: tuple[LimitLine, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    made: tuple[Figure, ...] = ()  # command line, version, SHA-256 of the checkpoint, date

    @property
    def fits(self) -> bool:
        return not self.problems


def finite(values: NDArray[Any]) -> NDArray[np.float64]:
    """The finite ones of an array, flat."""
    flat = np.asarray(values, np.float64).reshape(-1)
    kept: NDArray[np.float64] = flat[np.isfinite(flat)]
    return kept
