"""What one core holds: the model that placement keeps to and that the tests count again neuron by neuron.

**A core holds one block of one population**: channels[lo, hi) x rows[lo, hi) x columns[lo, hi) of its shape (c, h, w);
a dense population is (n, 1, 1), so its blocks are ranges of neurons. Layers do not share cores (as in NxTF). Four
limits of the target hold on every core, each times the wanted utilisation, rounded down:

**neurons**: those of the block.

**in-axons**, summed over the connections into the population. A *receptive block* of a convolution is the product of
the input rows that the block's rows see, the input columns that its columns see (clipped at the border of the map;
places that stride or dilation jump over are not seen), and the input channels of the groups that its channels
belong to.

- dense matrix, format `dense`: every source neuron;
  format `sparse`: every source neuron with a weight other than zero to the block
- convolution, *shared axons* (axon_atoms A > 1, not plastic): pixels of the receptive block x ceil(channels / A)
- convolution otherwise: neurons of the receptive block

**out-axons**, summed over the connections out of the population: (axon, destination core) pairs. An axon is a neuron,
and its pair counts if the destination has an in-axon for it. Of shared axons, the block and the receptive block of a
destination have some pixels and some channels in common: pixels x ceil(channels / A) x shared_axon_slots. What goes
to the host takes no out-axon, what comes from outside has none.

**synaptic memory**, summed over the connections into the population. Words are of 64 bits. An *entry* with n synapses
of b bits each on a core with m neurons takes, rounded up to words:

    dense:   10 + n * b + idx + x                idx = bits of m - 1, at least 1
    sparse:  10 + n * (b + idx) + x

with b = weight_bits + delay_bits and x = 0, but for plastic connections b = weight_bits + 1 + tag_bits + delay_bits
(learning weights have nine bits for eight) and x = trace_bits.

- dense matrix, `dense`: an entry with n = m for every source neuron (plastic: always this one, zeros may learn)
- dense matrix, `sparse`: a sparse entry for every source neuron with a weight other than zero to the block, n of them
- convolution, `shared` (target shares weights, not plastic): the kernels of the block's channels once, rounded up to
  words: channels x input channels / groups x kernel x (weight_bits + delay_bits); and a word for each in-axon
- convolution otherwise, `unshared`: a sparse entry for every neuron of the receptive block, n of its synapses to the
  block (none into the padding)

*Stored synapses*, for the limit of a chip: m x I (dense), weights other than zero (sparse), values of the block's
kernels (shared), synapses that are not in the padding (unshared).

Sources: NxTF, Rueckauer et al. 2021, arXiv:2101.04261; nengo-loihi, block.py (slots of an axon, bits of an entry).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.lowering.graph import Connection
from decolle_hw.errors import UsageError
from decolle_hw.targets import Target

AXON_HEADER_BITS = 10  # 4 synapse format + 6 number of synapses: NxTF; nengo-loihi SynapseConfig.bits_per_axon
MEMORY_WORD_BITS = 64  # Davies et al. 2018: 16,384 x 64 bit; nengo-loihi SynapseConfig.bits_per_axon
LEARNING_SIGN_BITS = 1  # a weight that learns has nine bits where others have eight: Lava 0.10.0, LearningDense

IntArray = NDArray[np.int64]
Form = Literal["dense", "sparse", "shared", "unshared"]
Resource = Literal["neurons", "synaptic memory", "in-axons", "out-axons"]
RESOURCES: tuple[Resource, ...] = ("neurons", "synaptic memory", "in-axons", "out-axons")
UNLIMITED = 2**62


@dataclass(frozen=True)
class Limits:
    """Of one core, the first four times the utilisation."""

    neurons: int
    memory_bits: int
    in_axons: int
    out_axons: int
    axon_atoms: int
    shared_axon_slots: int
    tag_bits: int
    trace_bits: int
    shared_weights: bool

    @classmethod
    def of(cls, target: Target, utilisation: float = 1.0) -> Limits:
        """Raises `UsageError` for a utilisation outside (0, 1]."""
        if not 0.0 < utilisation <= 1.0:
            raise UsageError(f"utilisation {utilisation}: expected a share of each limit above 0 and up to 1")
        full = (target.neurons_per_core, target.synaptic_memory_bits, target.in_axons, target.out_axons)
        neurons, memory, in_axons, out_axons = (_share(limit.value, utilisation) for limit in full)
        if min(neurons, memory, in_axons, out_axons) < 1:
            least = min(limit.value for limit in full)
            smallest = math.ceil(1e6 / least) / 1e6
            raise UsageError(f"utilisation {utilisation:g}: leaves nothing of {least}; give at least {smallest:g}")
        return cls(
            neurons, memory, in_axons, out_axons, target.axon_atoms.value, target.shared_axon_slots.value,
            target.tag_bits.value, target.trace_bits.value, target.shared_weights.value,
        )  # fmt: skip

    def by_resource(self) -> dict[Resource, int]:
        return dict(zip(RESOURCES, (self.neurons, self.memory_bits, self.in_axons, self.out_axons), strict=True))

    def shares_axons(self, connection: Connection) -> bool:
        return connection.geometry is not None and self.axon_atoms > 1 and not connection.plastic

    def synapse_bits(self, connection: Connection) -> int:
        """b of an entry."""
        learning = LEARNING_SIGN_BITS + self.tag_bits if connection.plastic else 0
        return connection.weight_bits + connection.delay_bits + learning

    def entry_extra(self, connection: Connection) -> int:
        """x of an entry."""
        return self.trace_bits if connection.plastic else 0

    def forms(self, connection: Connection) -> tuple[Form, ...]:
        """In which its synapses may be stored; the first is never worse where there is no mask."""
        if connection.geometry is not None:
            return ("shared",) if self.shared_weights and not connection.plastic else ("unshared",)
        # Without zeros the sparse format has an index more per synapse, and zeros of plastic synapses may learn.
        return ("dense",) if connection.plastic or connection.nonzero is None else ("dense", "sparse")


def _share(limit: int, utilisation: float) -> int:
    # 0.7 of 10 is 7, not the 6 that 0.7 * 10 = 6.999... would be rounded down to.
    return math.floor(limit * utilisation + 1e-9)


def words(bits: IntArray) -> IntArray:
    """Rounded up to whole words, in bits."""
    rounded: IntArray = -(-bits // MEMORY_WORD_BITS) * MEMORY_WORD_BITS
    return rounded


def index_bits(neurons: IntArray) -> IntArray:
    """Bits that tell so many neurons apart, at least 1."""
    # The exponent of m - 1 as a float is its bit length; exact below 2**53.
    lengths: IntArray = np.maximum(1, np.frexp(neurons - 1)[1]).astype(np.int64)
    return lengths


@overload
def ceil_div(numerator: int, denominator: int) -> int: ...


@overload
def ceil_div(numerator: IntArray, denominator: int) -> IntArray: ...


def ceil_div(numerator: int | IntArray, denominator: int) -> int | IntArray:
    """Quotient, rounded up."""
    return -(-numerator // denominator)
