"""Learning in real numbers: against equations written out in NumPy, the unrounded network, and itself in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning_tools import Case, teaching_case, with_plastic

from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.plasticity import Factor, Product, Rule
from decolle_hw.errors import UsageError
from decolle_hw.fidelity.unrounded import run_unrounded
from decolle_hw.fixedpoint import CURRENT_DECAY_OFFSET, VOLTAGE_DECAY_OFFSET, realised_factor
from decolle_hw.sim.float_learning import learn_float, start_float_state
from decolle_hw.sim.learning import check_targets, learn
from decolle_hw.sim.learning_state import start_state

NEURONS: tuple[NeuronKind, ...] = ("cuba", "decolle")
# Of one step of float32, relative to weights of up to 256 that change some thousand times.
TOLERANCE = 0.02


@pytest.fixture(scope="module", params=NEURONS)
def case(request: pytest.FixtureRequest) -> Case:
    return teaching_case(5, request.param, shown=7)


def written_out(case: Case) -> dict[int, np.ndarray]:
    """(N, I) weights of every plastic layer at the end: all steps of all recordings, one line for each equation."""
    learning = case.learning
    program, slot = learning.program, learning.slot
    _, targets = check_targets(learning, len(case.recordings), case.order, case.targets)
    target_S = targets.reshape(-1)
    given_SI = case.recordings[case.order].reshape(-1, program.num_inputs)
    learned = {}
    for index, layer in enumerate(program.layers):
        plastic = learning.plasticity(index)
        a, b = realised_factor(layer.dv, VOLTAGE_DECAY_OFFSET), realised_factor(layer.du, CURRENT_DECAY_OFFSET)
        g, decolle = realised_factor(layer.dr, VOLTAGE_DECAY_OFFSET), layer.neuron == "decolle"
        weight, threshold = layer.weight.astype(float), layer.vth * 64.0
        u, v, r, spikes = (np.zeros(layer.num_neurons) for _ in range(4))
        arriving = np.zeros(layer.num_neurons)
        x1, x2 = np.zeros(layer.num_inputs), np.zeros(layer.num_inputs)
        read, z, back = np.zeros(len(program.classes)), np.zeros(len(program.classes)), np.zeros(layer.num_neurons)
        sent_SN = np.zeros((len(target_S), layer.num_neurons))
        for s, given_I in enumerate(given_SI):
            if s % slot == program.reset_steps[index]:
                u, v, z, read = u * 0, v * 0, z * 0, read * 0
                if decolle:
                    r, spikes, arriving = r * 0, spikes * 0, arriving * 0
            u = b * u + 64 * 2.0**layer.weight_exp * arriving
            v = a * v + u + layer.bias
            r = g * r - layer.rho * spikes if decolle else r
            distance = v + r - threshold
            spikes = (distance > 0).astype(float)
            v = v if decolle else np.where(spikes > 0, 0, v)
            sent_SN[s] = spikes
            arriving = weight @ given_I
            if plastic is None:
                continue
            y = np.where(np.abs(distance) < plastic.gate_width, back / 2.0**plastic.feedback_shift, 0)
            z = realised_factor(plastic.error.decay, 0) * z + read
            wanted = np.full(len(z), float(plastic.error.off))
            wanted[target_S[s]] = plastic.error.on
            error = wanted - z - plastic.readout_bias
            sent = np.where(np.abs(error) > plastic.error.dead_zone, error / 2.0**plastic.error.shift, 0)
            sent = np.clip(sent, -127, 127) * (target_S[s] >= 0)
            back = plastic.readout_weight.T @ sent
            read = plastic.readout_weight @ spikes
            x1 = np.exp(-1 / plastic.x1.tau) * x1 + plastic.x1.impulse * given_I
            if plastic.x2.tau:
                x2 = np.exp(-1 / plastic.x2.tau) * x2 + plastic.x2.impulse * given_I
            if (s + 1) % plastic.epoch == 0:
                weight = weight + plastic.rule.products[0].gain * np.outer(y, x1 - x2)
        learned[index] = weight
        given_SI = sent_SN
    return {plastic.layer: learned[plastic.layer] for plastic in learning.plastic}


def test_the_equations(case: Case) -> None:
    """Two plastic layers, one of them with epochs of two steps and one with a difference of traces."""
    assert {plastic.epoch for plastic in case.learning.plastic} == {1, 2}
    state = start_float_state(case.learning)
    _, state = learn_float(case.learning, state, case.recordings, case.order[None], case.targets[None])
    for layer, weight in written_out(case).items():
        before = case.learning.program.layers[layer].weight
        assert np.abs(weight - before).max() > 20, "something was learned"
        np.testing.assert_allclose(state.weights(case.learning, layer)[0], weight, atol=TOLERANCE)


def test_without_learning_it_is_the_unrounded_network(case: Case) -> None:
    """Spikes of the last layer in the steps that count, each recording from the reset state."""
    program = case.learning.program
    order = np.arange(len(case.recordings))[None]
    state = start_float_state(case.learning)
    learned, after = learn_float(case.learning, state, case.recordings, order, np.full(order.shape, 1), frozen=True)
    spikes = run_unrounded(program, case.recordings).trace.layers[-1].spikes
    assert spikes.any()
    np.testing.assert_array_equal(learned.counts[0], spikes[:, program.burnin_steps :].sum(1))
    assert after is state


def test_in_parts_and_side_by_side(case: Case) -> None:
    """A run that stops and goes on, beside another one with another order, equals one by itself."""
    learning = case.learning
    whole, end = learn_float(learning, start_float_state(learning), case.recordings, case.order[None], case.targets)
    order = np.stack([case.order[::-1], case.order])
    targets = np.stack([case.targets[::-1], case.targets])
    state, decisions = start_float_state(learning, 2), []
    for shown in range(order.shape[1]):
        one = slice(shown, shown + 1)
        learned, state = learn_float(learning, state, case.recordings, order[:, one], targets[:, one])
        decisions.append(learned.decisions)
    np.testing.assert_array_equal(np.concatenate(decisions, 1)[1], whole.decisions[0])
    assert state.presented == end.presented == order.shape[1]
    for mine, theirs in zip(state.layers, end.layers, strict=True):
        for name, array in mine._asdict().items():
            np.testing.assert_array_equal(array[1:], getattr(theirs, name), err_msg=name)
    assert np.any(state.weights(learning, 1)[0] != state.weights(learning, 1)[1])


def of_one_product(case: Case, product: Product) -> tuple[LearningProgram, np.ndarray, np.ndarray]:
    """One plastic layer whose traces stand still, and the weights before and after one recording."""
    learning = replace(case.learning, plastic=case.learning.plastic[1:])
    learning = with_plastic(learning, 0, rule=Rule((product,)), epoch=5)
    state = start_float_state(learning)
    _, state = learn_float(learning, state, case.recordings, case.order[None, :1], case.targets[None, :1])
    return learning, learning.program.layers[2].weight.astype(np.float32), state.weights(learning, 2)[0]


def test_products_of_spikes_and_weights() -> None:
    """x0: inputs that spiked in the epoch; y0: neurons that did; the weight as it was at the start of the epoch."""
    case = teaching_case(5, "decolle", shown=1)
    slots = case.learning.slot // 5
    state, silent = start_state(case.learning), np.array([[-1]])  # nothing learns without a target
    frozen, _ = learn(case.learning, state, case.recordings, case.order[None, :1], silent, record=True)
    below = frozen.records[0].spikes[0].reshape(slots, 5, -1).any(1).sum(0)
    learning, before, after = of_one_product(case, Product("x0", (), 1, -3))
    gain = learning.plastic[0].rule.products[0].gain
    np.testing.assert_allclose(after - before, np.tile(gain * below, (len(before), 1)), atol=1e-4)
    learning, before, after = of_one_product(case, Product("u0", (Factor("w", 3),), -1, -5))
    gain = learning.plastic[0].rule.products[0].gain
    np.testing.assert_allclose(after + 3, (before + 3) * (1 + gain) ** slots, rtol=1e-4)
    learning, before, after = of_one_product(case, Product("y0", (Factor("x0", 1),), 1, -3))
    assert np.any(after != before)
    assert np.all(after >= before)


def test_what_does_not_fit(case: Case) -> None:
    nothing = np.zeros((1, 0), int)
    learned, _ = learn_float(case.learning, start_float_state(case.learning), case.recordings, nothing, nothing)
    assert learned.decisions.shape == (1, 0)
    with pytest.raises(UsageError, match="2 runs, the state has 1"):
        order = np.zeros((2, 1), int)
        learn_float(case.learning, start_float_state(case.learning), case.recordings, order, order)
    with pytest.raises(UsageError, match="another network"):
        other = with_plastic(case.learning, 0, gate_width=7)
        learn_float(other, start_float_state(case.learning), case.recordings, nothing, nothing)
    with pytest.raises(UsageError, match="runs 0"):
        start_float_state(case.learning, 0)
