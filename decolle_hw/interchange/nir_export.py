"""A compiled network as a NIR graph: its integers as real numbers for other tools, beside a sidecar that has all.

Weights, thresholds and biases stand in the graph as the integers that they are on chip, v in units of 64 registers;
time constants are those of which forward Euler at the `dt` in the metadata makes the very decays of the chip::

    cuba      [Delay ->] Affine | Linear | Conv2d [-> Flatten] -> LIF (du full) | CubaLIF
    pooling   SumPool2d -> LIF without memory: one spike of the window fires it
    decolle   Delay (one step) -> Linear | Conv2d -> CubaLI -> Threshold;   Threshold -> LI -> Threshold

The loop of a decolle layer is its refractory trace: what LI makes of the spikes of the step before is added to the
potential at the threshold. NIR has no word for the step that a synapse takes on chip. For stock LIF it only shifts a
layer's spikes in time (`decolle_hw.interchange.nir_import`); a decolle neuron with a negative threshold fires before
anything arrives, so its layers say the step with a Delay.

A decay of zero has no time constant; it stands as `ENDLESS` steps, of which double precision makes exactly no decay.
What NIR has no word for (rounding, readouts, burn-in, delays that differ among the synapses of one input) is in the
sidecar (`decolle_hw.interchange.nir_sidecar`), or refused.
"""

# N neurons, I inputs; (c, h, w) maps

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decolle_hw.atomic import new_file
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError, listed
from decolle_hw.fixedpoint import CURRENT_DECAY_OFFSET, DECAY_UNITY
from decolle_hw.interchange.float_network import ALIGN, float_synapse
from decolle_hw.interchange.float_synapse import Convolution, Floats, Shape, ungrouped
from decolle_hw.interchange.nir_import import DEFAULT_DT, OWN_SOURCE
from decolle_hw.interchange.nir_sidecar import write_sidecar

ENDLESS = 2.0**60  # steps


@dataclass(frozen=True)
class Exported:
    """The two files that were written, and what a reader of the graph should know."""

    graph: Path
    sidecar: Path
    notes: tuple[str, ...]


def export_nir(program: Program, path: Path, *, dt: float = DEFAULT_DT) -> Exported:
    """Write `path` and its sidecar ``path.h5``; both appear complete or not at all.

    Args: dt: seconds per step that the graph's time constants are made for.

    Raises `CompileError` with all layers that NIR cannot express, `UsageError` where nothing can be written.
    """
    import nir  # only here: other commands shall not wait for it

    if not (0 < dt < math.inf):
        raise CompileError(f"dt {dt}: must be a positive number of seconds")
    nodes, edges, notes = graph_of(program, dt)
    buffer = io.BytesIO()
    # Not checked here: nir 1.0.8 takes the height of a kernel for its width.
    graph = nir.NIRGraph(nodes, edges, metadata={"dt": dt, "source": OWN_SOURCE}, type_check=False)
    nir.write(buffer, graph)
    with new_file(path) as partial:
        partial.write_bytes(buffer.getvalue())
        sidecar = write_sidecar(program, path, buffer.getvalue())
    return Exported(path, sidecar, notes)


def graph_of(program: Program, dt: float) -> tuple[dict[str, Any], list[tuple[str, str]], tuple[str, ...]]:
    """(nodes of the `nir` package by name, edges, notes). See `export_nir`."""
    if program.input_block is not None:
        raise CompileError(f"{program.name}: NIR cannot express its input block: images enter it as biases, not spikes")
    problems = [problem for index, layer in enumerate(program.layers) for problem in _problems(layer, index)]
    if problems:
        raise CompileError(listed(f"{program.name}: NIR cannot express it", problems))
    graph = _Graph(dt)
    flat = program.input_shape[:2] == (1, 1) and isinstance(program.layers[0], DenseLayer)
    shape: Shape = program.input_shape[2:] if flat else program.input_shape
    graph.begin(shape)
    notes = []
    for index, layer in enumerate(program.layers):
        if isinstance(layer, ConvLayer) and layer.kernel_sizes[0] != layer.kernel_sizes[1]:
            notes.append(f"layer {index}: nir.read 1.0.8 takes its kernel for a square; read with type_check=False")
        if layer.weight_exp < 0 and np.any(layer.weight & ((1 << -layer.weight_exp) - 1)):
            notes.append(f"layer {index}: the chip rounds its sums down to whole numbers, the graph does not round")
        graph.add_layer(f"layer{index}", layer)
    graph.end()
    return graph.nodes, graph.edges, tuple(notes)


def _problems(layer: Layer, index: int) -> list[str]:
    if isinstance(layer, DenseLayer) and layer.max_delay and np.any(layer.delay != layer.delay[0]):
        return [
            f"layer {index}: the synapses of one input have different delays, and NIR delays a signal for all that "
            "hear it; give each input one delay"
        ]
    return []


class _Graph:
    """A chain of nodes under construction; decolle layers hang a loop on it."""

    def __init__(self, dt: float) -> None:
        self.dt = dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.last = ""
        self.shape: Shape = ()

    def begin(self, shape: Shape) -> None:
        import nir

        self.shape = shape
        self._append("input", nir.Input({"input": np.array(shape)}), shape)

    def end(self) -> None:
        import nir

        self._append("output", nir.Output({"output": np.array(self.shape)}), self.shape)

    def add_layer(self, name: str, layer: Layer) -> None:
        """A synapse and its neurons; see the top of this file."""
        import nir

        if isinstance(layer, DenseLayer) and len(self.shape) > 1:
            flatten = nir.Flatten({"input": np.array(self.shape)}, start_dim=0, end_dim=-1)
            self._append(f"{name}_flatten", flatten, (layer.num_inputs,))
        self._delay(name, layer)
        if layer.is_pooling:
            assert isinstance(layer, ConvLayer)
            pool = nir.SumPool2d(np.array(layer.kernel_sizes), np.array(layer.strides), np.zeros(2, np.int64))
            self._append(f"{name}_pool", pool, layer.map_shape)
        else:
            self._synapse(f"{name}_synapse", layer)
        if layer.neuron == "decolle":
            self._decolle(name, layer)
        else:
            self._cuba(f"{name}_lif", layer)

    def _append(self, name: str, node: Any, shape: Shape) -> None:
        self.nodes[name] = node
        if self.last:
            self.edges.append((self.last, name))
        self.last, self.shape = name, shape

    def _delay(self, name: str, layer: Layer) -> None:
        import nir

        steps = np.full(self.shape, 1 if layer.neuron == "decolle" else 0)
        if isinstance(layer, DenseLayer) and layer.max_delay:
            steps = steps + layer.delay[0]
        if np.any(steps):
            self._append(f"{name}_delay", nir.Delay(steps * self.dt), self.shape)

    def _synapse(self, name: str, layer: Layer) -> None:
        import nir

        synapse = float_synapse(layer)
        weight = synapse.weight.astype(np.float32)
        bias = _synapse_bias(layer)
        if not isinstance(synapse, Convolution):
            node = nir.Linear(weight) if not np.any(bias) else nir.Affine(weight, bias)
            self._append(name, node, layer.map_shape)
            return
        # nir 1.0.8 takes the channels of one group for all of them when it reads a graph.
        synapse = ungrouped(synapse)
        node = nir.Conv2d(
            input_shape=self.shape[1:], weight=synapse.weight.astype(np.float32), stride=synapse.stride,
            padding=synapse.padding, dilation=synapse.dilation, groups=1, bias=bias,
        )  # fmt: skip
        self._append(name, node, layer.map_shape)

    def _cuba(self, name: str, layer: Layer) -> None:
        import nir

        shape = layer.map_shape
        tau_mem, tau_syn = self._tau(layer.dv), self._tau(layer.du + CURRENT_DECAY_OFFSET)
        full = layer.du + CURRENT_DECAY_OFFSET == DECAY_UNITY
        rest_N = layer.bias / ALIGN if not np.any(_synapse_bias(layer)) else np.zeros(layer.num_neurons)
        common = {
            "r": np.full(shape, tau_mem / self.dt),  # so that one unit of current is one unit of v
            "v_leak": rest_N.reshape(shape) * (tau_mem / self.dt),
            "v_threshold": np.full(shape, 0.0 if layer.is_pooling else float(layer.vth[0])),
            "v_reset": np.zeros(shape),
        }
        if full:
            node = nir.LIF(tau=np.full(shape, tau_mem), **common)
        else:
            w_in = np.full(shape, tau_syn / self.dt)
            node = nir.CubaLIF(tau_mem=np.full(shape, tau_mem), tau_syn=np.full(shape, tau_syn), w_in=w_in, **common)
        self._append(name, node, shape)

    def _decolle(self, name: str, layer: Layer) -> None:
        import nir

        shape = layer.map_shape
        tau_mem, tau_syn = self._tau(layer.dv), self._tau(layer.du + CURRENT_DECAY_OFFSET)
        zeros = np.zeros(shape)
        potential = nir.CubaLI(
            tau_mem=np.full(shape, tau_mem), tau_syn=np.full(shape, tau_syn), r=np.full(shape, tau_mem / self.dt),
            v_leak=zeros, w_in=np.full(shape, tau_syn / self.dt),
        )  # fmt: skip
        self._append(f"{name}_potential", potential, shape)
        self._append(f"{name}_spikes", nir.Threshold(layer.vth.reshape(shape).astype(np.float64)), shape)
        if layer.rho:
            tau = self._tau(layer.dr)
            step = np.full(shape, -layer.rho / ALIGN * (tau / self.dt))
            self.nodes[f"{name}_refractory"] = nir.LI(tau=np.full(shape, tau), r=step, v_leak=zeros)
            self.edges += [(f"{name}_spikes", f"{name}_refractory"), (f"{name}_refractory", f"{name}_spikes")]

    def _tau(self, parts: int) -> float:
        """Seconds, of a decay by `parts` of 4096 per step."""
        return self.dt * (DECAY_UNITY / parts if parts else ENDLESS)


def _synapse_bias(layer: Layer) -> Floats:
    """The bias as the synapse of LIF may add it: per output or channel; zeros where v_leak has to.

    CubaLIF would filter what its synapse adds, and the channels of a convolution may have one bias each.
    """
    outputs = layer.map_shape[0]
    by_output = (layer.bias / ALIGN).reshape(outputs, -1)
    filtered = layer.du + CURRENT_DECAY_OFFSET != DECAY_UNITY
    if filtered or np.any(by_output != by_output[:, :1]):
        return np.zeros(outputs)
    bias: Floats = by_output[:, 0]
    return bias
