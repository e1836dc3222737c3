"""The float rule at work on calibration recordings, layer by layer: what its integers are to come near to."""

# T steps, B recordings, I inputs, N neurons, C classes

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from decolle_hw.data import BinnedRecordings
from decolle_hw.nn.losses import LOSSES
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.rule import LocalRule, local_rules
from decolle_hw.nn.surrogate import SURROGATES
from decolle_hw.spec import ModelSpec

DEFAULT_LOSS = "smooth_l1"  # of a layer that had none: its readout is there all the same
# Bounds on memory: recordings looked at, and entries of the widest array.
MOST_RECORDINGS, MOST_ENTRIES = 64, 1 << 25
CORRECTED_RECORDINGS = 16  # that `correction` looks at

FloatArray = NDArray[np.float32]
OF_RECORDINGS = ("spikes_TBI", "trace_TBI", "potential_TBN", "readout_TBC", "error_TBC", "surrogate_TBN")


@dataclass(frozen=True)
class Observed:
    """One layer on some recordings, its registers and the factors of its rule at every step."""

    burnin: int  # steps that teach nothing
    spikes_TBI: NDArray[np.uint8]  # input
    trace_TBI: FloatArray  # P
    potential_TBN: FloatArray  # U
    readout_TBC: FloatArray  # y
    target_BC: FloatArray
    error_TBC: FloatArray  # -dL/dy of one recording by itself
    feedback_CN: FloatArray
    surrogate_TBN: FloatArray  # sigma'(U)

    @property
    def third_TBN(self) -> FloatArray:
        """``-F^T dL/dy``, zero in the steps of burn-in."""
        third_TBN: FloatArray = self.error_TBC @ self.feedback_CN
        third_TBN[: self.burnin] = 0.0
        return third_TBN

    def update(self) -> FloatArray:
        """(N, I) ``-sum delta P`` over all steps and recordings: of a learning rate of 1."""
        return accumulated(self.third_TBN * self.surrogate_TBN, self.trace_TBI)

    def of_recording(self, index: int) -> Observed:
        """The same, of one recording only."""
        one = slice(index, index + 1)
        arrays = {name: getattr(self, name)[:, one] for name in OF_RECORDINGS}
        return replace(self, target_BC=self.target_BC[one], **arrays)

    def inputs(self, chosen: NDArray[np.int64]) -> Observed:
        """The same, of some inputs only."""
        return replace(self, spikes_TBI=self.spikes_TBI[..., chosen], trace_TBI=self.trace_TBI[..., chosen])


def accumulated(post_TBN: NDArray[np.floating[Any]], pre_TBI: NDArray[np.floating[Any]]) -> FloatArray:
    """(N, I) ``sum_tb post pre^T``."""
    post = np.ascontiguousarray(post_TBN.reshape(-1, post_TBN.shape[-1]), np.float32)
    pre = np.ascontiguousarray(pre_TBI.reshape(-1, pre_TBI.shape[-1]), np.float32)
    total: FloatArray = post.T @ pre
    return total


def cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Of two arrays of the same shape; 0 where one of them is zero."""
    a, b = left.reshape(-1).astype(np.float64), right.reshape(-1).astype(np.float64)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0.0 else 0.0


def correction(observed: Observed) -> float:
    """Share of the readout's error that a recording takes away from itself, at a learning rate of 1.

    To first order, over some recordings: with dU[t] = sum_s delta[s] (P[s] . P[t]) the potential moves by, and
    dy = G (sigma'(U) dU) the readout, the share is ``sum dy (target - y) / sum (target - y)**2``. A learning rate
    that makes it 1 or more overshoots.
    """
    count = observed.spikes_TBI.shape[1]
    taught = slice(observed.burnin, None)
    post_TBN = observed.third_TBN * observed.surrogate_TBN
    gained = error = 0.0
    for b in np.unique(np.linspace(0, count - 1, min(count, CORRECTED_RECORDINGS)).round().astype(int)):
        trace_TI = observed.trace_TBI[:, b]
        moved_TN = (trace_TI @ (trace_TI.T @ post_TBN[:, b])) * observed.surrogate_TBN[:, b]
        error_TC = observed.target_BC[b] - observed.readout_TBC[:, b]
        gained += float(((moved_TN @ observed.feedback_CN.T)[taught] * error_TC[taught]).sum(dtype=np.float64))
        error += float((error_TC[taught] ** 2).sum(dtype=np.float64))
    return gained / error if error > 0.0 else 0.0


def rule_of(spec: ModelSpec, layer: int) -> LocalRule:
    """How a float layer learns; one without a loss of its own as if it had the default one."""
    rule = local_rules(spec.training, spec.network.layers)[layer]
    return rule if rule.loss is not None else replace(rule, loss=LOSSES[DEFAULT_LOSS])


def spread(recordings: BinnedRecordings, network: DecolleNetwork) -> BinnedRecordings:
    """Evenly spread ones, as many as fit the bounds."""
    widest = max(max(layer.shape.inputs, layer.shape.neurons) for layer in network)
    count = max(1, min(MOST_RECORDINGS, len(recordings), MOST_ENTRIES // (widest * recordings.window)))
    return recordings.take(np.linspace(0, len(recordings) - 1, count).round().astype(np.int64))


def relabelled(recordings: BinnedRecordings) -> BinnedRecordings:
    """The same recordings with the next class in place of each label: something new to learn.

    At the labels that a network was trained with the rule has come to rest: its updates cancel each other but for
    chance, and so would whatever is measured of them.
    """
    labels = np.asarray(recordings.labels)
    return replace(recordings, labels=(labels + 1) % len(recordings.classes))


@torch.no_grad()
def observe(
    network: DecolleNetwork, spec: ModelSpec, recordings: BinnedRecordings, layers: Iterable[int]
) -> dict[int, Observed]:
    """Run the float network on all of the recordings and keep what these of its layers did.

    Memory: a few arrays of (steps, recordings, inputs) for each layer; see `spread`.
    """
    frames_TBI = torch.from_numpy(recordings.dense(np.arange(len(recordings))))
    labels = torch.from_numpy(np.asarray(recordings.labels, np.int64))
    target_BC = torch.nn.functional.one_hot(labels, network.classes).float()
    outputs, _ = network(frames_TBI.float(), network.zero_state(len(recordings)))
    found = {}
    for index in sorted(layers):
        layer, output, rule = network.layers[index], outputs[index], rule_of(spec, index)
        # One recording by itself: the mean over a batch of one.
        error_TBC = -rule.teach(output.readout_TBC.clone(), target_BC, 1).dL_dy_TBC
        before = frames_TBI if index == 0 else outputs[index - 1].spikes_TBN
        found[index] = Observed(
            spec.training.burnin_steps,
            before.to(torch.uint8).numpy(),
            output.trace_TBI.numpy(),
            output.potential_TBN.numpy(),
            output.readout_TBC.numpy(),
            target_BC.numpy(),
            error_TBC.numpy(),
            layer.feedback_weight.numpy(),  # type: ignore[union-attr, operator]
            SURROGATES[rule.surrogate](output.potential_TBN).numpy(),
        )
    return found
