"""`models`: the zoo with figures that commands have printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from decolle_hw.compiler.mapping import Wanted
from decolle_hw.compiling.pipeline import compile_network
from decolle_hw.compiling.request import Request
from decolle_hw.errors import SpecError
from decolle_hw.library import shipped_names
from decolle_hw.targets import load_target
from decolle_hw.zoo import measured
from decolle_hw.zoo.entries import read_entries, read_entry

ROOT = Path(__file__).resolve().parent.parent


def test_every_model_has_an_entry_and_no_other():
    assert sorted(measured.figures().models) == shipped_names("models")
    used = {
        figure.source
        for of_model in measured.figures().models.values()
        for figure in (of_model.accuracy, of_model.cores, of_model.energy)
        if figure is not None
    }
    assert used == measured.figures().sources.keys()


@pytest.mark.parametrize("name", shipped_names("models"))
def test_cores_are_those_of_a_dry_run(name):
    request = Request(Wanted(load_target("loihi2")), name, dry_run=True)
    compiled = compile_network(request, Console(quiet=True))
    assert len(compiled.mapped.placement.cores) == measured.figures().models[name].cores.cores


def test_accuracies_are_those_that_the_zoo_prints():
    """models/README.md has the lines that the commands printed."""
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"\| `([\w-]+)` \| 8 bits after training \| ([^|]+\|[^|]+) \|", text))
    assert {"digits", "digits-cuba", "nmnist", "nmnist-cuba"} == rows.keys()
    for name, printed in rows.items():
        accuracy = measured.figures().models[name].accuracy
        low, high = accuracy.interval
        expected = f"{accuracy.before_integers:.1f} % | {accuracy.integers:.1f} % ({low:.1f}-{high:.1f})"
        assert printed == expected, name
    for name in ("nmnist-conv", "mnist"):
        accuracy = measured.figures().models[name].accuracy
        low, high = accuracy.interval
        line = next(line for line in text.splitlines() if f"decolle-hw train {name} " in line and "| 9" in line)
        assert f"{accuracy.before_integers:.1f} % ({low:.1f}-{high:.1f})" in line
        assert f"{accuracy.trained_on:,}" in line and f"{accuracy.recordings:,}" in line


def test_words_for_networks():
    entries = {entry.name: entry for entry in read_entries()}
    assert entries["digits"].network == "dense 512-128-128" and entries["digits"].inputs == "2x16x16"
    assert entries["nmnist-conv"].network == "conv 16-32-32 of 7x7, pool 2-1-2"
    assert entries["nmnist-paper"].steps == "300 of 1 ms"
    assert entries["mnist"].next_commands[0] == "decolle-hw train mnist --data FILE.npz"
    assert entries["digits"].next_commands[0] == "decolle-hw train digits"


def test_energy_of_a_recording_is_that_of_its_steps():
    entry = read_entry("digits")
    assert entry.energy_uj == pytest.approx(60 * entry.measured.energy.nj_per_step * 1e-3)
    assert read_entry("nmnist-paper").energy_uj is None


def test_the_table_and_one_model(decolle_hw):
    found = decolle_hw("models")
    assert found.code == 0
    for name in shipped_names("models"):
        assert f"│ {name} " in found.out
    assert "- not measured" in found.out and "upper-side estimate" in found.out
    found = decolle_hw("models", "digits")
    assert "Mhid: [512, 128, 128]" in found.out and "python benchmarks/quantization.py" in found.out
    assert "decolle-hw train digits\n" in found.out


def test_json(decolle_hw, tmp_path):
    content = json.loads(decolle_hw("models", "--json", "-").out)
    assert sorted(content) == shipped_names("models")
    assert content["digits"]["inputs"] == 512 and content["digits"]["measured"]["cores"]["cores"] == 5
    assert content["digits"]["measured"]["accuracy"]["source"]["command"].startswith("python benchmarks/")
    assert content["nmnist-paper"]["measured"]["accuracy"] is None


def test_a_model_of_ones_own_has_no_figures(decolle_hw, tmp_path):
    """Not even when it has the name of a shipped one."""
    own = tmp_path / "own.yaml"
    own.write_text("name: digits\ndataset: {name: digits, deltat: 5000}\nnetwork: {Mhid: [8]}\n")
    found = decolle_hw("models", str(own))
    assert found.code == 0 and "not of the zoo" in found.out and f"decolle-hw train {own}" in found.out
    found = decolle_hw("models", "digts")
    assert found.code == 2 and "did you mean 'digits'?" in found.err and found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("source: dry-run}", "source: dry-ran}", "source 'dry-ran' is not among the sources"),
        ("cores: 5,", "cores: five,", "cores.cores"),
        ("models:", "model:", "unknown key 'model'; did you mean 'models'?"),
    ],
)
def test_a_damaged_file_of_figures(monkeypatch, tmp_path, old, new, words):
    damaged = tmp_path / "measured.yaml"
    damaged.write_text(measured.FILE.read_text().replace(old, new))
    monkeypatch.setattr(measured, "FILE", damaged)
    with pytest.raises(SpecError, match=re.escape(words)):
        measured.figures.__wrapped__()
