"""The `training` section: how the local rule is applied."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from decolle_hw.section import NonNegativeFloat, PositiveInt, Section, Seed
from decolle_hw.widths import BITS_MAX, BITS_MIN

LossName = Literal["smooth_l1", "mse", "cross_entropy", "none"]
Rate = Annotated[float, Field(gt=0.0, le=1e3)]


class QuantizeSpec(Section):
    """Quantization-aware training: the forward sees what the chip will have, the rule moves floats behind it.

    Weights go through the grid of the synapses (straight through: the gradient at the quantized weights is applied to
    the float ones), and decays are those that 12-bit registers realise.
    """

    weight_bits: int = Field(ge=BITS_MIN, le=BITS_MAX, description="bits of a synaptic weight, its sign included")


class TrainingSpec(Section):
    """How the local rule is applied, and for how long."""

    method: Literal["decolle", "bptt"] = Field(
        "decolle", description="the local rule, or back-propagation through time and layers (autograd) to compare with"
    )
    seed: Seed = Field(0, description="of initial weights, readouts, dropout, and the order of recordings")
    num_epochs: PositiveInt = Field(40, description="how often all training recordings are presented")
    batch_size: PositiveInt = Field(72, description="recordings presented side by side")
    loss: LossName | list[LossName] = Field("smooth_l1", description="local loss on each readout; none: not trained")
    burnin_steps: int = Field(60, ge=0, description="steps at the start of a recording that teach nothing")
    update_every: PositiveInt | Literal["sequence"] = Field("sequence", description="steps between weight updates")
    surrogate: Literal["fast_sigmoid", "boxcar", "sigmoid"] = Field(
        "fast_sigmoid", description="what stands in for the derivative of the spike"
    )
    feedback: Literal["symmetric", "random"] = Field(
        "symmetric", description="errors come back through the readout (G^T), or through fixed random weights"
    )
    reg_l: NonNegativeFloat | list[NonNegativeFloat] = Field(
        0.0, description="weight of the two regularizers on U: against high potentials and against silence"
    )
    error_threshold: NonNegativeFloat | list[NonNegativeFloat] = Field(
        0.0, description="error-triggered learning: smaller errors |readout - target| teach nothing"
    )
    error_rate: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        None, description="share of errors that may pass; the thresholds follow it, starting at error_threshold"
    )
    error_adaptation: float = Field(
        0.1, gt=0.0, le=1.0, description="error_rate: how fast thresholds follow, per weight update"
    )
    optimizer: str = Field("Adamax", description="name of an optimizer of torch.optim")
    learning_rate: Rate | list[Rate] = Field(1e-3, description="step size, for all layers or for each")
    betas: list[Annotated[float, Field(ge=0.0, lt=1.0)]] | None = Field(
        default_factory=lambda: [0.0, 0.95], min_length=2, max_length=2, description="where the optimizer has betas"
    )
    optimizer_args: dict[str, Any] = Field(default_factory=dict, description="further arguments of the optimizer")
    schedule: str = Field(
        "decolle", description="decolle (lr_drop_*), constant, or a name of torch.optim.lr_scheduler, stepped per epoch"
    )
    schedule_args: dict[str, Any] = Field(default_factory=dict, description="arguments of the schedule")
    lr_drop_interval: PositiveInt = Field(30, description="epochs between two drops of the learning rate")
    lr_drop_factor: float = Field(5.0, ge=1.0, description="the rate is divided by factor*floor(epoch/interval)")
    clip_grad_norm: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="longest gradient of a layer (norm over weights and bias) at an update"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the factors in dense matrix products and convolutions; sums stay float32"
    )
    quantize: QuantizeSpec | None = Field(
        None, description="learn with quantized weights and realisable decays; default: quantize when compiling"
    )
    deterministic: bool = Field(False, description="refuse operations that torch cannot repeat exactly (CUDA)")
    early_stop: PositiveInt | None = Field(None, description="stop after so many epochs without a better test accuracy")

    @model_validator(mode="after")
    def _thresholds_have_a_meaning(self) -> TrainingSpec:
        if self.method == "bptt" and (self.error_rate is not None or self.feedback != "symmetric"):
            raise ValueError("method bptt has no error_rate and no random feedback; both belong to method decolle")
        if self.method == "bptt" and self.update_every != "sequence":
            raise ValueError(f"update_every {self.update_every}: method bptt updates once per sequence")
        return self

    @model_validator(mode="after")
    def _quantized_weights_stay_on_their_grid(self) -> TrainingSpec:
        if self.quantize is not None and self.precision != "float32":
            raise ValueError(
                f"precision {self.precision}: would round quantized weights once more, off their grid; leave out "
                f"precision or quantize"
            )
        return self
