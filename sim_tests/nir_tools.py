"""NIR graphs for tests, and an independent simulation of them: forward Euler of each node's equation, in torch."""

# T steps; maps (c, h, w)

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import nir
import numpy as np
import torch

from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.program import Program

DT = 1e-4
SPIKING = ("LIF", "CubaLIF", "IF", "Threshold")


def write(path, *nodes: Any, edges: list[tuple[str, str]] | None = None, **metadata: Any):
    """Nodes named 0, 1, .., a chain unless told otherwise, written by the nir package; returns the path."""
    names = [str(place) for place in range(len(nodes))]
    edges = list(itertools.pairwise(names)) if edges is None else edges
    nir.write(path, nir.NIRGraph(dict(zip(names, nodes, strict=True)), edges, metadata=metadata, type_check=False))
    return path


def source(*shape: int) -> nir.Input:
    return nir.Input({"input": np.array(shape)})


def sink(*shape: int) -> nir.Output:
    return nir.Output({"output": np.array(shape)})


def lif(*shape: int, tau: Any = 8 * DT, r: Any = 1.0, leak: Any = 0.0, vth: Any = 1.0, reset: Any = 0.0) -> nir.LIF:
    full = [np.zeros(shape) + value for value in (tau, r, leak, vth, reset)]
    return nir.LIF(full[0], full[1], full[2], full[3], full[4])


def cuba(*shape: int, tau_syn: Any = 4 * DT, tau_mem: Any = 8 * DT, r: Any = 1.0, leak: Any = 0.0, vth: Any = 1.0,
         w_in: Any = 1.0) -> nir.CubaLIF:  # fmt: skip
    full = [np.zeros(shape) + value for value in (tau_syn, tau_mem, r, leak, vth)]
    return nir.CubaLIF(*full, w_in=np.zeros(shape) + w_in)


def conv(weight: np.ndarray, shape: tuple[int, int] | None = None, **geometry: Any) -> nir.Conv2d:
    """Of any geometry, impossible ones included; without `shape` the node says nothing of what it takes."""
    node = nir.Conv2d((64, 64), weight, stride=1, padding=0, dilation=1, groups=1, bias=np.zeros(len(weight)))
    node.input_shape = shape or ()
    for name, value in geometry.items():
        pair = name in ("stride", "padding", "dilation") and isinstance(value, int)
        setattr(node, name, (value, value) if pair else value)
    return node


def euler(graph: nir.NIRGraph, inputs_TX: np.ndarray, dt: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(spikes, v before the reset) of every spiking node, (T, ..), in NIR's own time: no synapse takes a step.

    What LI nodes say, which stand in loops here, is of the spikes of the step before.
    """
    nodes, order = graph.nodes, _order(graph)
    loops = [name for name, node in nodes.items() if type(node).__name__ == "LI"]
    out: dict[str, torch.Tensor] = {}
    state: dict[str, torch.Tensor] = {}
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for x_X in torch.tensor(inputs_TX, dtype=torch.float64):
        for name in loops:
            heard = sum((out[b] for b, a in graph.edges if a == name and b in out), torch.zeros(()))
            n = nodes[name]
            v = state.get(name, torch.zeros(n.r.shape, dtype=torch.float64))
            state[name] = v + dt / _tensor(n.tau) * (_tensor(n.v_leak) - v + _tensor(n.r) * heard)
        out |= {name: state[name] for name in loops}
        for name in order:
            heard = x_X if name == order[0] else sum(out[b] for b, a in graph.edges if a == name)
            out[name] = _step(nodes[name], name, heard, state, dt)
            if type(nodes[name]).__name__ in SPIKING:
                seen.setdefault(name, []).append((out[name].numpy(), state[f"{name} asked"].numpy()))
    return {name: (np.array([s for s, _ in rows]), np.array([v for _, v in rows])) for name, rows in seen.items()}


def _step(n: Any, name: str, x: torch.Tensor, state: dict[str, Any], dt: float) -> torch.Tensor:
    kind = type(n).__name__
    if kind in ("Input", "Output"):
        return x
    if kind == "Flatten":
        end = n.end_dim if n.end_dim >= 0 else x.dim() + n.end_dim
        return x.flatten(n.start_dim, end)
    if kind == "Delay":
        line = state.setdefault(name, [])
        line.append(x)
        steps = torch.tensor(np.rint(n.delay / dt).astype(int)).expand(x.shape)
        late = [torch.where(steps == d, line[-1 - d], 0.0) for d in range(int(steps.max()) + 1) if d < len(line)]
        return sum(late, torch.zeros(x.shape, dtype=torch.float64))
    if kind in ("Affine", "Linear"):
        return _tensor(n.weight) @ x + (_tensor(n.bias) if kind == "Affine" else 0.0)
    if kind == "Conv2d":
        padding = n.padding if isinstance(n.padding, str) else tuple(int(p) for p in n.padding)
        stride, dilation = (tuple(int(p) for p in pair) for pair in (n.stride, n.dilation))
        args = (stride, padding, dilation, int(n.groups))
        return torch.nn.functional.conv2d(x[None], _tensor(n.weight), _tensor(n.bias), *args)[0]
    if kind == "SumPool2d":
        kernel, stride, padding = (tuple(int(p) for p in pair) for pair in (n.kernel_size, n.stride, n.padding))
        return torch.nn.functional.avg_pool2d(x[None], kernel, stride, padding, divisor_override=1)[0]
    return _neuron(n, kind, name, x, state, dt)


def _neuron(n: Any, kind: str, name: str, x: torch.Tensor, state: dict[str, Any], dt: float) -> torch.Tensor:
    v = state.get(name, torch.zeros(x.shape, dtype=torch.float64))
    if kind == "Threshold":
        state[f"{name} asked"] = x
        return (x > _tensor(n.threshold)).double()
    if kind in ("CubaLIF", "CubaLI"):
        u = state.get(f"{name} u", torch.zeros(x.shape, dtype=torch.float64))
        u = u + dt / _tensor(n.tau_syn) * (_tensor(n.w_in) * x - u)
        state[f"{name} u"] = u
        v = v + dt / _tensor(n.tau_mem) * (_tensor(n.v_leak) - v + _tensor(n.r) * u)
    elif kind == "LIF":
        v = v + dt / _tensor(n.tau) * (_tensor(n.v_leak) - v + _tensor(n.r) * x)
    else:
        assert kind == "IF", kind
        v = v + dt * _tensor(n.r) * x
    if kind == "CubaLI":
        state[name] = v
        return v
    spikes = v > _tensor(n.v_threshold)
    state[f"{name} asked"], state[name] = v, torch.where(spikes, _tensor(n.v_reset), v)
    return spikes.double()


def _order(graph: nir.NIRGraph) -> list[str]:
    """From Input to Output, past the LI nodes."""
    loops = {name for name, node in graph.nodes.items() if type(node).__name__ == "LI"}
    after = {before: after for before, after in graph.edges if not {before, after} & loops}
    order = [next(name for name, node in graph.nodes.items() if isinstance(node, nir.Input))]
    while order[-1] in after:
        order.append(after[order[-1]])
    return order


def _tensor(value: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(value), dtype=torch.float64)


def writable(program: Program) -> Program:
    """The program with what netx and NIR can say: bias exponent 6, one delay per input."""
    layers = []
    for layer in program.layers:
        if layer.neuron == "cuba" and not layer.is_pooling:
            layer = dataclasses.replace(layer, bias_exp=6)
        if isinstance(layer, DenseLayer) and layer.max_delay:
            layer = dataclasses.replace(layer, delay=np.tile(layer.delay[0], (layer.num_neurons, 1)))
        layers.append(layer)
    return dataclasses.replace(program, layers=tuple(layers))
