"""The learning loop over a batch and over an epoch: chunks of steps, three-factor gradients, Adamax."""

# T steps, B batch, I inputs, C classes, L layers

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from decolle_hw.data import BinnedRecordings
from decolle_hw.nn.adamax import CompiledAdamax
from decolle_hw.nn.layer import LayerState, LocalGradient
from decolle_hw.nn.losses import LOSSES
from decolle_hw.nn.network import DecolleNetwork, decide
from decolle_hw.nn.shards import Shards
from decolle_hw.spec import TrainingSpec


@dataclass(frozen=True)
class Evaluation:
    """What a network does on a set of recordings."""

    accuracy: list[float]  # per layer; the last one is the network's answer
    firing_rate: list[float]  # per layer, spikes per neuron and step
    predictions: np.ndarray  # (R,) of the last layer


def chunks(steps: int, burnin_steps: int, update_every: int | str) -> Iterator[tuple[int, int, bool]]:
    """(start, stop, learns) of each chunk: the burn-in in one piece, then pieces of `update_every` steps."""
    if burnin_steps:
        yield 0, burnin_steps, False
    size = steps - burnin_steps if update_every == "sequence" else int(update_every)
    for start in range(burnin_steps, steps, size):
        yield start, min(start + size, steps), True


def learning_rate(spec: TrainingSpec, epoch: int) -> float:
    """The authors' schedule: from epoch `lr_drop_interval` on, divided by ``factor * floor(epoch / interval)``."""
    drops = epoch // spec.lr_drop_interval
    return spec.learning_rate if drops == 0 else spec.learning_rate / (spec.lr_drop_factor * drops)


@dataclass
class _Part:
    """Some recordings of a batch on their way through the steps."""

    spikes_TBI: torch.Tensor
    target_BC: torch.Tensor
    state: list[LayerState]


class Learner:
    """A network, its optimizer and its spec; `learn_batch` is the whole of DECOLLE."""

    def __init__(self, network: DecolleNetwork, spec: TrainingSpec, device: torch.device) -> None:
        self.network = network.to(device)
        self.spec = spec
        self.device = device
        self.loss = LOSSES[spec.loss]
        self.shards = Shards(device)
        adamax = CompiledAdamax if device.type == "cpu" else torch.optim.Adamax
        self.optimizer = adamax(network.parameters(), lr=spec.learning_rate, betas=(spec.betas[0], spec.betas[1]))

    def learn_batch(self, spikes_TBI: torch.Tensor, target_BC: torch.Tensor) -> torch.Tensor:
        """Present a batch once, updating the weights after each chunk beyond burn-in.

        Args:
            spikes_TBI: 0/1 of any dtype. target_BC: one target readout per recording.

        Returns:
            loss per step and layer (T - burn-in, L).
        """
        parts = []
        for piece in self.shards.split(len(target_BC)):
            spikes = spikes_TBI[:, piece].contiguous()
            parts.append(_Part(spikes, target_BC[piece], self.network.zero_state(spikes.shape[1])))
        return self._learn(parts)

    def learn_epoch(
        self, recordings: BinnedRecordings, epoch: int, rng: np.random.Generator
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Present all recordings once in random order; yields (recordings done, losses of the batch)."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec, epoch)
        identity_CC = torch.eye(len(recordings.classes), device=self.device)

        def load(which: np.ndarray) -> _Part:
            labels = torch.from_numpy(recordings.labels[which]).to(self.device)
            return _Part(self.to_device(recordings, which), identity_CC[labels], self.network.zero_state(len(which)))

        order = rng.permutation(len(recordings))
        for start in range(0, len(order), self.spec.batch_size):
            which = order[start : start + self.spec.batch_size]
            parts = self.shards.map(load, [which[piece] for piece in self.shards.split(len(which))])
            yield start + len(which), self._learn(parts)

    def _learn(self, parts: list[_Part]) -> torch.Tensor:
        """All chunks of a batch: each part on its own, then the sum of their gradients."""
        steps = len(parts[0].spikes_TBI)
        batch = sum(len(part.target_BC) for part in parts)
        losses = []
        for start, stop, learns in chunks(steps, self.spec.burnin_steps, self.spec.update_every):

            def through_chunk(part: _Part, start=start, stop=stop, learns=learns) -> list[LocalGradient]:
                with torch.no_grad():  # a setting of each thread
                    outputs, part.state = self.network(part.spikes_TBI[start:stop], part.state)
                    pairs = zip(self.network.layers, outputs, strict=True) if learns else ()
                    return [layer.local_gradient(output, part.target_BC, self.loss, batch) for layer, output in pairs]

            gradients = self.shards.map(through_chunk, parts)
            if learns:
                losses += self.shards.map(self._update, [gradients])
        return torch.cat(losses)

    @torch.no_grad()
    def _update(self, gradients: list[list[LocalGradient]]) -> torch.Tensor:
        """Step the optimizer by the sum over parts; the losses (T, L)."""
        losses = []
        for layer, of_parts in zip(self.network.layers, zip(*gradients, strict=True), strict=True):
            # sum() would start from 0 and copy the first.
            loss, layer.weight.grad, bias_grad = (functools.reduce(torch.Tensor.add_, each) for each in zip(*of_parts))
            layer.bias.grad = bias_grad if layer.has_bias else None
            losses.append(loss)
        self.optimizer.step()
        return torch.stack(losses, 1)

    def evaluate(self, recordings: BinnedRecordings, batch_size: int = 64) -> Evaluation:
        """Accuracy and firing rates with the weights as they are, summed readout after burn-in."""
        count = len(recordings)
        groups = [np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
        results = self.shards.map(lambda which: self._evaluate(recordings, which), groups)
        predictions_LR = np.concatenate([decided_LB for decided_LB, _ in results], axis=1)
        rate_L = sum(len(which) * rate for which, (_, rate) in zip(groups, results, strict=True)) / count
        accuracy_L = (predictions_LR == recordings.labels).mean(1)
        return Evaluation(accuracy_L.tolist(), rate_L.tolist(), predictions_LR[-1])

    @torch.no_grad()
    def _evaluate(self, recordings: BinnedRecordings, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decisions (L, B) and mean firing rate (L,) of some recordings."""
        outputs, _ = self.network(self.to_device(recordings, which), self.network.zero_state(len(which)))
        decided = [decide(output.readout_TBC, self.spec.burnin_steps).cpu().numpy() for output in outputs]
        return np.stack(decided), np.array([output.spikes_TBN.mean().item() for output in outputs])

    def to_device(self, recordings: BinnedRecordings, which: np.ndarray) -> torch.Tensor:
        """(T, B, I) spikes of some recordings on the learner's device, uint8."""
        return torch.from_numpy(recordings.dense(which)).to(self.device)
