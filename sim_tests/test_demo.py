"""`decolle-hw demo MODEL`: one story from its first step to its last, its page and picture, and parts by themselves."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from test_page import Structure

from decolle_hw.compiler.artifact import load_artifact, load_learning
from decolle_hw.errors import CheckError, CompileError, SpecError, UsageError
from decolle_hw.page.lines import Line, line_chart
from decolle_hw.sim.compare import compare
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import readouts
from decolle_hw.story import draw, tell
from decolle_hw.story.animation import FRAMES, evidence
from decolle_hw.story.cast import cast_of
from decolle_hw.story.draw import chosen_recordings
from decolle_hw.story.request import StoryRequest
from decolle_hw.training.runs import load_run

TINY = """
name: tiny
dataset:
  {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20, train_limit: 250,
   test_limit: 50, classes: [0, 1, 4]}
network: {neuron: decolle, Mhid: [96, 24], alpha: 0.8, beta: 0.7}
training: {num_epochs: 2, learning_rate: 0.02, burnin_steps: 4, update_every: 4, batch_size: 64}
"""
STEPS, LAYERS = 20, (96, 24)
WRITTEN = ("net", "learning.net", "learned.net", "demo.png", "demo.gif", "demo.html", "report.html")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def test_the_whole_story(place, decolle_hw, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(draw, "SCENES", 1)
    outcome = decolle_hw("demo", "tiny.yaml", "--new-class", "6", "--json", "story.json")
    assert outcome.code == 0, outcome.err
    for name in WRITTEN:
        assert Path(f"tiny.{name}").stat().st_size > 1000, name
    found = json.loads(Path("story.json").read_text())
    assert (found["known_classes"], found["new_class"]) == (["0", "1", "4"], "6")
    _steps_are_told_in_their_order(outcome.out)
    _table_says_what_was_done(found, outcome.out)
    _class_was_learned_on_chip(found)
    _pictures_move_and_stand()
    _page_holds_everything(found)
    # Each command is one that the program takes, and the last one tells the same story again.
    assert found["command"] == found["commands"]["demo"] == "decolle-hw demo tiny.yaml --new-class 6"
    assert '\'dataset.classes=["0", "1", "4"]\'' in found["commands"]["learn"]
    again = decolle_hw(*found["commands"]["run"].split()[1:], "--json", "run.json")
    assert again.code == 0, again.err
    ran = json.loads(Path("run.json").read_text())
    assert ran["accuracy"] == found["table"][3]["accuracy"]
    assert ran["compared_values"] == found["table"][3]["compared_values"]


def _steps_are_told_in_their_order(out: str) -> None:
    headings = ["1  learn:", "2  compile for loihi2:", "3  certify:", "4  run in Lava:", "5  learn class 6 on chip:"]
    places = [out.index(heading) for heading in [*headings, "6  look at it:"]]
    assert places == sorted(places)


def _table_says_what_was_done(found: dict, out: str) -> None:
    rows = found["table"]
    assert [row["step"] for row in rows] == [
        "1 learn", "2 compile", "3 certify", "4 run", "5 new class", "", "6 look",
    ]  # fmt: skip
    program = load_artifact(Path("tiny.net"))
    assert program.classes == ("0", "1", "4") and load_run(Path(found["run"])).classes == program.classes
    count = rows[3]["recordings"]
    assert rows[2]["recordings"] == min(20, count)
    # u, v, r and spikes of every neuron at every step; then the spikes alone.
    assert rows[2]["compared_values"] == rows[2]["recordings"] * STEPS * sum(LAYERS) * 4
    assert rows[3]["compared_values"] == count * STEPS * sum(LAYERS)
    assert found["compared_values"] == sum(row["compared_values"] or 0 for row in rows)
    assert rows[1]["cores"] >= 2 and rows[1]["energy_pj_per_recording"] > 0
    assert all(row["seconds"] > 0 for row in rows if row["step"])
    assert found["seconds"]["all"] == pytest.approx(sum(row["seconds"] or 0 for row in rows))
    assert rows[0]["accuracy"] > 0.6, "three classes: far above chance"
    for value in (f"{found['compared_values']:,}", "the classes known before", "0 mismatches"):
        assert value in out


def _class_was_learned_on_chip(found: dict) -> None:
    on_chip, row, others = found["on_chip"], found["table"][4], found["table"][5]
    assert on_chip["mismatches"] == 0 and on_chip["in_lava"] == 20
    assert set(on_chip["per_quantity"]) == {"spikes", "u", "v", "r", "weights", "traces"}
    # 4 classes on 96 features, after each of 20 steps, of each of 20 recordings.
    assert on_chip["per_quantity"]["weights"] == 4 * 96 * STEPS * 20
    exams = on_chip["exams"]
    assert [exam["shown"] for exam in exams][:2] == [0, 20] and len(exams) == 7
    assert row["accuracy_before"] == exams[0]["per_class"]["6"]["accuracy"] == 0.0, "it has never been taught"
    assert row["accuracy"] == exams[-1]["per_class"]["6"]["accuracy"] > 0.0
    assert max(exam["per_class"]["6"]["accuracy"] for exam in exams) > 0.25, "tiny features, but they see something"
    assert row["recordings"] + others["recordings"] == exams[0]["recordings"] and others["accuracy"] > 0.5
    learned, empty = (load_learning(Path(f"tiny.{name}.net")) for name in ("learned", "learning"))
    assert learned.program.classes == ("0", "1", "4", "6")
    assert not empty.program.layers[-1].weight.any() and learned.program.layers[-1].weight.any()


def _pictures_move_and_stand() -> None:
    with Image.open("tiny.demo.gif") as picture:
        assert picture.size == (800, 450) and picture.info["loop"] == 0
        assert picture.n_frames % min(STEPS, FRAMES) == 0 and picture.n_frames >= STEPS
        frames = []
        for index in range(STEPS):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
    # The stage does not flicker: what is dark beside the pictures stays so.
    assert all((frame[405:450, 300:800] == frames[0][405:450, 300:800]).all() for frame in frames)
    # Rasters only grow: what has spiked stays white (the line of the moment moves on).
    white = [(frame[60:400, 300:560] > 220).all(-1).sum() for frame in frames]
    assert white[-1] > white[5] > 0
    assert Path("tiny.demo.gif").stat().st_size < 400_000
    assert Path("tiny.demo.png").read_bytes().startswith(b"\x89PNG")


def _page_holds_everything(found: dict) -> None:
    page = Path("tiny.demo.html").read_text(encoding="utf-8")
    structure = Structure(page)
    assert "default-src 'none'" in page and "script" not in structure.tags
    assert all(asked.startswith(("data:", "#")) for asked in structure.asked), "it opens without a network"
    assert page.count("data:image/gif;base64,") == page.count("data:image/png;base64,") == 1
    words = " ".join(" ".join(structure.words).split())
    for command in found["commands"].values():
        assert " ".join(command.split()) in words, command
    assert f"{found['compared_values']:,} values" in words
    assert re.findall(r'<section id="([^"]*)"', page) == [
        "picture", "table", "learn", "compile", "certify", "run", "new-class", "made",
    ]  # fmt: skip
    pictures = re.findall(r'data-picture="([^"]*)"', page)
    assert {"learning", "accuracy-chain", "raster-0", "raster-2", "lessons"} <= set(pictures)
    assert len(set(pictures)) == len(pictures)


def test_a_difference_in_lava_ends_the_story(place, monkeypatch):
    """Whoever runs before: an artifact is all that the step takes."""
    program = load_artifact(place / "tiny.net")

    def with_a_fault(given, recordings, **_):
        spikes_RTI = np.ascontiguousarray(recordings.dense(np.arange(len(recordings))).transpose(1, 0, 2))
        trace = run_reference(given, spikes_RTI)
        spikes = trace.layers[0].spikes.copy()
        spikes[1, 7, 3] ^= 1
        other = replace(trace, layers=(replace(trace.layers[0], spikes=spikes), *trace.layers[1:]))
        return other, compare(given, trace, other)

    monkeypatch.setattr(tell, "run_both", with_a_fault)
    with pytest.raises(CheckError, match=r"Lava and the integer reference differ: .*layer 0"):
        tell._run_in_lava(program, 4, Console(quiet=True))


def test_what_cannot_be_learned_on_chip_is_left_out_with_the_reason(place, monkeypatch):
    """Features that never fire, a class without a test recording: minutes of work are not lost for it."""

    def silent(*_, **__):
        raise CompileError("layer 0: no neuron fires in calibration")

    monkeypatch.setattr(tell, "_compile", silent)
    request = StoryRequest("digits", output=place)
    found = tell._meet_new_class(None, cast_of(NAMES, None, None), request.files("x"), request, Console(quiet=True))
    assert found == (None, None, "layer 0: no neuron fires in calibration")


NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("classes", "chosen", "wanted", "known", "new", "everything"),
    [
        (NAMES, None, None, "abc", "d", "abcd"),  # the last one
        (NAMES, None, "b", "acd", "b", "abcd"),
        (NAMES, ["a", "d"], None, "ad", "c", "acd"),  # the last that was not taken
        (NAMES, ["d", "a"], "b", "ad", "b", "abd"),
        (NAMES, ["a", "b", "d"], "b", "ad", "b", "abd"),
        (NAMES, list(NAMES), None, "abc", "d", "abcd"),
        (NAMES[:3], None, None, "ab", "c", "abc"),
        (NAMES[:2], None, None, "ab", None, "ab"),  # two are needed to be trained on
    ],
)
def test_who_is_new(classes, chosen, wanted, known, new, everything):
    cast = cast_of(classes, chosen, wanted)
    assert (cast.known, cast.new, cast.everything) == (tuple(known), new, tuple(everything))
    assert bool(cast.why_none) == (new is None)


@pytest.mark.parametrize(
    ("chosen", "wanted", "words"),
    [
        (None, "e", "--new-class: the data set has no class 'e'"),
        (["a", "b"], "b", "--new-class b: leaves a to be trained on"),
        (["a", "z"], None, "dataset.classes: the data set has no class 'z'"),
    ],
)
def test_who_cannot_be_new(chosen, wanted, words):
    with pytest.raises((UsageError, SpecError), match=re.escape(words)):
        cast_of(NAMES, chosen, wanted)


WRONG = [
    (("digits", "--new-class", "ten"), ["--new-class: the data set has no class 'ten'"]),
    (("digits", "--shots", "3"), ["--shots: for an experiment", "digits is a model"]),
    (("few-shot", "--new-class", "3"), ["--new-class: for a model", "few-shot is an experiment"]),
    (("digits", "--json", "digits.demo.gif"), ["--json digits.demo.gif", "is written by the demo itself"]),
    (("digits", "-o", "tiny.yaml"), ["tiny.yaml/digits.net", "cannot be written"]),
    (("digits", "--set", "dataset.classes=[0, 11]"), ["dataset.classes: the data set has no class '11'"]),
    (("nmnist",), ["dataset.path", "--data"]),
    (("digits", "--json", "story.net"), ["--json story.net", ".net is for compiled networks"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_what_is_refused(place, decolle_hw, monkeypatch, arguments, words):
    """One line, before anything is trained."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(tell, "train_model", lambda *_: pytest.fail("was trained"))
    outcome = decolle_hw("demo", *arguments)
    assert outcome.code == 2 and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err


def test_recordings_of_different_classes_are_drawn():
    labels, decisions = np.array([0, 0, 1, 2, 2, 3, 4]), np.array([1, 0, 1, 3, 2, 3, 4])
    assert chosen_recordings(labels, decisions).tolist() == [1, 4, 6]
    assert chosen_recordings(labels, labels + 10).tolist() == [0], "none is right"
    assert chosen_recordings(labels[:2], decisions[:2]).tolist() == [1]


@pytest.mark.parametrize("prediction", ["sum", "mode"])
def test_the_bars_end_where_the_network_decides(place, prediction):
    program = replace(load_artifact(place / "tiny.net"), prediction=prediction)
    spikes = (np.random.default_rng(0).random((1, STEPS, program.num_inputs)) < 0.1).astype(np.uint8)
    trace = run_reference(program, spikes)
    sums = evidence(program, trace)
    np.testing.assert_array_equal(sums[-1], readouts(program, trace)[0])
    assert not sums[: program.burnin_steps].any() and sums[-1].any()


def test_a_line_chart_says_whose_each_line_is():
    lines = [Line("known <b>", ((0, 0.9), (20, 0.8))), Line("new", ((0, 0.1), (20, 0.81)))]
    drawn = str(line_chart("chart", "Title", lines, "shown", shaded=(0.0, 10.0)).drawing)
    named = [Line("a", ((0, 0.5), (1, 0.6)))]
    assert "a, twenty: 60.0 %" in str(line_chart("chart", "Title", named, "shown", ticks=("none", "twenty")).drawing)
    assert "known &lt;b&gt;" in drawn and "new, 20: 81.0 %" in drawn
    labels = [float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" font-size="11.5"', drawn)]
    assert len(labels) == 2 and abs(labels[0] - labels[1]) >= 12, "labels of lines that end together stand apart"
    assert line_chart("chart", "Title", [], "shown") is None
