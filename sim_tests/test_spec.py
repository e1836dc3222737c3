"""Descriptions in YAML: what is read, what is refused."""

from __future__ import annotations

import pytest
import yaml

from decolle_hw import yamlfile
from decolle_hw.errors import SpecError
from decolle_hw.library import shipped_folder, shipped_names
from decolle_hw.spec import load_model_spec, model_spec_from_yaml, model_spec_to_yaml
from decolle_hw.yamlfile import parse_yaml


@pytest.mark.parametrize("name", shipped_names("models"))
def test_every_shipped_model_reads_and_round_trips(name):
    spec = load_model_spec(name)
    assert spec.name == name
    assert model_spec_from_yaml(model_spec_to_yaml(spec), "test") == spec


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("2.5E4", 2.5e4), ("-1e3", -1e3), (".5e1", 5.0), ("3", 3), ("e3", "e3"), ("1e", "1e")],
)
def test_numbers_as_people_write_them(text, value):
    parsed = parse_yaml(text)
    assert parsed == value and type(parsed) is type(value)


def test_overrides_reach_their_key():
    spec = load_model_spec("digits", ("training.learning_rate=1e-2", "network.Mhid=[64, 10]", "network.alpha=0"))
    assert spec.training.learning_rate == 0.01 and spec.network.Mhid == [64, 10] and spec.network.alpha == 0.0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("network.neuron=cubo", ["network.neuron", "did you mean 'cuba'?"]),
        ("network.alpha=1.0", ["network.alpha", "1.0"]),
        ("dataset.input_shape=[3, 8, 8]", ["input_shape [3, 8, 8]", "polarities", "1 to merge"]),
        ("dataset.path=x", ["dataset", "path", "name: folder"]),
        ("training.update_every=0", ["training.update_every", "0"]),
        ("name.first=x", ["'name' is a value"]),
        ("training.betas=[0.9]", ["training.betas"]),
        ("training.quantize.wieght_bits=4", ["training.quantize.wieght_bits", "did you mean 'weight_bits'?"]),
        ("training.quantize.weight_bits=9", ["training.quantize.weight_bits", "9"]),
    ],
)
def test_wrong_values_are_named(override, words):
    with pytest.raises(SpecError) as caught:
        load_model_spec("digits", (override,))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_relative_data_paths_count_from_the_yaml_and_overrides_from_here(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    own = tmp_path / "there" / "own.yaml"
    own.write_text("name: own\ndataset: {name: folder, path: data}\nnetwork: {Mhid: [8]}\n")
    monkeypatch.chdir(tmp_path / "here")
    assert load_model_spec(str(own)).dataset.path == str(tmp_path / "there" / "data")
    assert load_model_spec("../there/own.yaml", ("dataset.path=mine",)).dataset.path == str(tmp_path / "here" / "mine")


def test_an_override_reaches_into_a_section_that_is_written_as_null(tmp_path):
    """As the description in a run's folder has it."""
    own = tmp_path / "own.yaml"
    own.write_text(model_spec_to_yaml(load_model_spec("digits")))
    assert "quantize: null" in own.read_text()
    quantize = load_model_spec(str(own), ("training.quantize.weight_bits=4",)).training.quantize
    assert quantize is not None and quantize.weight_bits == 4


def test_both_yaml_parsers_read_the_same_and_survive_deep_nesting(monkeypatch):
    """Short texts go to libyaml, which would take the process with it where a long one nests too deeply."""
    texts = [path.read_text(encoding="utf-8") for path in shipped_folder("models").glob("*.yaml")]
    texts += [model_spec_to_yaml(load_model_spec("digits")), "a: [1e-3, 0x10, yes, null, 2026-01-02, '1']"]
    quick = [yamlfile.parse_yaml(text) for text in texts]
    with monkeypatch.context() as patch:
        patch.setattr(yamlfile, "LONGEST_FOR_LIBYAML", 0)
        assert quick == [yamlfile.parse_yaml(text) for text in texts]
        with pytest.raises(yaml.YAMLError) as slow:
            yamlfile.parse_yaml("a: [1\nb: 2")
    with pytest.raises(yaml.YAMLError) as found:
        yamlfile.parse_yaml("a: [1\nb: 2")
    assert str(found.value) == str(slow.value)
    for text in ("[" * yamlfile.LONGEST_FOR_LIBYAML, "[" * 200_000, "- " * 100_000):
        with pytest.raises((RecursionError, yaml.YAMLError)):
            yamlfile.parse_yaml(text)
