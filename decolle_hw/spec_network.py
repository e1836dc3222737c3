"""The `network` section: a stack of convolutional, then dense DECOLLE layers, each with a fixed local readout.

Keys follow DECOLLE's parameter files: Nhid are the channels of the convolutional layers, Mhid the units of the dense
ones. A key of layers takes one value for all or a list with one per layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from decolle_hw.section import Decay, NonNegativeFloat, PositiveFloat, PositiveInt, Section, Units, per_layer

Value = TypeVar("Value")
Shape = tuple[int, ...]

# What a neuron has and the other has not, with the defaults of those that have it.
NEURON_KEYS = {"decolle": {"alpharp": 0.65, "wrp": 1.0}, "cuba": {"vth": 0.5}}
# Keys that only a convolution has.
CONV_KEYS = ("kernel_size", "stride", "padding", "dilation", "groups", "pool_size")
LARGEST_WEIGHT = 2**29  # numbers: 2 GiB, and the optimizer has one or two states of the same size
LARGEST_LAYER = 2**24  # neurons: their indices and those of a chunk's entries must fit in 32 bits


@dataclass(frozen=True)
class LayerShape:
    """Where a layer stands in the stack and what goes through it.

    Shapes are (channels, height, width) for a convolution, (units,) for a dense layer.
    """

    kind: Literal["conv", "dense"]
    input_shape: Shape
    map_shape: Shape  # of the neurons
    output_shape: Shape  # of the spikes passed on: the map after pooling
    kernel_size: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    pool_size: int = 1

    @classmethod
    def dense(cls, inputs: int, units: int) -> LayerShape:
        return cls("dense", (inputs,), (units,), (units,))

    @property
    def inputs(self) -> int:
        return prod(self.input_shape)

    @property
    def neurons(self) -> int:
        return prod(self.map_shape)

    @property
    def outputs(self) -> int:
        return prod(self.output_shape)

    @property
    def weight_shape(self) -> Shape:
        """As in `torch.nn.Conv2d` and `torch.nn.Linear`."""
        if self.kind == "dense":
            return self.map_shape[0], self.inputs
        return self.map_shape[0], self.input_shape[0] // self.groups, self.kernel_size, self.kernel_size

    @property
    def fan_in(self) -> int:
        return prod(self.weight_shape[1:])


class RandomTauSpec(Section):
    """Time constants 1/(1-alpha), 1/(1-beta) of each input of a layer drawn from a normal distribution, in steps.

    ``tau ~ N(1, spread) / (1 - alpha)``, clipped to [tau_min, tau_max]. Source: LIFLayerVariableTau of decolle-public.
    """

    spread: float = Field(0.25, ge=0.0, le=10.0, description="standard deviation relative to the mean")
    tau_min: float = Field(5.0, ge=1.0, description="shortest time constant in steps")
    tau_max: float = Field(200.0, ge=1.0, description="longest time constant in steps")

    @model_validator(mode="after")
    def _is_an_interval(self) -> RandomTauSpec:
        if self.tau_min > self.tau_max:
            raise ValueError(f"tau_min {self.tau_min} is above tau_max {self.tau_max}")
        return self


class NetworkSpec(Section):
    """A stack of DECOLLE layers: convolutional ones (Nhid), then dense ones (Mhid), then the output layer if any."""

    neuron: Literal["decolle", "cuba"] = Field("decolle", description="neuron model, in training and on chip")
    Nhid: list[Units] = Field(default_factory=list, description="channels of each convolutional layer")
    Mhid: list[Units] = Field(default_factory=list, description="units of each dense layer")
    kernel_size: PositiveInt | list[PositiveInt] = Field(7, description="of each convolution")
    stride: PositiveInt | list[PositiveInt] = Field(1, description="of each convolution")
    padding: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)]] | None = Field(
        None, description="of each convolution; default: dilation * (kernel_size - 1) // 2, which keeps the size"
    )
    dilation: PositiveInt | list[PositiveInt] = Field(1, description="of each convolution")
    groups: PositiveInt | list[PositiveInt] = Field(1, description="of each convolution")
    pool_size: PositiveInt | list[PositiveInt] = Field(1, description="max-pooling on U after each convolution")
    alpha: Decay | list[Decay] = Field(0.97, description="membrane decay per step; dv = 1 - alpha")
    beta: Decay | list[Decay] = Field(0.92, description="synaptic decay per step; du = 1 - beta")
    alpharp: Decay | list[Decay] | None = Field(
        None, description="decay of the refractory trace R (decolle only; 0.65)"
    )
    wrp: NonNegativeFloat | list[NonNegativeFloat] | None = Field(
        None, description="weight rho of the refractory trace R (decolle only; 1.0)"
    )
    vth: PositiveFloat | list[PositiveFloat] | None = Field(
        None, description="threshold in units of W P (cuba only; 0.5)"
    )
    random_tau: RandomTauSpec | None = Field(None, description="draw alpha and beta for each input of each layer")
    bias: bool = Field(True, description="learn a bias per neuron (per channel in a convolution)")
    dropout: Decay | list[Decay] = Field(0.0, description="share of spikes hidden from the readout in training")
    lc_ampl: Annotated[float, Field(gt=0.0, le=1e3)] | list[Annotated[float, Field(gt=0.0, le=1e3)]] = Field(
        0.5, description="fixed readouts are uniform in +-lc_ampl/sqrt(inputs of the readout)"
    )
    lc_bias: bool = Field(True, description="readouts have a fixed bias")
    output_layer: bool = Field(False, description="one more dense layer, a neuron per class, whose readout is U itself")
    init: Literal["uniform", "decolle", "lsuv"] = Field(
        "uniform", description="initial weights: uniform +-1/sqrt(fan-in), the authors' own, or LSUV on data"
    )
    lsuv_mean: float = Field(0.0, description="lsuv: mean of U at the last step")
    lsuv_variance: float = Field(1.0, gt=0.0, description="lsuv: variance of U at the last step")
    prediction: Literal["sum", "mode"] = Field(
        "sum", description="arg-max of the summed readout, or (the authors') the most frequent arg-max of a step"
    )

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

    @model_validator(mode="after")
    def _lists_fit_the_layers(self) -> NetworkSpec:
        if not self.hidden_layers:
            raise ValueError("the network has no layer: give Nhid (channels), Mhid (units), or both")
        if self.output_layer and self.neuron == "cuba":
            raise ValueError("output_layer reads the potential U, which a cuba neuron resets; use neuron decolle")
        for key in ("alpha", "beta", "alpharp", "wrp", "vth", "dropout", "lc_ampl"):
            self.of_layers(key)
        for key in CONV_KEYS:
            if self.Nhid:
                self.of_convolutions(key)
            elif getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} {getattr(self, key)}: has no effect, there is no convolutional layer (Nhid)")
        return self

    @property
    def hidden_layers(self) -> int:
        return len(self.Nhid) + len(self.Mhid)

    @property
    def layers(self) -> int:
        """Layers that have neurons and learn, the output layer included."""
        return self.hidden_layers + self.output_layer

    def of_layers(self, key: str) -> list[Any]:
        """The value of `key` for each layer; None stays None."""
        return per_layer(getattr(self, key), self.layers, key)

    def of_convolutions(self, key: str) -> list[Any]:
        """The value of `key` for each convolutional layer."""
        return per_layer(getattr(self, key), len(self.Nhid), key)


def layer_shapes(network: NetworkSpec, input_shape: Shape, classes: int) -> list[LayerShape]:
    """Shapes of all layers, from input to output.

    Args:
        network: the stack.
        input_shape: (polarities, height, width).
        classes: units of the output layer, if there is one.

    Raises `ValueError` that names layer, key, value and limit where something does not fit.
    """
    shapes: list[LayerShape] = []
    shape = tuple(input_shape)
    geometry = {key: network.of_convolutions(key) for key in CONV_KEYS} if network.Nhid else {}
    for index, channels in enumerate(network.Nhid):
        shapes.append(_conv_shape(index, channels, shape, {key: geometry[key][index] for key in CONV_KEYS}))
        shape = shapes[-1].output_shape
    for units in (*network.Mhid, *([classes] if network.output_layer else [])):
        if prod(shape) * units > LARGEST_WEIGHT:
            raise ValueError(
                f"layer {len(shapes)} (dense): {prod(shape)} inputs of {units} units are more than {LARGEST_WEIGHT} "
                f"weights; lower Mhid, or what comes before"
            )
        shapes.append(LayerShape.dense(prod(shape), units))
        shape = (units,)
    return shapes


def _conv_shape(index: int, channels: int, input_shape: Shape, keys: dict[str, Any]) -> LayerShape:
    kernel, stride, dilation, groups, pool = (
        keys[key] for key in ("kernel_size", "stride", "dilation", "groups", "pool_size")
    )
    reach = dilation * (kernel - 1) + 1  # pixels from the first to the last that a kernel sees
    padding = (reach - 1) // 2 if keys["padding"] is None else keys["padding"]
    where = f"layer {index} (convolution on {'x'.join(map(str, input_shape))})"
    for what, count in (("input", input_shape[0]), ("output", channels)):
        if count % groups:
            raise ValueError(f"{where}: groups {groups} does not divide {count} {what} channels")
    smallest = min(input_shape[1:]) + 2 * padding
    if reach > smallest:
        raise ValueError(
            f"{where}: kernel_size {kernel} with dilation {dilation} reaches over {reach} pixels, the padded map has "
            f"{smallest}; lower kernel_size or dilation, or raise padding"
        )
    height, width = ((size + 2 * padding - reach) // stride + 1 for size in input_shape[1:])
    if pool > min(height, width):
        raise ValueError(
            f"{where}: pool_size {pool} is larger than the map of {height}x{width}; lower pool_size or stride"
        )
    if channels * height * width > LARGEST_LAYER:
        raise ValueError(
            f"{where}: {channels} channels of {height}x{width} are more than {LARGEST_LAYER} neurons; lower Nhid"
        )
    return LayerShape(
        "conv", input_shape, (channels, height, width), (channels, height // pool, width // pool),
        kernel, stride, padding, dilation, groups, pool,
    )  # fmt: skip
