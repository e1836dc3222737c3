"""The local rule of one layer: from its readout and potentials to the error that each neuron receives.

    delta = (F^T dL/dy) mask * sigma'(U)  +  regularizers          F = G (symmetric) or fixed and random

Errors below a threshold are silenced (error-triggered learning, Payvand et al. 2020). The regularizers keep
potentials low and at the same time above silence (DECOLLELoss of decolle-public)::

    L_reg = reg (1e-2 mean(relu(U + 0.01)) + 6e-5 relu(mean(0.1 - sigmoid(U))))       means over batch and neurons
"""

# T steps, B batch, C classes, M neurons after pooling

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from decolle_hw.nn.losses import LOSSES, Loss
from decolle_hw.spec import TrainingSpec, per_layer

REG_HIGH, HIGH_OFFSET = 1e-2, 0.01
REG_SILENT, SILENT_LEVEL = 6e-5, 0.1


class TeachingSignal(NamedTuple):
    """What a readout says to its layer in a chunk."""

    loss_T: torch.Tensor
    dL_dy_TBC: torch.Tensor  # silenced where the error is within the threshold
    passed: int  # errors beyond the threshold
    errors: int  # all errors


@dataclass(frozen=True)
class LocalRule:
    """How one layer learns."""

    loss: Loss | None  # None: the layer does not learn
    surrogate: str
    reg: float
    threshold: float

    @property
    def learns(self) -> bool:
        return self.loss is not None

    def teach(self, readout_TBC: torch.Tensor, target_BC: torch.Tensor, batch: int) -> TeachingSignal:
        """Loss per step and gradient on the readout of some recordings of a batch."""
        assert self.loss is not None
        loss_T, dL_dy_TBC, error_TBC = self.loss(readout_TBC, target_BC, batch)
        if self.threshold <= 0.0:
            return TeachingSignal(loss_T, dL_dy_TBC, error_TBC.numel(), error_TBC.numel())
        silent_TBC = error_TBC.abs() <= self.threshold
        passed = error_TBC.numel() - int(silent_TBC.sum())
        return TeachingSignal(loss_T, dL_dy_TBC.masked_fill_(silent_TBC, 0.0), passed, error_TBC.numel())

    def with_threshold(self, threshold: float) -> LocalRule:
        return replace(self, threshold=threshold)


class PotentialSums(NamedTuple):
    """Sums over recordings and neurons that the regularizers need before any gradient: they add over parts."""

    high_T: torch.Tensor  # of relu(U + 0.01)
    silent_T: torch.Tensor  # of 0.1 - sigmoid(U)
    size: int  # recordings times neurons

    @staticmethod
    def of(potential_TBM: torch.Tensor) -> PotentialSums:
        flat = potential_TBM.flatten(1)
        high_T = (flat + HIGH_OFFSET).relu_().sum(1)
        return PotentialSums(high_T, (SILENT_LEVEL - torch.sigmoid(flat)).sum(1), flat.shape[1])

    def beside(self, other: PotentialSums) -> PotentialSums:
        """Together with other recordings of the same steps."""
        return PotentialSums(self.high_T + other.high_T, self.silent_T + other.silent_T, self.size + other.size)

    def loss(self, reg: float) -> torch.Tensor:
        """(T,) L_reg."""
        return reg / self.size * (REG_HIGH * self.high_T + REG_SILENT * self.silent_T.relu())

    def gradient(self, reg: float, potential_TBM: torch.Tensor) -> torch.Tensor:
        """(T, B, M) dL_reg/dU."""
        s = torch.sigmoid(potential_TBM)
        lifts_T11 = (self.silent_T > 0).to(s.dtype).view(-1, 1, 1)
        rising = (potential_TBM > -HIGH_OFFSET).to(s.dtype)
        return (REG_HIGH * rising - REG_SILENT * lifts_T11 * s * (1.0 - s)) * (reg / self.size)


def local_rules(spec: TrainingSpec, layers: int) -> list[LocalRule]:
    """One rule per layer as the description has it."""
    losses: list[str] = per_layer(spec.loss, layers, "loss")  # type: ignore[arg-type]
    return [
        LocalRule(LOSSES.get(loss), spec.surrogate, reg if loss != "none" else 0.0, threshold)
        for loss, reg, threshold in zip(
            losses,
            per_layer(spec.reg_l, layers, "reg_l"),
            per_layer(spec.error_threshold, layers, "error_threshold"),
            strict=True,
        )
    ]
