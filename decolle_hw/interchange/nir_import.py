"""NIR graphs as networks of stock LIF neurons: what a graph of another tool becomes before it is quantized.

A graph is read as a chain: Input, then again and again a synapse (Affine, Linear, Conv2d, SumPool2d, Flatten, Delay, or
several of them, see `float_synapse.fold`) and its neurons (LIF, CubaLIF, IF: see `nir_neurons`), then Output. Whatever
is not that is refused, all of it in one error.

Time. NIR knows no latency: a spike is heard in the step in which it is made. A synapse on chip sends the sum of the
step before. So what layer l (counted from 0, pooling stages not counted) does at step t in another tool, it does here
at step t + l + 1; nothing else changes, as it leaves its reset state no sooner.
"""

# N neurons, I inputs; (c, h, w) maps

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from decolle_hw.compiler.layers import no_delay
from decolle_hw.errors import CompileError, listed
from decolle_hw.fixedpoint import DELAY_MAX
from decolle_hw.interchange.findings import Findings
from decolle_hw.interchange.float_network import FloatLayer, FloatNetwork
from decolle_hw.interchange.float_synapse import Convolution, Floats, Matrix, Shape, Synapse, TooLargeError, fold
from decolle_hw.interchange.nir_chain import chain_of, finite
from decolle_hw.interchange.nir_file import Graph, read_graph
from decolle_hw.interchange.nir_neurons import FIELDS as NEURON_FIELDS
from decolle_hw.interchange.nir_neurons import SAME, Neurons, discretise
from decolle_hw.interchange.nir_synapses import SYNAPSES, flattened

DEFAULT_DT = 1e-4  # seconds; of snnTorch's and SpikingJelly's exporters
DT_IS_GUESSED = (
    f"neither the graph nor --dt says it; {DEFAULT_DT:g} s is taken, as of snnTorch and SpikingJelly (Norse: 1e-3; "
    "sinabs and others that count in steps: 1)"
)
RESET_IS_GUESSED = (
    "is to v_reset, the only one that NIR has; a tool that subtracts the threshold, as snnTorch does by default, "
    "writes the same nodes, and its spikes are others"
)
OWN_SOURCE = "decolle-hw"  # in the metadata of graphs that `nir_export` wrote
KNOWN = frozenset({"Input", "Output", "Flatten", "Delay", *SYNAPSES, *NEURON_FIELDS})
SMALLEST, LARGEST = 1e-30, 1e30  # what the largest weight and threshold of a layer may be, but for zero
WHOLE_STEPS = 1e-6  # a delay may be so far from a multiple of dt


@dataclass(frozen=True)
class Reading:
    """A graph, read. notes: one line each for all that was approximated, or is good to know."""

    network: FloatNetwork
    dt: float
    notes: tuple[str, ...]


def read_nir(path: Path, *, approximate: bool = False, dt: float | None = None) -> Reading:
    """Read a graph as a network of stock LIF neurons in real numbers.

    Args:
        approximate: what has no exact counterpart (a reset to another value, time constants that differ within a layer,
            a bias that tau_syn would filter, delays between steps) is approximated, and noted, instead of refused.
        dt: seconds per step, for graphs whose metadata have none; default `DEFAULT_DT`.

    Raises: `ArtifactError` for a file that cannot be read, `CompileError` with all that is wrong with the graph.
    """
    findings = Findings(approximate)
    graph = read_graph(path, KNOWN)
    findings.problems += graph.problems
    dt = _step(graph, dt, findings)
    chain = chain_of(graph, KNOWN, findings)
    for name, node in graph.nodes.items():
        finite(node, _where(name, node), findings)
    layers: tuple[FloatLayer, ...] = ()
    shape: Shape = ()
    if not findings.problems:
        shape = _input_shape(chain[0], graph.nodes[chain[0]], findings)
    if not findings.problems:
        layers = _Chain(graph, dt, findings).layers(chain, shape)
    if findings.problems and graph.metadata.get("source") == OWN_SOURCE:
        findings.problem("graph", "was exported from integers: decolle neurons come back only with its sidecar")
    if findings.problems:
        raise CompileError(listed(f"{path}: cannot be compiled", findings.problems))
    if graph.metadata.get("source") != OWN_SOURCE:
        findings.note("reset", RESET_IS_GUESSED)
    channels, height, width = [1] * (3 - len(shape)) + list(shape)
    return Reading(FloatNetwork(path.stem, layers, (channels, height, width)), dt, tuple(findings.notes))


def _step(graph: Graph, given: float | None, findings: Findings) -> float:
    """Seconds per step: of the graph's metadata, else as given."""
    found = {}
    for name, metadata in [
        ("the graph", graph.metadata),
        *((f"node {n!r}", v.metadata) for n, v in graph.nodes.items()),
    ]:
        if "dt" in metadata:
            value = np.asarray(metadata["dt"])
            if value.size != 1 or value.dtype.kind not in "iuf" or not (0 < value.item() < math.inf):
                findings.problem(name, f"metadata dt is {metadata['dt']!r}, must be a positive number of seconds")
            else:
                found[name] = float(value.item())
    if given is not None and not (0 < given < math.inf):
        findings.problem("dt", f"is {given}, must be a positive number of seconds")
        given = None
    if given is not None:
        found["dt as given"] = given
    different = set(found.values())
    if len(different) > 1 and max(different) - min(different) > SAME * max(different):
        listed = ", ".join(f"{name}: {value:g}" for name, value in found.items())
        findings.problem("dt", f"is not one ({listed}); leave --dt out, or correct the metadata")
    if not found:
        findings.note("dt", DT_IS_GUESSED)
    return next(iter(found.values()), DEFAULT_DT)


def _input_shape(name: str, node: Any, findings: Findings) -> Shape:
    """One to three axes, the last three of which are (polarities, height, width); a batch axis of 1 is left out."""
    shape = tuple(int(size) for size in np.asarray(node.input_type["input"]).reshape(-1))
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        findings.problem(_where(name, node), f"is of shape {shape}; one to three positive numbers are expected")
    return shape


class _Chain:
    """Goes along a chain of nodes, and makes a layer of each group of synapses and its neurons."""

    def __init__(self, graph: Graph, dt: float, findings: Findings) -> None:
        self.graph, self.dt, self.findings = graph, dt, findings
        self.made: list[FloatLayer] = []

    def layers(self, chain: tuple[str, ...], shape: Shape) -> tuple[FloatLayer, ...]:
        """All layers; what is wrong goes to the findings, and the walk ends where no shape is known any more."""
        nodes = [(name, self.graph.nodes[name]) for name in chain]
        self._begin(shape)
        for name, node in nodes[1:-1]:
            kind, where = type(node).__name__, _where(name, node)
            if kind == "Flatten":
                after: Shape | None = flattened(node, where, shape, self.findings)
            elif kind == "Delay":
                self._delay(node, where, shape)
                after = shape
            elif kind in SYNAPSES:
                synapse = SYNAPSES[kind](node, where, shape, self.findings)
                if synapse is not None:
                    self.synapses.append(synapse)
                after = None if synapse is None else synapse.output_shape(shape)
            else:
                self._neurons(name, node, shape)
                after = shape
                self._begin(shape)
            if after is None:
                return ()
            shape = after
        self._end(nodes[-2], nodes[-1], shape)
        return tuple(self.made)

    def _begin(self, shape: Shape) -> None:
        """From here on what comes belongs to the next layer."""
        self.input_shape = shape
        self.synapses: list[Synapse] = []
        self.delay_I: Floats | None = None

    def _end(self, last: tuple[str, Any], output: tuple[str, Any], shape: Shape) -> None:
        if type(last[1]).__name__ not in NEURON_FIELDS:
            self.findings.problem(_where(*last), "feeds the output, which must be spikes; end the graph with LIF")
        said = math.prod(int(size) for size in np.asarray(output[1].output_type["output"]).reshape(-1))
        if said != math.prod(shape):
            self.findings.problem(_where(*output), f"takes {said} values, {math.prod(shape)} arrive, of shape {shape}")

    def _delay(self, node: Any, where: str, shape: Shape) -> None:
        steps = np.asarray(node.delay, np.float64) / self.dt
        if self.synapses or self.delay_I is not None:
            self.findings.problem(where, "must come right after neurons: a synapse delays what goes into it")
            return
        if steps.size not in (1, math.prod(shape)):
            self.findings.problem(where, f"is of shape {steps.shape}, {shape} arrives")
            return
        whole = np.rint(steps)
        if np.any(np.abs(steps - whole) > WHOLE_STEPS * np.maximum(1, whole)):
            worst = float(np.abs(steps - whole).max())
            what = f"is no multiple of dt = {self.dt:g} s"
            self.findings.inexact(where, what, f"rounded to whole steps, by up to {worst:.2g}")
        if whole.min() < 0 or whole.max() > DELAY_MAX:
            self.findings.problem(
                where, f"is {whole.min():g}..{whole.max():g} steps; delays on chip are 0..{DELAY_MAX}"
            )
            return
        self.delay_I = np.broadcast_to(whole.reshape(-1), (math.prod(shape),))

    def _neurons(self, name: str, node: Any, shape: Shape) -> None:
        where = _where(name, node)
        neurons = discretise(node, where, shape, self.dt, self.findings)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # `_in_range` names what comes of it
                synapse = fold(self.synapses, self.input_shape)
        except TooLargeError as error:
            self.findings.problem(where, f"the nodes before it {error}; use fewer inputs, or a convolution")
            return
        if neurons is None:
            return
        if len(self.synapses) > 1 and isinstance(synapse, Matrix):
            self.findings.note(where, f"the {len(self.synapses)} linear nodes before it are one matrix of "
                                      f"{synapse.weight.shape[0]} by {synapse.weight.shape[1]}")  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            layer = self._layer(name, where, synapse, neurons)
        if layer is not None and _in_range(layer, where, self.findings):
            self.made.append(replace(layer, is_pooling=True) if self._is_or(layer) else layer)

    def _layer(self, name: str, where: str, synapse: Synapse, neurons: Neurons) -> FloatLayer | None:
        bias_N = np.broadcast_to(np.asarray(synapse.bias, np.float64), neurons.gain.shape)
        drive_N = neurons.drive
        if np.any(bias_N):
            drive_N = drive_N + neurons.gain * bias_N / (1.0 - neurons.current_keep)
        if neurons.current_keep > 0 and np.any(bias_N):
            self.findings.inexact(
                where, "the bias before it is filtered by tau_syn, and on chip a bias is added behind that filter",
                "it is added at its final value, from the first step on",
            )  # fmt: skip
        delay = no_delay()
        if self.delay_I is not None and np.any(self.delay_I):
            if not isinstance(synapse, Matrix):
                self.findings.problem(where, "a convolution hears delayed spikes, and only dense synapses have delays")
                return None
            delay = np.tile(self.delay_I.astype(np.int32), (len(synapse.weight), 1))
        gain = _gain(synapse, neurons.gain, where, self.findings)
        scaled = replace(synapse, weight=synapse.weight * gain, bias=0.0)
        return FloatLayer(
            name, scaled, self.input_shape, drive_N, neurons.current_keep, neurons.voltage_keep, float(neurons.vth[0]),
            delay,
        )  # fmt: skip

    def _is_or(self, layer: FloatLayer) -> bool:
        """What the compiler knows as max-pooling: neurons that one spike of their window fires.

        Nothing is left of v then, whatever its time constant: it is reset as soon as anything arrives.
        """
        synapse, before = layer.synapse, self.made[-1] if self.made else None
        return (
            before is not None and isinstance(before.synapse, Convolution) and not before.is_pooling
            and isinstance(synapse, Convolution) and synapse.groups == len(synapse.weight) == layer.input_shape[0]
            and synapse.weight.shape[2:] == synapse.stride and synapse.stride[0] == synapse.stride[1]
            and synapse.padding == (0, 0) and not np.any(layer.bias)
            and bool(np.all(synapse.weight > layer.vth)) and layer.current_keep == 0.0
        )  # fmt: skip


def _in_range(layer: FloatLayer, where: str, findings: Findings) -> bool:
    """Whether the numbers of a layer are of a size that can be reckoned with."""
    before = len(findings.problems)
    for what, values, smallest in (
        ("weights before it, times r and w_in", layer.synapse.weight, SMALLEST),
        ("biases, with v_leak and r", layer.bias, 0.0),
        ("v_threshold", np.array([layer.vth]), SMALLEST),
    ):
        largest = float(np.abs(values).max())  # nan where there is one
        if not (largest == 0 or smallest <= largest <= LARGEST):
            findings.problem(
                where, f"{what}: the largest is {largest:.3g}, {smallest:g}..{LARGEST:g} is expected; use other units"
            )  # fmt: skip
    return len(findings.problems) == before


def _gain(synapse: Synapse, gain_N: Floats, where: str, findings: Findings) -> Floats:
    """What the weights are multiplied by: (N, 1), or (C, 1, 1, 1) where they are shared within a channel."""
    if isinstance(synapse, Matrix):
        return gain_N[:, None]
    by_channel = gain_N.reshape(len(synapse.weight), -1)
    spread = np.ptp(by_channel, axis=1).max() if by_channel.size else 0.0
    if spread <= SAME * np.abs(by_channel).max():
        return by_channel[:, 0, None, None, None]
    findings.inexact(
        where, f"r, w_in or v_threshold differ within a channel (by {spread:.3g}), whose neurons share their weights",
        "all of a channel have the mean gain",
    )  # fmt: skip
    mean: Floats = by_channel.mean(1)[:, None, None, None]
    return mean


def _where(name: str, node: Any) -> str:
    return f"node {name!r} ({type(node).__name__})"
