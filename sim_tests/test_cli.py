"""The commands as a user types them: results, files, exit codes, and one clear line for every bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from decolle_hw import cli
from decolle_hw.compiler.artifact import load_artifact

if TYPE_CHECKING:
    from conftest import Outcome

TINY = """
name: tiny
dataset: {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20}
network: {neuron: NEURON, Mhid: [24, 16], alpha: 0.8, beta: 0.7VTH}
training: {num_epochs: 2, learning_rate: 0.02, burnin_steps: 4, update_every: 4, batch_size: 128}
"""


def tiny(neuron: str) -> str:
    """The YAML of a network that trains in a second."""
    return TINY.replace("NEURON", neuron).replace("VTH", ", vth: 0.1" if neuron == "cuba" else "")


@pytest.fixture(scope="module", params=["decolle", "cuba"])
def workplace(request, digits_drawn_once_for_module, tmp_path_factory):
    """A folder in which a tiny network was trained and compiled, one per neuron."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "tiny.yaml").write_text(tiny(request.param))
    for arguments in (["train", "tiny.yaml"], ["compile", "--target", "loihi2"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["decolle-hw", *arguments])
            cli.main()
    return folder


def fails(outcome: Outcome, *words: str) -> None:
    """Exit code 2, one line on standard error that holds all words, no traceback."""
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


def test_train_writes_a_run_and_compile_an_artifact(workplace):
    (run,) = (workplace / "runs" / "tiny").iterdir()
    names = sorted(path.name for path in run.iterdir() if not path.name.startswith("events.out.tfevents."))
    assert names == [
        "checkpoint.safetensors", "last.safetensors", "metrics.json", "resume.safetensors", "spec.yaml",
    ]  # fmt: skip
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    metrics = json.loads((run / "metrics.json").read_text())
    assert len(metrics["history"]) == 2 and metrics["test_recordings"] == 359
    assert metrics["test_accuracy"][-1] > 0.3  # ten classes: far above chance after two epochs
    report = json.loads((workplace / "tiny.report.json").read_text())
    assert len(report["placement"]["cores"]) >= 2
    assert report["fidelity"]["spike_agreement"][0] > 0.9
    assert not [path for path in workplace.rglob("*") if "partial" in path.name]


def test_run_in_lava_equals_reference_and_writes_predictions(workplace, decolle_hw, monkeypatch):
    monkeypatch.chdir(workplace)
    outcome = decolle_hw("run", "--sim", "--samples", "12", "--json", "lava.json")
    assert outcome.code == 0, outcome.err
    assert "12 recordings" not in outcome.err and ", 0 mismatches" in outcome.out
    outcome = decolle_hw("run", "--sim", "--backend", "reference", "--samples", "12", "--json", "reference.json")
    assert outcome.code == 0, outcome.err
    lava, reference = (json.loads(Path(name).read_text()) for name in ("lava.json", "reference.json"))
    assert lava["predictions"] == reference["predictions"] and len(lava["predictions"]) == 12
    assert lava["compared_values"] >= 12 * (20 - 2) * 40 and lava["mismatches"] == 0


def test_verify_counts_every_register(workplace, decolle_hw, monkeypatch):
    monkeypatch.chdir(workplace)
    outcome = decolle_hw("verify", "--samples", "3")
    assert outcome.code == 0, outcome.err
    decolle = load_artifact(Path("tiny.net")).layers[0].neuron == "decolle"
    # cuba layer i holds its reset state until step i + 1, which is not counted
    values = 3 * 20 * 40 * 4 if decolle else 3 * (19 * 24 + 18 * 16) * 3
    assert f"{values:,} values compared" in outcome.out and ", 0 mismatches" in outcome.out


def test_verify_exits_1_on_a_mismatch(workplace, decolle_hw, monkeypatch):
    """A reference that decays differently must be caught."""
    from decolle_hw.fidelity import chain
    from decolle_hw.sim import reference

    def wrong(program, spikes_RTI, *, record=False):
        import dataclasses

        layer = dataclasses.replace(program.layers[0], dv=program.layers[0].dv + 1)
        return reference.run_reference(
            dataclasses.replace(program, layers=(layer, *program.layers[1:])), spikes_RTI, record=record
        )

    monkeypatch.chdir(workplace)
    monkeypatch.setattr(chain, "run_reference", wrong)
    outcome = decolle_hw("verify", "--samples", "2")
    assert outcome.code == 1 and "differ" in outcome.err
    assert "first divergence" in outcome.out and "layer 0" in outcome.out


def test_verify_random_networks(decolle_hw):
    outcome = decolle_hw("verify", "--random", "2", "--seed", "3", "--json", "-")
    assert outcome.code == 0, outcome.err
    assert "decolle" in outcome.err and "cuba" in outcome.err and " 0 mismatches" in outcome.err
    networks = json.loads(outcome.out)["networks"]
    assert [network["neuron"] for network in networks] == ["decolle", "cuba"]
    assert all(network["mismatches"] == 0 < network["compared"] for network in networks)


def test_a_seed_repeats_itself(tmp_path, decolle_hw, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(tiny("decolle"))
    for runs in ("a", "b"):
        assert decolle_hw("train", "tiny.yaml", "--epochs", "1", "--runs", runs).code == 0
    first, second = (next(Path(runs).rglob("checkpoint.safetensors")).read_bytes() for runs in ("a", "b"))
    assert first == second


def test_own_recordings_from_folder_to_lava(tmp_path, decolle_hw, monkeypatch):
    """A folder of .bin recordings, no split given: train, compile, run on the same kind of folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, half in (("left", 0), ("right", 6)):
        Path("mine", name).mkdir(parents=True)
        for index in range(8):
            count = 300
            t = np.sort(rng.integers(0, 300_000, count))
            x, y, p = rng.integers(half, half + 6, count), rng.integers(0, 12, count), rng.integers(0, 2, count)
            data = np.stack([x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255], 1).astype(np.uint8)
            Path("mine", name, f"{index}.bin").write_bytes(data.tobytes())
    Path("tiny.yaml").write_text(tiny("cuba"))
    assert decolle_hw("train", "tiny.yaml", "--data", "mine", "--set", "training.num_epochs=6").code == 0
    assert decolle_hw("compile").code == 0
    outcome = decolle_hw("run", "--sim", "--data", "mine", "--json", "out.json")
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("out.json").read_text())
    assert result["recordings"] == 16 and result["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "digitz"], ["'digitz'", "did you mean 'digits'?"]),
        (["train", "nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
        (["train", "digits", "--set", "training.num_epoch=3"], ["training.num_epoch", "did you mean 'num_epochs'?"]),
        (["train", "digits", "--set", "training.num_epochs=many"], ["training.num_epochs", "'many'"]),
        (["train", "digits", "--set", "training.num_epochs"], ["key=value"]),
        (["train", "digits", "--set", "training.burnin_steps=60"], ["burnin_steps 60", "chunk_size_train 60"]),
        (["train", "digits", "--set", "dataset.name=digit"], ["dataset.name", "'digit'", "did you mean 'digits'?"]),
        (["train", "digits", "--set", "network.vth=0.2"], ["vth 0.2", "no effect on neuron decolle"]),
        (["train", "digits", "--set", "network.wrp=.inf"], ["network.wrp", "inf"]),
        (["train", "digits", "--seed", str(2**70)], ["training.seed"]),
        (["train", "nmnist"], ["dataset.path", "--data"]),
        (["train", "nmnist", "--data", "missing"], ["missing", "does not exist"]),
        (["train", "nmnist", "--data", "empty"], ["empty"]),
        (["train", "--resume"], ["runs: holds no unfinished run", "decolle-hw train"]),
        (["train", "digits", "--resume"], ["holds no unfinished run of 'digits'"]),
        (["train", "digitz", "--resume"], ["'digitz'", "did you mean 'digits'?"]),
        (["train", "--resume", "runs/nowhere"], ["runs/nowhere: does not exist", "runs holds no run"]),
        (["train", "--resume", "empty"], ["empty: is not a training run", "spec.yaml is missing"]),
        (["train", "--resume", "--epochs", "3"], ["holds no unfinished run"]),
        (["evaluate"], ["runs: holds no training run"]),
        (["evaluate", "nowhere"], ["nowhere: does not exist", "not a training run"]),
        (["evaluate", "empty"], ["empty: is not a training run", "spec.yaml is missing"]),
        (["evaluate", "--json", "."], ["'.'", "is a folder"]),
        (["compile"], ["runs", "decolle-hw train"]),
        (["compile", "--target", "loihi3"], ["'loihi3'", "did you mean 'loihi2'?"]),
        (["compile", "nowhere"], ["nowhere: does not exist", "not a training run", "runs holds no run"]),
        (["compile", "notes.net"], ["notes.net: is not a network", "not an HDF5 file"]),
        (["evaluate", "notes.net"], ["notes.net: is a file", "not a training run"]),
        (["evaluate", "--json", "notes.net"], ["--json notes.net", ".net is for compiled networks"]),
        (["run", "--sim", "--csv", "notes.net"], ["--csv notes.net", ".net is for compiled networks"]),
        (["run", "--sim"], ["no compiled network", "decolle-hw compile"]),
        (["run"], ["--sim"]),
        (["run", "--hw"], ["--hw", "Intel"]),
        (["run", "--sim", "notes.net", "--json", "."], ["'.'", "is a folder"]),
        (["verify", "notes.net", "--random", "1"], ["--random", "ARTIFACT"]),
        (["run", "--sim", "missing.net"], ["missing.net", "does not exist"]),
        (["run", "--sim", "notes.net"], ["notes.net", "not a decolle-hw artifact"]),
        (["verify", "other.net"], ["other.net", "group 'decolle_hw' is missing"]),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, decolle_hw, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("notes.net").write_text("not HDF5")
    with h5py.File("other.net", "w") as file:
        file["layer/0/type"] = np.bytes_("dense")
    if arguments == ["run", "--sim"]:
        Path("notes.net").unlink()
        Path("other.net").unlink()
    before = sorted(tmp_path.rglob("*"))
    fails(decolle_hw(*arguments), *words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nnetwork: {Mhid: [8]}\ncolour: red\n", ["mine.yaml", "'colour'"]),
        ("name: x\nnetwork: {Mhid: [8], alfa: 0.9}\n", ["network.alfa", "did you mean 'alpha'?"]),
        ("name: x\nnetwork: {Mhid: [8], alpha: 1.5}\n", ["network.alpha", "1.5"]),
        ("name: x\nnetwork: {Mhid: ['8']}\n", ["network.Mhid", "'8'"]),
        ("name: x\nnetwork: {Mhid: [8], neuron: cuba, wrp: 1.0}\n", ["wrp 1.0", "no effect on neuron cuba"]),
        ("[" * 1000, ["mine.yaml", "nested"]),
        ("name: x\nnetwork: {Mhid: []}\n", ["network", "has no layer", "Mhid (units)"]),
        ("name: x\n", ["network", "missing"]),
        ("name: ../x\nnetwork: {Mhid: [8]}\n", ["name", "../x"]),
        ("- a\n- b\n", ["mine.yaml", "mapping"]),
        ("name: [unclosed\n", ["mine.yaml", "not YAML"]),
    ],
)
def test_wrong_yaml_is_one_clear_line(tmp_path, decolle_hw, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(text)
    fails(decolle_hw("train", "mine.yaml"), *words)
    assert not Path("runs").exists()


def test_cuda_where_there_is_none(decolle_hw, tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fails(decolle_hw("train", "--device", "cuda"), "--device cuda", "--device cpu")


def test_nothing_can_be_written(decolle_hw, tmp_path, monkeypatch):
    """A file where the runs folder should be: as good as no permission, and it holds for root too."""
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("in the way")
    Path("tiny.yaml").write_text(tiny("decolle"))
    fails(decolle_hw("train", "tiny.yaml"), "runs", "cannot be written", "is not a folder")
    assert Path("runs").read_text() == "in the way"


def test_help_needs_neither_torch_nor_lava():
    """Import the command line with both made unimportable."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['lava'] = None\n"
        "from decolle_hw.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    sys.argv = ['decolle-hw', command, '--help']\n"
        "    main()\n"
    )
    commands = sorted(cli.cli.table)
    done = subprocess.run(
        [sys.executable, "-c", code, *commands],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for command in commands:
        assert f"Usage: decolle-hw {command} " in done.stdout, done.stdout
