"""Chunks of steps of a batch, taken through the network in parts, and what they teach each layer.

Each part of a batch goes through all layers on its own; parts only meet in the sum of their gradients. A chunk goes in
pieces, so that memory does not grow with its length.
"""

# T steps, B batch, C classes, L layers

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from decolle_hw.nn.engine import ChunkResult, Engine, Path, State, serial
from decolle_hw.nn.layer import LocalGradient
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.rule import PotentialSums, local_rules
from decolle_hw.nn.shards import Shards
from decolle_hw.nn.spikes import Spikes
from decolle_hw.spec import TrainingSpec


class NonFiniteLoss(Exception):  # noqa: N818 - it is what it is called elsewhere
    """A loss or a gradient is NaN or infinite; the weights are those before the update that would have used it.

    Attributes:
        layer: the first layer that is hit. step: time step within the recording.
    """

    def __init__(self, layer: int, step: int) -> None:
        super().__init__(f"layer {layer} is no longer finite at step {step}")
        self.layer = layer
        self.step = step


@dataclass
class Part:
    """Some recordings of a batch on their way through the steps."""

    spikes: Spikes
    target_BC: torch.Tensor
    state: State
    place: slice  # in the batch


@dataclass
class Taught:
    """What some steps of some recordings taught one layer."""

    gradient: LocalGradient
    passed: int  # errors beyond the threshold
    errors: int  # all errors
    broken_step: int | None  # first of these steps at which something is not finite

    def followed_by(self, later: Taught) -> Taught:
        """Together with later steps of the same recordings; adds in place."""
        broken = self.broken_step
        if broken is None and later.broken_step is not None:
            broken = len(self.gradient.loss_T) + later.broken_step
        gradient = self.gradient.followed_by(later.gradient)
        return Taught(gradient, self.passed + later.passed, self.errors + later.errors, broken)


class Teacher:
    """The part of learning that leaves the weights alone.

    Args:
        network: on `device`. spec: how it learns. path: see `decolle_hw.nn.engine.Engine`.
    """

    def __init__(self, network: DecolleNetwork, spec: TrainingSpec, device: torch.device, path: Path = "auto") -> None:
        self.network = network
        self.device = device
        self.rules = local_rules(spec, len(network))
        self.engine = Engine(network, path)
        self.shards = Shards(device)
        self.dropout = torch.Generator().manual_seed(spec.seed)
        self.may_factor = False  # whether who updates the weights takes `decolle_hw.nn.factors.Factors`

    def parts(self, spikes: list[Spikes], places: list[slice], target_BC: torch.Tensor) -> list[Part]:
        """A batch at the beginning of its recordings."""
        self.engine.take_weights()
        # A batch that is not split leaves the other workers free for its larger products.
        self.engine.share = self.shards.share if len(spikes) == 1 else serial
        return [
            Part(of_part, target_BC[place], self.engine.zero_state(of_part.batch), place)
            for of_part, place in zip(spikes, places, strict=True)
        ]

    def through(self, parts: list[Part], start: int, stop: int) -> None:
        """Steps start..stop-1 without learning."""
        for first, last in self._pieces(parts, start, stop):

            def forward(part: Part, first: int = first, last: int = last) -> None:
                self._forward(part, first, last, None)

            self.shards.map(forward, parts)

    def teach(self, parts: list[Part], start: int, stop: int) -> list[list[Taught]]:
        """Steps start..stop-1: what they taught, by part and layer. The first part's losses include regularizers.

        Raises `NonFiniteLoss`.
        """
        total: list[list[Taught]] = []
        for first, last in self._pieces(parts, start, stop):
            new = self._piece(parts, first, last)
            if total:
                pairs = zip(total, new, strict=True)
                total = [[a.followed_by(b) for a, b in zip(*of_part, strict=True)] for of_part in pairs]
            else:
                total = new
        for layer in range(len(self.network)):
            broken = [of_part[layer].broken_step for of_part in total]
            steps = [step for step in broken if step is not None]
            if steps:
                raise NonFiniteLoss(layer, start + min(steps))
        return total

    def masks(self, steps: int, batch: int) -> list[torch.Tensor | None] | None:
        """Dropout for some steps of a batch, (T, B, M) per layer: 0 with probability p, else 1/(1-p)."""
        if not any(self.network.dropout):
            return None
        masks: list[torch.Tensor | None] = []
        for layer, share in zip(self.network, self.network.dropout, strict=True):
            if share == 0.0 or layer.is_output:
                masks.append(None)
                continue
            drawn = torch.rand((steps, batch, layer.shape.outputs), generator=self.dropout)
            masks.append((drawn >= share).float().div_(1.0 - share).to(self.device))
        return masks

    def set_thresholds(self, thresholds: list[float]) -> None:
        """Of the error-triggered rule, one per layer."""
        self.rules = [replace(rule, threshold=value) for rule, value in zip(self.rules, thresholds, strict=True)]

    def _pieces(self, parts: list[Part], start: int, stop: int) -> Iterator[tuple[int, int]]:
        size = self.engine.piece(max(len(part.target_BC) for part in parts))
        for first in range(start, stop, size):
            yield first, min(first + size, stop)

    def _piece(self, parts: list[Part], first: int, last: int) -> list[list[Taught]]:
        batch = sum(len(part.target_BC) for part in parts)
        masks = self.masks(last - first, batch)
        if not any(rule.reg for rule in self.rules):
            return self.shards.map(
                lambda part: self._teach(part, self._forward(part, first, last, masks), batch, None), parts
            )
        # The regularizers look at the whole batch between forward and gradient.
        results = self.shards.map(lambda part: self._forward(part, first, last, masks), parts)
        sums = [self._sums(layer, results) for layer in range(len(self.network))]
        taught = self.shards.map(lambda both: self._teach(*both, batch, sums), list(zip(parts, results, strict=True)))
        for of_layer, rule, of_batch in zip(taught[0], self.rules, sums, strict=True):
            if of_batch is not None:
                of_layer.gradient.loss_T.add_(of_batch.loss(rule.reg))
        return taught

    def _forward(self, part: Part, first: int, last: int, masks: list[torch.Tensor | None] | None) -> ChunkResult:
        own = None if masks is None else [None if mask is None else mask[:, part.place] for mask in masks]
        result, part.state = self.engine.forward(part.spikes.between(first, last), part.state, own)
        return result

    @torch.no_grad()
    def _sums(self, layer: int, results: list[ChunkResult]) -> PotentialSums | None:
        if not self.rules[layer].reg:
            return None
        return functools.reduce(PotentialSums.beside, [PotentialSums.of(result.potential(layer)) for result in results])

    @torch.no_grad()
    def _teach(
        self, part: Part, result: ChunkResult, batch: int, sums: list[PotentialSums | None] | None
    ) -> list[Taught]:
        taught = []
        for layer, (module, rule) in enumerate(zip(self.network, self.rules, strict=True)):
            if not rule.learns:
                steps, none = result.readout_TBC(layer).shape[0], module.weight.new_zeros(0)
                taught.append(Taught(LocalGradient(module.weight.new_zeros(steps), none, none), 0, 0, None))
                continue
            of_batch = None if sums is None else sums[layer]
            gradient, passed = self.engine.gradient(
                layer, result, part.target_BC, rule, batch, of_batch, may_factor=self.may_factor
            )
            broken = None
            # A sum is finite if all its terms are. Potentials, too: spikes and surrogates hide what they were.
            sums_of = (result.potential(layer), gradient.bias, gradient.loss_T)
            if not all(math.isfinite(values.sum().item()) for values in sums_of):
                finite_T = result.potential(layer).isfinite().flatten(1).all(1) & gradient.loss_T.isfinite()
                if not (finite_T.all() and gradient.bias.isfinite().all()):
                    broken = int(torch.argmin(finite_T.int()))
            taught.append(Taught(gradient, passed, result.readout_TBC(layer).numel(), broken))
        return taught
