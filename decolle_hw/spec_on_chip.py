"""The `on_chip` section: what goes on learning after the network was compiled, and how.

What is left out, the compiler chooses and says what it chose.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from decolle_hw.section import ClassNames, PositiveFloat, Section

OUTPUT = "output"
# The number of steps of an epoch has 6 bits: compiler.plasticity.EPOCH_MAX.
LONGEST_EPOCH = 63

Layer = Annotated[int, Field(ge=0, le=10**6)] | Literal["output"]


def _each_once(layers: list[Layer]) -> list[Layer]:
    twice = [layer for layer in dict.fromkeys(layers) if layers.count(layer) > 1]
    if twice:
        raise ValueError(f"{layers}: layer {twice[0]} stands in it twice; give each once")
    numbers = sorted(layer for layer in layers if layer != OUTPUT)
    return [*numbers, *(layer for layer in layers if layer == OUTPUT)]


class OnChipSpec(Section):
    """Learning on chip, by the rule of DECOLLE in the terms of Loihi's learning engine."""

    plastic: Annotated[list[Layer], AfterValidator(_each_once)] = Field(
        default_factory=list,
        description="layers that learn, counted as in Nhid and Mhid; output: a new one on top, a neuron per class",
    )
    learning_rate: Annotated[PositiveFloat, Field(le=1e3)] | None = Field(
        None, description="eta of dW = -eta sum_t delta P, on the scale of the float weights; default: chosen"
    )
    trace: Literal["single", "double"] = Field(
        "double", description="trace of the input: x1, a single exponential, or x1 - x2, which is nearer to P"
    )
    epoch: Annotated[int, Field(ge=1, le=LONGEST_EPOCH)] | None = Field(
        None, description="steps from one update of the weights to the next; default: chosen"
    )
    gate: PositiveFloat | None = Field(
        None, description="half width of the boxcar on the float U outside of which nothing is learned; default: chosen"
    )
    classes: ClassNames | None = Field(
        None, description="of a plastic output layer, trained or new; default: all of the data set"
    )
