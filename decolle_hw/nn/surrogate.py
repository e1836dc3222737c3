"""Surrogate gradients: what stands in for the derivative of the spike, a step function, in the local rule."""

from __future__ import annotations

import torch

FAST_SIGMOID_SLOPE = 10.0  # the authors' default; their smooth step divides by (1 + 10|U|)


def fast_sigmoid(potential: torch.Tensor) -> torch.Tensor:
    """``sigma'(U) = 1 / (1 + 10 |U|)**2``, element by element.

    Args:
        potential: distance to threshold, any shape.

    Source: Kaiser, Mostafa, Neftci 2020, eq. 11 and the authors' default in decolle-public.
    """
    return (1.0 + FAST_SIGMOID_SLOPE * potential.abs()).square_().reciprocal_()
