"""What happens on the chip, counted, and what a target says that it costs: energy, and time of a core.

Only what has a published figure is priced. Energy is dynamic; static power stands apart (`Target.static_power_mw`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from decolle_hw.targets import Energy, Limit, Target, Time

NOT_PRICED = (
    "messages between chips: counted, but their energy and time have not been published, so they have no price",
    "spikes that enter from outside and those that leave to the host: their way is not known, so it has no price",
    "updates of plastic synapses: these are estimates of inference",
)
NOT_TIMED = (
    "the time step is that of the core with the most work on average; in a single step another may have more",
    "a core's synaptic operations and neuron updates are taken one after the other, without overlap",
    "time that messages take between cores and between chips, and congestion of the mesh, are not modelled",
    "the barrier is that of one chip",
    "input and output by the host and management by the embedded processors are not modelled",
)


@dataclass(frozen=True)
class Events:
    """Numbers of events, over all measured recordings and steps. Those of messages belong to the core that sends."""

    synaptic_ops: int = 0  # one spike through one synapse
    updates_active: int = 0  # updates of a neuron that takes or sends a spike in this step
    updates_idle: int = 0  # updates of one that does not
    spikes: int = 0
    spikes_from_input: int = 0  # spikes from outside that arrive, one for each core that they go to
    messages_within_core: int = 0  # a message is one spike on its way to one core
    messages_within_tile: int = 0  # to another core of the same tile of the mesh
    messages_between_tiles: int = 0  # of one chip
    messages_between_chips: int = 0
    hops_east_west: int = 0  # steps from tile to tile, of messages that stay on their chip
    hops_north_south: int = 0

    def __add__(self, other: Events) -> Events:
        return Events(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})

    @property
    def updates(self) -> int:
        return self.updates_active + self.updates_idle

    @property
    def messages(self) -> int:
        return self.messages_on_chip + self.messages_between_chips

    @property
    def messages_on_chip(self) -> int:
        return self.messages_within_core + self.messages_within_tile + self.messages_between_tiles

    def per(self, number: int) -> dict[str, float]:
        """Each number of events divided by a number of steps or recordings, with the sums `updates` and `messages`."""
        counts = {**asdict(self), "updates": self.updates, "messages": self.messages}
        return {name: count / number for name, count in counts.items()}


@dataclass(frozen=True)
class EnergySplit:
    """Dynamic energy by kind of event, pJ."""

    synaptic_ops: float
    updates_active: float
    updates_idle: float
    messages: float  # delivery within the tile where they arrive; messages between chips excepted
    hops: float  # between tiles; messages between chips excepted

    @property
    def total(self) -> float:
        return self.synaptic_ops + self.updates_active + self.updates_idle + self.messages + self.hops

    def per(self, number: int) -> dict[str, float]:
        """Each kind and the total, divided by a number of steps or recordings."""
        return {name: value / number for name, value in {**asdict(self), "total": self.total}.items()}


def energy_of(events: Events, energy: Energy) -> EnergySplit:
    """Each number of events times its figure: every message is delivered within a tile, once, after its hops."""
    hops_x = events.hops_east_west * energy.hop_east_west.value
    hops_y = events.hops_north_south * energy.hop_north_south.value
    return EnergySplit(
        synaptic_ops=events.synaptic_ops * energy.synaptic_op.value,
        updates_active=events.updates_active * energy.neuron_update_active.value,
        updates_idle=events.updates_idle * energy.neuron_update_idle.value,
        messages=events.messages_on_chip * energy.spike_within_tile.value,
        hops=hops_x + hops_y,
    )


def busy_ns(events: Events, time: Time) -> dict[str, float]:
    """How long a core works on its events, ns, by kind."""
    updates = events.updates_active * time.neuron_update_active.value
    updates += events.updates_idle * time.neuron_update_idle.value
    return {"synaptic_ops": events.synaptic_ops * time.synaptic_op.value, "neuron_updates": updates}


@dataclass(frozen=True)
class Constant:
    """A figure that an estimate rests on."""

    name: str
    value: float
    unit: str
    source: str
    confidence: str


def constants_of(target: Target) -> tuple[Constant, ...]:
    """Every figure of the target that is read here, with its source."""
    units = {"energy": "pJ", "time": "ns", "static_power_mw": "mW per chip"}
    unread = ("energy.learning_update", "time.learning_update")
    return tuple(
        Constant(name, limit.value, units[name.partition(".")[0]], limit.source, limit.confidence)
        for name, limit in target.limits
        if name.partition(".")[0] in units and name not in unread
    )


def figures_label(target: Target, section: str) -> str:
    """One line on whose figures per event these are, `section` being 'energy' or 'time'.

    A target without figures of its own borrows those of another chip and says so in their source: 'Loihi 1: ...'.
    """
    limits: list[Limit[Any]] = [limit for name, limit in target.limits if name.startswith(f"{section}.")]
    if not limits:
        return f"no {section} per event is known for {target.name}"
    sources = "; ".join(dict.fromkeys(limit.source for limit in limits))
    if any(limit.confidence == "assumed" for limit in limits):
        return f"figures of {sources}: an upper-side estimate, as none per event have been published for {target.name}"
    return f"figures of {sources}"
