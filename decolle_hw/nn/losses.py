"""Local losses on a readout, with the gradient in closed form.

Both are means over batch and classes at each step and sums over steps, as in the authors' code. Where a batch
is split, `batch` is the size of the whole, and losses and gradients of the parts add up.
"""

# T steps, B batch, C classes

from __future__ import annotations

from collections.abc import Callable

import torch

LossAndGradient = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]


def smooth_l1(error_TBC: torch.Tensor, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``0.5 e**2`` where |e| < 1, else ``|e| - 0.5``; e = readout - target.

    Args:
        error_TBC: e. batch: recordings that the mean runs over, B or more.

    Returns:
        loss per step (T,), and dL/de (T, B, C).
    """
    size = batch * error_TBC.shape[2]
    magnitude = error_TBC.abs()
    loss = torch.where(magnitude < 1.0, 0.5 * magnitude.square(), magnitude - 0.5)
    return loss.flatten(1).sum(1) / size, error_TBC.clamp(-1.0, 1.0) / size


def mse(error_TBC: torch.Tensor, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``e**2``; arguments and results as in `smooth_l1`."""
    size = batch * error_TBC.shape[2]
    return error_TBC.square().flatten(1).sum(1) / size, error_TBC * (2.0 / size)


LOSSES: dict[str, LossAndGradient] = {"smooth_l1": smooth_l1, "mse": mse}
