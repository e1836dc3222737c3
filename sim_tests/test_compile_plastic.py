"""`compile --plastic`: asked, refused, placed, reported and written. The rule of a hidden layer is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compile_tools import train
from plastic_artifacts import hidden_learning

from decolle_hw.compiler.artifact import load_learning, load_with_learning
from decolle_hw.compiling import pipeline
from decolle_hw.compiling.lowered import Lowered
from decolle_hw.compiling.request import layers_of
from decolle_hw.errors import UsageError
from decolle_hw.training.runs import load_run

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def place(digits_drawn_once_for_module, tmp_path_factory) -> Path:
    """Trained on three classes, and a convolutional network beside it."""
    folder = tmp_path_factory.mktemp("plastic")
    train(folder, "Nhid: [3], Mhid: [12, 10, 10, 10], kernel_size: 3, pool_size: 2", dataset=", test_limit: 40")
    (folder / "runs" / "tiny").rename(folder / "conv")
    train(folder, "Mhid: [24, 16]", dataset=', classes: ["0", "1", "2"]')
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def lowering(monkeypatch):
    """The plans that the lowering was given; of hidden layers a rule that was made by hand."""
    plans = []
    lower_really = pipeline.lower_learning

    def lower(program, run, plan, recordings, console):
        plans.append((plan, run.spec.on_chip))
        if plan.output:
            return lower_really(program, run, plan, recordings, console)
        return Lowered(hidden_learning(program), warnings=("layer 9: a stand-in",))

    monkeypatch.setattr(pipeline, "lower_learning", lower)
    return plans


@pytest.mark.parametrize(
    ("text", "layers"),
    [(None, None), ("1", (1,)), ("2,0", (0, 2)), ("output", ("output",)), ("output,1", (1, "output"))],
)  # fmt: skip
def test_layers_as_they_are_written(text, layers):
    assert layers_of(text) == layers


@pytest.mark.parametrize(
    ("text", "word"),
    [("one", "0,2"), ("", "0,2"), ("-1", "0,2"), ("outputs", "did you mean 'output'?"), ("1,1", "at most once")],
)
def test_layers_that_are_none(text, word):
    with pytest.raises(UsageError) as caught:
        layers_of(text)
    assert f"--plastic {text}" in str(caught.value) and word in str(caught.value)


def test_an_output_layer(here, decolle_hw, tmp_path, lowering):
    out = tmp_path / "out.net"
    outcome = decolle_hw("compile", "--plastic", "output", "-o", str(out))
    assert outcome.code == 0, outcome.err
    ((plan, on_chip),) = lowering
    assert plan.classes == DIGITS and plan.output == 10 and plan.layers == ()
    assert on_chip.plastic == ["output"] and on_chip.classes == list(DIGITS)
    program, learning = load_with_learning(out)
    assert learning is not None and program.classes == DIGITS and [one.layer for one in learning.plastic] == [2]
    report = json.loads(out.with_suffix(".report.json").read_text())
    names = [entry["population"] for entry in report["placement"]["populations"]]
    assert names == ["dense0", "dense1", "dense2", "error2"]
    assert report["learning"]["classes"] == list(DIGITS) and report["learning"]["faithfulness"] is None
    assert report["learning"]["plastic"] == [{"layer": 2, "rule": str(learning.plastic[0].rule), "epoch": 1}]
    assert report["fits"] and report["estimate"]["total"]["synaptic_ops"] > 0 and report["fidelity"]["recordings"] > 50
    rule = f"layer 2 learns on chip, in epochs of 1 step: dw = {learning.plastic[0].rule}"
    assert rule in outcome.out and "error2" in outcome.out
    assert "layer 2 learns on chip" in out.with_suffix(".report.html").read_text()


def test_a_hidden_layer_as_the_model_says_and_settings_of_the_command(here, decolle_hw, tmp_path, lowering):
    out = tmp_path / "hidden.net"
    sets = ("--set", "on_chip.plastic=[1]", "--set", "on_chip.learning_rate=1e-3", "--set", "on_chip.epoch=4")
    outcome = decolle_hw("compile", *sets, "-o", str(out))
    assert outcome.code == 0, outcome.err
    ((plan, on_chip),) = lowering
    assert plan.layers == (1,) and not plan.output
    assert on_chip.plastic == [1] and on_chip.learning_rate == 0.001 and on_chip.epoch == 4
    learning = load_learning(out)
    assert [one.layer for one in learning.plastic] == [1] and learning.program.classes == ("0", "1", "2")
    assert "learning_rate: 0.001" in learning.program.spec_yaml
    report = json.loads(out.with_suffix(".report.json").read_text())
    assert [entry["population"] for entry in report["placement"]["populations"]] == ["dense0", "dense1", "error1"]
    assert report["warnings"][-1] == "layer 9: a stand-in" and "warning: layer 9: a stand-in" in outcome.out
    again = decolle_hw("compile", "--plastic", "0", "--set", "on_chip.plastic=[1]", "-o", str(tmp_path / "b.net"))
    assert again.code == 0 and lowering[-1][0].layers == (0,)


def test_an_artifact_that_learns_is_placed_again(here, decolle_hw, tmp_path, lowering):
    assert decolle_hw("compile", "--plastic", "output", "-o", str(tmp_path / "one.net")).code == 0
    outcome = decolle_hw("compile", str(tmp_path / "one.net"), "-o", str(tmp_path / "two.net"))
    assert outcome.code == 0, outcome.err
    one, two = load_learning(tmp_path / "one.net"), load_learning(tmp_path / "two.net")
    assert one.digest() == two.digest() and "error2" in outcome.out
    outcome = decolle_hw("compile", str(tmp_path / "one.net"), "--plastic", "1", "--dry-run")
    assert outcome.code == 2 and "says itself which of its layers learn" in outcome.err


def test_an_epoch_longer_than_the_lesson_is_warned_about(here, decolle_hw, tmp_path, lowering):
    options = ("--plastic", "output", "--set", "on_chip.epoch=63", "--set", "on_chip.classes=[7, 3]")
    outcome = decolle_hw("compile", *options, "-o", str(tmp_path / "a.net"))
    assert outcome.code == 0, outcome.err
    assert "warning: layer 2: an epoch of 63 steps is longer than the 13 in which a recording is taught" in outcome.out


def test_chosen_classes_of_an_output_layer(here, decolle_hw, tmp_path, lowering):
    sets = ("--plastic", "output", "--set", "on_chip.classes=[7, 3, 1]")
    outcome = decolle_hw("compile", *sets, "-o", str(tmp_path / "a.net"))
    assert outcome.code == 0, outcome.err
    assert lowering[0][0].classes == ("1", "3", "7")
    run = decolle_hw("run", str(tmp_path / "a.net"), "--sim", "--learn", "--backend", "reference", "--samples", "9")
    assert run.code == 0 and "9 in 1 pass" in run.out, run.err


def test_convolutions_below_a_layer_that_learns(here, decolle_hw, tmp_path, lowering):
    (run,) = (here / "conv").iterdir()
    for plastic, layer, last in (("4", 5, "error4"), ("output", 4, "error3")):  # pooling is not counted by the command
        outcome = decolle_hw("compile", str(run), "--plastic", plastic, "-o", str(tmp_path / "a.net"))
        assert outcome.code == 0, outcome.err
        assert [one.layer for one in load_learning(tmp_path / "a.net").plastic] == [layer]
        report = json.loads((tmp_path / "a.report.json").read_text())
        assert [entry["population"] for entry in report["placement"]["populations"]][-1] == last


CONV = ("conv/RUN", "--plastic", "0")
WRONG = [
    (CONV, ["conv0: plastic convolution", "unshared synapses", "cores instead of", "make a dense layer plastic"]),
    (("--plastic", "2"), ["--plastic 2: plastic layers 2: tiny has layers 0..1"]),
    (("--plastic", "output,1"), ["either these layers plastic, or output"]),
    (("--plastic", "1", "--weight-bits", "4"), ["--weight-bits 4", "all 8 bits"]),
    (("--plastic", "1", "--set", "on_chip.classes=[1, 2]"), ["on_chip.classes", "there is none"]),
    (("--plastic", "output", "--set", "on_chip.classes=[1, 12]"), ["on_chip.classes", "no class '12'", "known: 0"]),
    (("--plastic", "output", "--set", "on_chip.gate=1.0"), ["on_chip.gate: are for hidden layers", "leave out"]),
    (("--set", "training.num_epochs=3"), ["only on_chip.KEY"]),
    (("--set", "on_chip.epoch=99"), ["on_chip.epoch", "63"]),
    (("--plastic", "1", "--target", "loihi1"), ["graded"]),
    (("plain.net", "--plastic", "1"), ["--plastic: learning is lowered from the float rule of a training run"]),
    (("plain.net", "--plastic", "output", "--dry-run"), ["a new layer is for a training run"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_what_is_refused(here, decolle_hw, tmp_path, arguments, words, monkeypatch):
    """Before any long work: nothing is quantized."""
    if not (here / "plain.net").exists():
        assert decolle_hw("compile", "-o", "plain.net").code == 0
    monkeypatch.setattr(pipeline, "compile_run", lambda *_: pytest.fail("was quantized"))
    (run,) = (here / "conv").iterdir()
    arguments = tuple(str(run) if word == "conv/RUN" else word for word in arguments)
    outcome = decolle_hw("compile", *arguments, "-o", str(tmp_path / "x.net"))
    if "--dry-run" in arguments:
        outcome = decolle_hw("compile", *arguments)
    assert outcome.code == 2, outcome.out
    for word in words:
        assert word in outcome.err, outcome.err
    assert not list(tmp_path.glob("x*"))


def test_a_dry_run_places_a_new_layer(here, decolle_hw):
    outcome = decolle_hw("compile", "digits", "--dry-run", "--plastic", "output")
    assert outcome.code == 0 and "dense2" in outcome.out and "error2" in outcome.out, outcome.err
    assert "262,144" in outcome.out  # synapses of the input's 512 features; the centring layer has 512 neurons
    outcome = decolle_hw("compile", "--dry-run", "--plastic", "1")
    assert outcome.code == 0 and "error1" in outcome.out and "dense2" not in outcome.out


def test_an_output_layer_learned_on_chip_goes_back_to_the_front_end(here, decolle_hw, tmp_path, lowering):
    """Compiled with the centring layer, learned, saved as a run, evaluated and compiled again: all agree."""
    out, run = tmp_path / "out.net", tmp_path / "runs" / "learned"
    assert decolle_hw("compile", "--plastic", "output", "-o", str(out)).code == 0
    options = ("--sim", "--learn", "--backend", "reference", "--samples", "300", "--save-checkpoint", str(run))
    outcome = decolle_hw("run", str(out), *options, "--json", str(tmp_path / "a.json"))
    assert outcome.code == 0, outcome.err
    found = json.loads((tmp_path / "a.json").read_text())
    accuracy = found["test"]["after"]["accuracy"]
    assert accuracy > 0.22 > 0.12 > found["test"]["before"]["accuracy"] and found["test"]["after"]["recordings"] == 359
    assert load_run(run).spec.network.Mhid == [24, 24, 10] and load_run(run).classes == DIGITS
    assert abs(found["checkpoint_accuracy"] - accuracy) < 0.05
    outcome = decolle_hw("compile", str(run), "-o", str(tmp_path / "again.net"))
    assert outcome.code == 0, outcome.err
    again = json.loads((tmp_path / "again.report.json").read_text())["fidelity"]["integer_accuracy"]
    assert abs(again - accuracy) < 0.05
    assert decolle_hw("verify", str(out), "--samples", "2", "--backend", "reference").code == 0


def test_nothing_learns_unless_asked(here, decolle_hw, tmp_path):
    outcome = decolle_hw("compile", "-o", str(tmp_path / "a.net"))
    assert outcome.code == 0 and "learning" not in outcome.out
    program, learning = load_with_learning(tmp_path / "a.net")
    assert learning is None and np.any(program.layers[-1].readout_weight)
    assert json.loads((tmp_path / "a.report.json").read_text())["learning"] is None
