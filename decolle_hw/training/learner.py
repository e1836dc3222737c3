"""The learning loop over a batch and over an epoch: chunks of steps, three-factor gradients, Adamax."""

# T steps, B batch, I inputs, C classes, L layers

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from decolle_hw.data import BinnedRecordings
from decolle_hw.nn.losses import LOSSES
from decolle_hw.nn.network import DecolleNetwork, decide
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


class Learner:
    """A network, its optimizer and its spec; `learn_batch` is the whole of DECOLLE."""

    def __init__(self, network: DecolleNetwork, spec: TrainingSpec, device: torch.device) -> None:
        self.network = network.to(device)
        self.spec = spec
        self.device = device
        self.loss = LOSSES[spec.loss]
        self.optimizer = torch.optim.Adamax(
            network.parameters(), lr=spec.learning_rate, betas=(spec.betas[0], spec.betas[1])
        )

    @torch.no_grad()
    def learn_batch(self, spikes_TBI: torch.Tensor, target_BC: torch.Tensor) -> torch.Tensor:
        """Present a batch once, updating the weights after each chunk beyond burn-in.

        Returns:
            loss per step and layer (T - burn-in, L).
        """
        state = self.network.zero_state(spikes_TBI.shape[1])
        losses = []
        for start, stop, learns in chunks(len(spikes_TBI), self.spec.burnin_steps, self.spec.update_every):
            outputs, state = self.network(spikes_TBI[start:stop], state)
            if learns:
                self.optimizer.zero_grad(set_to_none=True)
                pairs = zip(self.network.layers, outputs, strict=True)
                losses.append(
                    torch.stack([layer.add_gradient(output, target_BC, self.loss) for layer, output in pairs], 1)
                )
                self.optimizer.step()
        return torch.cat(losses)

    def learn_epoch(
        self, recordings: BinnedRecordings, epoch: int, rng: np.random.Generator
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Present all recordings once in random order; yields (recordings done, losses of the batch)."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec, epoch)
        identity_CC = torch.eye(len(recordings.classes), device=self.device)
        order = rng.permutation(len(recordings))
        for start in range(0, len(order), self.spec.batch_size):
            which = order[start : start + self.spec.batch_size]
            labels = torch.from_numpy(recordings.labels[which]).to(self.device)
            losses = self.learn_batch(self.to_device(recordings, which), identity_CC[labels])
            yield start + len(which), losses

    @torch.no_grad()
    def evaluate(self, recordings: BinnedRecordings, batch_size: int = 256) -> Evaluation:
        """Accuracy and firing rates with the weights as they are, summed readout after burn-in."""
        layers = len(self.network.layers)
        hits, spikes = np.zeros(layers), np.zeros(layers)
        predictions = []
        for start in range(0, len(recordings), batch_size):
            which = np.arange(start, min(start + batch_size, len(recordings)))
            outputs, _ = self.network(self.to_device(recordings, which), self.network.zero_state(len(which)))
            for index, output in enumerate(outputs):
                decided = decide(output.readout_TBC, self.spec.burnin_steps).cpu().numpy()
                hits[index] += (decided == recordings.labels[which]).sum()
                spikes[index] += output.spikes_TBN.mean().item() * len(which)
            predictions.append(decided)
        count = len(recordings)
        return Evaluation((hits / count).tolist(), (spikes / count).tolist(), np.concatenate(predictions))

    def to_device(self, recordings: BinnedRecordings, which: np.ndarray) -> torch.Tensor:
        """(T, B, I) float spikes of some recordings on the learner's device."""
        return torch.from_numpy(recordings.dense(which)).to(self.device).float()
