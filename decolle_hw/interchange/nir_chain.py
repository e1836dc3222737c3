"""The shape of a graph: one chain from Input to Output, of nodes that are known here, of numbers that are numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from decolle_hw.interchange.findings import Findings
from decolle_hw.interchange.nir_file import Graph

REMEDIES = {
    "AvgPool2d": "use SumPool2d, and divide the weights after it by the size of its window",
    "Scale": "multiply it into the weights",
    "Conv1d": "write it as Conv2d of height 1",
    "LI": "end the network with LIF: only spikes leave a layer",
    "CubaLI": "end the network with LIF: only spikes leave a layer",
    "I": "end the network with IF: only spikes leave a layer",
    "Threshold": "use LIF or CubaLIF, which spike by themselves",
    "NIRGraph": "a subgraph, as tools write recurrent layers; only chains of layers are compiled",
}


def chain_of(graph: Graph, known: frozenset[str], findings: Findings) -> tuple[str, ...]:
    """Names from Input to Output. What keeps the graph from being such a chain goes to `findings`, all of it."""
    for kind in sorted(set(graph.types.values()) - known):
        names = [name for name, found in graph.types.items() if found == kind]
        remedy = f"; {REMEDIES[kind]}" if kind in REMEDIES else ""
        findings.problem(f"type {kind}", f"is not supported, node{'s' * (len(names) > 1)}{_listed(names)}{remedy}")
    ends = {kind: [name for name, found in graph.types.items() if found == kind] for kind in ("Input", "Output")}
    for kind, names in ends.items():
        if len(names) != 1:
            findings.problem("graph", f"has {len(names)} nodes of type {kind}{_listed(names)}, exactly one is needed")
    _check_edges(graph, findings)
    if findings.problems:
        return ()
    after = dict(graph.edges)
    chain = [ends["Input"][0]]
    while chain[-1] in after and len(chain) <= len(graph.types):
        chain.append(after[chain[-1]])
    if chain[-1] != ends["Output"][0]:
        findings.problem("graph", f"does not lead from {chain[0]!r} to {ends['Output'][0]!r}: it ends at {chain[-1]!r}")
    elif len(chain) < len(graph.types):
        unheard = sorted(graph.types.keys() - set(chain))
        findings.problem("graph", f"has nodes that are not on the way from input to output{_listed(unheard)}")
    elif len(chain) == 2:
        findings.problem("graph", "has no layer between input and output")
    return tuple(chain)


def _check_edges(graph: Graph, findings: Findings) -> None:
    """Every node hears one, and is heard by one."""
    for edge, count in Counter(graph.edges).items():
        if count > 1:
            findings.problem("graph", f"has the edge {edge[0]!r} -> {edge[1]!r} {count} times")
        for name in edge:
            if name not in graph.types:
                findings.problem("graph", f"has an edge {edge[0]!r} -> {edge[1]!r}, but no node {name!r}")
        if edge[0] == edge[1]:
            findings.problem(f"node {edge[0]!r}", "feeds itself: recurrence is not supported, only chains of layers")
    edges = list(dict.fromkeys(graph.edges))
    for name in graph.types:
        to = [after for before, after in edges if before == name and after != name]
        of = [before for before, after in edges if after == name and before != name]
        if len(to) > 1:
            findings.problem(
                f"node {name!r}", f"feeds {len(to)} nodes{_listed(to)}; only chains of layers are compiled"
            )
        if len(of) > 1:
            findings.problem(
                f"node {name!r}", f"hears {len(of)} nodes{_listed(of)}; only chains of layers are compiled"
            )


def finite(node: Any, where: str, findings: Findings) -> None:
    """All numbers of a node are numbers."""
    for field in dataclasses.fields(node):
        if field.name in ("input_type", "output_type", "metadata"):
            continue
        value = getattr(node, field.name)
        if value is None or isinstance(value, str):
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "iufb":
            findings.problem(where, f"{field.name} is not made of numbers")
        elif array.size == 0 and field.name != "input_shape":
            findings.problem(where, f"{field.name} is empty")
        elif not np.isfinite(array).all():
            wrong = int(np.count_nonzero(~np.isfinite(array)))
            findings.problem(where, f"{field.name}: {wrong} of {array.size} values are not finite")


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return f" ({shown})" if names else ""
