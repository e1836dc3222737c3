"""Linear nodes in a row, of any kind and number, are one synapse, and it does what they did."""

# B inputs at once, I of them each

from __future__ import annotations

import nir
import numpy as np
import pytest

from decolle_hw.interchange import float_synapse
from decolle_hw.interchange.nir_import import read_nir
from sim_tests.nir_tools import DT, conv, euler, lif, sink, source, write

CONV_THEN_POOL = [
    source(2, 7, 6), conv(np.random.default_rng(1).normal(0.3, 1.0, (3, 2, 2, 2)), bias=np.array([0.3, -1.7, 0.1])),
    nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), lif(3, 3, 2), sink(3, 3, 2),
]  # fmt: skip


def random_chain(rng: np.random.Generator) -> list:
    """Two to six linear nodes on maps, flattened or not, matrices after that, and neurons."""
    shape = (int(rng.integers(1, 3)), int(rng.integers(5, 9)), int(rng.integers(5, 9)))
    nodes = [source(*shape)]
    for _ in range(int(rng.integers(2, 5))):
        kernel, stride, padding = rng.integers(1, 4, 2), rng.integers(1, 3, 2), rng.integers(0, 2, 2)
        padding = np.minimum(padding, kernel // 2)  # torch pools so far only
        if np.any(np.array(shape[1:]) < kernel):
            break
        if rng.random() < 0.5:
            nodes.append(nir.SumPool2d(kernel, stride, padding))
        else:
            groups = int(rng.choice([1, shape[0]]))
            weight = rng.normal(0.2, 1.0, (2 * groups, shape[0] // groups, *kernel))
            pairs = {"stride": tuple(stride), "padding": tuple(padding)}
            nodes.append(conv(weight, groups=groups, bias=rng.normal(0.0, 1.0, len(weight)), **pairs))
            shape = (len(weight), *shape[1:])
        sizes = (np.array(shape[1:]) + 2 * padding - kernel) // stride + 1
        shape = (shape[0], int(sizes[0]), int(sizes[1]))
    if rng.random() < 0.5:
        nodes.append(nir.Flatten({"input": np.array(shape)}, start_dim=0))
        shape = (int(np.prod(shape)),)
        for outputs in rng.integers(2, 6, int(rng.integers(0, 3))):
            nodes.append(nir.Affine(rng.normal(0.0, 1.0, (outputs, *shape)), rng.normal(0.0, 1.0, outputs)))
            shape = (int(outputs),)
    return [*nodes, lif(*shape), sink(*shape)]


@pytest.mark.parametrize("seed", range(12))
def test_any_number_of_linear_nodes_is_one_synapse(tmp_path, seed):
    """Shapes are known behind a matrix, too: three convolutions in a row with nothing between them."""
    rng = np.random.default_rng(seed)
    nodes = random_chain(rng)
    path = write(tmp_path / "net.nir", *nodes)
    layer = read_nir(path).network.layers[0]
    shape = nodes[0].input_type["input"]
    inputs_BI = rng.normal(0.0, 1.0, (5, int(np.prod(shape))))
    found = layer.synapse.apply(inputs_BI, layer.input_shape) + layer.bias
    # From rest v is dt/tau of what arrives.
    asked = [euler(nir.read(path, type_check=False), x.reshape(1, *shape), DT)[layer.name][1] for x in inputs_BI]
    expected = np.array(asked).reshape(5, -1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_a_matrix_is_made_piece_by_piece(tmp_path, monkeypatch):
    """Whatever number of unit vectors at once, and exact zeros where nothing is heard, biases or not."""
    path = write(tmp_path / "net.nir", *CONV_THEN_POOL)
    whole = read_nir(path).network.layers[0]
    monkeypatch.setattr(float_synapse, "UNIT_VECTORS_BYTES", 8 * 84 * 5)
    pieces = read_nir(path).network.layers[0]
    np.testing.assert_allclose(pieces.synapse.weight, whole.synapse.weight, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(pieces.bias, whole.bias)
    assert np.count_nonzero(whole.synapse.weight) == 3 * 3 * 2 * 2 * 9  # of 84 inputs a neuron hears 3 by 3 places
