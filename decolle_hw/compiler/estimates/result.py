"""What an estimate consists of, as plain values that can be saved as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from decolle_hw.compiler.estimates.events import Constant, EnergySplit, Events
from decolle_hw.compiler.estimates.neurobench import VERSION, NeuroBench


@dataclass(frozen=True)
class LayerEstimate:
    """One population, over all measured recordings and steps."""

    name: str
    layer: int | None  # of the compiled program
    neurons: int
    cores: int
    events: Events
    energy: EnergySplit | None  # pJ, dynamic; None: the target has no figures


@dataclass(frozen=True)
class CoreEstimate:
    """One core, over all measured recordings and steps."""

    core: int
    chip: int
    population: str
    neurons: int
    events: Events
    energy: EnergySplit | None  # pJ, dynamic
    busy_ns: dict[str, float] | None  # its work in one step, on average, by kind; None: the target has no figures


@dataclass(frozen=True)
class TimeStep:
    """How long one time step takes on average: that of the busiest core, and the barrier that ends it."""

    step_ns: float
    barrier_ns: float
    core: int  # the busiest
    population: str
    limited_by: str  # 'synaptic_ops' or 'neuron_updates': what that core does longest
    label: str  # whose figures

    @property
    def steps_per_second(self) -> float:
        return 1e9 / self.step_ns


@dataclass(frozen=True)
class Estimate:
    """A whole network on its target; see `decolle_hw.compiler.estimates.estimate`."""

    target: str
    recordings: int  # that were measured
    steps: int  # of one recording
    chips: int
    layers: tuple[LayerEstimate, ...]
    cores: tuple[CoreEstimate, ...]
    total: Events
    energy: EnergySplit | None  # pJ, dynamic, over all recordings
    energy_label: str
    static_power_mw: float | None  # of all chips; None: not known
    time: TimeStep | None
    neurobench: NeuroBench | None  # None: there is no compiled network
    constants: tuple[Constant, ...]
    notes: tuple[str, ...]

    @property
    def all_steps(self) -> int:
        """Of all recordings together."""
        return self.recordings * self.steps

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, ready for `json.dumps`; `total` counts all recordings together."""
        time = None if self.time is None else {**asdict(self.time), "steps_per_second": self.time.steps_per_second}
        recording_ms = None if self.time is None else self.time.step_ns * self.steps * 1e-6
        static_nj = None
        if self.static_power_mw is not None and recording_ms is not None:
            static_nj = self.static_power_mw * recording_ms * 1e3  # mW * ms = uJ
        return {
            "target": self.target,
            "recordings": self.recordings,
            "steps": self.steps,
            "chips": self.chips,
            "total": asdict(self.total),
            "per_step": self.total.per(self.all_steps),
            "per_recording": self.total.per(self.recordings),
            "energy": {
                "label": self.energy_label,
                "dynamic_pj_per_step": _per(self.energy, self.all_steps),
                "dynamic_pj_per_recording": _per(self.energy, self.recordings),
                "static_power_mw": self.static_power_mw,
                "static": "not known" if self.static_power_mw is None else f"{self.static_power_mw} mW",
                "static_nj_per_recording": static_nj,
            },
            "time": time,
            "recording_ms": recording_ms,
            "layers": [self._row(row) for row in self.layers],
            "cores": [self._row(row) for row in self.cores],
            "neurobench": None if self.neurobench is None else self.neurobench.to_json(),
            "neurobench_definitions": f"neurobench {VERSION}",
            "constants": [asdict(constant) for constant in self.constants],
            "notes": list(self.notes),
        }

    def _row(self, row: LayerEstimate | CoreEstimate) -> dict[str, Any]:
        plain = asdict(row)
        plain["total"] = plain.pop("events")
        plain["per_step"] = row.events.per(self.all_steps)
        plain["energy"] = _per(row.energy, self.all_steps)
        return {("energy_pj_per_step" if name == "energy" else name): value for name, value in plain.items()}


def _per(energy: EnergySplit | None, number: int) -> dict[str, float] | None:
    return None if energy is None else energy.per(number)
