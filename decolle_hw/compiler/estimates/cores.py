"""What each core does: the work of its block of neurons, and the messages that it sends.

Every neuron is on one core, so the cores of a population share its events without rest.
"""

# K cores, P pairs of cores, I inputs; c, h, w channels, height, width

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.estimates.activity import Activity, IntArray
from decolle_hw.compiler.estimates.events import Events
from decolle_hw.compiler.estimates.layers import Work
from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph, Shape

# (P,) index of the core that sends, of the one that receives, and the messages between them
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
Range = tuple[int, int]  # first, one behind the last


class Core(Protocol):
    """What is read of a placed core: its tile of the mesh, and its block of neurons."""

    @property
    def index(self) -> int: ...
    @property
    def chip(self) -> int: ...
    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...
    @property
    def population(self) -> str: ...
    @property
    def channels(self) -> Range: ...
    @property
    def rows(self) -> Range: ...
    @property
    def columns(self) -> Range: ...
    @property
    def neurons(self) -> int: ...


def core_events(
    graph: Graph,
    cores: Sequence[Core],
    works: Mapping[str, Work],
    pairs: Pairs,
    activity: Activity,
    sparse: Collection[Connection] = (),
) -> tuple[Events, ...]:
    """(K,) events of each core, over all measured recordings and steps.

    Args:
        works: by population.
        pairs: (P,) indices of the sending and of the receiving core, and the messages between them, whole numbers.
        sparse: connections stored without their weights of zero: there, a spike goes only to where it meets a weight.
    """
    sent = _messages(cores, pairs)
    events = []
    for position, core in enumerate(cores):
        work = works[core.population]
        events.append(
            Events(
                synaptic_ops=int(work.synaptic_ops[_block(core)].sum()),
                updates_active=int(work.active[_block(core)].sum()),
                updates_idle=int(work.idle[_block(core)].sum()),
                spikes=int(work.spikes[_block(core)].sum()),
                spikes_from_input=_spikes_from_input(graph, core, activity, sparse),
                **{name: int(count_K[position]) for name, count_K in sent.items()},
            )
        )
    return tuple(events)


def _block(core: Core) -> tuple[slice, slice, slice]:
    return slice(*core.channels), slice(*core.rows), slice(*core.columns)


def _messages(cores: Sequence[Core], pairs: Pairs) -> dict[str, IntArray]:
    """(K,) messages that each core sends, by how far they go, and their hops on the mesh of its chip."""
    source_P, destination_P, messages = pairs
    messages_P = np.rint(messages).astype(np.int64)
    place_K3 = np.array([(core.chip, core.x, core.y) for core in cores], np.int64).reshape(-1, 3)
    from_P3, to_P3 = place_K3[source_P], place_K3[destination_P]
    chip_P, x_P, y_P = np.abs(from_P3 - to_P3).T
    on_chip_P, tile_P = chip_P == 0, x_P + y_P == 0
    core_P = np.asarray(source_P) == destination_P

    def sent(counts_P: IntArray) -> IntArray:
        counts_K = np.zeros(len(cores), np.int64)
        np.add.at(counts_K, source_P, counts_P)
        return counts_K

    return {
        "messages_within_core": sent(messages_P * core_P),
        "messages_within_tile": sent(messages_P * (on_chip_P & tile_P & ~core_P)),
        "messages_between_tiles": sent(messages_P * (on_chip_P & ~tile_P)),
        "messages_between_chips": sent(messages_P * ~on_chip_P),
        "hops_east_west": sent(messages_P * on_chip_P * x_P),
        "hops_north_south": sent(messages_P * on_chip_P * y_P),
    }


def _spikes_from_input(graph: Graph, core: Core, activity: Activity, sparse: Collection[Connection]) -> int:
    """Spikes from outside that the core needs: those of each input that one of its neurons sees."""
    total = 0
    for connection in graph.into(core.population):
        spikes_I = activity.of_source(graph, connection)
        if connection.source != INPUT or spikes_I is None:
            continue
        shape = graph.population(core.population).shape
        if connection.geometry is not None:
            seen = _receptive_block(connection.geometry, connection.source_shape, shape, core)
            total += int(spikes_I.reshape(connection.source_shape)[np.ix_(*seen)].sum())
        elif connection.nonzero is not None and connection in sparse:
            neurons = np.arange(len(connection.nonzero)).reshape(shape)[_block(core)].reshape(-1)
            total += int(spikes_I[connection.nonzero[neurons].any(0)].sum())
        else:
            total += int(spikes_I.sum())
    return total


def _receptive_block(geometry: Geometry, source_shape: Shape, shape: Shape, core: Core) -> tuple[IntArray, ...]:
    """Channels, rows and columns of the source that a block of a convolution sees: what it sees is their product."""
    inputs, outputs = source_shape[0] // geometry.groups, shape[0] // geometry.groups
    first, last = core.channels[0] // outputs, (core.channels[1] - 1) // outputs
    seen = [np.arange(first * inputs, (last + 1) * inputs)]
    for axis, (low, high) in enumerate((core.rows, core.columns)):
        taps = np.arange(geometry.kernel[axis]) * geometry.dilation[axis] - geometry.padding[axis]
        places = np.unique(np.arange(low, high)[:, None] * geometry.stride[axis] + taps)
        seen.append(places[(places >= 0) & (places < source_shape[1 + axis])])
    return tuple(seen)
