"""Lowering: each stage does one thing, and what comes out is the compiled network, population by layer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from decolle_hw.compiler.layers import ConvLayer, DenseLayer
from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph, Population
from decolle_hw.compiler.lowering.read import graph_of_program, graph_of_spec
from decolle_hw.compiler.lowering.stages import STAGES, Options, lower
from decolle_hw.errors import CompileError
from decolle_hw.sim.random_program import random_networks
from decolle_hw.spec import load_model_spec


def lowered(graph: Graph, options: Options | None = None) -> Graph:
    return lower(graph, options or Options())[-1][1]


def test_stages_of_the_papers_network() -> None:
    graph = graph_of_spec(load_model_spec("nmnist-paper"), 10, 8)
    results = dict(lower(graph))
    assert list(results) == [name for name, _, _ in STAGES]
    assert [(p.name, p.shape, p.pool_size) for p in results["normalise"].populations] == [
        ("conv0", (64, 32, 32), 2), ("conv1", (128, 16, 16), 1), ("conv2", (128, 16, 16), 2),
    ]  # fmt: skip
    final = results["learning"]
    assert [(p.name, p.role, p.shape, p.layer, p.latency) for p in final.populations] == [
        ("conv0", "hidden", (64, 32, 32), 0, 0), ("pool0", "pooling", (64, 16, 16), 1, 1),
        ("conv1", "hidden", (128, 16, 16), 2, 1),
        ("conv2", "hidden", (128, 16, 16), 3, 1), ("pool2", "pooling", (128, 8, 8), 4, 2),
    ]  # fmt: skip
    assert [(c.source, c.target) for c in final.connections] == [
        (INPUT, "conv0"), ("conv0", "pool0"), ("pool0", "conv1"), ("conv1", "conv2"), ("conv2", "pool2"),
    ]  # fmt: skip
    # 64 x 32 x 32 neurons see 2 x 7 x 7; 128 x 16 x 16 see 64 x 49 and 128 x 49; windows of 2 x 2.
    assert [final.synapses(c) for c in final.connections] == [6422528, 65536, 102760448, 205520896, 32768]


@pytest.mark.parametrize("seed", range(3))
def test_populations_are_the_layers_of_the_program(seed: int) -> None:
    seen = 0
    for _, program in zip(range(8), random_networks(seed), strict=False):
        graph = lowered(graph_of_program(program))
        assert [population.layer for population in graph.populations] == list(range(len(program.layers)))
        for population, layer, delay in zip(graph.populations, program.layers, program.delays, strict=True):
            assert population.size == layer.num_neurons and population.latency == delay
            assert (population.role == "pooling") == layer.is_pooling
            (connection,) = graph.into(population.name)
            assert connection.source_size == layer.num_inputs
            assert graph.synapses(connection) == layer.num_synapses
            if isinstance(layer, DenseLayer):
                assert connection.geometry is None and connection.weight_bits == layer.weight_bits
                assert 2**connection.delay_bits > layer.max_delay >= 2**connection.delay_bits // 2
                zeros = layer.num_synapses - np.count_nonzero(layer.weight)
                assert (connection.nonzero is None) == (zeros == 0)
            else:
                assert isinstance(layer, ConvLayer)
                seen += 1
    assert seen


def chain(connection: Connection, *populations: Population) -> Graph:
    return Graph("net", connection.source_shape, populations, (connection,))


def test_what_makes_no_difference_goes() -> None:
    unit = Population("conv0", "hidden", "cuba", (5, 1, 3), 0)
    odd = Connection(INPUT, "conv0", (3, 4, 9), Geometry((4, 1), stride=(7, 4), dilation=(1, 5)))
    assert lowered(chain(odd, unit)).connections[0].geometry == Geometry((4, 1), stride=(1, 4), dilation=(1, 1))
    # A convolution over all of its map stays one: its in-axons are pixels, those of a matrix would be neurons.
    whole = Connection(INPUT, "conv0", (3, 4, 2), Geometry((4, 2)))
    assert lowered(chain(whole, replace(unit, shape=(5, 1, 1)))).connections[0].geometry == Geometry((4, 2))
    full = Connection(INPUT, "conv0", (2, 1, 1), nonzero=np.ones((15, 2), bool))
    assert lowered(chain(full, unit)).connections[0].nonzero is None


def test_plastic_layers_get_readout_error_and_feedback() -> None:
    graph = graph_of_spec(load_model_spec("nmnist-paper", ("network.Mhid=[40]",)), 10, 8)
    final = lowered(graph, Options(plastic=(2, 3), classes=10))
    assert [(p.name, p.role, p.shape, p.latency) for p in final.populations[-2:]] == [
        ("error2", "error", (10, 1, 1), 2), ("error3", "error", (10, 1, 1), 2),
    ]  # fmt: skip
    assert [(c.source, c.graded) for c in final.into("dense3")] == [("pool2", False), ("error3", True)]
    assert [c.plastic for c in final.into("dense3")] == [True, False]
    assert [(c.source, c.source_shape) for c in final.into("error2")] == [
        ("pool2", (128, 8, 8)), (INPUT, (10, 1, 1)),
    ]  # fmt: skip
    assert {c.target for c in final.connections if c.plastic} == {"conv2", "dense3"}
    with pytest.raises(CompileError, match=r"plastic layers -1, 4: nmnist-paper has layers 0\.\.3; count the layers"):
        lowered(graph, Options(plastic=(-1, 0, 4), classes=10))


def test_a_graph_is_written_as_json() -> None:
    mask = np.array([[True, False], [True, True]])
    graph = chain(
        Connection(INPUT, "dense0", (2, 1, 1), nonzero=mask), Population("dense0", "hidden", "cuba", (2, 1, 1), 0)
    )
    plain = json.loads(json.dumps(graph.to_json()))
    assert plain["connections"][0]["nonzero"] == 3 and plain["connections"][0]["synapses"] == 4
    assert plain["populations"][0]["shape"] == [2, 1, 1]
