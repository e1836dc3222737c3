"""How alike two runs of a layer are: figures that are gathered batch by batch."""

# R recordings, T steps, N neurons

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SpikeAgreement:
    """Spikes of a layer in two runs of the same recordings; `+` joins those of different recordings."""

    entries: int = 0  # (recording, step, neuron), all steps
    equal: int = 0  # entries in which both spike or neither does
    left_spikes: int = 0
    right_spikes: int = 0
    common: int = 0  # entries in which both spike
    recordings: int = 0
    correlated: int = 0  # recordings of which the correlation over time is defined
    correlation_sum: float = 0.0

    @classmethod
    def of(cls, left_RTN: NDArray[np.uint8], right_RTN: NDArray[np.uint8]) -> SpikeAgreement:
        """Count; raises ValueError where the shapes differ."""
        if left_RTN.shape != right_RTN.shape:
            raise ValueError(f"spikes of shapes {left_RTN.shape} and {right_RTN.shape}")
        common = int(np.count_nonzero(left_RTN & right_RTN))
        left_RT, right_RT = left_RTN.sum(2, dtype=np.int64), right_RTN.sum(2, dtype=np.int64)
        left, right = int(left_RT.sum()), int(right_RT.sum())
        correlation_R = population_correlation(left_RT, right_RT)
        defined_R = np.isfinite(correlation_R)
        return cls(
            left_RTN.size, left_RTN.size - left - right + 2 * common, left, right, common, len(left_RTN),
            int(defined_R.sum()), float(correlation_R[defined_R].sum()),
        )  # fmt: skip

    def __add__(self, other: SpikeAgreement) -> SpikeAgreement:
        return SpikeAgreement(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def agreement(self) -> float:
        """Share of entries that are equal. Near 1 already where both are mostly silent: see `overlap`."""
        return self.equal / self.entries

    @property
    def overlap(self) -> float | None:
        """``2 |A and B| / (|A| + |B|)`` of the two sets of spikes (Dice); None where neither run has a spike."""
        spikes = self.left_spikes + self.right_spikes
        return 2 * self.common / spikes if spikes else None

    @property
    def time_correlation(self) -> float | None:
        """Mean of `population_correlation` over the recordings where it is defined; None: of no recording."""
        return self.correlation_sum / self.correlated if self.correlated else None

    @property
    def left_rate(self) -> float:
        """Spikes per neuron and step."""
        return self.left_spikes / self.entries

    @property
    def right_rate(self) -> float:
        """Spikes per neuron and step."""
        return self.right_spikes / self.entries

    def to_json(self) -> dict[str, Any]:
        return {
            "spike_agreement": self.agreement,
            "spike_overlap": self.overlap,
            "time_correlation": self.time_correlation,
            "time_correlation_recordings": self.correlated,
        }


def population_correlation(left_RT: NDArray[np.int64], right_RT: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) Pearson's correlation, over the steps of a recording, of the number of neurons that spike at each step.

    nan where it is not defined: one of the two is the same at every step, as of a silent layer.
    """
    left_RT = left_RT - left_RT.mean(1, keepdims=True)
    right_RT = right_RT - right_RT.mean(1, keepdims=True)
    scale_R = np.sqrt((left_RT**2).sum(1) * (right_RT**2).sum(1))
    with np.errstate(invalid="ignore"):
        return np.where(scale_R > 0, (left_RT * right_RT).sum(1) / np.where(scale_R > 0, scale_R, 1.0), np.nan)


@dataclass(frozen=True)
class PotentialCorrelation:
    """Moments of the potentials of two runs, in any units; `+` joins those of different recordings."""

    count: int = 0
    left: float = 0.0
    right: float = 0.0
    left_squared: float = 0.0
    right_squared: float = 0.0
    product: float = 0.0

    @classmethod
    def of(cls, left_RTN: NDArray[np.floating], right_RTN: NDArray[Any], right_unit: float) -> PotentialCorrelation:
        """`right_unit`: what to divide the right potentials by, so that the moments stay of moderate size."""
        left, right = left_RTN.reshape(-1).astype(np.float64), right_RTN.reshape(-1) / right_unit
        return cls(
            left.size, float(left.sum()), float(right.sum()), float(left @ left), float(right @ right),
            float(left @ right),
        )  # fmt: skip

    def __add__(self, other: PotentialCorrelation) -> PotentialCorrelation:
        return PotentialCorrelation(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def value(self) -> float | None:
        """Pearson's correlation over all recordings, steps and neurons; None where one of the two never changes."""
        if not self.count:
            return None
        left = self.left_squared - self.left**2 / self.count
        right = self.right_squared - self.right**2 / self.count
        if left <= 0 or right <= 0:
            return None
        return (self.product - self.left * self.right / self.count) / math.sqrt(left * right)
