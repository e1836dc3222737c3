"""Where a network comes from: a training run, a model that is not trained, lava-dl's .net, or NIR."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py

from decolle_hw.compiler.artifact import GROUP, load_with_learning
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.lowering.read import graph_of_program, graph_of_spec
from decolle_hw.compiler.program import Program
from decolle_hw.compiling.plastic import (
    ASSUMED_CLASSES,
    KNOWN_CLASSES,
    Plan,
    as_planned,
    graph_of_learning,
    plan_learning,
)
from decolle_hw.compiling.request import Request
from decolle_hw.described import read_model
from decolle_hw.errors import UsageError
from decolle_hw.interchange.netx_import import import_netx
from decolle_hw.quantization.compile import DEFAULT_WEIGHT_BITS, weight_bits_of
from decolle_hw.spec import ModelSpec, with_on_chip
from decolle_hw.training.runs import Run, load_run, newest_run
from decolle_hw.workflow import require_run


@dataclass(frozen=True)
class Source:
    """What is to be compiled. Without a program it is quantized first, or, in a dry run, only placed."""

    described: str
    graph: Graph  # with the new output layer, where it gets one
    classes: int
    run: Run | None = None
    program: Program | None = None
    learning: LearningProgram | None = None  # of an artifact that learns
    plan: Plan = field(default_factory=Plan)  # what of a run shall learn
    plastic: tuple[int, ...] = ()  # layers of the graph that learn, pooling not counted
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def find_source(request: Request) -> Source:
    """Read what a request names; its errors name the file, and everything in it that cannot be compiled."""
    if request.kind == "run":
        return _of_run(request)
    if request.kind == "model":
        return _of_model(request)
    assert request.source is not None
    path = Path(request.source)
    return _of_net(path, request) if request.kind == "net" else _of_nir(path, request)


def _of_run(request: Request) -> Source:
    folder = None if request.source is None else Path(request.source)
    if folder is not None:
        require_run(folder, request.runs)
    run = load_run(folder or newest_run(request.runs))
    if request.dataset is not None:
        run = run.with_data(request.dataset)
    spec = with_on_chip(run.spec, request.overrides)
    plan = plan_learning(spec, request)
    run = replace(run, spec=as_planned(spec, plan))
    classes = len(run.classes)
    graph = graph_of_spec(spec, classes, weight_bits_of(spec, request.weight_bits))
    graph, plastic = plan.of_graph(graph)
    return Source(f"run {run.folder}", graph, plan.output or classes, run=run, plan=plan, plastic=plastic)


def _of_model(request: Request) -> Source:
    assert request.source is not None
    spec = read_model(request.source, request.overrides)
    classes, notes = _classes(spec)
    plan = plan_learning(spec, request)
    graph, plastic = plan.of_graph(graph_of_spec(spec, classes, weight_bits_of(spec, request.weight_bits)))
    described = f"model {request.source}, not trained"
    return Source(described, graph, plan.output or classes, notes=notes, plan=plan, plastic=plastic)


def _classes(spec: ModelSpec) -> tuple[int, tuple[str, ...]]:
    chosen = spec.dataset.classes
    known = KNOWN_CLASSES.get(spec.dataset.name) if chosen is None else len(chosen)
    if known is not None:
        return known, ()
    return ASSUMED_CLASSES, (f"{ASSUMED_CLASSES} classes assumed: a dry run does not read dataset {spec.dataset.name}",)


def _of_net(path: Path, request: Request) -> Source:
    """An artifact of ours as it is; anything else is read as lava-dl's netx would."""
    if path.is_file() and h5py.is_hdf5(path) and _is_ours(path):
        program, learning = load_with_learning(path)
        program = replace(program, target=request.wanted.target.name)
        useless = [
            option
            for option, given in (("--steps", request.steps is not None), ("--approximate", request.approximate))
            if given
        ]
        if useless:
            raise UsageError(
                f"{', '.join(useless)}: {path} is an artifact of decolle-hw, whose integers and {program.steps} steps "
                "stay as they are; leave out, or compile again what it was made from"
            )
        if learning is None:
            return _of_program(f"artifact {path}", program, request)
        if request.plastic is not None:
            raise UsageError(
                f"--plastic: {path} says itself which of its layers learn, and how; leave it out, or compile again "
                "what it was made from"
            )
        learning = replace(learning, program=program)
        graph, plastic = graph_of_learning(learning)
        return Source(
            f"artifact {path}", graph, len(program.classes), program=program, learning=learning, plastic=plastic
        )
    imported = import_netx(
        path, approximate=request.approximate, steps=request.steps, target=request.wanted.target.name
    )
    program = imported.program
    source = _of_program(f"{path} of lava-dl", program, request)
    return replace(source, notes=(*imported.notes, how_it_runs(program)), warnings=imported.warnings)


def _of_program(described: str, program: Program, request: Request) -> Source:
    plastic = tuple(layer for layer in request.plastic or () if isinstance(layer, int))  # of a dry run
    return Source(described, graph_of_program(program), len(program.classes), program=program, plastic=plastic)


def _is_ours(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return GROUP in file
    except OSError:  # damaged: reading it says where
        return True


def _of_nir(path: Path, request: Request) -> Source:
    from decolle_hw.interchange.nir_quantize import import_nir

    imported = import_nir(
        path, approximate=request.approximate, dt=request.dt, target=request.wanted.target.name, steps=request.steps,
        weight_bits=request.weight_bits or DEFAULT_WEIGHT_BITS,
    )  # fmt: skip
    program = imported.program
    source = _of_program(f"{path} (NIR)", program, request)
    return replace(source, notes=(*imported.notes, how_it_runs(program)), warnings=imported.warnings)


DECISIONS = {
    "sum": "the class with the largest readout of all its spikes",
    "mode": "the class that has the largest readout in most steps",
    "voltage": "the class with the highest voltage after the last step, as its neurons cannot spike",
}


def how_it_runs(program: Program) -> str:
    """What a network from elsewhere does with a recording."""
    takes = "an image" if program.input_block is not None else "spikes"
    return f"a recording is {takes} for {program.steps} steps (--steps); decides for {DECISIONS[program.prediction]}"
