"""The reference of learning by itself: runs side by side, resumed runs, state files, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learning_tools import Case, first_difference, random_case, teaching_case, with_plastic

from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.compiler.plasticity import Factor, Product, Rule
from decolle_hw.errors import ArtifactError, UsageError
from decolle_hw.sim import learning as learning_module
from decolle_hw.sim.frozen import frozen_frames
from decolle_hw.sim.learned import classify, learned_program
from decolle_hw.sim.learning import LayerRecord, Learned, learn
from decolle_hw.sim.learning_state import LearningState, load_state, save_state, start_state
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide

NEURONS: tuple[NeuronKind, ...] = ("cuba", "decolle")


@pytest.fixture(scope="module", params=NEURONS)
def case(request: pytest.FixtureRequest) -> Case:
    return teaching_case(5, request.param, shown=7)


def show(case: Case, state: LearningState, shown: slice, record: bool = True) -> tuple[Learned, LearningState]:
    order, targets = case.order[None, shown], case.targets[None, shown]
    return learn(case.learning, state, case.recordings, order, targets, record=record)


def assert_same_state(left: LearningState, right: LearningState) -> None:
    assert (left.digest, left.rounding, left.presented) == (right.digest, right.rounding, right.presented)
    np.testing.assert_array_equal(left.seeds, right.seeds)
    np.testing.assert_array_equal(left.tail, right.tail)
    for mine, theirs in zip(left.layers, right.layers, strict=True):
        for name, array in mine._asdict().items():
            np.testing.assert_array_equal(array, getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("rounding", ["lava", "per-synapse"])
@pytest.mark.parametrize("seed", range(4))
def test_a_resumed_run_equals_an_unbroken_one(seed: int, rounding: str, tmp_path: Path) -> None:
    """Through a file after every recording, in the midst of epochs; convolutions below in one of them."""
    plastic = [(0, 1), (0,), (1,), (0, 2)][seed]
    case = random_case(seed, NEURONS[seed % 2], plastic, shown=6, convolutional=seed == 1)
    begin = start_state(case.learning, [case.seed], rounding)  # type: ignore[arg-type]
    whole, end = show(case, begin, slice(0, 6))
    state, parts = begin, []
    for index in range(6):
        part, state = show(case, state, slice(index, index + 1))
        save_state(tmp_path / "state", state)
        state = load_state(tmp_path / "state", case.learning)
        parts.append(part)
    assert_same_state(state, end)
    together = learning_module._join(case.learning, 1, parts)
    assert first_difference(whole, together) is None
    np.testing.assert_array_equal(whole.decisions, together.decisions)
    assert {layer: count.tolist() for layer, count in whole.changed.items()} == {
        layer: count.tolist() for layer, count in together.changed.items()
    }


def test_memory_limit_does_not_change_a_run(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, end = case.reference()
    monkeypatch.setattr(learning_module, "CHUNK_BYTES", 1)
    reports: list[tuple[int, int]] = []
    apart, state = case.reference(progress=lambda done, total: reports.append((done, total)))
    assert first_difference(whole, apart) is None
    assert_same_state(end, state)
    assert reports == [(done, 7) for done in range(1, 8)]


def test_runs_side_by_side_equal_each_alone(case: Case) -> None:
    """Of other seeds, orders and targets."""
    rng = np.random.default_rng(1)
    seeds, order, targets = [5, 6, 5], rng.integers(0, 5, (3, 7)), rng.integers(-1, 4, (3, 7))
    state = start_state(case.learning, seeds)
    together, end = learn(case.learning, state, case.recordings, order, targets, record=True)
    for run, seed in enumerate(seeds):
        alone, alone_end = case._replace(order=order[run], targets=targets[run], seed=seed).reference()
        one = tuple(_take(record, run) for record in together.records)
        assert first_difference(replace(together, records=one), alone) is None
        np.testing.assert_array_equal(together.counts[run], alone.counts[0])
        assert_same_state(end.take([run]), alone_end)
    assert not np.array_equal(end.weights(case.learning, 1)[0], end.weights(case.learning, 1)[1])


def _take(record: LayerRecord, run: int) -> LayerRecord:
    one = slice(run, run + 1)
    weight, x, y = (None if array is None else array[one] for array in (record.weight, record.x, record.y))
    registers = {name: values[one] for name, values in record.registers.items()}
    return LayerRecord(record.spikes[one], registers, weight, x, y)


def test_without_a_target_nothing_is_learned(case: Case) -> None:
    state = start_state(case.learning, [1])
    none = np.full((1, 7), -1)
    learned, end = learn(case.learning, state, case.recordings, case.order[None], none, record=True)
    for plastic in case.learning.plastic:
        np.testing.assert_array_equal(
            end.weights(case.learning, plastic.layer), state.weights(case.learning, plastic.layer)
        )
        assert learned.changed[plastic.layer] == [0]
    assert not any(record.y.any() for record in learned.records if record.y is not None)
    assert end.layers[0].x.any()


def test_before_learning_it_decides_as_the_network_that_does_not_learn(case: Case) -> None:
    """And spikes likewise; also as `classify` says, where even a rule without an error learns nothing."""
    program = case.learning.program
    trace = run_reference(program, case.recordings)
    state = start_state(case.learning, [1, 2])
    np.testing.assert_array_equal(classify(case.learning, state, case.recordings), [decide(program, trace)] * 2)
    decay = Rule((Product("u0", (Factor("w"),), -1, -4),))
    forgetful = with_plastic(case.learning, 0, rule=decay)
    state = start_state(forgetful, [1])
    np.testing.assert_array_equal(classify(forgetful, state, case.recordings)[0], decide(program, trace))
    learned, end = learn(forgetful, state, case.recordings, case.order[None], np.full((1, 7), -1))
    assert learned.changed[1][0] > 0
    before, after = np.abs(state.weights(forgetful, 1)), np.abs(end.weights(forgetful, 1))
    assert after.sum() < before.sum()


def test_frames_at_hand_change_nothing(case: Case) -> None:
    frames = frozen_frames(case.learning.program, case.recordings, case.learning.first)
    learned, end = case.reference()
    again, again_end = case.reference(frames=frames)
    assert first_difference(learned, again) is None
    assert_same_state(end, again_end)


def test_learned_weights_go_into_a_network(case: Case) -> None:
    """Odd ones lose their lowest bit there; where there is none, it decides alike."""
    _, end = case.reference()
    program = learned_program(case.learning, end)
    learned = end.weights(case.learning, 1)[0]
    assert np.any(learned % 2)
    np.testing.assert_array_equal(program.layers[1].weight, learned // 2 * 2)
    even = end.copy()
    for layer in even.layers:
        layer.weight[:] = layer.weight // 2 * 2
    np.testing.assert_array_equal(
        classify(case.learning, even, case.recordings)[0], decide(program, run_reference(program, case.recordings))
    )


def test_rounding_of_single_synapses(case: Case) -> None:
    """Other weights than with Lava's one number for all, but not by much on average."""
    ends = {}
    for rounding in ("lava", "per-synapse"):
        state = start_state(case.learning, range(8), rounding)  # type: ignore[arg-type]
        runs = (np.tile(case.order, (8, 1)), np.tile(case.targets, (8, 1)))
        _, end = learn(case.learning, state, case.recordings, *runs)
        ends[rounding] = end.weights(case.learning, 1)
    apart = ends["lava"] - ends["per-synapse"]
    assert np.any(apart)
    assert np.abs(apart.mean(0)).mean() < np.abs(ends["lava"].mean(0) - case.learning.program.layers[1].weight).mean()


@pytest.mark.parametrize(
    ("order", "targets", "problem"),
    [
        ([[0, 5]], [[0, 1]], r"order: 0\.\.5, there are recordings 0\.\.4"),
        ([[0, 1]], [[0, 4]], r"targets: 0\.\.4, there are classes 0\.\.3"),
        ([[0, 1]], [[-2, 1]], r"targets: -2\.\.1"),
        ([[0, 1]], [[0]], r"targets: \(1, 1\), expected \(1, 2\)"),
        ([[0, 1], [1, 0]], [[0, 1], [0, 1]], "order: of 2 runs, the state has 1"),
        ([[0.5, 1]], [[0, 1]], "order: expected"),
        ([[0, 1]], [[0.5, 1]], "targets: float64"),
    ],
)
def test_input_that_does_not_fit(order: list, targets: list, problem: str) -> None:
    case = teaching_case(5, "cuba", shown=7)
    with pytest.raises(UsageError, match=problem):
        learn(case.learning, start_state(case.learning), case.recordings, np.array(order), np.array(targets))


def test_states_that_do_not_fit(case: Case, tmp_path: Path) -> None:
    other = with_plastic(case.learning, 0, feedback_shift=1)
    state = start_state(case.learning)
    with pytest.raises(UsageError, match="another network"):
        show(case._replace(learning=other), state, slice(0, 1))
    save_state(tmp_path / "state", state)
    with pytest.raises(ArtifactError, match="another network"):
        load_state(tmp_path / "state", other)
    (tmp_path / "text").write_text("not a state")
    (tmp_path / "cut").write_bytes((tmp_path / "state").read_bytes()[:400])
    np.savez(tmp_path / "else.npz", format=np.array("something"))
    for name, problem in (
        ("text", "cannot be read"), ("cut", "cannot be read"), ("else.npz", "is no"), ("none", "no such file")
    ):  # fmt: skip
        with pytest.raises(ArtifactError, match=problem):
            load_state(tmp_path / name, case.learning)
    with np.load(tmp_path / "state") as file:
        arrays = dict(file)
    weight, traces, spikes = (arrays[f"layer0.{name}"] for name in ("weight", "x", "spikes"))
    for name, value, problem in (
        ("layer0.x", traces[:, :1], "x is int16"),
        ("layer0.x", traces - 1, r"x has values -1\.\.-1, expected 0\.\.127"),
        ("layer0.weight", weight * 0 + 256, r"weight has values 256\.\.256, expected -256\.\.255"),
        ("layer0.spikes", spikes + 2, "spikes has values"), ("tail", arrays["tail"][:0], "tail is uint8"),
        ("presented", np.array(-1), "presented is -1, expected 0"),
        ("presented", np.array(1 << 60), "presented is 1152"),
        ("presented", np.array([1, 2]), "scalars"), ("presented", np.array("x"), "no whole numbers"),
        ("seeds", np.array([0.5]), "no whole numbers"),
    ):  # fmt: skip
        np.savez(tmp_path / "damaged.npz", **(arrays | {name: value}))
        with pytest.raises(ArtifactError, match=f"is damaged: .*{problem}"):
            load_state(tmp_path / "damaged.npz", case.learning)
    np.save(tmp_path / "single.npy", weight)
    with pytest.raises(ArtifactError, match="cannot be read as a learning state: holds a single array"):
        load_state(tmp_path / "single.npy", case.learning)
    for seeds in ([-1], [], [2**31]):
        with pytest.raises(UsageError, match="seeds"):
            start_state(case.learning, seeds)
    with pytest.raises(UsageError, match="rounding"):
        start_state(case.learning, [1], "silicon")  # type: ignore[arg-type]
