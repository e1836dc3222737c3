"""What a compiled network occupies on a target: neurons, synaptic memory, axons, cores, chips.

Synaptic memory. Each input axon of a layer has one entry on each core that holds neurons of the layer:

    bits = 10 + n * (w + d) + (n * idx if sparse else idx),   rounded up to 64-bit words

    n    synapses of this axon on this core: its non-zero weights (sparse) or all neurons of the core (dense)
    w    bits of a weight as stored, sign included (`weight_bits` of the target)
    d    bits of a delay: 0, our layers have none
    idx  bits of the index of a target neuron on this core: stored per synapse (sparse) or once (dense)

An axon without a synapse on a core keeps its header there (one word): a dense layer's input goes to all its
cores. A layer takes the format with fewer bits. Source: NxTF, Rueckauer et al. 2021, arXiv:2101.04261.

Cores. A layer on k cores has ceil(N/k) neurons and all its input axons on each; a neuron needs one out-axon
for each core of the next layer. The smallest k at which every core is within its limits is a lower bound:
layers do not share cores, and routing is not considered.

What does not fit is not an error here: `decolle_hw.compiler.rules` puts it into words.
"""

# N neurons, I inputs, K cores

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import DenseLayer, Program
from decolle_hw.targets import Target

AXON_HEADER_BITS = 10  # 4 synapse format + 6 number of synapses: NxTF; nengo-loihi SynapseConfig.bits_per_axon
MEMORY_WORD_BITS = 64  # Davies et al. 2018: 16,384 x 64 bit; nengo-loihi SynapseConfig.bits_per_axon
DELAY_BITS = 0  # no layer of ours has synaptic delays

# Limits that neither table nor rules read: nothing of ours has delays, graded spikes or shared kernels yet.
UNUSED_LIMITS = ("max_delay", "graded_payload_bits", "shared_weights")

IntArray = NDArray[np.int64]
Format = Literal["dense", "sparse"]
FORMATS: tuple[Format, ...] = ("dense", "sparse")
RESOURCES = ("neurons", "synaptic memory", "in-axons", "out-axons")

NOTES = (
    "the host computes the readouts in this version: they and the axons to the host are not counted",
    "cores are a lower bound: layers do not share cores, routing is not considered",
    "one memory entry per axon, however long; nengo-loihi cuts entries at 64 synapses, about an eighth more",
)


@dataclass(frozen=True)
class Usage:
    """One resource of the fullest core of a layer."""

    used: int
    limit: int
    share: float  # used / limit; above 1 only where no split helps
    cores: int | None  # cores that this resource alone asks for; None: one neuron is already too much


@dataclass(frozen=True)
class LayerResources:
    """What one layer occupies."""

    layer: int
    neuron: str
    neurons: int
    inputs: int
    synapses: int  # zeros included
    synapses_nonzero: int
    memory_format: Format
    memory_bits: int  # on all its cores together
    cores: int  # lower bound
    neurons_per_core: int  # on the fullest
    limited_by: str  # one of RESOURCES: asks for the most cores, or, where several do, is the fullest
    usage: dict[str, Usage]  # by resource

    @property
    def stored_synapses(self) -> int:
        return self.synapses if self.memory_format == "dense" else self.synapses_nonzero


@dataclass(frozen=True)
class UsedLimit:
    """A limit of the target, as it is printed beside the table."""

    name: str
    value: Any
    source: str
    confidence: str


@dataclass(frozen=True)
class ResourceReport:
    """The resource table of a network on a target."""

    target: str
    layers: tuple[LayerResources, ...]
    neurons: int
    synapses: int
    synapses_nonzero: int
    memory_bits: int
    cores: int
    usable_cores: int  # of one chip
    chips: int
    chips_for: dict[str, int]  # what its cores, neurons and stored synapses ask for, each alone
    board: str | None  # the smallest that has these chips; None: there is none
    limits_used: tuple[UsedLimit, ...]
    notes: tuple[str, ...] = NOTES

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, ready for `json.dumps`."""
        plain = asdict(self)
        return {**plain, **{key: list(plain[key]) for key in ("layers", "limits_used", "notes")}}


def entry_bits(synapses: IntArray, weight_bits: int, index_bits: int, form: Format) -> IntArray:
    """Bits of axon entries with so many synapses each, in whole words: the formula at the top."""
    indices = synapses * index_bits if form == "sparse" else index_bits
    bits = AXON_HEADER_BITS + synapses * (weight_bits + DELAY_BITS) + indices
    return -(-bits // MEMORY_WORD_BITS) * MEMORY_WORD_BITS


def nonzero_before(weight: NDArray[np.int32]) -> IntArray:
    """(N+1, I) non-zero weights of each input axon in the rows before each row: slices are differences."""
    counts = np.zeros((weight.shape[0] + 1, weight.shape[1]), np.int64)
    np.cumsum(weight != 0, axis=0, out=counts[1:])
    return counts


def core_memory(nonzero: IntArray, per_core: int, weight_bits: int, form: Format) -> IntArray:
    """(K,) bits of synaptic memory on each core, with `per_core` neurons on each but the last.

    `nonzero` (N+1, I) comes from `nonzero_before`.
    """
    num_neurons, num_inputs = nonzero.shape[0] - 1, nonzero.shape[1]
    edges = np.minimum(np.arange(0, num_neurons + per_core, per_core), num_neurons)
    index_bits = max(1, (per_core - 1).bit_length())
    if form == "dense":
        return entry_bits(np.diff(edges), weight_bits, index_bits, form) * num_inputs
    bits_K: IntArray = entry_bits(np.diff(nonzero[edges], axis=0), weight_bits, index_bits, form).sum(axis=1)
    return bits_K


def resource_table(program: Program, target: Target) -> ResourceReport:
    """Resources of each layer and of the whole network.

    Never raises for a network that does not fit: what is too large shows as `share` above 1 or `board` None,
    and `violations` says so in words.
    """
    layers: list[LayerResources] = []
    next_cores = 0  # the last layer's spikes go to the host alone
    for index in reversed(range(len(program.layers))):
        layers.insert(0, _layer_resources(index, program.layers[index], next_cores, target))
        next_cores = layers[0].cores
    neurons = sum(layer.neurons for layer in layers)
    cores = sum(layer.cores for layer in layers)
    stored = sum(layer.stored_synapses for layer in layers)
    chips_for = {
        "cores": _ceil_div(cores, target.usable_cores.value),
        "neurons": _ceil_div(neurons, target.neurons_per_chip.value),
        "synapses": _ceil_div(stored, target.synapses_per_chip.value),
    }
    chips = max(chips_for.values())
    large_enough = [(count, name) for name, count in target.boards.value.items() if count >= chips]
    return ResourceReport(
        target=target.name,
        layers=tuple(layers),
        neurons=neurons,
        synapses=sum(layer.synapses for layer in layers),
        synapses_nonzero=sum(layer.synapses_nonzero for layer in layers),
        memory_bits=sum(layer.memory_bits for layer in layers),
        cores=cores,
        usable_cores=target.usable_cores.value,
        chips=chips,
        chips_for=chips_for,
        board=min(large_enough)[1] if large_enough else None,
        limits_used=_limits_used(target),
    )


def _layer_resources(index: int, layer: DenseLayer, next_cores: int, target: Target) -> LayerResources:
    weight, nonzero, bits = layer.weight, nonzero_before(layer.weight), target.weight_bits.value
    num_neurons = layer.num_neurons
    memory_limit, out_limit = target.synaptic_memory_bits.value, target.out_axons.value
    # Neurons that the out-axons of one core serve.
    reachable = out_limit // next_cores if next_cores else num_neurons
    cores = {
        "neurons": _ceil_div(num_neurons, target.neurons_per_core.value),
        "synaptic memory": _memory_cores(nonzero, bits, memory_limit),
        "in-axons": 1 if layer.num_inputs <= target.in_axons.value else None,
        "out-axons": _ceil_div(num_neurons, reachable) if reachable else None,
    }
    # Where even one neuron is too much, one per core comes nearest; but no split lowers the number of inputs.
    split = max(needed or (1 if name == "in-axons" else num_neurons) for name, needed in cores.items())
    # Slices of fewer neurons may cut a sparse matrix less evenly, so the memory has to be looked at again.
    split = _memory_cores(nonzero, bits, memory_limit, split) or split
    per_core = _ceil_div(num_neurons, split)
    memory = {form: core_memory(nonzero, per_core, bits, form) for form in FORMATS}
    form = min(FORMATS, key=lambda f: (bool(memory[f].max() > memory_limit), int(memory[f].sum())))
    occupied = {
        "neurons": (per_core, target.neurons_per_core.value),
        "synaptic memory": (int(memory[form].max()), memory_limit),
        "in-axons": (layer.num_inputs, target.in_axons.value),
        "out-axons": (per_core * next_cores, out_limit),
    }
    usage = {name: Usage(used, limit, used / limit, cores[name]) for name, (used, limit) in occupied.items()}
    return LayerResources(
        layer=index,
        neuron=layer.neuron,
        neurons=num_neurons,
        inputs=layer.num_inputs,
        synapses=int(weight.size),
        synapses_nonzero=int(nonzero[-1].sum()),
        memory_format=form,
        memory_bits=int(memory[form].sum()),
        cores=split,
        neurons_per_core=per_core,
        limited_by=max(RESOURCES, key=lambda name: (usage[name].cores or math.inf, usage[name].share)),
        usage=usage,
    )


def _memory_cores(nonzero: IntArray, weight_bits: int, limit: int, at_least: int = 1) -> int | None:
    """The smallest number of cores on which the layer fits in one of the two formats; None if on none."""

    def fits(per_core: int) -> bool:
        return any(core_memory(nonzero, per_core, weight_bits, form).max() <= limit for form in FORMATS)

    if not fits(1):
        return None
    num_neurons = nonzero.shape[0] - 1
    # Both formats store at least the non-zero weights: fewer cores than these fill need not be tried.
    first = max(at_least, _ceil_div(int(nonzero[-1].sum()) * weight_bits, limit))
    return next(cores for cores in range(first, num_neurons + 1) if fits(_ceil_div(num_neurons, cores)))


def _limits_used(target: Target) -> tuple[UsedLimit, ...]:
    names = [name for name in Target.model_fields if name not in ("name", "description", *UNUSED_LIMITS)]
    limits = [(name, getattr(target, name)) for name in names]
    return tuple(UsedLimit(name, limit.value, limit.source, limit.confidence) for name, limit in limits)


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
