"""Neurons that turn a still image into spikes: no synapse, and a bias that is set for each recording.

This is what lava-dl calls an input block: `lava.lib.dl.netx.blocks.process.Input`.
"""

# R recordings, I inputs

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import BIAS_EXP_MAX, BIAS_MANT_MAX, DECAY_UNITY, VTH_MAX


@dataclass(frozen=True, kw_only=True)
class InputBlock:
    """Stock LIF neurons, one per pixel, driven by a constant bias::

        mantissa = rint(weight * pixel + bias)                        # pixel in -1..1; halves to even
        v[t] = saturate(decay(v[t-1], dv) + (mantissa << bias_exp))   # u is 0: nothing arrives
        S[t] = v[t] > vth << 6;   v[t] = 0 where S[t]

    They leave their reset state with the recording, one step before the first layer. lava-dl hands weight and bias to
    its user, who makes whole numbers of the sum; rounding to the nearest is ours.
    """

    weight: int
    bias: int
    du: int  # as of any stock LIF; without effect
    dv: int
    vth: int  # mantissa, shifted left by 6
    bias_exp: int = 6

    def __post_init__(self) -> None:
        rules = (
            (
                "weight, bias",
                abs(self.weight) + abs(self.bias) <= BIAS_MANT_MAX,
                "biases of 13 bit for pixels in -1..1",
            ),
            ("du", 0 <= self.du < DECAY_UNITY, "0..4095"),
            ("dv", 0 <= self.dv < DECAY_UNITY, "0..4095"),
            ("vth", 0 <= self.vth <= VTH_MAX, "an unsigned value of 17 bit"),
            ("bias_exp", 0 <= self.bias_exp <= BIAS_EXP_MAX, "0..7"),
        )
        for name, holds, expected in rules:
            if not holds:
                raise CompileError(f"input block: {name}: expected {expected}")

    def mantissas(self, pixels_RI: NDArray[np.float32]) -> NDArray[np.int32]:
        """(R, I) bias mantissas of images. Raises ValueError for a pixel outside -1..1, or that is not a number."""
        if pixels_RI.size and not (pixels_RI.min() >= -1.0 and pixels_RI.max() <= 1.0):
            raise ValueError(f"pixels are -1..1, got {pixels_RI.min():g}..{pixels_RI.max():g}")
        nearest = np.rint(self.weight * pixels_RI.astype(np.float64) + self.bias)
        mantissas: NDArray[np.int32] = nearest.astype(np.int32)
        return mantissas
