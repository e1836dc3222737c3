"""A lava-dl network (SLAYER's export_hdf5) as a program: the integers that ``lava.lib.dl.netx.hdf5.Network`` runs.

What cannot be represented is refused, all of it in one error, or, where that is asked for, approximated and reported.

Time. netx resets block k of a network every `reset_interval` steps, `reset_offset` + k + 1 steps after the first. With
`reset_offset` 0 for a network that begins with an input block, and 1 for one that is fed with spikes, layer i leaves its
reset state at step i + 1 of a sample, which is `Program.reset_steps`; a sample is a recording of this program.
"""

# N neurons, I inputs, C classes; c, h, w channels, height, width

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.netx import NETX_MAX_DELAY
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.ranges import proven_ranges
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import ALIGN_SHIFT, VTH_MAX
from decolle_hw.interchange.netx_file import Entry, NetxFile, read_netx
from decolle_hw.interchange.netx_neurons import WITHOUT_NEURONS, Neurons, bias_registers, read_neurons, whole_numbers
from decolle_hw.interchange.netx_weights import conv_fields, dense_fields
from decolle_hw.interchange.nir_findings import Findings

MOST_CLASSES = 1024  # output neurons that are counted one by one
MOST_NEURONS = 1 << 24  # of a layer: what claims more is not made
INPUT_WEIGHT, INPUT_BIAS = 64, 0  # of an input block that has none: lava.lib.dl.netx.hdf5.Network.create_input
DENSE = ("dense", "affine")
REFUSED = {
    "dense_rec": "recurrent layers are",
    "dense_comp": "complex layers are",
    "pool": "pooling layers of netx are (its own Network does not run them either)",
    "convT": "transposed convolutions are",
    "unpool": "unpooling layers are",
    "concat": "branches are",
}
KNOWN = ("input", "dense", "affine", "conv", "flatten", "average")


@dataclass(frozen=True)
class Imported:
    """Result of `import_netx`: the program, what was approximated, and what is good to know."""

    program: Program
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def import_netx(
    path: Path, *, approximate: bool = False, steps: int | None = None, target: str = "loihi2"
) -> Imported:
    """The network of a ``.net`` file.

    Args:
        approximate: do what cannot be had exactly as netx does it, or nearly, and say so in the notes.
        steps: of a recording; by default those of a sample that the file names (``simulation/tSample``).
        target: name of the target that the program is for.

    A network that begins with an input block takes images (`Program.input_block`). Classes are the output neurons
    ``0`` to ``N-1``, or the groups of a final `average` layer. Neurons whose threshold is out of reach decide by their
    voltage after the last step, all others by their spikes.

    Raises:
        ArtifactError: the file is missing, damaged, or no network.
        CompileError: the network cannot be represented; one line with all reasons.
    """
    file = read_netx(path)
    reading = _Reading(Findings(approximate))
    for index, entry in enumerate(file.layers):
        reading.add(entry, index, last=index == len(file.layers) - 1)
    program = _program(path, file, reading, steps or file.sample_steps, target)
    problems = reading.findings.problems
    if problems or program is None:
        raise CompileError(f"{path}: cannot be imported: {'; '.join(problems)}")
    return Imported(program, tuple(reading.findings.notes), tuple(reading.warnings))


@dataclass
class _Reading:
    """What has been made of the layers so far.

    Attributes:
        shape: of what the next layer is given, (c, h, w) or (n,); None where that is not known.
        never: indices of layers whose threshold must be out of reach.
        groups: that a final average layer counts together.
    """

    findings: Findings
    warnings: list[str] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    where: list[str] = field(default_factory=list)  # of `layers`, in messages
    never: dict[int, Neurons] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    input_shape: tuple[int, ...] | None = None
    block: InputBlock | None = None
    groups: int | None = None

    def add(self, entry: Entry, index: int, last: bool) -> None:
        """One layer of the file, whatever its type."""
        kind, where = entry.type, entry.where
        if not kind:
            self.findings.problem(where, "type is missing; export the network again")
        elif kind == "input":
            self._add_input(entry, index)
        elif kind in DENSE:
            self._add_dense(entry)
        elif kind == "conv":
            self._add_conv(entry)
        elif kind == "flatten":
            self.shape = None if self.shape is None else (math.prod(self.shape),)
        elif kind == "average":
            self._add_average(entry, last)
        elif kind in REFUSED:
            self.findings.problem(where, f"{REFUSED[kind]} not supported")
        else:
            self.findings.problem(where, f"this type is not known (known: {', '.join(KNOWN)})")

    def _add_input(self, entry: Entry, index: int) -> None:
        if index:
            self.findings.problem(entry.where, "an input stands at the beginning; export the network again")
            return
        shape = whole_numbers(entry, "shape", self.findings)
        if shape is not None:
            self.shape = self.input_shape = self._checked(shape, (1, 2, 3), entry.where)
        if entry.neuron is None:
            return
        transform = [INPUT_WEIGHT, INPUT_BIAS]
        for place, name in enumerate(("weight", "bias")):
            if name in entry.values:
                found = whole_numbers(entry, name, self.findings)
                if found is None or found.size != 1:
                    self.findings.problem(entry.where, f"{name} is not one number; export the network again")
                else:
                    transform[place] = int(found.flat[0])
        neurons = read_neurons(entry, self.findings)
        if neurons is not None:
            if neurons.never or neurons.summed:
                self.findings.problem(entry.where, "its neurons never spike or never forget; train it again")
                return
            try:
                self.block = InputBlock(
                    weight=transform[0], bias=transform[1], du=neurons.du, dv=neurons.dv, vth=neurons.vth
                )
            except CompileError as error:
                self.findings.problem(entry.where, f"{error}; export the network again")

    def _add_dense(self, entry: Entry) -> None:
        where, findings = entry.where, self.findings
        shape, weight = whole_numbers(entry, "shape", findings), whole_numbers(entry, "weight", findings)
        neurons = WITHOUT_NEURONS if entry.neuron is None else read_neurons(entry, findings)
        arriving, self.shape = self.shape, None
        if shape is None or weight is None:
            return
        units = math.prod(shape.ravel().tolist())
        if units < 1 or weight.ndim not in (1, 2) or weight.size % units or weight.ndim == 2 and len(weight) != units:
            findings.problem(where, f"weight of shape {weight.shape} does not fit {units} neurons; export again")
            return
        weight = weight.reshape(units, -1)
        self.shape = (units,)
        if arriving is not None and len(arriving) != 1 and (self.layers or self.block):
            findings.problem(where, f"a map of shape {arriving} arrives; a flatten must stand between, as netx has it")
            return
        if arriving is not None and math.prod(arriving) != weight.shape[1]:
            findings.problem(where, f"weight has {weight.shape[1]} inputs, {math.prod(arriving)} arrive; export again")
            return
        if self.input_shape is None and not self.layers:
            self.input_shape = (weight.shape[1],)
        delay = self._delay(entry, weight.shape)
        bias_N = self._bias(entry, (units,), neurons)
        synapse = dense_fields(weight, where, findings)
        if neurons is not None and synapse is not None and delay is not None and bias_N is not None:
            if delay.any():
                synapse["delay"] = delay
            self._append(DenseLayer, neurons, bias_N, where, synapse)

    def _add_conv(self, entry: Entry) -> None:
        where, findings = entry.where, self.findings
        weight, shape = whole_numbers(entry, "weight", findings), whole_numbers(entry, "shape", findings)
        per_axis = {name: self._per_axis(entry, name) for name in ("stride", "padding", "dilation")}
        groups = whole_numbers(entry, "groups", findings)
        if entry.neuron is None:
            findings.problem(where, "neuron is missing; export the network again")
        neurons = None if entry.neuron is None else read_neurons(entry, findings)
        if "delay" in entry.values:
            findings.inexact(where, "a convolution has no delays", "left out, as netx does")
        arriving = self.shape
        # What the file says of itself, so that the layers after a wrong one can be looked at too.
        self.shape = None if shape is None else self._checked(shape, (3,), where)
        if arriving is not None and len(arriving) != 3:
            findings.problem(where, f"{arriving} arrives, not a map (c, h, w); export the network again")
            return
        if arriving is None and not self.layers:
            findings.problem(where, "the shape of its input is not known: an input layer with a shape must come first")
            return
        if weight is None or groups is None or neurons is None or arriving is None or None in per_axis.values():
            return
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        if weight.ndim != 4 or groups.size != 1:
            findings.problem(where, f"weight of shape {weight.shape} or groups is not that of a convolution")
            return
        if self.shape is None:
            return
        bias_N = self._bias(entry, self.shape, neurons)
        synapse = conv_fields(weight, where, findings)
        if synapse is not None and bias_N is not None:
            synapse |= {"input_shape": arriving, "groups": int(groups.flat[0]), **per_axis}
            self._append(ConvLayer, neurons, bias_N, where, synapse)

    def _add_average(self, entry: Entry, last: bool) -> None:
        shape = whole_numbers(entry, "shape", self.findings)
        if shape is None:
            return
        groups = math.prod(shape.ravel().tolist())
        if not last:
            self.findings.problem(entry.where, "is supported as the last layer only: it counts spikes for the decision")
        elif groups < 1 or self.shape is not None and math.prod(self.shape) % groups:
            arriving = None if self.shape is None else math.prod(self.shape)
            self.findings.problem(entry.where, f"{arriving} neurons do not make {groups} groups of one size")
        else:
            self.groups = groups

    def _checked(self, shape: NDArray[np.int64], lengths: tuple[int, ...], where: str) -> tuple[int, ...] | None:
        """A shape as plain numbers, if it is one."""
        sizes = tuple(int(size) for size in shape.ravel()[: max(lengths) + 1])
        if len(sizes) not in lengths or min(sizes) < 1 or math.prod(sizes) > MOST_NEURONS:
            expected = " to ".join(str(length) for length in sorted({min(lengths), max(lengths)}))
            self.findings.problem(
                where, f"shape is {sizes}; expected {expected} positive numbers, of at most {MOST_NEURONS} neurons"
            )
            return None
        return sizes

    def _per_axis(self, entry: Entry, name: str) -> tuple[int, int] | None:
        """(y, x), as the file has them."""
        numbers = whole_numbers(entry, name, self.findings)
        if numbers is None:
            return None
        if numbers.size not in (1, 2) or np.abs(numbers).max() > 1 << 20:
            self.findings.problem(entry.where, f"{name} is {numbers.tolist()[:9]}; expected one or two small numbers")
            return None
        y, x = np.resize(numbers.ravel(), 2).tolist()
        return y, x

    def _bias(self, entry: Entry, shape: tuple[int, ...], neurons: Neurons | None) -> NDArray[np.int64] | None:
        """(N,) of neurons of this shape, channels first; None where it is wrong."""
        count = math.prod(shape)
        if "bias" not in entry.values:
            return np.zeros(count, np.int64)
        bias = whole_numbers(entry, "bias", self.findings)
        if bias is None:
            return None
        if neurons is not None and neurons.summed and bias.any():
            self.findings.problem(
                entry.where, "has a bias, and neurons whose voltage is their current; there is no register for that"
            )
            return None
        if bias.size == 1 and (len(shape) == 1 or bias.ndim == 0):
            return np.full(count, int(bias.flat[0]), np.int64)
        if bias.shape == (shape[0],):
            return bias.repeat(count // shape[0])
        if len(shape) == 3 and bias.shape == shape[::-1]:  # netx counts x, y, channel
            return bias.transpose(2, 1, 0).ravel()
        self.findings.problem(entry.where, f"bias of shape {bias.shape} does not fit neurons of shape {shape}")
        return None

    def _delay(self, entry: Entry, shape: tuple[int, ...]) -> NDArray[np.int32] | None:
        """(N, I) steps, zeros where there are none."""
        if "delay" not in entry.values:
            return np.zeros(shape, np.int32)
        delay = whole_numbers(entry, "delay", self.findings)
        if delay is None:
            return None
        if delay.min() < 0:
            self.findings.problem(entry.where, f"delay is {delay.min()} steps; delays are 0..{NETX_MAX_DELAY}")
            return None
        if delay.max() > NETX_MAX_DELAY:
            self.findings.inexact(
                entry.where, f"delay is {delay.max()} steps, more than {NETX_MAX_DELAY}", "clamped, as netx does"
            )
            delay = np.clip(delay, 0, NETX_MAX_DELAY)
        # Of a neuron where that fits, else of an input: the order in which create_dense asks.
        if delay.shape == shape[:1]:
            delay = delay[:, None]
        elif delay.ndim and delay.shape not in (shape, shape[1:]):
            self.findings.problem(entry.where, f"delay of shape {delay.shape} does not fit weight of shape {shape}")
            return None
        return np.ascontiguousarray(np.broadcast_to(delay, shape), np.int32)

    def _append(
        self, kind: type[Layer], neurons: Neurons, bias_N: NDArray[np.int64], where: str, synapse: dict[str, Any]
    ) -> None:
        mantissas, exponent = bias_registers(bias_N, where, self.findings)
        count = len(mantissas)
        try:
            layer = kind(
                neuron="cuba", du=neurons.du, dv=neurons.dv, vth=np.full(count, neurons.vth, np.int32),
                bias_mant=mantissas, bias_exp=exponent, dr=0, rho=0,
                readout_weight=np.zeros((0, count), np.int32), readout_bias=np.zeros(0, np.int32), **synapse,
            )  # fmt: skip
        except CompileError as error:
            self.findings.problem(where, f"{error}; export the network again")
            return
        if self.shape is not None and math.prod(self.shape) != layer.num_neurons:
            self.findings.problem(where, f"shape is {self.shape}, its weights make {layer.map_shape}")
            return
        self.shape = layer.map_shape
        if neurons.never or neurons.summed:
            self.never[len(self.layers)] = neurons
        self.layers.append(layer)
        self.where.append(where)


def _program(path: Path, file: NetxFile, reading: _Reading, steps: int | None, target: str) -> Program | None:
    findings = reading.findings
    if steps is None:
        findings.problem("simulation/tSample", "does not say how many steps a sample has; give the number of steps")
    if not reading.layers and not findings.problems:
        findings.problem("layer", "there is no dense layer and no convolution; nothing is left to compile")
    if findings.problems or steps is None:
        return None
    outputs = reading.layers[-1].num_neurons
    classes = reading.groups or outputs
    if classes > MOST_CLASSES:
        findings.problem(
            reading.where[-1], f"its {outputs} neurons are too many for classes, of which there are {MOST_CLASSES} at most"
        )
        return None
    readout = np.repeat(np.eye(classes, dtype=np.int32), outputs // classes, axis=1)
    last = replace(reading.layers[-1], readout_weight=readout, readout_bias=np.zeros(classes, np.int32))
    shape = reading.input_shape or ()
    assert len(shape) in (1, 2, 3), "the first layer has told how many inputs there are"
    padded = (*(1,) * (3 - len(shape)), *shape)
    try:
        program = Program(
            name=path.stem, layers=(*reading.layers[:-1], last), classes=tuple(map(str, range(classes))),
            input_shape=(padded[0], padded[1], padded[2]), steps=steps, burnin_steps=0, target=target, spec_yaml="",
            checkpoint_sha256=file.sha256, input_block=reading.block,
        )  # fmt: skip
    except CompileError as error:
        findings.problem("network", str(error))
        return None
    silent = _check_thresholds(program, reading)
    return replace(program, prediction="voltage") if len(program.layers) - 1 in silent else program


def _check_thresholds(program: Program, reading: _Reading) -> set[int]:
    """Indices of layers that can never spike; a finding for each that might although it must not."""
    silent = set()
    for index, layer in enumerate(program.layers):
        neurons = reading.never.get(index)
        if neurons is None and int(layer.vth[0]) < VTH_MAX:
            continue
        ranges = proven_ranges(layer, first=program.first_step(index), steps=program.steps)
        v = next(register for register in ranges if register.name == "v")
        below = v.proven_high <= int(layer.vth[0]) << ALIGN_SHIFT
        if below:
            silent.add(index)
            if index < len(program.layers) - 1:
                reading.warnings.append(f"{reading.where[index]}: its neurons never spike, so nothing follows from them")
        if neurons is not None and not (below and v.proven):
            reading.findings.inexact(
                reading.where[index], f"in {program.steps} steps its voltage may reach {v.proven_low}..{v.proven_high}, "
                "beyond the highest threshold; netx has one above every voltage",
                f"the highest threshold, {VTH_MAX} * 64; or run fewer steps",
            )  # fmt: skip
            silent.add(index)
    return silent


