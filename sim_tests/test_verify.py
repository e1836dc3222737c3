"""`decolle-hw verify` as a user types it: the chain, the verdict, the files, and every wrong use."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from small_programs import make_program

from decolle_hw import cli
from decolle_hw.compiler.artifact import load_artifact, save_artifact
from decolle_hw.compiler.program import Program
from decolle_hw.data import load_split
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide
from decolle_hw.spec import model_spec_from_yaml
from decolle_hw.training.runs import load_run

TINY = """
name: tiny
dataset: {name: digits, input_shape: [2, 12, 12], deltat: 15000, chunk_size_train: 20, chunk_size_test: 20}
network: {neuron: decolle, Mhid: [24, 16], alpha: 0.8, beta: 0.7}
training: {num_epochs: 1, learning_rate: 0.02, burnin_steps: 4, update_every: 4, batch_size: 128}
"""


@pytest.fixture(scope="module")
def trained(digits_drawn_once_for_module, tmp_path_factory):
    """A folder in which a tiny network was trained and compiled; nobody changes it."""
    folder = tmp_path_factory.mktemp("verify")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.yaml").write_text(TINY)
        for arguments in (["train", "tiny.yaml"], ["compile"]):
            cli.cli.main(arguments, standalone_mode=False)
    return folder


@pytest.fixture
def workplace(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def changed(program: Program, index: int, **fields: object) -> Program:
    layers = list(program.layers)
    layers[index] = dataclasses.replace(layers[index], **fields)
    return dataclasses.replace(program, layers=tuple(layers))


def fails(outcome, *words: str) -> None:
    """Exit code 2, one line on standard error that holds all words."""
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


def test_the_whole_chain(workplace, decolle_hw, tmp_path):
    pytest.importorskip("lava", reason="Lava is not installed")
    outcome = decolle_hw("verify", "--samples", "5", "--max-drop", "100", "--json", str(tmp_path / "chain.json"))
    assert outcome.code == 0, outcome.err
    values = 5 * 20 * 40 * 4
    assert f"{values:,} values compared" in outcome.out and ", 0 mismatches" in outcome.out
    assert "verified" in outcome.out
    content = json.loads((tmp_path / "chain.json").read_text())
    assert content["passed"] and content["recordings"] == 5 and content["warnings"] == content["failures"] == []
    assert [stage["stage"] for stage in content["stages"]] == ["float", "quantized", "integer reference", "Lava"]
    assert content["comparison"]["compared"] == values and content["comparison"]["first"] is None
    assert content["comparison"]["per_layer"][1]["r"] == {"compared": 5 * 20 * 16, "mismatches": 0}


def test_figures_are_those_of_a_run_by_hand(workplace, decolle_hw, tmp_path):
    """Accuracy, decisions and agreement once more, from the float network and the reference themselves."""
    assert (
        decolle_hw("verify", "--backend", "reference", "--samples", "359", "--json", str(tmp_path / "v.json")).code == 0
    )
    content = json.loads((tmp_path / "v.json").read_text())
    program = load_artifact(Path("tiny.net"))
    (folder,) = Path("runs/tiny").iterdir()
    recordings = load_split(model_spec_from_yaml(program.spec_yaml, "x").dataset, "test", classes=program.classes)
    frames = recordings.dense(np.arange(len(recordings)))
    from torch import from_numpy

    network = load_run(folder).network()
    outputs, _ = network(from_numpy(frames).float(), network.zero_state(len(recordings)))
    floats = outputs[-1].readout_TBC[program.burnin_steps :].sum(0).argmax(1).numpy()
    trace = run_reference(program, to_batch_first(frames), record=True)
    integers = decide(program, trace)
    stages = {stage["stage"]: stage for stage in content["stages"]}
    for name, decisions in (("float", floats), ("integer reference", integers)):
        hits = int((decisions == recordings.labels).sum())
        assert stages[name]["hits"] == hits and stages[name]["accuracy"] == hits / 359
        assert stages[name]["accuracy_interval_95"] == list(wilson_interval(hits, 359))
    assert content["drop"] == pytest.approx(
        100 * (stages["float"]["accuracy"] - stages["integer reference"]["accuracy"])
    )
    for index, (output, layer) in enumerate(zip(outputs, trace.layers, strict=True)):
        own = content["layers"][index]
        spikes = output.spikes_TBN.numpy().transpose(1, 0, 2)
        pairs = {(pair["left"], pair["right"]): pair for pair in own["agreement"]}
        assert pairs["float", "integer reference"]["spike_agreement"] == pytest.approx((spikes == layer.spikes).mean())
        assert own["firing_rates"]["integer reference"] == pytest.approx(layer.spikes.mean())
        for name, values in layer.registers.items():
            assert own["registers"][name]["peak"] == np.abs(values).max()
    assert content["comparison"] is None


def test_without_the_training_run_the_chain_begins_with_integers(workplace, decolle_hw, tmp_path):
    elsewhere = str(tmp_path / "nothing")
    arguments = ("verify", "--backend", "reference", "--samples", "3", "--runs", elsewhere)
    outcome = decolle_hw(*arguments, "--json", str(tmp_path / "v.json"))
    assert outcome.code == 0, outcome.err
    assert "--run" in outcome.out and "quantized" in outcome.out
    content = json.loads((tmp_path / "v.json").read_text())
    assert content["run"] is None and content["drop"] is None
    assert [stage["stage"] for stage in content["stages"]] == ["quantized", "integer reference"]
    fails(decolle_hw(*arguments, "--max-drop", "1"), "--max-drop", "--run", elsewhere)


def test_the_training_run_is_found_by_its_checkpoint(workplace, decolle_hw, tmp_path):
    (folder,) = Path("runs/tiny").iterdir()
    outcome = decolle_hw("verify", "--backend", "reference", "--samples", "3", "--runs", "x", "--run", str(folder))
    assert outcome.code == 0 and "float" in outcome.out
    program = load_artifact(Path("tiny.net"))
    other = dataclasses.replace(program, checkpoint_sha256="0" * 64)
    save_artifact(other, tmp_path / "other.net")
    fails(
        decolle_hw("verify", str(tmp_path / "other.net"), "--run", str(folder), "--backend", "reference"),
        "another checkpoint", "000000000000",
    )  # fmt: skip
    fails(decolle_hw("verify", "--run", "nowhere", "--backend", "reference"), "nowhere", "does not exist")


def test_accuracy_that_falls_too_far(workplace, decolle_hw, tmp_path):
    """Readouts turned round: every spike is right, and the decision is not."""
    program = load_artifact(Path("tiny.net"))
    upside_down = changed(
        program, 1, readout_weight=-program.layers[1].readout_weight, readout_bias=-program.layers[1].readout_bias
    )
    save_artifact(upside_down, tmp_path / "bad.net")
    arguments = ("verify", str(tmp_path / "bad.net"), "--backend", "reference", "--samples", "60")
    outcome = decolle_hw(*arguments, "--max-drop", "5", "--json", str(tmp_path / "v.json"))
    assert outcome.code == 1 and "accuracy falls by" in outcome.err and "--max-drop 5" in outcome.err
    content = json.loads((tmp_path / "v.json").read_text())
    assert not content["passed"] and content["drop"] > 5
    # Exactly as far as allowed is allowed.
    assert decolle_hw(*arguments, "--max-drop", repr(content["drop"])).code == 0
    assert decolle_hw(*arguments).code == 0


@pytest.mark.parametrize("backend", ["reference", "lava"])
def test_another_artifact_on_one_side(workplace, decolle_hw, tmp_path, backend):
    """One weight is wrong: layer, neuron, step and recording are those of a comparison by hand."""
    if backend == "lava":
        pytest.importorskip("lava", reason="Lava is not installed")
    program = load_artifact(Path("tiny.net"))
    weight = program.layers[1].weight.copy()
    weight[5] -= 2 * np.sign(weight[5])
    save_artifact(changed(program, 1, weight=weight), tmp_path / "wrong.net")
    outcome = decolle_hw(
        "verify", "--samples", "4", "--against", str(tmp_path / "wrong.net"), "--backend", backend,
        "--json", str(tmp_path / "v.json"),
    )  # fmt: skip
    assert outcome.code == 1
    side = ("Lava" if backend == "lava" else "the reference") + " on wrong.net"
    assert f"error: {side} and the integer reference differ, first in layer 1" in outcome.err
    assert "verified" not in outcome.out
    recordings = load_split(model_spec_from_yaml(program.spec_yaml, "x").dataset, "test", classes=program.classes)
    which = np.linspace(0, len(recordings) - 1, 4).round().astype(int)
    spikes_RTI = to_batch_first(recordings.dense(which))
    traces = [
        run_reference(one, spikes_RTI, record=True).layers[1].registers["u"]
        for one in (program, load_artifact(tmp_path / "wrong.net"))
    ]
    recording, step, neuron = np.argwhere(traces[0] != traces[1])[0].tolist()
    assert neuron == 5
    content = json.loads((tmp_path / "v.json").read_text())
    assert content["comparison"]["stage"] == side and not content["passed"]
    first = content["comparison"]["first"]
    assert first == {
        "recording": recording, "step": step, "layer": 1, "quantity": "u", "neuron": 5, "chip_step": step,
        "left": int(traces[0][recording, step, 5]), "right": int(traces[1][recording, step, 5]), "place": None,
        "name": recordings.names[which[recording]],
    }  # fmt: skip
    where = f"recording {recording}, step {step}, layer 1, neuron 5: u is {first['left']} in the integer reference and "
    assert (
        f"{where}{first['right']} in {side}\n" in outcome.out and f"{where}{first['right']} in {side}\n" in outcome.err
    )
    assert first["name"] in outcome.out


def test_artifacts_that_cannot_be_compared(workplace, decolle_hw, tmp_path):
    program = load_artifact(Path("tiny.net"))
    save_artifact(dataclasses.replace(program, steps=19), tmp_path / "short.net")
    fails(decolle_hw("verify", "--against", str(tmp_path / "short.net")), "short.net", "steps is 19", "20")
    save_artifact(make_program("pooled", "decolle"), tmp_path / "conv.net")
    fails(decolle_hw("verify", "--against", str(tmp_path / "conv.net")), "input_shape", "(2, 6, 6)")
    fails(decolle_hw("verify", "--against", str(tmp_path / "none.net")), "none.net")


def test_silent_and_saturated_layers_are_named(workplace, decolle_hw, tmp_path):
    program = load_artifact(Path("tiny.net"))
    silent = changed(program, 0, vth=np.full(24, (1 << 17) - 1, np.int32))
    silent = changed(silent, 1, vth=np.full(16, 100, np.int32))
    save_artifact(silent, tmp_path / "silent.net")
    outcome = decolle_hw("verify", str(tmp_path / "silent.net"), "--backend", "reference", "--samples", "4")
    assert outcome.code == 0
    for index in (0, 1):
        line = f"warning: layer {index} never spikes on these recordings (quantized, integer reference)"
        assert line in outcome.out
    loud = changed(program, 0, weight_exp=7)
    save_artifact(loud, tmp_path / "loud.net")
    outcome = decolle_hw("verify", str(tmp_path / "loud.net"), "--backend", "reference", "--samples", "4")
    assert outcome.code == 0 and "warning: layer 0: u wraps" in outcome.out
    assert "warning: layer 0: v saturates" in outcome.out and "layer 1: u" not in outcome.out


def test_a_wrong_use_is_refused_before_any_work(workplace, decolle_hw, tmp_path):
    fails(decolle_hw("verify", "--random", "2", "tiny.net"), "--random", "ARTIFACT")
    for option in (
        ("--run", "x"),
        ("--against", "x"),
        ("--max-drop", "1"),
        ("--plot", "x"),
        ("--data", "x"),
    ):
        fails(decolle_hw("verify", "--random", "2", *option), "--random", option[0])
    for option in (("--backend", "reference"), ("--samples", "20"), ("--runs", "runs")):  # a default, but given
        fails(decolle_hw("verify", "--random", "2", *option), f"leave {option[0]} out")
    fails(decolle_hw("verify", "--seed", "0"), "--seed 0", "--random")
    (tmp_path / "file").write_text("")
    fails(decolle_hw("verify", "--json", str(tmp_path / "file" / "v.json")), "v.json")
    fails(decolle_hw("verify", "--json", "v.out", "--plot", "v.out"), "v.out", "same file")
    fails(decolle_hw("verify", "--json", "v.out", "--plot", "runs/../v.out"), "v.out", "same file")
    before = Path("tiny.net").read_bytes()
    for option in ("--json", "--plot"):
        fails(decolle_hw("verify", option, "tiny.net"), f"{option} tiny.net", ".net is for compiled networks")
    assert Path("tiny.net").read_bytes() == before
    for value in ("-1", "101", "x", "nan"):
        assert decolle_hw("verify", "--max-drop", value).code == 2
    assert not Path("v.out").exists()


def test_a_plot(workplace, decolle_hw, tmp_path):
    picture = tmp_path / "chain.png"
    outcome = decolle_hw("verify", "--backend", "reference", "--samples", "6", "--plot", str(picture))
    assert outcome.code == 0, outcome.err
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 20_000 and str(picture) in outcome.out


def test_a_file_name_is_not_mathematics_in_a_plot(workplace, decolle_hw, tmp_path):
    other, picture = tmp_path / r"$\frac$.net", tmp_path / "chain.png"
    other.write_bytes(Path("tiny.net").read_bytes())
    outcome = decolle_hw(
        "verify", "--backend", "reference", "--samples", "2", "--against", str(other), "--plot", str(picture)
    )
    assert outcome.code == 0, outcome.err
    assert picture.read_bytes().startswith(b"\x89PNG")
