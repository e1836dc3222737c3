"""Typed description of a network, its data and its training, read from YAML.

Keys follow DECOLLE's own parameter files where they exist there (Mhid, alpha, beta, alpharp, wrp, lc_ampl,
burnin_steps, chunk_size_train, deltat, lr_drop_interval, ...). An unknown key or a wrong type is an error that
names file, key and value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from decolle_hw.errors import SpecError
from decolle_hw.library import find_yaml
from decolle_hw.yamlfile import describe, parse_yaml, read_yaml

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Steps = Annotated[int, Field(ge=1, le=10**6)]
Units = Annotated[int, Field(ge=1, le=2**20)]  # as many neurons as a Loihi 2 chip has
Pixels = Annotated[int, Field(ge=1, le=4096)]
BIN_HEIGHT, BIN_WIDTH = 240, 256  # one byte per coordinate in N-MNIST's .bin, and y = 240 marks a clock overflow

# What a neuron has and the other has not, with the defaults of those that have it.
NEURON_KEYS = {"decolle": {"alpharp": 0.65, "wrp": 1.0}, "cuba": {"vth": 0.5}}


class _Section(BaseModel):
    # Strict: "3" is not 3 and 1.5 is not an int. A description that needs guessing is a wrong description.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class CameraSpec(_Section):
    """The simulated event camera of the embedded `digits` recordings."""

    contrast_threshold: float = Field(0.2, gt=0.0, description="change of log intensity that makes one event")
    noise_hz: float = Field(0.0, ge=0.0, description="spurious events per pixel and second")
    seed: Seed = Field(0, description="seed of scene jitter and noise")


class DatasetSpec(_Section):
    """What is learned from, and how events become time steps."""

    name: Literal["digits", "folder"] = Field("digits", description="embedded digits, or a folder of recordings")
    path: str | None = Field(None, description="folder: FOLDER/<class>/<recording>.bin, or FOLDER/{train,test}")
    test_path: str | None = Field(None, description="folder with the test recordings, if it stands elsewhere")
    test_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="held out per class where there is no test folder")
    input_shape: list[Pixels] = Field(
        default_factory=lambda: [2, 16, 16], min_length=3, max_length=3, description="polarities, height, width"
    )
    deltat: int = Field(1000, ge=1, le=10**9, description="length of a time step in microseconds")
    chunk_size_train: Steps = Field(300, description="steps of a recording used in training")
    chunk_size_test: Steps = Field(300, description="steps of a recording used in testing and on chip")
    camera: CameraSpec = CameraSpec()

    @model_validator(mode="after")
    def _is_consistent(self) -> DatasetSpec:
        if self.input_shape[0] != 2:
            raise ValueError(f"input_shape {self.input_shape}: the first number is polarities and must be 2")
        if self.name == "digits" and (self.path or self.test_path):
            raise ValueError("path and test_path are for name: folder; digits are embedded")
        if self.name == "folder" and (self.input_shape[1] > BIN_HEIGHT or self.input_shape[2] > BIN_WIDTH):
            raise ValueError(
                f"input_shape {self.input_shape}: recordings in .bin format have at most {BIN_HEIGHT} rows and "
                f"{BIN_WIDTH} columns"
            )
        return self


class NetworkSpec(_Section):
    """A stack of dense DECOLLE layers, each with a fixed random local readout."""

    neuron: Literal["decolle", "cuba"] = Field("decolle", description="neuron model, in training and on chip")
    Mhid: list[Units] = Field(min_length=1, description="units of each dense layer")
    alpha: Decay = Field(0.97, description="membrane decay per step; dv = 1 - alpha")
    beta: Decay = Field(0.92, description="synaptic decay per step; du = 1 - beta")
    alpharp: Decay | None = Field(None, description="decay of the refractory trace R (decolle only; 0.65)")
    wrp: Annotated[float, Field(ge=0.0)] | None = Field(
        None, description="weight rho of the refractory trace R (decolle only; 1.0)"
    )
    vth: Annotated[float, Field(gt=0.0)] | None = Field(None, description="threshold in units of W P (cuba only; 0.5)")
    bias: bool = Field(True, description="learn a bias per neuron")
    lc_ampl: float = Field(0.5, gt=0.0, le=1e3, description="fixed readouts are uniform in +-lc_ampl/sqrt(units)")

    @model_validator(mode="before")
    @classmethod
    def _keys_fit_the_neuron(cls, values: Any) -> Any:
        """Fill in the defaults of the chosen neuron; refuse a key that would have no effect."""
        if not isinstance(values, dict):
            return values
        chosen = values.get("neuron", "decolle")
        if chosen not in NEURON_KEYS:
            return values  # reported with the field itself
        values = dict(values)
        for neuron, keys in NEURON_KEYS.items():
            for key, default in keys.items():
                if neuron == chosen and values.get(key) is None:
                    values[key] = default
                elif neuron != chosen and values.get(key) is not None:
                    raise ValueError(f"{key} {values[key]}: has no effect on neuron {chosen}, only on {neuron}")
        return values


class TrainingSpec(_Section):
    """How the local rule is applied."""

    seed: Seed = 0
    num_epochs: PositiveInt = 40
    batch_size: PositiveInt = 72
    learning_rate: float = Field(1e-3, gt=0.0, le=1e3, description="Adamax step size")
    betas: list[Annotated[float, Field(ge=0.0, lt=1.0)]] = Field(
        default_factory=lambda: [0.0, 0.95], min_length=2, max_length=2, description="Adamax betas"
    )
    lr_drop_interval: PositiveInt = Field(30, description="epochs between two drops of the learning rate")
    lr_drop_factor: float = Field(5.0, ge=1.0, description="the rate is divided by factor*floor(epoch/interval)")
    burnin_steps: int = Field(60, ge=0, description="steps at the start of a recording that teach nothing")
    update_every: PositiveInt | Literal["sequence"] = Field("sequence", description="steps between weight updates")
    loss: Literal["smooth_l1", "mse"] = Field("smooth_l1", description="local loss on each readout")


class ModelSpec(_Section):
    """One YAML file of `models/`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="names the run folder and the artifact")
    description: str = ""
    dataset: DatasetSpec = DatasetSpec()
    network: NetworkSpec
    training: TrainingSpec = TrainingSpec()

    @model_validator(mode="after")
    def _burn_in_leaves_steps(self) -> ModelSpec:
        for key in ("chunk_size_train", "chunk_size_test"):
            steps = getattr(self.dataset, key)
            if self.training.burnin_steps >= steps:
                raise ValueError(
                    f"training.burnin_steps {self.training.burnin_steps} leaves nothing of dataset.{key} {steps}"
                )
            # The last layer of a cuba network starts at step len(Mhid): see sim.reference.
            if self.network.neuron == "cuba" and len(self.network.Mhid) + 1 >= steps:
                raise ValueError(f"dataset.{key} {steps} is too short for {len(self.network.Mhid)} layers")
        return self

    @property
    def num_inputs(self) -> int:
        polarities, height, width = self.dataset.input_shape
        return polarities * height * width


def load_model_spec(name: str, overrides: tuple[str, ...] = ()) -> ModelSpec:
    """Read a model by shipped name or path; `overrides` are `key.path=value` strings with YAML values.

    Relative data paths count from the YAML's folder, in overrides from the working directory; they become absolute.
    """
    path = find_yaml(name, "models", "model")
    values = read_yaml(path)
    _resolve_paths(values, path.parent)
    for override in overrides:
        _apply_override(values, override)
    _resolve_paths(values, Path())
    return parse_model_spec(values, str(path))


def with_folder(spec: ModelSpec, path: str) -> ModelSpec:
    """The same model, learning from (or tested on) a folder of recordings; the path is stored absolute."""
    dataset = spec.dataset.model_copy(update={"name": "folder", "path": str(Path(path).absolute()), "test_path": None})
    return spec.model_copy(update={"dataset": dataset})


def model_spec_to_yaml(spec: ModelSpec) -> str:
    """The whole description, defaults included, as YAML that `model_spec_from_yaml` reads back."""
    return yaml.safe_dump(spec.model_dump(), sort_keys=False, allow_unicode=True)


def model_spec_from_yaml(text: str, where: str) -> ModelSpec:
    """The inverse of `model_spec_to_yaml`; `where` names the origin of the text in errors."""
    return parse_model_spec(parse_yaml(text), where)


def parse_model_spec(values: Any, where: str) -> ModelSpec:
    """Check a mapping against `ModelSpec`; `where` names its origin in errors."""
    try:
        return ModelSpec.model_validate(values)
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error, ModelSpec)}") from None


def _resolve_paths(values: dict[str, Any], base: Path) -> None:
    dataset = values.get("dataset")
    for key in ("path", "test_path"):
        if isinstance(dataset, dict) and isinstance(dataset.get(key), str):
            dataset[key] = str((base / Path(dataset[key]).expanduser()).absolute())


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SpecError(f"--set {override!r}: expected key=value, for example training.num_epochs=5")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise SpecError(f"--set {override!r}: {parent!r} is a value, not a section")
    try:
        values[last] = parse_yaml(text)
    except (yaml.YAMLError, RecursionError):
        raise SpecError(f"--set {override!r}: {text!r} is not a YAML value") from None
