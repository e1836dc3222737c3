"""Surrogate gradients: what stands in for the derivative of the spike, a step function, in the local rule.

All of the distance to threshold U, element by element. Source: Kaiser, Mostafa, Neftci 2020; decolle-public.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

FAST_SIGMOID_SLOPE = 10.0  # the authors' default; their smooth step divides by (1 + 10|U|)
BOXCAR_HALF_WIDTH = 0.5


def fast_sigmoid(potential: torch.Tensor) -> torch.Tensor:
    """``sigma'(U) = 1 / (1 + 10 |U|)**2``."""
    return (1.0 + FAST_SIGMOID_SLOPE * potential.abs()).square_().reciprocal_()


def boxcar(potential: torch.Tensor) -> torch.Tensor:
    """``sigma'(U) = 1 where |U| < 1/2, else 0``."""
    return (potential.abs() < BOXCAR_HALF_WIDTH).to(potential.dtype)


def sigmoid(potential: torch.Tensor) -> torch.Tensor:
    """``sigma'(U) = s (1 - s)`` with ``s = 1 / (1 + exp(-U))``."""
    s = torch.sigmoid(potential)
    return s * (1.0 - s)


SURROGATES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "fast_sigmoid": fast_sigmoid,
    "boxcar": boxcar,
    "sigmoid": sigmoid,
}
# Numbers by which compiled kernels know them.
SURROGATE_CODES = {"fast_sigmoid": 0, "boxcar": 1, "sigmoid": 2}
