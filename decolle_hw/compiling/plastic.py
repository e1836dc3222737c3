"""Which layers of a network shall learn on chip, and whether they can: known before anything is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from decolle_hw import data
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.lowering.graph import Connection, Graph, Population
from decolle_hw.compiler.lowering.read import graph_of_program
from decolle_hw.compiler.program import Program
from decolle_hw.compiling.request import Request
from decolle_hw.data.choosing import in_their_order
from decolle_hw.errors import UsageError, listed
from decolle_hw.fixedpoint import WEIGHT_BITS
from decolle_hw.quantization.compile import weight_bits_of
from decolle_hw.spec import ModelSpec
from decolle_hw.spec_on_chip import OUTPUT

# Classes of data sets that need not be read to know; others may have any number of them.
KNOWN_CLASSES = {"digits": 10, "dvs_gesture": 11}
ASSUMED_CLASSES = 10


@dataclass(frozen=True)
class Plan:
    """Layers of the float network that learn, pooling not counted; or a new output layer on features of theirs."""

    layers: tuple[int, ...] = ()
    output: int = 0  # neurons of the new layer, one per class; 0: there is none
    classes: tuple[str, ...] = ()  # of the new layer, in the order of the data set; empty in a dry run

    @property
    def learns(self) -> bool:
        return bool(self.layers or self.output)

    def of_graph(self, graph: Graph) -> tuple[Graph, tuple[int, ...]]:
        """The graph of a network that is not compiled yet, with the new layer, and which of its layers learn."""
        if not self.output:
            return graph, self.layers
        return with_output_populations(graph, self.output)


def with_output_populations(graph: Graph, classes: int) -> tuple[Graph, tuple[int, ...]]:
    """The populations of `decolle_hw.sim.output_layer`, and which of the graph's layers learns.

    What is above the features goes; a centring layer, one neuron for each of them, and the output layer come instead.
    """
    hidden = [population for population in graph.populations if population.role == "hidden"]
    dense = [index for index, population in enumerate(hidden) if _is_dense(graph, population)]
    kept = hidden[: (dense[0] if dense else len(hidden) - 1) + 1]
    features = kept[-1]
    first = None if features.layer is None else features.layer + (features.pool_size > 1) + 1
    channels, height, width = features.shape
    count = channels * (height // features.pool_size) * (width // features.pool_size)
    centring, output = (
        Population(
            f"dense{len(kept) + above}", "hidden", features.neuron, (neurons, 1, 1),
            None if first is None else first + above,
        )
        for above, neurons in enumerate((count, classes))
    )  # fmt: skip
    one_each = None if features.pool_size > 1 else np.eye(count, dtype=bool)
    new = (
        Connection(features.name, centring.name, features.shape, None, WEIGHT_BITS, nonzero=one_each),
        Connection(centring.name, output.name, centring.shape, None, WEIGHT_BITS),
    )
    names = {population.name for population in kept}
    connections = tuple(connection for connection in graph.connections if connection.target in names)
    whole = replace(graph, populations=(*kept, centring, output), connections=(*connections, *new))
    return whole, (len(kept) + 1,)


def _is_dense(graph: Graph, population: Population) -> bool:
    return all(connection.geometry is None for connection in graph.into(population.name))


def plan_learning(spec: ModelSpec, request: Request) -> Plan:
    """What `--plastic`, else `on_chip.plastic`, asks of a model that is trained, or not yet in a dry run.

    Raises `UsageError` with everything that does not go together, `SpecError` for a class that there is not.
    """
    asked = tuple(spec.on_chip.plastic) if request.plastic is None else request.plastic
    problems = list(_problems(spec, request, asked))
    if problems:
        raise UsageError(listed(f"--plastic {','.join(map(str, asked))}", problems))
    layers = tuple(layer for layer in asked if isinstance(layer, int))
    if OUTPUT not in asked:
        return Plan(layers)
    everything = spec.dataset.model_copy(update={"classes": None})
    chosen = spec.on_chip.classes
    if request.kind == "model":  # of which no data are read
        return Plan(layers, len(chosen) if chosen else KNOWN_CLASSES.get(everything.name, ASSUMED_CLASSES))
    known = data.dataset_classes(everything)
    classes = known if chosen is None else in_their_order(chosen, known, "on_chip.classes")
    return Plan(layers, len(classes), classes)


def as_planned(spec: ModelSpec, plan: Plan) -> ModelSpec:
    """The description with what was decided, as the artifact holds it."""
    plastic = [*plan.layers, *([OUTPUT] if plan.output else [])]
    chosen = {"plastic": plastic, "classes": list(plan.classes) or None}
    return spec.model_copy(update={"on_chip": spec.on_chip.model_copy(update=chosen)})


def graph_of_learning(learning: LearningProgram) -> tuple[Graph, tuple[int, ...]]:
    """The graph of a compiled network, and which of its layers learn, pooling not counted."""
    places = neuron_layers(learning.program)
    return graph_of_program(learning.program), tuple(places.index(plastic.layer) for plastic in learning.plastic)


def neuron_layers(program: Program) -> list[int]:
    """The layer of the program that each layer of the float network became, its pooling stage left out."""
    return [index for index, layer in enumerate(program.layers) if not layer.is_pooling]


def _problems(spec: ModelSpec, request: Request, asked: tuple[int | str, ...]) -> Iterator[str]:
    network, chosen = spec.network, spec.on_chip.classes
    hidden = [layer for layer in asked if isinstance(layer, int)]
    if chosen is not None and OUTPUT not in asked:
        yield (
            f"on_chip.classes {chosen}: are those of a new output layer, and there is none; leave it out, or compile "
            f"with --plastic {OUTPUT}"
        )
    if OUTPUT in asked and hidden:
        yield (
            f"{OUTPUT} stands on features that stay as they are, and brings classes of its own, which the readouts of "
            f"layers {', '.join(map(str, hidden))} do not have; make either these layers plastic, or {OUTPUT}"
        )
    useless = [key for key in ("learning_rate", "gate") if getattr(spec.on_chip, key) is not None]
    if OUTPUT in asked and useless:
        yield (
            f"on_chip.{' and on_chip.'.join(useless)}: are for hidden layers, which have a float rule; those of "
            f"{OUTPUT} follow from its features: leave out"
        )
    wrong = [layer for layer in hidden if layer >= network.layers]
    if wrong:
        yield (
            f"plastic layers {', '.join(map(str, wrong))}: {spec.name} has layers 0..{network.layers - 1}; count the "
            f"layers of the network, pooling not counted"
        )
    bits = weight_bits_of(spec, request.weight_bits)
    if hidden and bits != WEIGHT_BITS:
        source = "--weight-bits" if request.weight_bits is not None else "training.quantize.weight_bits"
        yield (
            f"{source} {bits}: a synapse that learns needs all {WEIGHT_BITS} bits; compile with --weight-bits "
            f"{WEIGHT_BITS}"
        )
