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

PIECE = 32  # steps that go through a layer at once: memory does not grow with the length of a recording or a chunk


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
        beta1, beta2 = spec.betas
        self.optimizer = adamax(network.parameters(), lr=spec.learning_rate, betas=(beta1, beta2))

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
            spikes_TBI = self.to_device(recordings, which)
            return _Part(spikes_TBI, identity_CC[labels], self.network.zero_state(len(which)))

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

            @torch.no_grad()  # a setting of each thread
            def through_chunk(part: _Part, start=start, stop=stop, learns=learns) -> list[LocalGradient]:
                total: list[LocalGradient] = []
                for first in range(start, stop, PIECE):
                    spikes_TBI = part.spikes_TBI[first : min(first + PIECE, stop)]
                    outputs, part.state = self.network(spikes_TBI, part.state)
                    pairs = zip(self.network.layers, outputs, strict=True) if learns else ()
                    new = [layer.local_gradient(output, part.target_BC, self.loss, batch) for layer, output in pairs]
                    total = [a.followed_by(b) for a, b in zip(total, new, strict=True)] if total else new
                return total

            gradients = self.shards.map(through_chunk, parts)
            if learns:
                losses += self.shards.map(self._update, [gradients])
        return torch.cat(losses)

    @torch.no_grad()
    def _update(self, gradients: list[list[LocalGradient]]) -> torch.Tensor:
        """Step the optimizer by the sum over parts; the losses (T, L)."""
        losses = []
        for layer, of_parts in zip(self.network.layers, zip(*gradients, strict=True), strict=True):
            total = functools.reduce(LocalGradient.beside, of_parts)
            layer.weight.grad = total.weight_NI
            layer.bias.grad = total.bias_N if layer.has_bias else None
            losses.append(total.loss_T)
        self.optimizer.step()
        return torch.stack(losses, 1)

    def evaluate(self, recordings: BinnedRecordings, batch_size: int = 64) -> Evaluation:
        """Accuracy and firing rates with the weights as they are, summed readout after burn-in."""
        count = len(recordings)
        groups = [np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
        results = self.shards.map(lambda which: self._evaluate(recordings, which), groups)
        predictions_LR = np.concatenate([decided_LB for decided_LB, _ in results], axis=1)
        rate_L = np.average([rate for _, rate in results], axis=0, weights=[len(which) for which in groups])
        accuracy_L = np.mean(predictions_LR == recordings.labels, axis=1)
        return Evaluation(accuracy_L.tolist(), rate_L.tolist(), predictions_LR[-1])

    @torch.no_grad()
    def _evaluate(self, recordings: BinnedRecordings, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decisions (L, B) and mean firing rate (L,) of some recordings."""
        spikes_TBI = self.to_device(recordings, which)
        state = self.network.zero_state(len(which))
        readouts, rates = [], []
        for piece_TBI in spikes_TBI.split(PIECE):
            outputs, state = self.network(piece_TBI, state)
            readouts.append([output.readout_TBC for output in outputs])
            share = len(piece_TBI) / len(spikes_TBI)
            rates.append([share * output.spikes_TBN.mean().item() for output in outputs])
        decided = [
            decide(torch.cat(of_layer), self.spec.burnin_steps).cpu().numpy()
            for of_layer in zip(*readouts, strict=True)
        ]
        return np.stack(decided), np.sum(rates, axis=0)

    def to_device(self, recordings: BinnedRecordings, which: np.ndarray) -> torch.Tensor:
        """(T, B, I) spikes of some recordings on the learner's device, uint8."""
        return torch.from_numpy(recordings.dense(which)).to(self.device)
