"""Experiments of learning on chip: schedules, changes of the sensor, what is measured, drawn and printed."""

# B lives, K recordings shown, R recordings

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from online_tools import material, recorded
from rich.console import Console

from decolle_hw.compiler.plasticity import Factor, Product, Rule
from decolle_hw.errors import CheckError, CompileError, DataError, UsageError
from decolle_hw.online import drift as drifting
from decolle_hw.online import few_shot as few_shots
from decolle_hw.online import figures, tables
from decolle_hw.online.anchor import ridge_accuracy
from decolle_hw.online.continual import ContinualSettings, Sequence, continual
from decolle_hw.online.drift import Changed, DriftSettings, drift
from decolle_hw.online.few_shot import FewShotSettings, few_shot
from decolle_hw.online.life import Life, Lived, Stage, lessons, live, live_in_float
from decolle_hw.online.material import Material, in_turn, known_classes
from decolle_hw.sim.learning import learn

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def plain() -> Material:
    """Three classes, of which the features know two."""
    return material()


def printed(show, result) -> str:
    text = io.StringIO()
    show(result, Console(file=text, width=200))
    return text.getvalue()


def assert_png(draw, result, path) -> None:
    draw(result, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 10_000


def test_lessons_take_the_classes_in_turn() -> None:
    """Every pass shows each recording once, and in every round one of each class that has any left."""
    members = [np.array([0, 1, 2]), np.array([10, 11, 12]), np.array([20])]
    order = lessons(np.random.default_rng(1), members, 2)
    assert Counter(order.tolist()) == dict.fromkeys([0, 1, 2, 10, 11, 12, 20], 2)
    assert sorted(order[:3] // 10) == sorted(order[7:10] // 10) == [0, 1, 2]
    assert sorted(order[3:5] // 10) == sorted(order[5:7] // 10) == [0, 1]
    assert order[:7].tolist() != order[7:].tolist()
    np.testing.assert_array_equal(order, lessons(np.random.default_rng(1), members, 2))
    assert lessons(np.random.default_rng(1), [], 3).shape == (0,)


def test_a_life_is_split_into_its_stages() -> None:
    labels = np.array([0, 1, 2, 1])
    life = Life((Stage("taught", np.array([[0, 1], [3, 2]]), True), Stage.test("end", np.array([2, 3, 1]), 2)))
    np.testing.assert_array_equal(life.order, [[0, 1, 2, 3, 1], [3, 2, 2, 3, 1]])
    np.testing.assert_array_equal(life.targets(labels), [[0, 1, -1, -1, -1], [1, 2, -1, -1, -1]])
    decided = np.array([[0, 1, 2, 0, 1], [0, 0, 0, 1, 0]])
    lived = Lived(life, tuple(life.split(decided)), labels)
    np.testing.assert_allclose(lived.accuracy("end"), [2 / 3, 1 / 3])
    np.testing.assert_allclose(lived.accuracy("end", [1]), [0.5, 0.5])
    np.testing.assert_allclose(lived.accuracy("taught"), [1, 0])
    with pytest.raises(KeyError):
        lived.accuracy("nowhere")


def test_a_test_within_a_life_does_not_teach(plain: Material) -> None:
    """Lives with and without tests between their lessons end with the same decisions."""
    known, seeds = plain.recorded, [1, 2]
    taught = np.stack([np.random.default_rng(seed).permutation(45)[:24] for seed in seeds])
    first, second = Stage("first", taught[:, :12], True), Stage("second", taught[:, 12:], True)
    test = Stage.test("test", known.tests(), 2)
    untested = Life((replace(first, order_BK=taught), replace(test, name="end")))
    tested = Life((first, test, second, replace(test, name="end")))
    ends = [
        live(plain.learning, life, known.spikes, known.labels, seeds, QUIET, frames=plain.frames)
        for life in (untested, tested)
    ]
    # Twelve more recordings later the engine draws other numbers, so the runs are alike but not equal.
    accuracy = [lived.accuracy("end").mean() for lived in ends]
    assert min(accuracy) > 0.8 and ends[1].accuracy("test").mean() <= accuracy[1] + 0.1
    in_float = live_in_float(plain.learning, tested, known.spikes, known.labels, QUIET, frames=plain.frames)
    assert in_float.accuracy("end").mean() > 0.8
    forgetful = Rule((Product("u0", (Factor("w"),), -1, -4),))
    (output,) = plain.learning.plastic
    wrong = replace(plain.learning, plastic=(replace(output, rule=forgetful),))
    with pytest.raises(CompileError, match=r"layer 2: rule .* changes weights without an error, so a test would teach"):
        live(wrong, tested, known.spikes, known.labels, seeds, QUIET)


def test_lava_is_compared_with_the_reference(plain: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts and last weights of every seed; one that differs ends the experiment."""
    runner = pytest.importorskip("decolle_hw.lava_backend.learning_runner")
    asked = []

    def stands_in(learning, recordings, order, targets, *, seed, progress):
        asked.append(seed)
        from decolle_hw.sim.learning_state import start_state

        learned, state = learn(learning, start_state(learning, [seed]), recordings, order[None], targets[None])
        weights = {2: state.weights(learning, 2)[0] + (seed == 9)}
        return learned, weights

    monkeypatch.setattr(runner, "learn_in_lava", stands_in)
    known = plain.recorded
    life = Life((Stage("taught", np.array([[0, 1, 2], [2, 1, 0]]), True),))
    common = {"backend": "lava", "frames": plain.frames}
    lived = live(plain.learning, life, known.spikes, known.labels, [3, 4], QUIET, **common)
    assert asked == [3, 4] and lived.compared == 2 * (3 * 3 + 3 * 40)
    with pytest.raises(CheckError, match="seed 9: Lava and the integer reference differ in 120"):
        live(plain.learning, life, known.spikes, known.labels, [3, 9], QUIET, **common)


def test_few_shot(plain: Material, tmp_path) -> None:
    """Alone and joint, by shots, passes and seeds; what was not replayed is forgotten more."""
    settings = FewShotSettings(shots=(1, 6), passes=(1, 4), seeds=2, old_shots=10, old_passes=2)
    result = few_shot(plain, settings, QUIET)
    assert (result.old, result.new) == (("a", "b"), ("c",)) and (result.tested_old, result.tested_new) == (12, 6)
    for row, shots in zip(result.rows, (1, 6), strict=True):
        assert row.shots == shots and list(row.alone) == list(row.alone_float) == [1, 4]
        assert all(len(values) == 2 for values in (*row.alone.values(), *row.alone_float.values(), row.ridge))
        assert np.mean(row.old_before) > 0.8 and row.compared == 0
        for of_name in row.joint.values():
            total = (12 * np.array(of_name["old"]) + 6 * np.array(of_name["new"])) / 18
            np.testing.assert_allclose(of_name["all"], total)
    joint = result.rows[-1].joint
    assert np.mean(joint["replay"]["new"]) > 0.8
    assert np.mean(joint["replay"]["old"]) >= np.mean(joint["no replay"]["old"]) > 0.5
    again = few_shot(plain, replace(settings, shots=(6,)), QUIET)
    assert again.rows[0] == result.rows[1], "the first examples are the same whatever else is tried"
    text = printed(tables.print_few_shot, result)
    assert "new classes c alone: 6 test recordings, 2 seeds" in text and "1 pass" in text and "4 passes" in text
    assert_png(figures.draw_few_shot, result, tmp_path / "a.png")
    assert json.loads(json.dumps(result.to_json()))["rows"][1]["joint"] == joint


def test_few_shot_of_several_new_classes_beats_chance() -> None:
    """Two new classes on features that know one; the offline mark beside it."""
    result = few_shot(material("cuba", (0,)), FewShotSettings((8,), (5,), 2, 8, 1), QUIET)
    assert np.mean(result.rows[0].alone[5]) > 0.8 and np.mean(result.rows[0].ridge) > 0.8


def test_what_few_shot_refuses() -> None:
    known = recorded(train=6)
    with pytest.raises(UsageError, match="all classes are known"):
        few_shots.check(known, "abc", FewShotSettings())
    with pytest.raises(UsageError, match="--shots 5,9: class a has 2 training recordings; ask for at most 2"):
        few_shots.check(known, "ab", FewShotSettings(shots=(1, 5, 9)))
    few_shots.check(known, "ab", FewShotSettings(shots=(1, 2)))


def test_drift(plain: Material, tmp_path) -> None:
    """A flipped sensor: accuracy falls at once, and comes back with lessons; the figure says what share."""
    result = drift(plain, DriftSettings(("polarity flip", "dead pixels"), shots=12, passes=2, seeds=2), QUIET)
    flip, dead = result.changes
    assert (flip.change, dead.change) == ("polarity flip", "dead pixels") and result.tested == 18
    assert list(flip.relearned) == [36, 72]
    assert np.mean(flip.before) > 0.9 > 0.7 > np.mean(flip.after)
    assert np.mean(flip.relearned[72]) > np.mean(flip.after) + 0.2 and flip.recovered > 0.7
    text = printed(tables.print_drift, result)
    assert "18 test recordings, 2 seeds; 2 passes over up to 12 recordings per class" in text
    assert_png(figures.draw_drift, result, tmp_path / "a.png")
    assert json.loads(json.dumps(result.to_json()))["changes"][0]["recovered"] == flip.recovered


def test_what_recovers_is_a_share_of_what_was_lost() -> None:
    changed = Changed("x", [0.9, 0.8], [0.5, 0.4], {10: [0.6, 0.6], 20: [0.8, 0.7]})
    assert changed.recovered == pytest.approx(0.6 / 0.8)
    assert replace(changed, after=[0.9, 0.8]).recovered is None
    result = drifting.Drift(DriftSettings(), 5, (replace(changed, after=[0.9, 0.9]),))
    assert "nothing lost" in printed(tables.print_drift, result)


def test_changes_of_the_sensor() -> None:
    """Each by its definition; what was there stays binary, and in its step."""
    spikes = (np.random.default_rng(1).random((3, 40, 2, 9, 9)) < 0.3).astype(np.uint8)
    np.testing.assert_array_equal(drifting.rotated(spikes, 0.0), spikes)
    quarter = drifting.rotated(spikes, 90.0)
    assert any(np.array_equal(quarter, np.rot90(spikes, turn, (-2, -1))) for turn in (1, -1))
    assert drifting.rotated(spikes, 45.0)[..., 0, 0].sum() == 0, "nothing is known beyond the old edge"
    dead = drifting.with_dead_pixels(spikes, 0.4)
    silent = ~dead.any((0, 1, 2))
    np.testing.assert_array_equal(dead, spikes * ~silent)
    assert 0.2 < silent.mean() < 0.6
    np.testing.assert_array_equal(drifting.flipped(spikes)[:, :, 0], spikes[:, :, 1])
    np.testing.assert_array_equal(drifting.flipped(drifting.flipped(spikes)), spikes)
    weak = drifting.low_contrast(spikes, 0.35)
    np.testing.assert_array_equal(weak.sum(1), np.floor(spikes.sum(1, dtype=int) * 0.35))
    assert np.all(weak <= spikes)
    for change in drifting.CHANGES.values():
        changed = change(spikes)
        assert changed.shape == spikes.shape and changed.dtype == np.uint8 and changed.max() == 1


def test_continual(plain: Material, tmp_path) -> None:
    """Class after class; without replay the first ones are forgotten."""
    result = continual(plain, ContinualSettings(shots=8, passes=3, replay=4, seeds=2), QUIET)
    with_replay, without = result.sequences
    assert result.classes == ("a", "b", "c") and result.known == 2 and result.tested == 18
    assert (with_replay.name, without.name) == ("replay of 4", "no replay")
    for one in result.sequences:
        assert [sum(value is not None for value in row) for row in one.accuracy] == [1, 2, 3]
        np.testing.assert_allclose(one.average, [np.mean([v for v in row if v is not None]) for row in one.accuracy])
    assert with_replay.average[-1] > 0.8 and with_replay.forgetting < without.forgetting
    text = printed(tables.print_continual, result)
    assert "3 passes over up to 8 examples of each; 2 seeds; the features know a, b" in text
    assert_png(figures.draw_continual, result, tmp_path / "a.png")
    assert json.loads(json.dumps(result.to_json()))["sequences"][1]["forgetting"] == without.forgetting
    assert len(continual(plain, ContinualSettings(2, 1, 0, 1), QUIET).sequences) == 1, "no replay is not done twice"


def test_forgetting_is_the_fall_from_the_best() -> None:
    """Of all classes but the last, which had no time to be forgotten."""
    one = Sequence("x", [[0.6, None, None], [0.9, 0.8, None], [0.5, 0.9, 1.0]], [0, 0, 0])
    assert one.forgetting == pytest.approx((0.4 + 0.0) / 2)
    assert Sequence("x", [[0.6]], [0]).forgetting == 0


def test_tests_are_taken_from_each_class_in_turn() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2, 1, 0])
    assert in_turn(labels, 3).tolist() == [0, 4, 5]
    assert in_turn(labels, 5).tolist() == [0, 1, 4, 5, 6]
    assert in_turn(labels, 99).tolist() == list(range(8))


def test_known_classes() -> None:
    assert known_classes(None, "abcde") == ("a", "b", "c")
    assert known_classes(("d", "a"), "abcd") == ("a", "d"), "in the order of the data set"
    for wanted, problem in (
        (("a",), "--known a: a single class"), (("a", "a", "b"), "--known a,a,b: give each class once"),
        (("a", "z"), "--known: the data set has no class 'z'; known: a, b, c"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=problem):
            known_classes(wanted, "abc")
    with pytest.raises(UsageError, match="2 classes; two known and one new are the least"):
        known_classes(None, "ab")


def test_the_mark_is_an_offline_classifier() -> None:
    """Right where classes are apart, by chance where labels mean nothing; of one class it has nothing to decide."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 20)
    counts = rng.poisson(4, (60, 12)) + 6.0 * np.eye(12)[labels]
    assert ridge_accuracy(counts[::2], labels[::2], counts[1::2], labels[1::2]) > 0.9
    assert ridge_accuracy(counts[::2], rng.permutation(labels[::2]), counts[1::2], labels[1::2]) < 0.7
    assert ridge_accuracy(counts[:5], labels[:5], counts, labels) == pytest.approx(1 / 3)


def test_a_class_without_recordings_is_said(plain: Material) -> None:
    from quantize_tools import make_spec
    from test_lower_rule import patterns

    from decolle_hw.online.material import _require_every_class

    few = patterns(1, 9)
    _require_every_class(make_spec("cuba"), "test", few)
    with pytest.raises(DataError, match="x: no test recording of class b"):
        _require_every_class(make_spec("cuba"), "test", few.take(np.flatnonzero(few.labels != 1)))


def test_mean_and_spread() -> None:
    assert tables.mean_and_spread([0.5]) == "50.0 %"
    assert tables.mean_and_spread([0.4, 0.6]) == "50.0 ± 14.1 %"
