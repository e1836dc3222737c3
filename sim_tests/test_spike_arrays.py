"""Arrays of spikes as --data of a network that came without recordings, from the command line to the decisions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from decolle_hw.compiler.artifact import save_artifact
from decolle_hw.sim.random_program import random_program, random_spikes
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide

PROGRAM = dataclasses.replace(random_program(np.random.default_rng(1), "cuba", like_quantizer=True), spec_yaml="")
SPIKES_RTI = random_spikes(np.random.default_rng(4), PROGRAM, 12)
LABELS = np.arange(12) % len(PROGRAM.classes)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Here lie x.net and s.npz."""
    monkeypatch.chdir(tmp_path)
    save_artifact(PROGRAM, Path("x.net"))
    np.savez("s.npz", spikes=SPIKES_RTI, labels=np.array(PROGRAM.classes)[LABELS])
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_decisions_are_those_of_the_reference(decolle_hw):
    outcome = decolle_hw("run", "--sim", "--backend", "reference", "--data", "s.npz", "--json", "r.json")
    assert outcome.code == 0, outcome.err
    predictions = [entry["prediction"] for entry in json.loads(Path("r.json").read_text())["predictions"]]
    expected = decide(PROGRAM, run_reference(PROGRAM, SPIKES_RTI))
    assert predictions == [PROGRAM.classes[index] for index in expected]
    assert len(set(predictions)) > 1, "or the comparison says little"


@pytest.mark.usefixtures("folder")
def test_maps_are_flattened(decolle_hw):
    maps = SPIKES_RTI.reshape(12, -1, *PROGRAM.input_shape).astype(float)
    np.savez("maps.npz", spikes=maps, labels=np.array(PROGRAM.classes)[LABELS])
    outcome = decolle_hw("run", "--sim", "--backend", "reference", "--data", "maps.npz", "--json", "r.json")
    assert outcome.code == 0, outcome.err
    predictions = [entry["prediction"] for entry in json.loads(Path("r.json").read_text())["predictions"]]
    assert predictions == [PROGRAM.classes[index] for index in decide(PROGRAM, run_reference(PROGRAM, SPIKES_RTI))]


@pytest.mark.usefixtures("folder")
def test_estimates_are_measured_on_them(decolle_hw):
    outcome = decolle_hw("compile", "x.net", "-o", "y.net", "--data", "s.npz")
    assert outcome.code == 0, outcome.err
    estimate = json.loads(Path("y.report.json").read_text())["estimate"]
    trace = run_reference(PROGRAM, SPIKES_RTI)
    assert estimate["recordings"] == 12
    assert estimate["total"]["spikes"] == sum(int(layer.spikes.sum()) for layer in trace.layers)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": LABELS}, "needed are spikes"),
        ({"spikes": SPIKES_RTI[:, :, 1:], "labels": LABELS}, "the network takes (1, 1, 60)"),
        ({"spikes": SPIKES_RTI[:, :9], "labels": LABELS}, "recordings have 9 steps, those of the network 25; compile"),
        ({"spikes": 2 * SPIKES_RTI, "labels": LABELS}, "values other than 0 and 1"),
        ({"spikes": SPIKES_RTI, "labels": LABELS[1:]}, "12 recordings have 11 labels"),
        ({"spikes": SPIKES_RTI, "labels": LABELS + 100}, "no class of the network: 100, 101, 102"),
        ({"spikes": SPIKES_RTI[:0], "labels": LABELS[:0]}, "has shape (0,"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_does_not_fit(decolle_hw, arrays, words):
    if len(arrays.get("labels", ())) and "spikes" in arrays and arrays["labels"].max() < 100:
        arrays = arrays | {"labels": np.array(PROGRAM.classes)[arrays["labels"]]}
    np.savez("wrong.npz", **arrays)
    outcome = decolle_hw("run", "--sim", "--backend", "reference", "--data", "wrong.npz")
    assert outcome.code == 2 and outcome.err.startswith("error: wrong.npz: ") and words in outcome.err


@pytest.mark.usefixtures("folder")
def test_without_recordings(decolle_hw, tmp_path):
    outcome = decolle_hw("run", "--sim", "--backend", "reference")
    assert outcome.code == 2 and "comes from elsewhere, without recordings; give some with --data" in outcome.err
    (tmp_path / "events").mkdir()
    outcome = decolle_hw("run", "--sim", "--backend", "reference", "--data", "events")
    assert outcome.code == 2 and "takes 1x1x60 inputs" in outcome.err and "FILE.npz with spikes" in outcome.err
