"""Learning rules: what Lava reads in them, what the engine cannot do, and the numbers that it rounds with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_tools import teaching_case, with_plastic

from decolle_hw.compiler.layers import pooling_stage
from decolle_hw.compiler.learning_program import ErrorNeurons, LearningProgram, output_readout
from decolle_hw.compiler.plasticity import Factor, Product, Rule, TraceFilter, three_factor_rule
from decolle_hw.errors import CompileError
from decolle_hw.sim.learning_randoms import epoch_randoms, synapse_bits
from decolle_hw.sim.random_learning import draw_rule
from decolle_hw.sim.random_program import random_conv_program, random_program


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_lava_reads_the_same_rule(seed: int) -> None:
    learning_rule = pytest.importorskip("lava.magma.core.learning.learning_rule")
    rule = draw_rule(np.random.default_rng(seed))
    rule.check()
    products = learning_rule.Loihi3FLearningRule(dw=str(rule)).dw.products
    assert len(products) == len(rule.products)
    for theirs, mine in zip(products, rule.products, strict=True):
        assert theirs.dependency == mine.dependency[0 : 1 if mine.dependency[0] == "u" else 2]
        assert theirs.decimate_exponent in (None, rule.decimation)
        assert (theirs.s_mantissa, theirs.s_exp) == (mine.mantissa, mine.left_shift)
        names = [f"sgn({factor.state_var})" if factor.is_sgn else factor.state_var for factor in theirs.factors]
        assert names == [factor.name for factor in mine.factors]
        assert [factor.const or 0 for factor in theirs.factors] == [factor.constant for factor in mine.factors]


def test_gain_is_what_is_left_after_the_shifts() -> None:
    first, second = three_factor_rule(-5).products
    assert (first.right_shift, first.left_shift) == (3, 2)
    assert first.gain == 4 * 2.0**-5 / 8 == -second.gain  # 2**-7 of a unit of the 7-bit fraction is a unit of it
    assert str(three_factor_rule(-5, mantissa=1)) == "1 * 2^-5 * u0 * x1 * y1 - 1 * 2^-5 * u0 * x1 * y2"


def test_error_triggered() -> None:
    assert three_factor_rule(0, double_exponential=True).error_triggered
    assert not Rule((*three_factor_rule(0).products, Product("u0", (Factor("w"),), -1, -5))).error_triggered
    assert not Rule((Product("u0", (Factor("y1", 3),)),)).error_triggered


@pytest.mark.parametrize(
    ("product", "problem"),
    [
        (Product("u0", (Factor("x1"),), exponent=9), r"exponent 9, expected -7\.\.8"),
        (Product("u0", (Factor("x1"),), exponent=-8), r"exponent -8, expected -7\.\.8"),
        (Product("u0", (Factor("x1"),), mantissa=8), r"mantissa 8, expected -7\.\.7"),
        (Product("u0", (Factor("x1"),), mantissa=0), "mantissa 0"),
        (Product("z0", (Factor("x1"),)), "dependency 'z0', expected x0, y0, or u and a digit"),
        (Product("u12", (Factor("x1"),)), "dependency 'u12'"),
        (Product("u0", (Factor("y3"),)), r"factor 'y3', expected one of"),  # type: ignore[arg-type]
        (Product("u0", (Factor("x1", 200),)), r"constant 200, expected -128\.\.127"),
        (Product("u0", (Factor("x1"),) * 4), "factors of 28 bits together, at most 27"),
    ],
)
def test_what_the_engine_cannot_do(product: Product, problem: str) -> None:
    with pytest.raises(CompileError, match=problem):
        Rule((product,)).check()


def test_all_problems_of_a_rule_at_once() -> None:
    with pytest.raises(CompileError, match=r"17 products, at most 16(.|\n)*exponent 9(.|\n)*u0 and u1"):
        Rule((Product("u0", (), exponent=9), Product("u1", ()), *[Product("x0", ())] * 15)).check()
    with pytest.raises(CompileError, match="no product"):
        Rule(()).check()


def test_all_problems_of_a_network_at_once() -> None:
    learning = teaching_case(5, "cuba").learning
    hidden = learning.plastic[0]
    wrong = replace(
        hidden, epoch=64, x1=TraceFilter(128, -1), x2=TraceFilter(0.001, 3), feedback_shift=24, gate_width=0,
        error=ErrorNeurons(on=1 << 23, decay=5000), readout_weight=hidden.readout_weight + 300,
    )  # fmt: skip
    with pytest.raises(CompileError) as caught:
        replace(learning, plastic=(wrong, learning.plastic[1]), teach=(5, 2))
    for text in (
        "layer 1: epoch: 64 steps, expected 1..63", "x1.impulse: 128", "x1.tau: -1", "x2.impulse: 0.001", "error.on",
        "error.decay: 5000", "readout_weight: expected signed 8 bit", "feedback_shift: 24", "gate_width: 0", "teach: ",
    ):  # fmt: skip
        assert text in str(caught.value)


def test_layers_that_cannot_learn() -> None:
    case = teaching_case(5, "decolle")
    plastic = case.learning.plastic[1]
    with pytest.raises(CompileError, match=r"has layers 0\.\.2"):
        LearningProgram(case.learning.program, (replace(plastic, layer=3),))
    with pytest.raises(CompileError, match="expected a weight"):
        LearningProgram(case.learning.program, (replace(plastic, layer=0),))
    with pytest.raises(CompileError, match="no layer is plastic"):
        LearningProgram(case.learning.program, ())
    with pytest.raises(CompileError, match="once, from below to above"):
        LearningProgram(case.learning.program, (plastic, plastic))
    rng = np.random.default_rng(1)
    convolutional = random_conv_program(rng, "decolle", units=4, classes=4, steps=20)
    with pytest.raises(CompileError, match=r"layer 0: is a convolution: .* unrolled into [\d,]+ synapses"):
        LearningProgram(convolutional, (replace(plastic, layer=0),))
    delayed = random_program(rng, "decolle", sizes=(50, 40, 30, 4), classes=4, max_delay=3)
    with pytest.raises(CompileError, match="synaptic delays"):
        LearningProgram(delayed, (plastic,))
    narrow = replace(case.learning.program.layers[2], weight=case.learning.program.layers[2].weight // 8 * 8)
    layers = (*case.learning.program.layers[:2], replace(narrow, weight_bits=6))
    with pytest.raises(CompileError, match="6 bit weights; learning needs all 8"):
        LearningProgram(replace(case.learning.program, layers=layers), (plastic,))
    assert pooling_stage((1, 4, 4), 2, **output_readout(4)).is_pooling


def test_a_digest_knows_every_number() -> None:
    learning = teaching_case(5, "cuba").learning
    assert learning.digest() == teaching_case(5, "cuba").learning.digest()
    for other in (
        with_plastic(learning, 0, feedback_shift=1),
        with_plastic(learning, 1, x1=TraceFilter(60, 7.5)),
        replace(learning, teach=(1, 2)),
    ):
        assert other.digest() != learning.digest()


@pytest.mark.parametrize("epoch", [1, 3, 63])
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 4])
def test_random_numbers_are_those_of_lava(epoch: int, seed: int) -> None:
    random = pytest.importorskip("lava.magma.core.learning.random")
    x, y = random.TraceRandom(seed, seed + 1), random.TraceRandom(seed + 2, seed + 3)
    weight = random.ConnVarRandom()
    numbers, later = epoch_randoms(np.array([seed]), 1, 50, epoch), epoch_randoms(np.array([seed]), 21, 30, epoch)
    for index in range(50):
        for _ in range(2 * epoch):  # Lava draws twice in a step
            x.advance()
            y.advance()
        weight.advance()
        assert numbers.x_decay[0, index] == x.random_trace_decay
        assert numbers.x_impulse[0, index] == x.random_impulse_addition
        assert numbers.y_decay[0, index] == y.random_trace_decay
        assert numbers.weight[0, index] == int(weight.random_stochastic_round * 128)
    for whole, part in zip(numbers, later, strict=True):
        np.testing.assert_array_equal(whole[:, 20:], part)


def test_random_numbers_of_single_synapses() -> None:
    """Uniform, and those of neighbours in space, time, layer and seed are unlike."""
    bits = np.array([[synapse_bits(seed, 1, 5, synapse) for synapse in range(4000)] for seed in (3, 4)])
    assert bits.min() == 0 and bits.max() == 127
    assert abs(bits.mean() - 63.5) < 1  # standard error 0.4
    others = [bits[1], np.array([synapse_bits(3, 2, 5, s) for s in range(4000)]), np.roll(bits[0], 1)]
    others.append(np.array([synapse_bits(3, 1, 6, s) for s in range(4000)]))
    for other in others:
        assert abs(np.corrcoef(bits[0], other)[0, 1]) < 0.07  # 4.4 standard errors
