"""Local losses on a readout, with the gradient in closed form.

Both are means over batch and classes at each step and sums over steps, as in the authors' code.
"""

# T steps, B batch, C classes

from __future__ import annotations

from collections.abc import Callable

import torch

LossAndGradient = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def smooth_l1(error_TBC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``0.5 e**2`` where |e| < 1, else ``|e| - 0.5``; e = readout - target.

    Returns:
        loss per step (T,), and dL/de (T, B, C).
    """
    size = error_TBC[0].numel()
    magnitude = error_TBC.abs()
    loss = torch.where(magnitude < 1.0, 0.5 * magnitude.square(), magnitude - 0.5)
    return loss.flatten(1).mean(1), error_TBC.clamp(-1.0, 1.0) / size


def mse(error_TBC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``e**2``; e = readout - target. Returns loss per step (T,), and dL/de (T, B, C)."""
    size = error_TBC[0].numel()
    return error_TBC.square().flatten(1).mean(1), error_TBC * (2.0 / size)


LOSSES: dict[str, LossAndGradient] = {"smooth_l1": smooth_l1, "mse": mse}
