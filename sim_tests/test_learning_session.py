"""`run --sim --learn` as a user types it: what is learned, compared, saved, resumed and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compile_tools import train
from plastic_artifacts import make
from rich.console import Console

from decolle_hw.compiler.artifact import load_artifact, load_learning
from decolle_hw.compiling.pipeline import compile_trained
from decolle_hw.sim.learning import learn
from decolle_hw.sim.learning_state import load_state, save_state, start_state
from decolle_hw.training.runs import load_run, newest_run

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def places() -> dict[str, Path]:
    """Those that were made, whatever the order of the tests."""
    return {}


@pytest.fixture(scope="module", params=["decolle", "cuba"])
def place(request, places, digits_drawn_once_for_module, tmp_path_factory) -> Path:
    """A folder with a run trained on 0..4 and artifacts: plain, learning in its last layer, with an output layer."""
    if request.param not in places:
        places[request.param] = make_place(request.param, tmp_path_factory.mktemp(request.param))
    return places[request.param]


def make_place(neuron: str, folder: Path) -> Path:
    vth = ", vth: 0.1" if neuron == "cuba" else ""
    network = f"neuron: {neuron}, Mhid: [48, 32]{vth}"
    train(folder, network, ", seed: 3", dataset=', classes: ["0", "1", "2", "3", "4"]', epochs=4)
    compile_trained(newest_run(folder / "runs"), folder / "plain.net", Console(quiet=True))
    make(folder / "plain.net", folder / "hidden.net")
    make(folder / "plain.net", folder / "output.net", DIGITS)
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


LEARN = ("--sim", "--learn", "--backend", "reference")


def learned(decolle_hw, out: Path, *arguments: str) -> dict:
    outcome = decolle_hw("run", *arguments, "--json", str(out))
    assert outcome.code == 0, outcome.err
    return json.loads(out.read_text())


def test_a_new_output_layer_learns_all_classes(here, decolle_hw, tmp_path):
    """Before it answers 0 to everything; 300 recordings later it knows digits that the network was never trained on."""
    found = learned(decolle_hw, tmp_path / "a.json", "output.net", *LEARN, "--passes", "2", "--samples", "300")
    before, after = found["test"]["before"], found["test"]["after"]
    assert found["classes"] == list(DIGITS) and after["recordings"] == 359
    assert before["accuracy"] < 0.12 and after["accuracy"] > before["accuracy"] + 0.08
    new = [after["per_class"][name]["accuracy"] for name in "56789"]
    assert max(new) > 0.3
    assert len(found["shown"]) == found["presented"] == 600 and found["presented_before"] == 0
    names = [entry["recording"] for entry in found["shown"]]
    assert sorted(names[:300]) == sorted(names[300:]) and names[:300] != names[300:] and len(set(names)) == 300
    hits = sum(entry["label"] == entry["decision"] for entry in found["shown"])
    assert found["while_learning"] == {"recordings": 600, "accuracy": hits / 600}
    (layer,) = found["layers"]
    assert layer["layer"] == 2 and layer["weights"] == 320 and layer["updates"] >= layer["different"] > 50
    assert found["compared_values"] is None


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
def test_in_lava_everything_is_compared(here, decolle_hw, tmp_path):
    outcome = decolle_hw("run", "hidden.net", "--sim", "--learn", "--samples", "4", "--json", str(tmp_path / "a.json"))
    assert outcome.code == 0, outcome.err
    found = json.loads((tmp_path / "a.json").read_text())
    learning = load_learning(here / "hidden.net")
    layer = learning.program.layers[1]
    epochs = 4 * learning.slot // learning.plastic[0].epoch
    values = 4 * learning.slot * layer.num_neurons * 4  # spikes, u, v, r
    values += epochs * (layer.weight.size + 2 * (layer.num_inputs + layer.num_neurons))
    assert found["compared_values"] == values and found["mismatches"] == 0
    assert f"{values:,} values compared" in outcome.out and "0 mismatches" in outcome.out
    again = learned(decolle_hw, tmp_path / "b.json", "hidden.net", *LEARN, "--samples", "4")
    assert again["shown"] == found["shown"] and again["test"] == found["test"] and again["layers"] == found["layers"]


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
def test_a_state_from_lava_goes_on_in_the_reference(here, decolle_hw, tmp_path):
    """Without a word of the backend: `run --sim --learn --save-state`, and `--load-state` with what it has written."""
    part, end, whole = (str(tmp_path / f"{name}.npz") for name in ("part", "end", "whole"))
    command = ("run", "hidden.net", "--sim", "--learn", "--samples", "2")
    first = decolle_hw(*command, "--save-state", part)
    assert first.code == 0 and "0 mismatches" in first.out, first.err
    second = decolle_hw(*command, "--load-state", part, "--save-state", end)
    assert second.code == 0 and "going on in the integer reference" in second.out, second.err
    learned(
        decolle_hw, tmp_path / "a.json", *command[1:], "--backend", "reference", "--passes", "2", "--save-state", whole
    )
    learning = load_learning(here / "hidden.net")
    one, other = load_state(Path(whole), learning), load_state(Path(end), learning)
    assert one.presented == other.presented == 4
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        for name, array in mine._asdict().items():
            np.testing.assert_array_equal(array, getattr(theirs, name), name)


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
def test_a_difference_from_lava_is_exit_code_1_and_nothing_is_saved(here, decolle_hw, tmp_path, monkeypatch):
    from decolle_hw.lava_backend import learning_runner

    def wrong(learning, recordings, order, targets, *, seed, **_):
        """In the place of Lava: the reference, but for one weight."""
        state = start_state(learning, [seed])
        lava, end = learn(learning, state, recordings, order[None], targets[None], record=True)
        lava.records[0].weight[0, 5, 3, 2] += 2
        return lava, {1: end.weights(learning, 1)[0]}

    monkeypatch.setattr(learning_runner, "learn_in_lava", wrong)
    saved = tmp_path / "learned.net"
    outcome = decolle_hw("run", "hidden.net", "--sim", "--learn", "--samples", "2", "--save-learned", str(saved))
    assert outcome.code == 1 and "differ; nothing was saved" in outcome.err and not saved.exists()
    assert "1 mismatches" in outcome.out and "first difference" in outcome.out and "weight [3, 2]" in outcome.out


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
@pytest.mark.parametrize("rounding", ["lava", "per-synapse"])
def test_a_resumed_session_is_an_unbroken_one(here, decolle_hw, tmp_path, rounding):
    options = ("output.net", *LEARN, "--samples", "40")
    fresh = ("--seed", "5", "--rounding", rounding)
    whole, part, end = (tmp_path / f"{name}.npz" for name in ("whole", "part", "end"))
    unbroken = learned(decolle_hw, tmp_path / "a.json", *options, *fresh, "--passes", "3", "--save-state", str(whole))
    first = learned(decolle_hw, tmp_path / "b.json", *options, *fresh, "--passes", "2", "--save-state", str(part))
    resume = ("--load-state", str(part), "--save-state", str(end), "--save-learned", str(tmp_path / "l.net"))
    second = learned(decolle_hw, tmp_path / "c.json", *options, *resume)
    assert first["shown"] + second["shown"] == unbroken["shown"]
    assert second["test"]["after"] == unbroken["test"]["after"] and second["test"]["before"] == first["test"]["after"]
    assert (second["seed"], second["rounding"], second["presented_before"]) == (5, rounding, 80)
    learning = load_learning(Path("output.net"))
    one, other = load_state(whole, learning), load_state(end, learning)
    assert one.presented == other.presented == 120 and one.rounding == other.rounding == rounding
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        for name, array in mine._asdict().items():
            np.testing.assert_array_equal(array, getattr(theirs, name), name)
    np.testing.assert_array_equal(
        load_artifact(tmp_path / "l.net").layers[2].weight, one.weights(learning, 2)[0] // 2 * 2
    )


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
def test_another_seed_is_another_run(here, decolle_hw, tmp_path):
    options = ("output.net", *LEARN, "--samples", "20")
    runs = [learned(decolle_hw, tmp_path / f"{seed}.json", *options, "--seed", seed) for seed in ("2", "3")]
    assert runs[0]["shown"] != runs[1]["shown"]


# How a layer becomes floats again depends on its neuron where it is new; of a hidden one only the weights are written.
@pytest.mark.parametrize(
    ("place", "kind"), [("decolle", "output"), ("cuba", "output"), ("cuba", "hidden")], indirect=["place"]
)
def test_what_was_learned_goes_back_to_the_front_end(here, decolle_hw, tmp_path, kind):
    """Saved as artifact and as run; evaluated, compiled and run: all agree with what was measured on chip."""
    artifact, run = tmp_path / "learned.net", tmp_path / "runs" / "learned"
    options = ("--samples", "300", "--save-learned", str(artifact), "--save-checkpoint", str(run))
    found = learned(decolle_hw, tmp_path / "a.json", f"{kind}.net", *LEARN, *options)
    accuracy = found["test"]["after"]["accuracy"]
    count = found["test"]["after"]["recordings"]
    assert count == (359 if kind == "output" else 180)
    # The lowest bit of some weights, and rounding of decays: a few recordings, whose spikes stand at the edge.
    slack = 0.05
    assert abs(found["test"]["saved_artifact"]["accuracy"] - accuracy) < slack
    executed = learned(decolle_hw, tmp_path / "b.json", str(artifact), "--sim", "--backend", "reference")
    assert executed["accuracy"] == found["test"]["saved_artifact"]["accuracy"] and executed["recordings"] == count
    evaluated = decolle_hw("evaluate", str(run), "--json", str(tmp_path / "c.json"))
    assert evaluated.code == 0, evaluated.err
    float_accuracy = json.loads((tmp_path / "c.json").read_text())["accuracy"]
    assert float_accuracy == pytest.approx(found["checkpoint_accuracy"], abs=1e-9)
    assert abs(float_accuracy - accuracy) < slack
    compiled = decolle_hw("compile", str(run), "-o", str(tmp_path / "again.net"))
    assert compiled.code == 0, compiled.err
    report = json.loads((tmp_path / "again.report.json").read_text())
    assert report["learning"] is None
    assert abs(report["fidelity"]["integer_accuracy"] - accuracy) < slack
    spec = load_run(run).spec
    assert spec.network.Mhid == ([48, 32, 10] if kind == "output" else [48, 32])
    assert load_run(run).classes == (DIGITS if kind == "output" else DIGITS[:5])
    resumed = decolle_hw("train", "--resume", str(run))
    assert resumed.code == 2 and resumed.err.count("\n") == 1
    more = learned(decolle_hw, tmp_path / "d.json", str(artifact), *LEARN, "--samples", "10")
    assert more["test"]["before"] == found["test"]["saved_artifact"]


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
def test_recordings_and_labels_of_the_users_own(here, decolle_hw, tmp_path):
    """Labels that say the opposite: what is learned is what the file says."""
    inputs, steps = 288, load_artifact(Path("output.net")).steps
    spikes = (np.random.default_rng(1).random((12, steps, inputs)) < 0.05).astype(np.uint8)
    np.savez(tmp_path / "spikes.npz", spikes=spikes)
    names = [str(9 - number % 10) for number in range(12)]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    given = ("--data", str(tmp_path / "spikes.npz"), "--labels", str(tmp_path / "labels.txt"))
    found = learned(decolle_hw, tmp_path / "a.json", "output.net", *LEARN, *given)
    assert {entry["recording"]: entry["label"] for entry in found["shown"]} == {
        f"spikes/{number}": name for number, name in enumerate(names)
    }
    assert found["test"]["before"]["recordings"] == 359  # those of the data set that it was compiled from
    (tmp_path / "labels.txt").write_text("\n".join(names[:-2]))
    outcome = decolle_hw("run", "output.net", *LEARN, *given)
    assert outcome.code == 2 and "10 labels are fewer than the 12 recordings" in outcome.err
    (tmp_path / "labels.txt").write_text("\n".join([*names[:-1], "11"]))
    outcome = decolle_hw("run", "output.net", *LEARN, *given)
    assert outcome.code == 2 and "line 12: '11' is no class of the network; did you mean '1'?" in outcome.err


STATE = ("--load-state", "STATE")
WRONG = [
    (("plain.net", *LEARN), ["no layer of tiny learns on chip", "--plastic"]),
    (("plain.net", "--sim", "--passes", "2", "--seed", "3"), ["--passes, --seed", "add --learn"]),
    (("output.net", "--learn"), ["say where to run"]),
    (("output.net", *LEARN, "--jobs", "2", "--csv", "x.csv"), ["--csv, --jobs", "one recording after another"]),
    (("output.net", *LEARN, "--seed", "-1"), ["--seed", "2147483644"]),
    (("output.net", *LEARN, "--seed", "2147483645"), ["--seed", "2147483644"]),
    (("output.net", *LEARN, "--rounding", "up"), ["--rounding", "per-synapse"]),
    (("output.net", *LEARN, "--load-state", "none.npz"), ["none.npz", "no such file"]),
    (("output.net", *LEARN, "--load-state", "plain.net"), ["plain.net", "learning state"]),
    (("hidden.net", *LEARN, *STATE), ["is the state of another network"]),
    (("output.net", *LEARN, *STATE, "--seed", "3"), ["--seed 3", "has 9; leave --seed out"]),
    (("output.net", *LEARN, *STATE, "--rounding", "per-synapse"), ["--rounding per-synapse", "has lava"]),
    (("output.net", "--sim", "--learn", *STATE, "--backend", "lava", "--rounding", "per-synapse"),
     ["--load-state", "Lava cannot start in the middle", "--backend reference", "per-synapse"]),
    (("output.net", *LEARN, "--save-learned", "x.h5", "--save-state", "y.net"),
     ["--save-learned x.h5: the name must end in .net", "--save-state y.net"]),
    (("output.net", *LEARN, "--save-learned", "./output.net"), ["would replace what it is made from"]),
    (("output.net", *LEARN, "--save-checkpoint", "runs"), ["runs: exists already"]),
    (("output.net", *LEARN, "--save-checkpoint", "new", "--runs", "none"), ["is not below none", "--runs"]),
    (("output.net", *LEARN, "--labels", "none.txt"), ["none.txt: does not exist"]),
    (("output.net", *LEARN, "--data", "none"), ["none: does not exist"]),
    (("output.net", "--sim", "--learn", "--passes", "500000"), ["GB", "--backend reference"]),
    (("output.net", *LEARN, "--passes", "1000000000"), ["--passes 1000000000", "at most 1,000,000", "--load-state"]),
    (("output.net", *LEARN, "--save-state", "x", "--json", "x"), ["--save-state x: is the same file as --json x"]),
    (("output.net", *LEARN, "--labels", "DIGITS", "--save-state", "DIGITS"), ["is the same file as --labels"]),
]  # fmt: skip


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_what_is_refused(here, decolle_hw, tmp_path, arguments, words):
    """One clear error, before any recording is shown, and nothing is written."""
    files = {"STATE": tmp_path / "state.npz", "DIGITS": tmp_path / "digits.txt"}
    save_state(files["STATE"], start_state(load_learning(here / "output.net"), [9]))
    files["DIGITS"].write_text("\n".join(DIGITS))
    before = sorted(here.iterdir())
    outcome = decolle_hw("run", *(str(files.get(word, word)) for word in arguments))
    assert files["DIGITS"].read_text() == "\n".join(DIGITS)
    assert outcome.code == 2, outcome.out
    for word in words:
        assert word in outcome.err, outcome.err
    assert "learning" not in outcome.out and sorted(here.iterdir()) == before and "Traceback" not in outcome.err


@pytest.mark.parametrize("place", ["decolle"], indirect=True)
def test_an_output_layer_is_verified_without_a_float_stage(here, decolle_hw):
    outcome = decolle_hw("verify", "output.net", "--samples", "2")
    assert outcome.code == 0, outcome.err
    assert "0 mismatches" in outcome.out
