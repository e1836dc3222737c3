"""Every primitive against unbounded Python integers, and against the code of Lava's own models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decolle_hw.fixedpoint import (
    BIAS_MANT_MAX,
    BIAS_MANT_MIN,
    DECAY_UNITY,
    STATE_LIMIT,
    VTH_MAX,
    align,
    decay,
    nearest_decay,
    realised_factor,
    saturate,
    shift_sum,
    to_int32,
    wrap_current,
)

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
# Hypothesis shrinks towards zero and seldom draws the ends by itself.
EDGES = [0, 1, -1, STATE_LIMIT, -STATE_LIMIT, STATE_LIMIT - 1, 1 - STATE_LIMIT, 2 * STATE_LIMIT, INT32_MIN, INT32_MAX]
int32 = st.one_of(st.integers(INT32_MIN, INT32_MAX), st.sampled_from(EDGES))
wide = st.one_of(st.integers(-(2**40), 2**40), st.sampled_from(EDGES))


def in_32_bits(value: int) -> int:
    """Two's complement, by the book."""
    return (value + 2**31) % 2**32 - 2**31


@given(wide)
@example(INT32_MAX + 1)
def test_to_int32(value: int) -> None:
    assert to_int32(value) == in_32_bits(value)


@given(int32, st.one_of(st.integers(0, DECAY_UNITY), st.sampled_from([0, 1, DECAY_UNITY - 1, DECAY_UNITY])))
def test_decay_rounds_towards_zero(state: int, parts: int) -> None:
    exact = abs(state) * (4096 - parts) // 4096
    assert decay(state, parts) == (exact if state >= 0 else -exact)


@given(int32)
@example(2**23)  # legal in Lava, though it needs 25 bits
@example(-(2**23))  # not legal: turns over to +2**23
def test_wrap_turns_over_once(value: int) -> None:
    expected = value
    if value > 2**23:
        expected = value - 2**24
    elif value <= -(2**23):
        expected = value + 2**24
    assert wrap_current(value) == expected


@given(int32)
def test_saturate(value: int) -> None:
    assert saturate(value) == max(-(2**23) + 1, min(2**23 - 1, value))


@given(int32, st.integers(-8, 7))
@example(-1, -8)  # floor: a negative sum never shifts away to zero
def test_shift_sum(value: int, exponent: int) -> None:
    exact = value * 2**exponent if exponent > 0 else value // 2**-exponent
    assert shift_sum(value, exponent) == in_32_bits(exact)


@given(int32)
def test_align(value: int) -> None:
    assert align(value) == in_32_bits(value * 64)


def test_arrays_of_any_shape_and_narrow_types() -> None:
    states = np.array([[-(2**31), 5], [7, 2**31 - 1]], np.int32)
    assert decay(states, 0).tolist() == states.tolist()
    assert align(np.int16(-300)) == -300 * 64
    assert decay(states, 1).dtype == np.int64


@given(st.floats(0, 1), st.sampled_from([0, 1]))
def test_nearest_decay_is_nearest(factor: float, offset: int) -> None:
    register = nearest_decay(factor, offset)
    assert 0 <= register <= 4095
    best = min(range(4096), key=lambda other: abs(realised_factor(other, offset) - factor))
    assert abs(realised_factor(register, offset) - factor) == abs(realised_factor(best, offset) - factor)


def lava_step(state: dict[str, Any], a_in: np.ndarray, model: str) -> Any:
    """Bias, threshold, dynamics, spike and reset of a Lava model that was never built: no runtime, only its code."""
    models = pytest.importorskip("lava.proc.lif.models", reason="lava is not installed (it needs Python 3.10)")
    lif = object.__new__(getattr(models, model))
    # What its constructor and the process builder would set.
    lif.__dict__.update(
        ds_offset=1, dm_offset=0, uv_bitwidth=24, max_uv_val=2**23, decay_shift=12, decay_unity=4096, vth_shift=6,
        act_shift=6, isbiasscaled=False, isthrscaled=False, effective_bias=0, effective_vth=0, **state,
    )  # fmt: skip
    lif.scale_bias()
    lif.scale_threshold()
    lif.subthr_dynamics(activation_in=a_in)
    spikes = lif.spiking_activation()
    return lif.u.copy(), lif.v.copy(), spikes


@pytest.mark.parametrize("model", ["PyLifModelBitAcc", "PyLifResetModelBitAcc"])
@pytest.mark.parametrize("seed", range(40))
def test_one_step_equals_the_code_of_lava(model: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = 5000

    def drawn(low: int, high: int, dtype: type) -> np.ndarray:
        """Log-uniform magnitudes of both signs, and the ends."""
        values = np.sign(rng.random(size) - 0.5) * np.exp2(rng.uniform(0, np.log2(high), size))
        ends = rng.choice([low, high, 0, low + 1, high - 1], size)
        return np.where(rng.random(size) < 0.2, ends, values.clip(low, high)).astype(dtype)

    u, v = drawn(INT32_MIN, INT32_MAX, np.int32), drawn(1 - STATE_LIMIT, STATE_LIMIT - 1, np.int32)
    a_in = drawn(INT32_MIN, INT32_MAX, np.int32)
    du, dv = (int(rng.choice([0, 4095, rng.integers(0, 4096)])) for _ in range(2))
    bias_mant, bias_exp = drawn(BIAS_MANT_MIN, BIAS_MANT_MAX, np.int16), int(rng.integers(0, 8))
    vth = int(rng.choice([0, VTH_MAX, rng.integers(0, VTH_MAX)]))
    state = {
        "u": u.copy(), "v": v.copy(), "du": du, "dv": dv, "vth": vth,
        "bias_mant": bias_mant, "bias_exp": np.full(size, bias_exp, np.int16),
    }  # fmt: skip
    lava_u, lava_v, lava_spikes = lava_step(state, a_in, model)
    our_u = wrap_current(to_int32(decay(u, du + 1) + align(a_in)))
    our_v = saturate(to_int32(decay(v, dv) + our_u + (bias_mant.astype(np.int64) << bias_exp)))
    np.testing.assert_array_equal(our_u, lava_u)
    np.testing.assert_array_equal(our_v, lava_v)
    np.testing.assert_array_equal(our_v > align(vth), lava_spikes)


@pytest.mark.parametrize("exponent", range(-8, 8))
def test_the_sum_of_a_synapse_equals_the_code_of_lava(exponent: int) -> None:
    """`Dense` with its ports replaced by lists."""
    models = pytest.importorskip("lava.proc.dense.models", reason="lava is not installed (it needs Python 3.10)")
    from lava.utils.weightutils import SignMode

    rng = np.random.default_rng(exponent + 8)
    weight = (2 * rng.integers(-128, 128, (30, 400))).astype(np.int32)
    weight[0], weight[1] = -256, 254
    spikes = rng.random(400) < 0.7

    class Port:
        def recv(self) -> np.ndarray:
            return spikes

        def send(self, data: np.ndarray) -> None:
            pass

    dense = object.__new__(models.PyDenseModelBitAcc)
    dense.__dict__.update(
        proc_params={"weight_exp": exponent, "num_weight_bits": 8, "sign_mode": SignMode.MIXED},
        weights_set=False, weights=weight.copy(), a_buff=0, num_message_bits=np.array([0]), a_out=Port(), s_in=Port(),
    )  # fmt: skip
    dense.run_spk()
    np.testing.assert_array_equal(shift_sum(weight @ spikes.astype(np.int64), exponent), dense.a_buff)
