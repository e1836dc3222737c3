"""Typed description of a network, its data and its training, read from YAML.

Keys follow DECOLLE's own parameter files where they exist there (Nhid, Mhid, alpha, beta, alpharp, wrp, lc_ampl,
burnin_steps, chunk_size_train, deltat, lr_drop_interval, ...). An unknown key or a wrong type is an error that
names file, key and value. The sections are in `spec_dataset`, `spec_network`, `spec_training` and `spec_on_chip`.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from decolle_hw.errors import SpecError
from decolle_hw.library import find_yaml
from decolle_hw.section import Section, per_layer
from decolle_hw.spec_dataset import CameraSpec, DatasetSpec
from decolle_hw.spec_network import LayerShape, NetworkSpec, layer_shapes
from decolle_hw.spec_on_chip import OnChipSpec
from decolle_hw.spec_training import TrainingSpec
from decolle_hw.yamlfile import describe, parse_yaml, read_yaml

__all__ = [
    "CameraSpec",
    "DatasetSpec",
    "LayerShape",
    "ModelSpec",
    "NetworkSpec",
    "OnChipSpec",
    "TrainingSpec",
    "layer_shapes",
    "load_model_spec",
    "model_spec_from_yaml",
    "model_spec_to_yaml",
    "model_values",
    "parse_model_spec",
    "per_layer",
    "with_folder",
    "with_on_chip",
]


class ModelSpec(Section):
    """One YAML file of `models/`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="names the run folder and the artifact")
    description: str = Field("", description="what it is, in one line")
    dataset: DatasetSpec = DatasetSpec()
    network: NetworkSpec
    training: TrainingSpec = TrainingSpec()
    on_chip: OnChipSpec = OnChipSpec()

    @model_validator(mode="after")
    def _burn_in_leaves_steps(self) -> ModelSpec:
        for key in ("chunk_size_train", "chunk_size_test"):
            steps = getattr(self.dataset, key)
            if self.training.burnin_steps >= steps:
                raise ValueError(
                    f"training.burnin_steps {self.training.burnin_steps} leaves nothing of dataset.{key} {steps}"
                )
            # The last layer of a cuba network starts at step L: see sim.reference.
            if self.network.neuron == "cuba" and self.network.layers + 1 >= steps:
                raise ValueError(f"dataset.{key} {steps} is too short for {self.network.layers} layers")
        return self

    @model_validator(mode="after")
    def _layers_fit(self) -> ModelSpec:
        layer_shapes(self.network, tuple(self.dataset.input_shape), classes=1)
        for key in ("loss", "learning_rate", "reg_l", "error_threshold"):
            per_layer(getattr(self.training, key), self.network.layers, f"training.{key}")
        if all(loss == "none" for loss in self.of_layers("loss")):
            raise ValueError("training.loss: none for every layer, so that nothing would be learned")
        return self

    @model_validator(mode="after")
    def _plastic_layers_exist(self) -> ModelSpec:
        layers = self.network.hidden_layers
        wrong = [layer for layer in self.on_chip.plastic if isinstance(layer, int) and layer >= layers]
        if wrong:
            raise ValueError(
                f"on_chip.plastic {self.on_chip.plastic}: the network has no layer {wrong[0]}, it has 0..{layers - 1} "
                f"(pooling is not counted); a new layer on top of them is called output"
            )
        return self

    @property
    def num_inputs(self) -> int:
        return prod(self.dataset.input_shape)

    def of_layers(self, key: str) -> list[Any]:
        """The value of a key of `training` for each layer."""
        return per_layer(getattr(self.training, key), self.network.layers, key)

    def shapes(self, classes: int) -> list[LayerShape]:
        """Shapes of all layers of the network."""
        return layer_shapes(self.network, tuple(self.dataset.input_shape), classes)


def load_model_spec(name: str, overrides: tuple[str, ...] = ()) -> ModelSpec:
    """Read a model by shipped name or path; `overrides` are `key.path=value` strings with YAML values.

    Relative data paths count from the YAML's folder, in overrides from the working directory; they become absolute.
    """
    values, where = model_values(name, overrides)
    return parse_model_spec(values, where)


def model_values(name: str, overrides: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """What the YAML of a model and `overrides` say, not checked yet, and what errors call it; see `load_model_spec`."""
    path = find_yaml(name, "models", "model")
    values = read_yaml(path)
    _resolve_paths(values, path.parent)
    for override in overrides:
        _apply_override(values, override)
    _resolve_paths(values, Path())
    return values, str(path)


def with_folder(spec: ModelSpec, path: str) -> ModelSpec:
    """The same model, learning from (or tested on) other recordings of its kind; the path is stored absolute.

    For a model of the embedded digits that is a folder of recordings.
    """
    name = "folder" if spec.dataset.name == "digits" else spec.dataset.name
    elsewhere = {"test_path": None, "labels": None, "test_list": None}
    dataset = spec.dataset.model_copy(update={"name": name, "path": str(Path(path).absolute()), **elsewhere})
    return spec.model_copy(update={"dataset": dataset})


def model_spec_to_yaml(spec: ModelSpec) -> str:
    """The whole description, defaults included, as YAML that `model_spec_from_yaml` reads back."""
    return yaml.safe_dump(spec.model_dump(), sort_keys=False, allow_unicode=True)


def model_spec_from_yaml(text: str, where: str) -> ModelSpec:
    """The inverse of `model_spec_to_yaml`; `where` names the origin of the text in errors."""
    return parse_model_spec(parse_yaml(text), where)


def with_on_chip(spec: ModelSpec, overrides: tuple[str, ...]) -> ModelSpec:
    """The same model, learning on chip as `on_chip.KEY=value` strings say; it need not be trained again.

    Raises `SpecError` for any other key, and for wrong values.
    """
    values = spec.model_dump()
    for override in overrides:
        if not override.startswith("on_chip."):
            raise SpecError(
                f"--set {override}: the network is trained, and only on_chip.KEY does not change what it was trained "
                f"for; train again with it, or ask with --dry-run of a model that is not trained"
            )
        _apply_override(values, override)
    return spec if not overrides else parse_model_spec(values, "--set " + " ".join(overrides))


def parse_model_spec(values: Any, where: str) -> ModelSpec:
    """Check a mapping against `ModelSpec`; `where` names its origin in errors."""
    try:
        return ModelSpec.model_validate(values)
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error, ModelSpec)}") from None


def _resolve_paths(values: dict[str, Any], base: Path) -> None:
    dataset = values.get("dataset")
    for key in ("path", "test_path", "labels", "test_list"):
        if isinstance(dataset, dict) and isinstance(dataset.get(key), str):
            dataset[key] = str((base / Path(dataset[key]).expanduser()).absolute())


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SpecError(f"--set {override!r}: expected key=value, for example training.num_epochs=5")
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:  # left out, or written as null, as the description of a run has it
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise SpecError(f"--set {override!r}: {parent!r} is a value, not a section")
    try:
        values[last] = parse_yaml(text)
    except (yaml.YAMLError, RecursionError):
        raise SpecError(f"--set {override!r}: {text!r} is not a YAML value") from None
