"""Where lowering starts: a network as it was described or compiled, one population per layer, pooling not yet a stage.

Both ways lead to the same graph but for what only integers know: weights of zero, widths, delays.
"""

from __future__ import annotations

import math

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph, Population, Shape
from decolle_hw.compiler.program import Program
from decolle_hw.spec import ModelSpec
from decolle_hw.spec_network import LayerShape


def graph_of_spec(spec: ModelSpec, classes: int, weight_bits: int) -> Graph:
    """The graph of a network that need not be trained: every matrix is taken to be full."""
    populations: list[Population] = []
    connections: list[Connection] = []
    source, source_shape = INPUT, _three(spec.dataset.input_shape)
    layer = 0
    for index, shape in enumerate(spec.shapes(classes)):
        geometry = _geometry_of_shape(shape) if shape.kind == "conv" else None
        name = f"{'dense' if geometry is None else 'conv'}{index}"
        neurons = _three(shape.map_shape)
        populations.append(Population(name, "hidden", spec.network.neuron, neurons, layer, shape.pool_size))
        connections.append(Connection(source, name, source_shape, geometry, weight_bits))
        layer += 1 + (shape.pool_size > 1)
        source, source_shape = name, neurons
    return Graph(spec.name, _three(spec.dataset.input_shape), tuple(populations), tuple(connections))


def graph_of_program(program: Program) -> Graph:
    """The graph of a compiled network, in which a convolution and the pooling stage after it are one population.

    The neurons of an input block are a population that no spike arrives at: its biases come from outside.
    """
    populations: list[Population] = []
    connections: list[Connection] = []
    first = program.layers[0]
    input_shape = first.input_shape if isinstance(first, ConvLayer) else _three(program.input_shape)
    source, source_shape = INPUT, input_shape
    if program.input_block is not None:
        source = "pixels"
        populations.append(Population(source, "pixels", "cuba", source_shape, None))
    for position, layer in enumerate(program.layers):
        if layer.is_pooling:
            continue
        after = program.layers[position + 1] if position + 1 < len(program.layers) else None
        pool_size = after.kernel_size if isinstance(after, ConvLayer) and after.is_pooling else 1
        name = f"{'conv' if isinstance(layer, ConvLayer) else 'dense'}{len(connections)}"
        neurons = _three(layer.map_shape)
        populations.append(Population(name, "hidden", layer.neuron, neurons, position, pool_size))
        connections.append(_connection(source, name, source_shape, layer))
        source, source_shape = name, neurons
    return Graph(program.name, input_shape, tuple(populations), tuple(connections))


def _connection(source: str, name: str, source_shape: Shape, layer: Layer) -> Connection:
    if isinstance(layer, ConvLayer):
        return Connection(source, name, source_shape, _geometry_of_layer(layer), layer.weight_bits)
    assert isinstance(layer, DenseLayer)
    return Connection(
        source, name, source_shape, None, layer.weight_bits, layer.max_delay.bit_length(), nonzero=layer.weight != 0
    )


def _geometry_of_layer(layer: ConvLayer) -> Geometry:
    return Geometry(layer.kernel_sizes, layer.strides, layer.paddings, layer.dilations, layer.groups)


def _geometry_of_shape(shape: LayerShape) -> Geometry:
    kernel, stride, padding, dilation = (
        (size, size) for size in (shape.kernel_size, shape.stride, shape.padding, shape.dilation)
    )
    return Geometry(kernel, stride, padding, dilation, shape.groups)


def _three(shape: tuple[int, ...] | list[int]) -> Shape:
    if len(shape) == 3:
        c, h, w = (int(size) for size in shape)
        return c, h, w
    return math.prod(shape), 1, 1
