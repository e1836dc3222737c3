"""`config`: where each value comes from, and the schema that editors check descriptions with."""

from __future__ import annotations

import json
import time

import pytest
from rich.console import Console

from decolle_hw.configuring.keys import all_keys
from decolle_hw.configuring.origins import explain
from decolle_hw.configuring.schema import json_schema
from decolle_hw.errors import SpecError
from decolle_hw.library import shipped_folder, shipped_names
from decolle_hw.spec import load_model_spec, model_spec_to_yaml
from decolle_hw.yamlfile import key_lines, parse_yaml, read_yaml

jsonschema = pytest.importorskip("jsonschema")

OWN = """\
# A comment, so that lines are not numbers of keys.
name: own
dataset:
  name: folder
  path: data
network: {Mhid: [8], alpharp: null}

training:
  seed: 3
  quantize:
    weight_bits: 4
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    return file


def origins(name, overrides=(), dataset=None):
    found = explain(str(name), tuple(overrides), dataset, Console(quiet=True))
    return {value.key: value.origin for value in found.values}, {value.key: value.value for value in found.values}


def test_lines_of_keys():
    lines = key_lines(OWN)
    assert lines["name",] == 2 and lines["dataset", "path"] == 5 and lines["network", "Mhid"] == 6
    assert lines["training", "quantize", "weight_bits"] == 11
    assert key_lines("") == {}


def test_every_value_and_its_origin(own):
    where, values = origins(own)
    assert where["name"] == f"{own}:2" and where["dataset.path"] == f"{own}:5" and where["training.seed"] == f"{own}:9"
    assert values["dataset.path"] == str(own.parent / "data")
    assert where["training.quantize.weight_bits"] == f"{own}:11" and "training.quantize" not in where
    assert where["training.batch_size"] == "default" and where["network.vth"] == "default"
    # Left out, and null, which means the same.
    assert where["network.wrp"] == where["network.alpharp"] == "follows from network.neuron"
    assert values["network.alpharp"] == 0.65
    assert where["network.random_tau"] == "default" and values["network.random_tau"] is None


def test_all_values_are_there_in_the_order_of_their_definition(own):
    _, values = origins(own)
    spec = load_model_spec(str(own)).model_dump()
    for key, value in values.items():
        held = spec
        for part in key.split("."):
            held = held[part]
        assert held == value, key
    known = [key.name for key in all_keys()]
    assert [name for name in known if name in values] == list(values)
    # Sections that may be left out stand for their keys, or the keys for them.
    assert set(known) - values.keys() == {
        "training.quantize", "network.random_tau.spread", "network.random_tau.tau_min", "network.random_tau.tau_max"
    }  # fmt: skip


def test_overrides_win_the_last_of_them_and_through_sections(own):
    where, values = origins(own, ["training.seed=4", "training.seed=5", "training.quantize={weight_bits: 6}"])
    assert where["training.seed"] == "--set training.seed=5" and values["training.seed"] == 5
    assert where["training.quantize.weight_bits"] == "--set training.quantize={weight_bits: 6}"
    assert values["training.quantize.weight_bits"] == 6


def test_data_on_the_command_line(tmp_path):
    where, values = origins("digits", (), str(tmp_path))
    assert where["dataset.path"] == where["dataset.name"] == "--data"
    assert values["dataset.name"] == "folder" and values["dataset.path"] == str(tmp_path)
    assert where["dataset.test_path"] == "default"
    where, _ = origins("nmnist", (), str(tmp_path))  # a folder already
    assert where["dataset.path"] == "--data" and where["dataset.name"].endswith("nmnist.yaml:5")


def test_values_that_follow_from_others():
    where, values = origins("dvs-gesture-paper")
    assert where["network.wrp"] == "follows from network.neuron"
    assert where["dataset.downsample"].endswith("dvs-gesture-paper.yaml:7") and values["dataset.downsample"] == 4


def test_auto_is_found_in_the_recordings(own, monkeypatch):
    """`described` has tests of its own; here it says what it found."""
    from decolle_hw.configuring import origins as module

    text = OWN.replace("  path: data\n", "  path: data\n  input_shape: auto\n")
    own.write_text(text)

    def found(name, overrides, dataset, console):
        sizes = (
            "dataset.input_shape=[2, 20, 20]",
            "dataset.downsample=3",
            "dataset.sensor_size=[62, 62]",
            "dataset.chunk_size_train=90",
        )
        return load_model_spec(name, sizes)

    monkeypatch.setattr(module, "read_model", found)
    where, values = origins(own, ["dataset.chunk_size_train=auto"])
    assert where["dataset.input_shape"] == f"found in the recordings ({own}:6: auto)"
    assert where["dataset.chunk_size_train"] == "found in the recordings (--set dataset.chunk_size_train=auto)"
    assert (
        where["dataset.sensor_size"] == where["dataset.downsample"] == "found in the recordings"
        and values["dataset.downsample"] == 3
    )


def test_the_description_of_a_run(tmp_path):
    (tmp_path / "spec.yaml").write_text(model_spec_to_yaml(load_model_spec("digits", ("training.seed=9",))))
    where, values = origins(tmp_path)
    assert values["training.seed"] == 9 and where["training.seed"].startswith(f"{tmp_path / 'spec.yaml'}:")
    assert where["training.quantize"].startswith(f"{tmp_path / 'spec.yaml'}:")


def test_every_key_has_a_doc_line():
    assert [key.name for key in all_keys() if not key.description] == []
    assert len(list(all_keys())) > 70


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digts",), "did you mean 'digits'?"),
        (("here",), "is a folder without spec.yaml"),
        (("none.yaml",), "none.yaml does not exist"),
        (("digits", "--set", "training.sed=1"), "did you mean 'seed'?"),
        (("digits", "--set", "training"), "expected key=value"),
        (("digits", "--only", "trianing"), "trianing"),
        (("digits", "--json", "here"), "is a folder"),
        (("damaged.yaml",), "damaged.yaml: is not YAML"),
    ],
)
def test_wrong_input_is_one_line(decolle_hw, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "damaged.yaml").write_text("name: [\n")
    found = decolle_hw("config", "show", *arguments)
    assert found.code == 2 and words in found.err and found.err.count("\n") == 1 and not found.out


def test_show_prints_and_writes(decolle_hw, own):
    found = decolle_hw("config", "show", str(own), "--only", "training")
    assert found.code == 0 and "training.seed" in found.out and "own.yaml:9" in found.out
    assert "dataset.path" not in found.out and "recordings presented side by side" in found.out
    content = json.loads(decolle_hw("config", "show", str(own), "--json", "-").out)
    assert content["model"] == "own"
    seed = content["values"]["training.seed"]
    assert (seed["value"], seed["origin"]) == (3, f"{own}:9") and "initial weights" in seed["description"]


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", shipped_names("models"))
def test_shipped_models_hold_to_the_schema(validator, name):
    assert list(validator.iter_errors(read_yaml(shipped_folder("models") / f"{name}.yaml"))) == []
    validator.validate(load_model_spec(name).model_dump())  # as a run keeps it


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("dataset: {input_shape: auto, sensor_size: auto, chunk_size_train: auto, chunk_size_test: auto}", True),
        ("dataset: {classes: [3, seven]}", True),
        ("training: {learning_rate: [1, 0.5]}", True),
        ("on_chip: {plastic: [0, output]}", True),
        ("training: {update_every: sequence}", True),
        ("dataset: {deltat: auto}", False),
        ("dataset: {input_shape: automatic}", False),
        ("dataset: {input_shape: [2, 16]}", False),
        ("dataset: {classes: [3]}", False),
        ("training: {learning_rte: 0.1}", False),
        ('training: {seed: "3"}', False),
        ("training: {batch_size: 1.5}", False),
        ("training: {update_every: 0}", False),
        ("network: {neuron: cubo}", False),
        ("on_chip: {plastic: [last]}", False),
        ("name: -wrong", False),
    ],
)
def test_what_the_schema_takes_and_refuses(validator, text, is_right):
    values = {"name": "own", "network": {"Mhid": [8]}}
    for key, value in parse_yaml(text).items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
    assert (list(validator.iter_errors(values)) == []) == is_right


def test_the_schema_explains_every_key():
    schema = json_schema()

    def walk(part, path=()):
        for name, field in part.get("properties", {}).items():
            if "$ref" in field:
                yield from walk(schema["$defs"][field["$ref"].rpartition("/")[2]], (*path, name))
            else:
                yield ".".join((*path, name)), field

    found = dict(walk(schema))
    assert len(found) > 60
    assert [key for key, field in found.items() if not field.get("description")] == []


def test_the_schema_is_written_with_the_line_that_uses_it(decolle_hw, tmp_path):
    found = decolle_hw("config", "schema", "-o", str(tmp_path / "model.schema.json"))
    assert found.code == 0 and "# yaml-language-server: $schema=model.schema.json" in found.out
    assert json.loads((tmp_path / "model.schema.json").read_text()) == json_schema()
    assert json.loads(decolle_hw("config", "schema").out) == json_schema()


def test_many_keys_are_explained_quickly():
    began = time.process_time()
    explain("digits", (), None, Console(quiet=True))
    assert time.process_time() - began < 2.0


def test_a_run_of_nothing(tmp_path):
    with pytest.raises(SpecError, match="is a folder without"):
        explain(str(tmp_path), (), None, Console(quiet=True))
