"""A network's steps and gradients on some recordings of a batch, each layer on the path that is faster.

Two paths do the same to rounding: the plain one (`DecolleLayer`: traces, then one dense product for all steps) on any
device, and the event-driven one (`EventLayer`) for float32 on a CPU. Events win while they are few and a chunk has
more than two or three steps; the choice is made per layer and chunk from the density of what comes in, and so
depends on nothing but data and weights.
"""

# T steps of a chunk, B batch, M neurons after pooling, C classes, L layers

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from decolle_hw.nn.event_layer import EventLayer, EventOutput, EventState, Share, can_be_driven, serial
from decolle_hw.nn.layer import DecolleLayer, LayerOutput, LayerState, LocalGradient
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.rule import LocalRule, PotentialSums
from decolle_hw.nn.spikes import Spikes

Path = Literal["auto", "plain", "events"]

# Densest input for which events are taken, from benchmarks/train_throughput.py --paths. For dense layers both paths are
# equally fast at 15 % and whole sequences, at 6 % and 10 steps: this is between. A convolution adds k*k*C numbers per
# event where a dense layer adds N; the dense product of either runs near the peak of the machine.
BREAK_EVEN = {"dense": 0.12, "conv": 0.16}
SHORTEST_CHUNK = 3  # events stand for more work per step than the two products at the borders of a chunk cost
PIECE_BYTES = 1 << 27  # of potentials and inputs that a part of a batch may hold at once
LONGEST_PIECE, SHORTEST_PIECE = 128, 4


@dataclass
class ChunkResult:
    """What a network did with some recordings in a chunk; one entry per layer."""

    outputs: list[LayerOutput | EventOutput]

    def readout_TBC(self, layer: int) -> torch.Tensor:
        output = self.outputs[layer]
        if isinstance(output, LayerOutput):
            return output.readout_TBC
        return torch.from_numpy(output.readout_BTC).transpose(0, 1)

    def spike_count(self, layer: int) -> float:
        """Spikes after pooling, over all steps and recordings."""
        output = self.outputs[layer]
        if isinstance(output, LayerOutput):
            return float(output.spikes_TBN.sum())
        return float(output.spikes.events().count())

    def potential(self, layer: int) -> torch.Tensor:
        """(T, B, M) U, its neurons in any order."""
        output = self.outputs[layer]
        if isinstance(output, LayerOutput):
            return output.potential_TBN
        return torch.from_numpy(output.potential_BTM).transpose(0, 1)


State = list[LayerState | EventState]


class Engine:
    """Runs a network; the weights it uses are those at the last `take_weights`.

    Args:
        network: on its device.
        path: which path all layers take; `auto` for the faster one. A layer without kernels stays on the plain path.
    """

    def __init__(self, network: DecolleNetwork, path: Path = "auto") -> None:
        self.network = network
        self.path = path
        self.version = 0
        self.share: Share = serial  # how layers may split work of their own over threads
        self._driven: list[EventLayer | None] | None = None

    def take_weights(self) -> None:
        """Use the network's weights as they are now; to be called after every change of them."""
        if self._driven is None:
            self._driven = [
                EventLayer(layer) if self.path != "plain" and can_be_driven(layer) else None for layer in self.network
            ]
        self.version += 1
        for driven in self._driven:
            if driven is not None:
                driven.use_weights(self.version)

    def zero_state(self, batch: int) -> State:
        """State before the first step of `batch` recordings."""
        return list(self.network.zero_state(batch))

    def piece(self, batch: int) -> int:
        """Steps that may go through all layers at once: memory does not grow with the length of a recording."""
        per_step = 4 * batch * sum(layer.shape.inputs + layer.shape.outputs for layer in self.network)
        return max(SHORTEST_PIECE, min(LONGEST_PIECE, PIECE_BYTES // max(1, per_step)))

    @torch.no_grad()
    def forward(
        self, spikes: Spikes, state: State, masks: Sequence[torch.Tensor | None] | None = None
    ) -> tuple[ChunkResult, State]:
        """A chunk of steps through all layers. The state that goes in may not be used again.

        Args:
            spikes: of B recordings.
            state: of these recordings, from `zero_state` or the chunk before.
            masks: dropout, one (T, B, M) or None per layer.
        """
        outputs: list[LayerOutput | EventOutput] = []
        states: State = []
        for index, (layer, layer_state) in enumerate(zip(self.network, state, strict=True)):
            mask = masks[index] if masks is not None else None
            driven = self._choose(index, spikes)
            if driven is not None:
                before = layer_state if isinstance(layer_state, EventState) else driven.state(layer_state)
                driven.share = self.share
                output, after = driven.forward(spikes, before, mask)
                outputs.append(output)
                states.append(after)
                spikes = output.spikes
            else:
                plain = self._plain_state(index, layer_state)
                plain_output, plain_after = layer(spikes.dense(), plain, mask)
                outputs.append(plain_output)
                states.append(plain_after)
                spikes = Spikes(layer.shape.outputs, dense=plain_output.spikes_TBN)
        return ChunkResult(outputs), states

    @torch.no_grad()
    def gradient(
        self, layer: int, result: ChunkResult, target_BC: torch.Tensor, rule: LocalRule, batch: int,
        sums: PotentialSums | None, *, may_factor: bool = False,
    ) -> tuple[LocalGradient, int]:  # fmt: skip
        """Of one layer; see `DecolleLayer.local_gradient` and `EventLayer.local_gradient`."""
        output = result.outputs[layer]
        if isinstance(output, LayerOutput):
            module: DecolleLayer = self.network.layers[layer]  # type: ignore[assignment]
            return module.local_gradient(output, target_BC, rule, batch, sums)
        driven = self._event_layer(layer)
        assert driven is not None
        return driven.local_gradient(output, target_BC, rule, batch, sums, may_factor=may_factor)

    def _choose(self, index: int, spikes: Spikes) -> EventLayer | None:
        driven = self._event_layer(index)
        if driven is None or self.path == "events":
            return driven
        kind = driven.layer.shape.kind
        if spikes.steps < SHORTEST_CHUNK:
            # The products at the borders are all the work. Those of a dense layer may be shared between threads.
            return driven if kind == "dense" else None
        return driven if spikes.density() < BREAK_EVEN[kind] else None

    def _event_layer(self, index: int) -> EventLayer | None:
        assert self._driven is not None, "take_weights comes first"
        return self._driven[index]

    def _plain_state(self, index: int, state: LayerState | EventState) -> LayerState:
        if isinstance(state, LayerState):
            return state
        driven = self._event_layer(index)
        assert driven is not None
        return driven.plain_state(state)
