"""Rules of a target: what a compiled network may not do there, each a small function.

A rule yields one `Violation` for everything that breaks it, so that a user sees all of them at once: `violations`
runs `RULES` in order, `check` raises one error with all that was found. A rule reads the resource table where it is
about space, and the registers of the layers where it is about widths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.resources import ResourceReport, resource_table
from decolle_hw.errors import CompileError
from decolle_hw.targets import Target


@dataclass(frozen=True)
class Violation:
    """One rule of the target that the network breaks."""

    layer: int | None  # None: the network as a whole
    what: str
    value: int | str
    limit: str  # what is allowed
    remedy: str

    def __str__(self) -> str:
        where = "network" if self.layer is None else f"layer {self.layer}"
        return f"{where}: {self.what} {self.value}, allowed: {self.limit} ({self.remedy})"


def violations(program: Program, target: Target) -> list[Violation]:
    """Everything that keeps `program` off `target`, layer by layer within each rule of `RULES`."""
    report = resource_table(program, target)
    return [violation for rule in RULES for violation in rule(program, target, report)]


def check(program: Program, target: Target) -> None:
    """Raise `CompileError` with all violations in one line, if there are any."""
    found = violations(program, target)
    if found:
        raise CompileError(f"{program.name} does not fit {target.name}: {'; '.join(map(str, found))}")


def _neuron_model(program: Program, target: Target, report: ResourceReport) -> Iterator[Violation]:
    known = target.neuron_models.value
    for index, layer in enumerate(program.layers):
        if layer.neuron not in known:
            remedy = f"train with network.neuron: {known[0]}, or choose another target"
            yield Violation(index, "neuron", layer.neuron, " or ".join(known), remedy)


def _weight_width(program: Program, target: Target, report: ResourceReport) -> Iterator[Violation]:
    bits = target.weight_bits.value
    for index, layer in enumerate(program.layers):
        if layer.weight_bits > bits:
            remedy = f"compile with --weight-bits {bits}"
            yield Violation(index, "weight bits", layer.weight_bits, f"at most {bits}", remedy)


def _delay(program: Program, target: Target, report: ResourceReport) -> Iterator[Violation]:
    longest = target.max_delay.value
    for index, layer in enumerate(program.layers):
        if isinstance(layer, DenseLayer) and layer.max_delay > longest:
            yield Violation(index, "delay", layer.max_delay, f"at most {longest} steps", "use shorter delays")


def _weight_exponent(program: Program, target: Target, report: ResourceReport) -> Iterator[Violation]:
    low, high = target.weight_exp.value
    for index, layer in enumerate(program.layers):
        if not low <= layer.weight_exp <= high:
            yield Violation(index, "weight_exp", layer.weight_exp, f"{low}..{high}", "scale weights and vth together")


def _register_widths(program: Program, target: Target, report: ResourceReport) -> Iterator[Violation]:
    decay_max = (1 << target.decay_bits.value) - 1
    vth_max = (1 << target.vth_bits.value) - 1
    mant_max = (1 << (target.bias_mant_bits.value - 1)) - 1
    exp_max = (1 << target.bias_exp_bits.value) - 1
    for index, layer in enumerate(program.layers):
        # A negative threshold exists on microcode neurons only, as DenseLayer sees to.
        vth = int(np.abs(layer.vth).max())
        mant_low, mant_high = int(layer.bias_mant.min()), int(layer.bias_mant.max())
        mant = mant_high if mant_high > mant_max else mant_low
        for what, value, low, high, remedy in (
            ("du", layer.du, 0, decay_max, "choose a slower decay"),
            ("dv", layer.dv, 0, decay_max, "choose a slower decay"),
            ("dr", layer.dr, 0, decay_max, "choose a slower decay"),
            ("vth", vth, 0, vth_max, "lower weight_exp by one and halve vth"),
            ("bias_mant", mant, -mant_max - 1, mant_max, "use a larger bias_exp"),
            ("bias_exp", layer.bias_exp, 0, exp_max, "scale weights, vth and bias down together"),
        ):
            if not low <= value <= high:
                yield Violation(index, what, value, f"{low}..{high}", remedy)


def _one_core(program: Program, target: Target, report: ResourceReport) -> Iterator[Violation]:
    """Limits that no split over cores can meet, as one neuron alone exceeds them."""
    remedies = {
        "synaptic memory": "reduce the inputs of the layer: the fan-in of one neuron must fit a core",
        "in-axons": "reduce the inputs of the layer: the fan-in of one neuron must fit a core",
        "out-axons": "reduce the units of the next layer",
    }
    for layer in report.layers:
        for name, remedy in remedies.items():
            usage = layer.usage[name]
            if usage.cores is None:
                unit = " bits for one neuron" if name == "synaptic memory" else ""
                yield Violation(layer.layer, name, f"{usage.used}{unit}", f"at most {usage.limit} per core", remedy)


def _largest_board(program: Program, target: Target, report: ResourceReport) -> Iterator[Violation]:
    board, chips = target.largest_board
    for name, needed in report.chips_for.items():
        if needed > chips:
            yield Violation(None, f"chips for its {name}", needed, f"at most {chips} ({board})", "use fewer units")


Rule = Callable[[Program, Target, ResourceReport], Iterator[Violation]]
RULES: tuple[Rule, ...] = (
    _neuron_model,
    _weight_width,
    _delay,
    _weight_exponent,
    _register_widths,
    _one_core,
    _largest_board,
)
