"""Synaptic memory of a layer on its cores.

Each input axon of a layer has one entry on each core that holds neurons of the layer:

    bits = 10 + n * (w + d) + (n * idx if sparse else idx),   rounded up to 64-bit words

    n    synapses of this axon on this core: its non-zero weights (sparse) or all neurons of the core (dense)
    w    bits of a weight as stored, sign included (`weight_bits` of the layer)
    d    bits of a delay: of the longest in the layer
    idx  bits of the index of a target neuron on this core: stored per synapse (sparse) or once (dense)

An axon without a synapse on a core keeps its header there (one word): a dense layer's input goes to all its
cores. A layer takes the format with fewer bits. Source: NxTF, Rueckauer et al. 2021, arXiv:2101.04261.

A convolution's kernel is stored once per core where the target shares weights, beside one word for each input axon;
elsewhere each of its synapses is stored for itself, in the sparse format.
"""

# N neurons, I inputs, K cores

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer

AXON_HEADER_BITS = 10  # 4 synapse format + 6 number of synapses: NxTF; nengo-loihi SynapseConfig.bits_per_axon
MEMORY_WORD_BITS = 64  # Davies et al. 2018: 16,384 x 64 bit; nengo-loihi SynapseConfig.bits_per_axon

IntArray = NDArray[np.int64]
Format = Literal["dense", "sparse", "shared"]
MATRIX_FORMATS: tuple[Format, ...] = ("dense", "sparse")


def entry_bits(synapses: IntArray, synapse_bits: int, index_bits: int, form: Format) -> IntArray:
    """Bits of axon entries with so many synapses each, in whole words: the formula at the top."""
    indices = synapses * index_bits if form == "sparse" else index_bits
    bits = AXON_HEADER_BITS + synapses * (synapse_bits) + indices
    return -(-bits // MEMORY_WORD_BITS) * MEMORY_WORD_BITS


def nonzero_before(weight: NDArray[np.int32]) -> IntArray:
    """(N+1, I) non-zero weights of each input axon in the rows before each row: slices are differences."""
    counts = np.zeros((weight.shape[0] + 1, weight.shape[1]), np.int64)
    np.cumsum(weight != 0, axis=0, out=counts[1:])
    return counts


def core_memory(nonzero: IntArray, per_core: int, synapse_bits: int, form: Format) -> IntArray:
    """(K,) bits of synaptic memory on each core, with `per_core` neurons on each but the last.

    `nonzero` (N+1, I) comes from `nonzero_before`.
    """
    num_neurons, num_inputs = nonzero.shape[0] - 1, nonzero.shape[1]
    edges = np.minimum(np.arange(0, num_neurons + per_core, per_core), num_neurons)
    index_bits = max(1, (per_core - 1).bit_length())
    if form == "dense":
        return entry_bits(np.diff(edges), synapse_bits, index_bits, form) * num_inputs
    bits_K: IntArray = entry_bits(np.diff(nonzero[edges], axis=0), synapse_bits, index_bits, form).sum(axis=1)
    return bits_K


def memory_cores(nonzero: IntArray, synapse_bits: int, limit: int, at_least: int = 1) -> int | None:
    """The smallest number of cores on which the layer fits in one of the two formats; None if on none."""

    def fits(per_core: int) -> bool:
        return any(core_memory(nonzero, per_core, synapse_bits, form).max() <= limit for form in MATRIX_FORMATS)

    if not fits(1):
        return None
    num_neurons = nonzero.shape[0] - 1
    # Both formats store at least the non-zero weights: fewer cores than these fill need not be tried.
    first = max(at_least, ceil_div(int(nonzero[-1].sum()) * synapse_bits, limit))
    return next(cores for cores in range(first, num_neurons + 1) if fits(ceil_div(num_neurons, cores)))


def shared_kernel(layer: ConvLayer) -> tuple[int, int]:
    """(bits of the kernel, bits of the entries of all inputs), where a core stores the kernel once."""
    kernel = -(-layer.weight.size * layer.weight_bits // MEMORY_WORD_BITS) * MEMORY_WORD_BITS
    return kernel, layer.num_inputs * MEMORY_WORD_BITS


def unshared_kernel(layer: ConvLayer, neurons_per_core: int) -> int:
    """Bits of all synapses of a convolution, each stored for itself: header, weight and index, without rounding."""
    index_bits = max(1, (neurons_per_core - 1).bit_length())
    return layer.num_synapses * (layer.weight_bits + index_bits) + layer.num_inputs * MEMORY_WORD_BITS


def ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
