"""Every primitive and one step of both neurons against unbounded Python integers, and against Lava's own code."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import fixedpoint_oracle as oracle
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decolle_hw import fixedpoint
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
    weight_limits,
    wrap24,
    wrap_current,
)
from decolle_hw.sim.neuron_kernels import step_neurons

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
ELEMENT_TYPES = (np.int16, np.int32, np.int64)
# Hypothesis shrinks towards zero and seldom draws the ends by itself: powers of two that mean something, -1, +0, +1.
EDGES = sorted({s * 2**k + d for k in (0, 6, 12, 15, 17, 22, 23, 24, 25, 31) for s in (1, -1) for d in (-1, 0, 1)})
DECAYS = [0, 1, 2, 2048, DECAY_UNITY - 1, DECAY_UNITY]
EXPONENTS = range(-8, 8)

decays = st.one_of(st.integers(0, DECAY_UNITY), st.sampled_from(DECAYS))
exponents = st.sampled_from(EXPONENTS)
states24 = st.one_of(
    st.integers(1 - STATE_LIMIT, STATE_LIMIT - 1), st.sampled_from([e for e in EDGES if abs(e) < STATE_LIMIT])
)


@functools.cache
def words(bits: int) -> st.SearchStrategy[int]:
    """Numbers of so many bits, the edges as often as all the rest."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.one_of(st.integers(low, high), st.sampled_from([edge for edge in EDGES if low <= edge <= high]))


int32 = words(32)


def arrays(bits: int = 32) -> st.SearchStrategy[np.ndarray]:
    """One to four numbers in any of the element types."""
    of_types = [
        st.lists(words(min(bits, np.iinfo(element).bits)), min_size=1, max_size=4).map(
            functools.partial(np.array, dtype=element)
        )
        for element in ELEMENT_TYPES
    ]
    return st.one_of(of_types)


def check(name: str, values: np.ndarray, *parameters: int) -> None:
    """A primitive of an array, of each element with its type, and of plain integers, is what the oracle says."""
    primitive: Callable[..., Any] = getattr(fixedpoint, name)
    exact = [getattr(oracle, name)(value, *parameters) for value in values.tolist()]
    result = primitive(values, *parameters)
    assert result.tolist() == exact and result.dtype == np.int64
    assert [primitive(value, *parameters) for value in values] == exact
    assert [primitive(value, *parameters) for value in values.tolist()] == exact


@given(arrays(bits=42))
@example(np.array([INT32_MAX + 1]))
def test_to_int32(values: np.ndarray) -> None:
    check("to_int32", values)


@given(arrays(), decays)
def test_decay_rounds_towards_zero(states: np.ndarray, parts: int) -> None:
    check("decay", states, parts)


@given(arrays())
@example(np.array([2**23]))  # legal in Lava, though it needs 25 bits
@example(np.array([-(2**23)]))  # not legal: turns over to +2**23
def test_wrap_turns_over_once(values: np.ndarray) -> None:
    check("wrap_current", values)


@given(arrays(bits=42))
@example(np.array([2**23, -(2**23), 2**23 - 1, 2**24, -(2**24)]))
def test_wrap24_turns_over_as_often_as_need_be(values: np.ndarray) -> None:
    check("wrap24", values)


@given(arrays())
def test_saturate(values: np.ndarray) -> None:
    check("saturate", values)


@given(arrays(), exponents)
@example(np.array([-1]), -8)  # floor: a negative sum never shifts away to zero
def test_shift_sum(values: np.ndarray, exponent: int) -> None:
    check("shift_sum", values, exponent)


@given(arrays())
def test_align(values: np.ndarray) -> None:
    check("align", values)


@pytest.mark.parametrize("element", ELEMENT_TYPES)
def test_all_edges_with_all_parameters(element: type) -> None:
    """No luck involved: every edge meets every exponent and the decays that are special."""
    kept = np.iinfo(element)
    values = np.array(
        [edge for edge in EDGES if kept.min <= edge <= kept.max and INT32_MIN <= edge <= INT32_MAX], element
    )
    for name in ("to_int32", "wrap_current", "wrap24", "saturate", "align"):
        check(name, values)
    for parts in DECAYS:
        check("decay", values, parts)
    for exponent in EXPONENTS:
        check("shift_sum", values, exponent)


@pytest.mark.parametrize("element", ELEMENT_TYPES)
def test_parameters_as_arrays_of_any_shape(element: type) -> None:
    """One decay and one exponent per element, spread over the axes of the values."""
    values = np.array([[-(2**15), 5], [7, 2**15 - 1], [-1, 0]], element)
    parts, shifts = np.array([[0], [1], [DECAY_UNITY]], element), np.array([-8, 7], element)
    for primitive, exact, parameter in ((decay, oracle.decay, parts), (shift_sum, oracle.shift_sum, shifts)):
        full = np.broadcast_to(parameter, values.shape).tolist()
        expected = [
            [exact(*pair) for pair in zip(*rows, strict=True)] for rows in zip(values.tolist(), full, strict=True)
        ]
        assert primitive(values, parameter).tolist() == expected


class TestNearestDecay:
    """Against all 4096 registers, in exact fractions."""

    @given(st.one_of(st.floats(0, 1), st.floats(-1, 2), st.integers(0, 8192).map(lambda half: half / 8192)),
           st.sampled_from([0, 1]))  # fmt: skip
    @example(0.0, 1)
    @example(1.0, 1)
    @example(math.nextafter(0.25 + 0.5 / 4096, 1), 1)
    def test_no_other_register_is_nearer(self, factor: float, offset: int) -> None:
        assert nearest_decay(factor, offset) in oracle.nearest_decays(factor, offset)

    @pytest.mark.parametrize("offset", [0, 1])
    def test_every_register_is_the_nearest_to_its_own_factor(self, offset: int) -> None:
        for register in oracle.REGISTERS:
            factor = realised_factor(register, offset)
            assert factor * 4096 == 4096 - register - offset  # exact: a multiple of 2**-12
            assert nearest_decay(factor, offset) == register

    @given(st.lists(st.floats(-1, 2), min_size=2, max_size=20), st.sampled_from([0, 1]))
    def test_a_larger_factor_never_has_a_larger_register(self, factors: list[float], offset: int) -> None:
        registers = [nearest_decay(factor, offset) for factor in sorted(factors)]
        assert registers == sorted(registers, reverse=True)

    def test_the_neighbours_of_a_midpoint(self) -> None:
        """A hair on either side of the middle between two registers decides."""
        for register in (1, 2, 2047, 2048, 4094):
            middle = (realised_factor(register, 0) + realised_factor(register - 1, 0)) / 2
            assert nearest_decay(middle - 2.0**-40, 0) == register
            assert nearest_decay(middle + 2.0**-40, 0) == register - 1


layers = st.fixed_dictionaries(
    {
        "weight_exp": exponents,
        "du": st.sampled_from([0, 1, 4094, 4095]) | st.integers(0, 4095),
        "dv": decays,
        "dr": decays,
        "rho": st.integers(0, STATE_LIMIT - 1) | st.sampled_from([0, 1, STATE_LIMIT - 1]),
    }
)
states = st.builds(oracle.State, int32, states24, states24, st.integers(0, 1))
thresholds = st.integers(-VTH_MAX, VTH_MAX) | st.sampled_from([0, 1, -1, VTH_MAX, -VTH_MAX])
mantissas = st.integers(BIAS_MANT_MIN, BIAS_MANT_MAX) | st.sampled_from([0, BIAS_MANT_MIN, BIAS_MANT_MAX])
drawn_neurons = st.lists(st.tuples(states, thresholds, mantissas, st.tuples(int32, words(16))), min_size=1, max_size=4)


def step_compiled(
    neuron: str, states: list[oracle.State], sums_TN: np.ndarray, registers: list[oracle.Registers], element: type
) -> list[list[oracle.State]]:
    """The same steps by the function that all layers of the reference simulator call."""
    u_N, v_N, r_N = (np.array([state[k] for state in states], element) for k in range(3))
    before_N = np.array([state.spike for state in states], np.uint8)
    bias_N, vth_N = (np.array([getattr(each, name) for each in registers], np.int32) for name in ("bias", "vth"))
    layer, rows = registers[0], []
    for sum_N in np.ascontiguousarray(sums_TN):
        spike_N = np.zeros(len(states), np.uint8)
        step_neurons(
            int(neuron == "decolle"), sum_N, layer.weight_exp, layer.du, layer.dv, vth_N, bias_N, layer.dr, layer.rho,
            before_N, u_N, v_N, r_N, spike_N,
        )  # fmt: skip
        columns = (array.tolist() for array in (u_N, v_N, r_N, spike_N))
        rows.append([oracle.State(*values) for values in zip(*columns, strict=True)])
        before_N = spike_N
    return rows


@pytest.mark.parametrize("neuron", ["cuba", "decolle"])
@given(
    layers, drawn_neurons, st.integers(0, 7), st.sampled_from([(np.int16, np.int32), (np.int32,) * 2, (np.int64,) * 2])
)
def test_steps_of_a_neuron(neuron: str, layer: dict, drawn: list, bias_exp: int, types: tuple[type, type]) -> None:
    """Current, voltage, refractory register, comparison and reset: two steps from any state."""
    state_N, vth_N, mantissa_N, sum_NT = zip(*drawn, strict=True)
    if neuron == "cuba":  # has no r
        state_N = [state._replace(r=0) for state in state_N]
    else:  # has no bias
        mantissa_N = [0] * len(drawn)
    registers = [
        oracle.Registers(**layer, vth=vth, bias=mantissa * 2**bias_exp)
        for vth, mantissa in zip(vth_N, mantissa_N, strict=True)
    ]
    sum_TN = np.array(sum_NT).T.astype(types[0])
    compiled = step_compiled(neuron, state_N, sum_TN, registers, types[1])
    step = {"cuba": oracle.cuba_step, "decolle": oracle.decolle_step}[neuron]
    for t, sum_N in enumerate(sum_TN.tolist()):
        state_N = [step(*each) for each in zip(state_N, sum_N, registers, strict=True)]
        assert compiled[t] == state_N, f"step {t}"


def of_lava(module: str) -> Any:
    """A module of Lava; without Lava the test is skipped."""
    import decolle_hw.lava_backend  # noqa: F401  makes that lava can be imported whatever else has been

    return pytest.importorskip(f"lava.{module}", reason="lava is not installed (it needs Python 3.10)")


def lava_step(state: dict[str, Any], a_in: np.ndarray, model: str) -> Any:
    """Bias, threshold, dynamics, spike and reset of a Lava model that was never built: no runtime, only its code."""
    models = of_lava("proc.lif.models")
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
    models, mixed = of_lava("proc.dense.models"), of_lava("utils.weightutils").SignMode.MIXED
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
        proc_params={"weight_exp": exponent, "num_weight_bits": 8, "sign_mode": mixed},
        weights_set=False, weights=weight.copy(), a_buff=0, num_message_bits=np.array([0]), a_out=Port(), s_in=Port(),
    )  # fmt: skip
    dense.run_spk()
    np.testing.assert_array_equal(shift_sum(weight @ spikes.astype(np.int64), exponent), dense.a_buff)


@pytest.mark.parametrize("mode", ["mixed", "excitatory", "inhibitory"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_the_weights_that_a_synapse_stores_equal_the_code_of_lava(bits: int, mode: str) -> None:
    """What Lava makes of all weights, far ones included, is exactly the range that we say a synapse holds."""
    lava = of_lava("utils.weightutils")
    sign_mode = lava.SignMode[mode.upper()]
    wished = np.arange(-600, 601)
    stored = np.unique(lava.truncate_weights(lava.clip_weights(wished, sign_mode, 8), sign_mode, bits))
    low, high, step = weight_limits(bits, mode)
    assert (low, high, {step}) == (stored[0], stored[-1], set(np.diff(stored)))


@given(arrays(bits=42))
def test_wrap24_equals_the_code_of_lava(values: np.ndarray) -> None:
    clamp = of_lava("proc.conv.utils").signed_clamp
    assert wrap24(values).tolist() == clamp(values.astype(np.int64), 24).tolist()
