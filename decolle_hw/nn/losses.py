"""Local losses on a readout, with the gradient in closed form.

All are means over batch (smooth_l1 and mse: and classes) at each step and sums over steps, as in the authors' code.
Where a batch is split, `batch` is the size of the whole, and losses and gradients of the parts add up.
"""

# T steps, B batch, C classes

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch


class ReadoutLoss(NamedTuple):
    """Loss of some recordings at each step and where it comes from."""

    loss_T: torch.Tensor
    dL_dy_TBC: torch.Tensor
    error_TBC: torch.Tensor  # what an error-triggered update compares with its threshold


Loss = Callable[[torch.Tensor, torch.Tensor, int], ReadoutLoss]


def smooth_l1(readout_TBC: torch.Tensor, target_BC: torch.Tensor, batch: int) -> ReadoutLoss:
    """``0.5 e**2`` where |e| < 1, else ``|e| - 0.5``; e = readout - target.

    Args:
        readout_TBC: y. target_BC: one target for all steps. batch: recordings that the mean runs over, B or more.
    """
    error_TBC = readout_TBC - target_BC
    size = batch * error_TBC.shape[2]
    clamped = error_TBC.clamp(-1.0, 1.0)
    # |e| - 0.5 = c e - c^2/2 with c = clamp(e), and so is e^2/2 inside.
    loss_T = (clamped * (error_TBC - 0.5 * clamped)).flatten(1).sum(1) / size
    return ReadoutLoss(loss_T, clamped / size, error_TBC)


def mse(readout_TBC: torch.Tensor, target_BC: torch.Tensor, batch: int) -> ReadoutLoss:
    """``e**2``; arguments as in `smooth_l1`."""
    error_TBC = readout_TBC - target_BC
    size = batch * error_TBC.shape[2]
    return ReadoutLoss(error_TBC.square().flatten(1).sum(1) / size, error_TBC * (2.0 / size), error_TBC)


def cross_entropy(readout_TBC: torch.Tensor, target_BC: torch.Tensor, batch: int) -> ReadoutLoss:
    """``-sum_c target_c log softmax(y)_c``; the error is ``softmax(y) sum(target) - target``."""
    log_p_TBC = torch.log_softmax(readout_TBC, 2)
    loss_T = -(target_BC * log_p_TBC).flatten(1).sum(1) / batch
    error_TBC = log_p_TBC.exp() * target_BC.sum(1, keepdim=True) - target_BC
    return ReadoutLoss(loss_T, error_TBC / batch, error_TBC)


LOSSES: dict[str, Loss] = {"smooth_l1": smooth_l1, "mse": mse, "cross_entropy": cross_entropy}
