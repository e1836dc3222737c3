"""`compile`, `targets` and `export` as a user types them: placement, stages, reports, interchange, wrong input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from compile_tools import train
from placement_checker import differences
from rich.console import Console

from decolle_hw.compiler.artifact import load_artifact
from decolle_hw.compiler.lowering.read import graph_of_program
from decolle_hw.compiler.lowering.stages import lower
from decolle_hw.compiling.pipeline import compile_trained
from decolle_hw.library import shipped_folder
from decolle_hw.targets import load_target
from decolle_hw.training.runs import newest_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("placed")
    train(folder, "neuron: cuba, Nhid: [4], pool_size: 2, kernel_size: 3, Mhid: [16]")
    return folder / "runs"


@pytest.fixture(scope="module")
def compiled(runs) -> Path:
    """Folder with tiny.net and its reports."""
    compile_trained(newest_run(runs), runs.parent / "tiny.net", Console(quiet=True))
    return runs.parent


def assert_same_layers(before: Path, after: Path) -> None:
    for one, other in zip(load_artifact(before).layers, load_artifact(after).layers, strict=True):
        for field in dataclasses.fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_report_holds_a_placement_that_can_be_checked(compiled):
    report = json.loads((compiled / "tiny.report.json").read_text())
    program = load_artifact(compiled / "tiny.net")
    graph = lower(graph_of_program(program))[-1][1]
    found = differences(graph, report["placement"], load_target("loihi2"))
    # The checker counts a spike of every neuron at every step, the report has what was measured.
    assert [one for one in found if not one.startswith("traffic")] == []
    assert report["fits"] and report["violations"] == []
    assert [entry["population"] for entry in report["placement"]["populations"]] == ["conv0", "pool0", "dense1"]
    # Every layer sends its spikes on, and they are counted where they arrive.
    estimate = report["estimate"]
    assert estimate["recordings"] == 32 and estimate["total"]["synaptic_ops"] > 0
    assert sum(core["total"]["synaptic_ops"] for core in estimate["cores"]) == estimate["total"]["synaptic_ops"]
    assert estimate["neurobench"]["synaptic_operations"]["Effective_ACs"] > 0
    page = (compiled / "tiny.report.html").read_text()
    assert page.lower().startswith("<!doctype html>") and "conv0" in page


def test_stages_are_listed_and_saved(compiled, runs, decolle_hw, tmp_path):
    listed = decolle_hw("compile", "--stages", "--json", str(tmp_path / "stages.json"))
    names = ["normalise", "pooling", "delays", "learning", "tiles"]
    assert listed.code == 0 and [name for name in names if name in listed.out] == names
    assert [one["stage"] for one in json.loads((tmp_path / "stages.json").read_text())["stages"]] == names
    outcome = decolle_hw(
        "compile", str(compiled / "tiny.net"), "--dry-run", "--plastic", "1", "--save-stages", str(tmp_path / "s")
    )
    assert outcome.code == 0, outcome.err
    files = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert files == [f"{number}-{name}.json" for number, name in enumerate(names, 1)]
    learning = json.loads((tmp_path / "s" / "4-learning.json").read_text())
    assert [population["name"] for population in learning["populations"]][-1] == "error1"
    tiles = json.loads((tmp_path / "s" / "5-tiles.json").read_text())
    assert {core["population"] for core in tiles["cores"]} == {"conv0", "pool0", "dense1", "error1"}


@pytest.mark.parametrize("model", ["nmnist-paper", "dvs-gesture-paper"])
@pytest.mark.parametrize(
    ("target", "changes", "board"), [("loihi2", (), "Oheo Gulch"), ("loihi1", ("network.neuron=cuba",), "Kapoho Bay")]
)
def test_the_papers_networks_fit_near_the_lower_bound(decolle_hw, tmp_path, monkeypatch, model, target, changes, board):
    monkeypatch.chdir(tmp_path)
    sets = [word for change in changes for word in ("--set", change)]
    outcome = decolle_hw(
        "compile", model, "--dry-run", "--target", target, "--board", board, "--save-stages", "s", *sets
    )
    assert outcome.code == 0, outcome.err
    assert f"board: {board}" in outcome.out
    tiles = json.loads(Path("s/5-tiles.json").read_text())
    assert tiles["bound"] <= len(tiles["cores"]) <= 1.10 * tiles["bound"]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_artifact_is_placed_again(compiled, decolle_hw, tmp_path):
    wanted = ("--target", "loihi1", "-o", str(tmp_path / "one.net"), "--save-stages", str(tmp_path / "stages"))
    again = decolle_hw("compile", str(compiled / "tiny.net"), *wanted)
    assert again.code == 0, again.err
    assert len(list((tmp_path / "stages").iterdir())) == 5
    assert "no estimates: give recordings with --data" in again.out
    assert_same_layers(compiled / "tiny.net", tmp_path / "one.net")
    assert load_artifact(tmp_path / "one.net").target == "loihi1"


def test_nir_and_back_is_the_same_network(compiled, decolle_hw, tmp_path):
    exported = decolle_hw("export", str(compiled / "tiny.net"), "--format", "nir", "-o", str(tmp_path / "tiny.nir"))
    assert exported.code == 0, exported.err
    back = decolle_hw("compile", str(tmp_path / "tiny.nir"), "-o", str(tmp_path / "back.net"))
    assert back.code == 0, back.err
    assert_same_layers(compiled / "tiny.net", tmp_path / "back.net")


def test_targets(decolle_hw, tmp_path):
    listed = decolle_hw("targets")
    assert listed.code == 0 and "loihi1" in listed.out and "Kapoho Point (8)" in listed.out
    one = decolle_hw("targets", "loihi2", "--json", str(tmp_path / "t.json"))
    assert one.code == 0 and "energy.synaptic_op" in one.out and "Davies et al. 2018" in one.out
    assert json.loads((tmp_path / "t.json").read_text())["loihi2"]["in_axons"]["confidence"] == "assumed"
    (tmp_path / "mine.yaml").write_text((shipped_folder("deploy") / "loihi2.yaml").read_text())
    same = decolle_hw("targets", str(tmp_path / "mine.yaml"), "--json", str(tmp_path / "mine.yaml"))
    assert same.code == 2 and "is the target file itself" in same.err
    wrong = decolle_hw("targets", "loihi3")
    assert wrong.code == 2 and "did you mean 'loihi" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digits",), ("not trained", "--dry-run")),
        (("digits", "--dry-run", "-o", "x.net"), ("--output x.net", "dry run")),
        (("digits", "--dry-run", "--approximate", "--steps", "3"), ("--approximate", "--steps")),
        (("digits", "--dry-run", "--plastic", "7"), ("plastic layers 7", "0..2")),
        (("digits", "--dry-run", "--plastic", "one"), ("--plastic one", "0,2")),
        (("digits", "--dry-run", "--board", "Oheo"), ("no board 'Oheo'", "did you mean 'Oheo Gulch'")),
        (("digits", "--dry-run", "--utilisation", "0"), ("--utilisation",)),
        (("digits", "--dry-run", "--utilisation", "nan"), ("--utilisation",)),
        (("digits", "--dry-run", "--cores", "2"), ("cores 5, allowed: at most 2 (3 too many",)),
        (("digits", "--dry-run", "--target", "loihi1"), ("dense0: neuron decolle", "dense2: neuron decolle")),
        (("nmnist-conv", "--dry-run", "--plastic", "1"), ("conv1: plastic convolution", "synapses: 6,422,528 ")),
        (("digits", "--dry-run", "--utilisation", "1e-300"), ("utilisation 1e-300", "at least 0.00024")),
        (("--stages", "digits", "--dry-run"), ("--stages only lists", "--dry-run, SOURCE")),
        (("missing.net",), ("missing.net", "does not exist")),
        (("missing.nir",), ("missing.nir", "does not exist")),
        (("missing.net", "--weight-bits", "4", "--dt", "0.1"), ("--weight-bits", "--dt")),
    ],
)  # fmt: skip
def test_wrong_input(decolle_hw, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    outcome = decolle_hw("compile", *arguments)
    assert outcome.code == 2
    assert all(word in outcome.err for word in words), outcome.err
    assert not list(tmp_path.iterdir())


def test_what_an_artifact_has_no_use_for(compiled, decolle_hw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = decolle_hw("compile", str(compiled / "tiny.net"), "--steps", "40", "--approximate", "-o", "k.net")
    assert outcome.code == 2 and "--steps, --approximate: " in outcome.err and "20 steps stay" in outcome.err
    outcome = decolle_hw("compile", str(compiled / "tiny.net"), "-o", 300 * "a" + ".net")
    assert outcome.code == 2 and "cannot be written: File name too long" in outcome.err
    assert not list(tmp_path.iterdir())


def test_nothing_takes_its_place_before_all_is_written(compiled, decolle_hw, tmp_path, monkeypatch):
    """An artifact beside the report of another would mislead."""

    def interrupted(content):
        raise KeyboardInterrupt

    monkeypatch.setattr("decolle_hw.page.html.page_html", interrupted)
    outcome = decolle_hw("compile", str(compiled / "tiny.net"), "-o", str(tmp_path / "k.net"))
    assert outcome.code == 130 and not list(tmp_path.iterdir())


def test_an_artifact_is_not_replaced_by_what_is_made_of_it(compiled, decolle_hw, monkeypatch):
    monkeypatch.chdir(compiled)
    outcome = decolle_hw("compile", "tiny.net")
    assert outcome.code == 2 and "would be replaced" in outcome.err
