"""The learning loop over a batch and over an epoch: chunks of steps, local gradients, weight updates."""

# T steps, B batch, I inputs, C classes, L layers

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from decolle_hw.data import BinnedRecordings
from decolle_hw.nn.adamax import CompiledAdamax
from decolle_hw.nn.bptt import bptt_gradients
from decolle_hw.nn.engine import Path
from decolle_hw.nn.factors import Factors
from decolle_hw.nn.network import DecolleNetwork, decide
from decolle_hw.nn.spikes import Events, Spikes
from decolle_hw.spec import TrainingSpec
from decolle_hw.training.optimizers import (
    Schedule,
    build_optimizer,
    clip_gradients,
    load_optimizer_state,
    optimizer_state,
)
from decolle_hw.training.teaching import NonFiniteLoss, Part, Taught, Teacher

__all__ = ["Evaluation", "Learner", "NonFiniteLoss", "chunks"]

OPTIMIZER, SCHEDULE = "optimizer.", "schedule."  # prefixes of names in `Learner.state_dict`
DROPOUT, THRESHOLDS = "dropout", "error_thresholds"


@dataclass(frozen=True)
class Evaluation:
    """What a network does on a set of recordings."""

    accuracy: list[float]  # per layer; the last one is the network's answer
    firing_rate: list[float]  # per layer, spikes per neuron (after pooling) and step
    predictions: np.ndarray  # (R,) of the last layer


def chunks(steps: int, burnin_steps: int, update_every: int | str) -> Iterator[tuple[int, int, bool]]:
    """(start, stop, learns) of each chunk: the burn-in in one piece, then pieces of `update_every` steps."""
    if burnin_steps:
        yield 0, burnin_steps, False
    size = steps - burnin_steps if update_every == "sequence" else int(update_every)
    for start in range(burnin_steps, steps, size):
        yield start, min(start + size, steps), True


class Learner:
    """A network, its optimizer and its spec; `learn_batch` is the whole of DECOLLE.

    Args:
        network: moved to `device`.
        spec: how to learn.
        device: a CPU is split over its cores (`decolle_hw.nn.shards`).
        path: which kernels run, see `decolle_hw.nn.engine.Engine`.
    """

    def __init__(self, network: DecolleNetwork, spec: TrainingSpec, device: torch.device, path: Path = "auto") -> None:
        self.network = network.to(device)
        self.spec = spec
        self.device = device
        if device.type == "cuda":
            # Convolutions would use 10-bit mantissas unasked; `precision: bfloat16` asks.
            torch.backends.cudnn.allow_tf32 = False
        self.teacher = Teacher(self.network, spec, device, path)
        self.shards = self.teacher.shards
        self.optimizer = build_optimizer(self.network, spec, device)
        self.teacher.may_factor = isinstance(self.optimizer, CompiledAdamax) and spec.clip_grad_norm is None
        self.schedule = Schedule(self.optimizer, spec)

    def learn_batch(self, spikes_TBI: torch.Tensor, target_BC: torch.Tensor) -> torch.Tensor:
        """Present a batch once, updating the weights after each chunk beyond burn-in.

        Args:
            spikes_TBI: 0/1 of any dtype. target_BC: one target readout per recording.

        Returns:
            loss per step and layer (T - burn-in, L), regularizers included; 0 for a layer that does not learn.

        Raises `NonFiniteLoss`.
        """
        places = self._places(len(target_BC))
        inputs = spikes_TBI.shape[2]
        spikes = [Spikes(inputs, dense=spikes_TBI[:, place].contiguous().to(self.device)) for place in places]
        self.network.quantize()
        return self._learn(self.teacher.parts(spikes, places, target_BC.to(self.device)))

    def learn_epoch(
        self, recordings: BinnedRecordings, epoch: int, rng: np.random.Generator, done: int = 0
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Present all recordings once in random order; yields (recordings done, losses (T, L) of the batch).

        Args:
            recordings: of the training split.
            epoch: from 0, for the learning rate.
            rng: order of the recordings and windows seen of them; nothing is drawn after the beginning.
            done: recordings of this order to skip: those that an interrupted epoch has presented already.

        Raises `NonFiniteLoss`.
        """
        self.schedule.start_epoch(epoch)
        order = rng.permutation(len(recordings))
        starts = recordings.draw_starts(rng)
        for start in range(done, len(order), self.spec.batch_size):
            which = order[start : start + self.spec.batch_size]
            yield start + len(which), self.learn_recordings(recordings, which, starts[which])

    def learn_recordings(
        self, recordings: BinnedRecordings, which: np.ndarray, starts: np.ndarray | None = None
    ) -> torch.Tensor:
        """As `learn_batch`, of some recordings of a set and with their labels' one-hot codes as targets.

        Args:
            which: indices. starts: first step of the window of each; default: 0.
        """
        places = self._places(len(which))
        starts = np.zeros(len(which), np.int64) if starts is None else starts
        spikes = self.shards.map(lambda place: self._load(recordings, which[place], starts[place]), places)
        labels = torch.from_numpy(recordings.labels[which])
        target_BC = torch.eye(len(recordings.classes))[labels].to(self.device)
        self.network.quantize()
        return self._learn(self.teacher.parts(spikes, places, target_BC))

    def _places(self, batch: int) -> list[slice]:
        """Parts of a batch. Dense layers share out the products of a step or two instead: there is little beside."""
        if self.spec.update_every in (1, 2) and all(layer.shape.kind == "dense" for layer in self.network):
            return [slice(0, batch)]
        return self.shards.split(batch)

    def _load(self, recordings: BinnedRecordings, which: np.ndarray, starts: np.ndarray | None = None) -> Spikes:
        indptr, index = recordings.events(which, starts)
        events = Events(indptr, index, recordings.window, 0, recordings.window)
        return Spikes(recordings.num_inputs, events=events).on(self.device)

    def _learn(self, parts: list[Part]) -> torch.Tensor:
        """All chunks of a batch."""
        if self.spec.method == "bptt":
            return self._learn_bptt(parts)
        if len(parts) == 1:  # in a worker from end to end: no handing over in each step
            return self.shards.map(self._learn_chunks, [parts])[0]
        return self._learn_chunks(parts)

    def _learn_chunks(self, parts: list[Part]) -> torch.Tensor:
        losses = []
        try:
            for start, stop, learns in chunks(parts[0].spikes.steps, self.spec.burnin_steps, self.spec.update_every):
                if learns:
                    losses.append(self._update(self.teacher.teach(parts, start, stop)))
                else:
                    self.teacher.through(parts, start, stop)
        finally:
            if isinstance(self.optimizer, CompiledAdamax):
                self.optimizer.catch_up()
        return torch.cat(losses)

    @torch.no_grad()
    def _update(self, taught: list[list[Taught]]) -> torch.Tensor:
        """Step the optimizer by the sum over parts; the losses (T, L)."""
        losses = []
        others: dict[torch.Tensor, list[torch.Tensor | Factors]] = {}
        for layer, rule, of_parts in zip(self.network, self.teacher.rules, zip(*taught, strict=True), strict=True):
            first, *more = [of_part.gradient for of_part in of_parts]
            losses.append(functools.reduce(torch.add, [gradient.loss_T for gradient in (first, *more)]))
            if not rule.learns:
                continue
            if all(isinstance(gradient.weight, Factors) for gradient in (first, *more)):
                others[layer.weight] = [gradient.weight for gradient in (first, *more)]
            else:
                layer.weight.grad = first.weight_matrix()
                others[layer.weight] = [gradient.weight_matrix() for gradient in more]
            if layer.has_bias:
                layer.bias.grad, others[layer.bias] = first.bias, [gradient.bias for gradient in more]
        self._step(others)
        self._follow_error_rate(taught)
        return torch.stack(losses, 1)

    def _step(self, others: dict[torch.Tensor, list[torch.Tensor | Factors]]) -> None:
        """One weight update by the gradients of the parameters, and those of other parts.

        Of quantized weights the floats behind them are updated: straight through.
        """
        with self.network.learned_weights():
            if isinstance(self.optimizer, CompiledAdamax) and self.spec.clip_grad_norm is None:
                self.optimizer.update(others, self.shards.map, self.shards.count)
            else:
                for parameter, gradients in others.items():
                    for gradient in gradients:
                        assert parameter.grad is not None and isinstance(gradient, torch.Tensor)
                        parameter.grad.add_(gradient)
                if self.spec.clip_grad_norm is not None:
                    clip_gradients(self.network, self.spec.clip_grad_norm)
                self.shards.map(lambda optimizer: optimizer.step(), [self.optimizer])
        for parameter in self.network.parameters():
            parameter.grad = None
        self.teacher.engine.take_weights()

    def _follow_error_rate(self, taught: list[list[Taught]]) -> None:
        """Move each threshold so that the share of errors that pass it approaches `error_rate`.

        ``threshold += error_adaptation (share - error_rate)``, not below zero. Source: Payvand et al. 2020.
        """
        if self.spec.error_rate is None:
            return
        thresholds = []
        for rule, of_parts in zip(self.teacher.rules, zip(*taught, strict=True), strict=True):
            errors = sum(of_part.errors for of_part in of_parts)
            share = sum(of_part.passed for of_part in of_parts) / errors if errors else self.spec.error_rate
            thresholds.append(max(0.0, rule.threshold + self.spec.error_adaptation * (share - self.spec.error_rate)))
        self.teacher.set_thresholds(thresholds)

    def _learn_bptt(self, parts: list[Part]) -> torch.Tensor:
        """One update by back-propagation through time and layers."""
        spikes_TBI = torch.cat([part.spikes.dense() for part in parts], 1)
        target_BC = torch.cat([part.target_BC for part in parts])
        masks = self.teacher.masks(*spikes_TBI.shape[:2])
        loss_TL, gradients = bptt_gradients(self.network, spikes_TBI, target_BC, self.spec, masks)
        for index, of_layer in enumerate(gradients):
            found = [gradient for gradient in of_layer if gradient is not None]
            if not (loss_TL[:, index].isfinite().all() and all(bool(gradient.isfinite().all()) for gradient in found)):
                step = int(torch.argmin(loss_TL[:, index].isfinite().int()))
                raise NonFiniteLoss(index, self.spec.burnin_steps + step)
        for layer, gradient in zip(self.network, gradients, strict=True):
            layer.weight.grad = None if gradient.weight is None else _stored_like(gradient.weight, layer.weight)
            layer.bias.grad = gradient.bias if layer.has_bias else None
        self._step({})
        return loss_TL

    def evaluate(self, recordings: BinnedRecordings, batch_size: int = 64) -> Evaluation:
        """Accuracy and firing rates with the weights as they are, quantized where `training.quantize` asks for it."""
        self.network.quantize()
        self.teacher.engine.take_weights()
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
        engine, layers = self.teacher.engine, range(len(self.network))
        spikes = self._load(recordings, which)
        state = engine.zero_state(len(which))
        readouts, spike_counts = [], np.zeros(len(layers))
        piece = engine.piece(len(which))
        for start in range(0, spikes.steps, piece):
            result, state = engine.forward(spikes.between(start, min(start + piece, spikes.steps)), state)
            readouts.append([result.readout_TBC(layer) for layer in layers])
            spike_counts += [result.spike_count(layer) for layer in layers]
        decided = [
            decide(torch.cat(of_layer), self.spec.burnin_steps, self.network.prediction).cpu().numpy()
            for of_layer in zip(*readouts, strict=True)
        ]
        outputs = np.array([layer.shape.outputs for layer in self.network])
        return np.stack(decided), spike_counts / (spikes.steps * len(which) * outputs)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that learning depends on but the weights, as flat named tensors."""
        return {
            **{OPTIMIZER + name: tensor for name, tensor in optimizer_state(self.optimizer).items()},
            **{SCHEDULE + name: tensor for name, tensor in self.schedule.state_dict().items()},
            DROPOUT: self.teacher.dropout.get_state(),
            THRESHOLDS: torch.tensor([rule.threshold for rule in self.teacher.rules], dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The inverse of `state_dict`; go on as if nothing had been between."""
        for prefix, load in (
            (OPTIMIZER, functools.partial(load_optimizer_state, self.optimizer)),
            (SCHEDULE, self.schedule.load_state_dict),
        ):
            load({name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)})
        self.teacher.dropout.set_state(state[DROPOUT])
        self.teacher.set_thresholds(state[THRESHOLDS].tolist())


def _stored_like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The same values with the strides of `like`."""
    return torch.empty_like(like).copy_(tensor)
