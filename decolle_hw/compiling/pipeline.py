"""The steps of `decolle-hw compile`, from a request to what was written."""

# R recordings, T steps, I inputs

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw import data
from decolle_hw.atomic import json_text, new_file
from decolle_hw.compiler.artifact import artifact_bytes
from decolle_hw.compiler.estimates.estimate import estimate
from decolle_hw.compiler.estimates.result import Estimate
from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.lowering.read import graph_of_program
from decolle_hw.compiler.mapping import Mapped, Wanted, map_graph, save_stages
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.rules import require_none
from decolle_hw.compiling.lowered import Lowered, lower_learning
from decolle_hw.compiling.request import Request
from decolle_hw.compiling.source import Source, find_source
from decolle_hw.execution import as_given
from decolle_hw.fidelity.summary import Fidelity, float_against_integer, to_batch_first
from decolle_hw.progress import working
from decolle_hw.quantization.compile import Compilation, calibration_set, compile_run
from decolle_hw.sim.activity import measure
from decolle_hw.targets import load_target
from decolle_hw.workflow import spread, stream_test_recordings

CHECKED_RECORDINGS = 512  # compile measures float against integer on at most so many test recordings
MEASURED_RECORDINGS = 32  # and the activity that estimates rest on, on so many


@dataclass(frozen=True)
class Compiled:
    """Result of `compile_network`. What a dry run does not do is None."""

    request: Request
    source: Source
    mapped: Mapped
    program: Program | None = None
    compilation: Compilation | None = None
    fidelity: Fidelity | None = None
    estimate: Estimate | None = None
    recording: NDArray[Any] | None = None  # (1, T, I) or (1, I): one of those measured
    lowered: Lowered | None = None  # how it learns; None: it does not
    written: tuple[Path, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        found = self.source.warnings + (() if self.compilation is None else self.compilation.warnings)
        return found + (() if self.lowered is None else self.lowered.warnings)

    @property
    def path(self) -> Path:
        """The artifact."""
        return next(path for path in self.written if path.suffix == ".net")

    def to_json(self) -> dict[str, Any]:
        """Everything that was found, ready for `json.dumps`."""
        fidelity = self.fidelity
        return {
            "network": self.mapped.graph.name,
            "target": self.request.wanted.target.name,
            "source": self.source.described,
            "steps": None if self.program is None else self.program.steps,
            "prediction": None if self.program is None else self.program.prediction,
            "fits": not self.mapped.violations,
            "violations": [asdict(violation) for violation in self.mapped.violations],
            "placement": self.mapped.placement.to_json(),
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "quantization": [] if self.program is None else list(self.program.quantization),
            "warnings": list(self.warnings),
            "notes": list(self.source.notes),
            "fidelity": None if fidelity is None else asdict(fidelity) | {
                "float_accuracy": fidelity.float_accuracy, "integer_accuracy": fidelity.integer_accuracy,
            },
            "learning": None if self.lowered is None else self.lowered.to_json(),
            "limits": [
                {"name": name, **limit.model_dump()} for name, limit in self.request.wanted.target.limits
            ],
        }  # fmt: skip


def compile_network(request: Request, console: Console) -> Compiled:
    """Find the network, see that it fits, make integers of it, measure what they do, and write the results.

    Raises `UsageError` or one of its kind, with everything that is wrong at once, before anything is written.
    In a dry run a network that does not fit is a result like any other.
    """
    request.check()
    with working(console, "reading the network"):
        source = find_source(request)
    # From here on the same, whether a run, a model, or an artifact says what learns.
    request = replace(request, wanted=replace(request.wanted, plastic=source.plastic))
    mapped = _map(source, source.graph, request, source.program)
    if request.dry_run:
        return Compiled(request, source, mapped, source.program, written=_write_stages(mapped, request))
    require_none(mapped.violations, source.graph.name, request.wanted.target)
    paths = request.paths(source.graph.name)
    program, compilation = source.program, None
    lowered = None if source.learning is None else Lowered(source.learning)
    if program is None:
        assert source.run is not None
        with working(console, f"quantizing {source.run.folder} for {request.wanted.target.name}"):
            calibration = calibration_set(source.run)
            compilation = compile_run(source.run, request.wanted.target.name, calibration, request.weight_bits)
            program = compilation.program
        if source.plan.learns:
            lowered = lower_learning(program, source.run, source.plan, calibration, console)
            program = lowered.learning.program
        # The registers are known only now.
        mapped = _map(source, graph_of_program(program), request, program)
        require_none(mapped.violations, program.name, request.wanted.target)
    fidelity, measured = None, None
    if source.run is not None:
        assert compilation is not None
        with working(console, "comparing float and integer network"):
            recordings = data.load_split(source.run.spec.dataset, "test", classes=source.run.classes)
            tested = spread(recordings, CHECKED_RECORDINGS)
            # As it was before a new output layer.
            fidelity = float_against_integer(source.run.network(), compilation.program, tested)
            measured = _dense(spread(tested, MEASURED_RECORDINGS))
    elif request.dataset is not None:
        measured = _recordings_of(program, request.dataset)
    estimated = None
    if measured is not None:
        with working(console, "measuring activity"):
            activity = measure(program, measured)
        mapped = map_graph(
            graph_of_program(program), request.wanted, classes=source.classes, program=program, activity=activity
        )
        estimated = estimate(program, mapped.graph, mapped.placement, request.wanted.target, activity)
    compiled = Compiled(
        request, source, mapped, program, compilation, fidelity, estimated,
        None if measured is None else measured[:1], lowered,
    )  # fmt: skip
    return _write(compiled, paths)


def compile_trained(
    run: Path, output: Path, console: Console, *, target: str = "loihi2", weight_bits: int | None = None
) -> Compiled:
    """`compile RUN -o OUTPUT`."""
    request = Request(Wanted(load_target(target)), str(run), output=output, weight_bits=weight_bits)
    return compile_network(request, console)


def _map(source: Source, graph: Graph, request: Request, program: Program | None) -> Mapped:
    return map_graph(graph, request.wanted, classes=source.classes, program=program)


def _dense(recordings: data.BinnedRecordings) -> NDArray[np.uint8]:
    """(R, T, I)"""
    return to_batch_first(recordings.dense(np.arange(len(recordings))))


def _recordings_of(program: Program, dataset: str) -> NDArray[Any]:
    """Some recordings of a folder or file, for a network that did not come with any."""
    stream = stream_test_recordings(program, MEASURED_RECORDINGS, dataset)
    return next(iter(as_given(program, batch) for batch in stream.batches(MEASURED_RECORDINGS)))


def _write(compiled: Compiled, paths: tuple[Path, Path, Path]) -> Compiled:
    from decolle_hw.compiling.contents import page_content
    from decolle_hw.page.html import page_html

    assert compiled.program is not None
    contents = (
        artifact_bytes(compiled.program, None if compiled.lowered is None else compiled.lowered.learning),
        json_text(compiled.to_json()).encode(),
        page_html(page_content(compiled)).encode(),
    )
    # They belong together: none takes its place before all are written.
    with ExitStack() as stack:
        for partial, content in zip([stack.enter_context(new_file(path)) for path in paths], contents, strict=True):
            partial.write_bytes(content)
    return replace(compiled, written=paths + _write_stages(compiled.mapped, compiled.request))


def _write_stages(mapped: Mapped, request: Request) -> tuple[Path, ...]:
    return () if request.stages is None else tuple(save_stages(mapped, request.stages))
