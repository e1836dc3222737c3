"""The grid of a synapse: its limits, rounding, and the step that fits weights best."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from decolle_hw.weightgrid import BITS_MAX, BITS_MIN, best_step, grid_limits, snap, to_grid

MODES = ("mixed", "excitatory", "inhibitory")
ALL_BITS = range(BITS_MIN, BITS_MAX + 1)
WEIGHTS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=5), elements=st.floats(-1e6, 1e6, width=32))
STEPS = st.floats(2.0**-10, 2.0**10, width=32)


def squared_error(weight: np.ndarray, step: float, bits: int, mode: str) -> float:
    return float(((weight.astype(np.float64) - step * to_grid(weight, step, bits, mode)) ** 2).sum())


@pytest.mark.parametrize(
    ("bits", "mode", "limits"),
    [
        (2, "mixed", (-2, 1)), (4, "mixed", (-8, 7)), (8, "mixed", (-128, 127)),
        (2, "excitatory", (0, 3)), (8, "excitatory", (0, 255)),
        (2, "inhibitory", (-3, 0)), (8, "inhibitory", (-255, 0)),
    ],
)  # fmt: skip
def test_limits(bits: int, mode: str, limits: tuple[int, int]) -> None:
    assert grid_limits(bits, mode) == limits


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 16])
def test_bits_that_no_synapse_has(bits: int) -> None:
    for use in (lambda: grid_limits(bits), lambda: to_grid([1.0], 1.0, bits), lambda: best_step([1.0], bits)):
        with pytest.raises(ValueError, match=rf"weight_bits {bits}: a synapse has 2 to 8 bits"):
            use()


def test_an_unknown_sign_mode() -> None:
    with pytest.raises(ValueError, match=r"sign_mode 'signed': known are mixed, excitatory, inhibitory"):
        grid_limits(4, "signed")  # type: ignore[arg-type]


@given(WEIGHTS, STEPS, st.sampled_from(list(ALL_BITS)), st.sampled_from(MODES))
def test_the_nearest_integer_within_the_limits(weight: np.ndarray, step: float, bits: int, mode: str) -> None:
    """Against exact fractions of the float32 quotient."""
    low, high = grid_limits(bits, mode)
    q = to_grid(weight, step, bits, mode)
    assert q.shape == weight.shape and q.dtype == np.int32
    for w, found in zip(weight.ravel(), q.ravel(), strict=True):
        exact = round(Fraction(float(np.float32(w) / np.float32(step))))  # halves to even
        assert found == min(max(exact, low), high)


@given(WEIGHTS, STEPS, st.sampled_from(list(ALL_BITS)), st.sampled_from(MODES))
def test_the_compiled_twin_is_the_definition(weight: np.ndarray, step: float, bits: int, mode: str) -> None:
    flat = weight.ravel()
    expected = np.float32(step) * to_grid(flat, step, bits, mode).astype(np.float32)
    out = np.full_like(flat, np.nan)
    snap(flat, *map(np.float32, (step, *grid_limits(bits, mode))), out)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(to_grid(out, step, bits, mode), to_grid(flat, step, bits, mode))
    snap(flat, *map(np.float32, (step, *grid_limits(bits, mode))), flat)  # in place
    np.testing.assert_array_equal(flat, expected)


def test_what_is_not_finite_does_not_hide_behind_the_clipping() -> None:
    weight = np.array([1.0, np.inf, -np.inf, np.nan, -3.0], np.float32)
    out = np.empty_like(weight)
    snap(weight, *map(np.float32, (0.5, -8, 7)), out)
    np.testing.assert_array_equal(out, np.array([1.0, np.nan, np.nan, np.nan, -3.0], np.float32))
    for use in (lambda: to_grid(weight, 0.5, 4), lambda: best_step(weight, 4)):
        with pytest.raises(ValueError, match=r"weights: 3 of 5 are not finite"):
            use()


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_that_is_none(step: float) -> None:
    with pytest.raises(ValueError, match=r"step .*: must be positive and finite"):
        to_grid([1.0], step, 4)


def drawn(kind: str, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    rng = np.random.default_rng(7)
    values = {
        "normal": lambda: rng.standard_normal(shape),
        "uniform": lambda: rng.uniform(-1, 1, shape),
        "laplace": lambda: rng.laplace(size=shape),
        "heavy tails": lambda: rng.standard_t(3, shape),
        "off centre": lambda: rng.normal(0.7, 0.3, shape),
        "positive": lambda: rng.exponential(size=shape),
        "mostly zero": lambda: rng.standard_normal(shape) * (rng.random(shape) < 0.05),
        "two outliers": lambda: np.concatenate([rng.standard_normal(np.prod(shape) - 2) * 0.01, [1.0, -0.8]]),
        "few": lambda: rng.standard_normal(7),
        "small": lambda: 1e-30 * rng.standard_normal(shape),
    }[kind]()
    return values.astype(np.float32)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "kind",
    ["normal", "uniform", "laplace", "heavy tails", "off centre", "positive", "mostly zero", "two outliers", "small"],
)
def test_no_step_is_better_by_a_thousandth(kind: str, mode: str) -> None:
    weight = drawn(kind)
    low, high = grid_limits(2, mode)
    if kind == "positive" and high == 0:
        assert best_step(weight, 2, mode) == 1.0  # all are clipped to zero, whatever the step
        return
    for bits in ALL_BITS:
        low, high = grid_limits(bits, mode)
        fits = max(weight.max() / high if high else 0.0, weight.min() / low if low else 0.0)
        tried = min(squared_error(weight, float(fits * ratio), bits, mode) for ratio in np.geomspace(1 / 64, 2, 800))
        assert squared_error(weight, best_step(weight, bits, mode), bits, mode) <= 1.001 * tried


@pytest.mark.parametrize("kind", ["normal", "mostly zero", "two outliers", "few"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_better_than_making_the_largest_weight_fit(kind: str, bits: int) -> None:
    weight = drawn(kind)
    low, high = grid_limits(bits)
    fits = float(max(weight.max() / high, weight.min() / low))
    assert squared_error(weight, best_step(weight, bits), bits, "mixed") <= squared_error(weight, fits, bits, "mixed")


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("mode", MODES)
def test_weights_on_a_grid_stay_on_it(bits: int, mode: str) -> None:
    low, high = grid_limits(bits, mode)
    q = np.arange(low, high + 1, dtype=np.int32)
    for step in (1.0, 0.03, 7e-6, 12345.0):
        weight = np.float32(step) * q.astype(np.float32)
        np.testing.assert_array_equal(to_grid(weight, best_step(weight, bits, mode), bits, mode), q)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_order_layout_and_precision_do_not_matter(bits: int) -> None:
    weight = drawn("laplace", (30, 4, 5, 5))
    step = best_step(weight, bits)
    assert step == float(np.float32(step))
    others = {
        "permuted": np.random.default_rng(0).permutation(weight.ravel()),
        "transposed": weight.transpose(3, 1, 0, 2),
        "column by column": np.asfortranarray(weight),
        "strided": np.stack([weight, weight], -1)[..., 0],
        "double": weight.astype(np.float64),
    }
    assert {name: best_step(other, bits) for name, other in others.items()} == dict.fromkeys(others, step)
    assert best_step(weight * np.float32(0.125), bits) == step / 8
    assert best_step(1.01 * weight, bits) != step


@pytest.mark.parametrize("mode", MODES)
def test_nothing_to_fit(mode: str) -> None:
    assert best_step(np.zeros((3, 4), np.float32), 4, mode) == 1.0
    assert best_step(np.zeros((0, 4), np.float32), 4, mode) == 1.0
    clipped = np.array({"mixed": [0.0], "excitatory": [-1.0, -2.0], "inhibitory": [1.0, 2.0]}[mode])
    assert best_step(clipped, 4, mode) == 1.0


@pytest.mark.parametrize("value", [1e-45, 1e-38, 1e-36, 3e38])
def test_the_smallest_and_the_largest_weights(value: float) -> None:
    weight = np.array([value, -value], np.float32)
    step = best_step(weight, 4)
    assert step > 0.0 and np.isfinite(np.float32(step))
    if value > 1e-37:  # smaller ones have steps below the smallest normal number
        np.testing.assert_allclose(np.float32(step) * to_grid(weight, step, 4), weight, rtol=1e-6)
