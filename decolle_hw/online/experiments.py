"""`decolle-hw demo few-shot | drift | from-scratch | continual`: run it, print it, draw it, write it down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from decolle_hw.atomic import check_writable, write_json
from decolle_hw.errors import UsageError
from decolle_hw.execution import lava_runner
from decolle_hw.online import continual, drift, few_shot, figures, from_scratch, tables
from decolle_hw.online.life import Backend
from decolle_hw.online.material import Recorded, known_classes, prepare, read_recordings
from decolle_hw.spec import ModelSpec

# Lava shows about two recordings in a second: by default it is asked for little.
LAVA_TESTS = 10
MOST_PASSES = 1000


@dataclass(frozen=True)
class Request:
    """Arguments of an experiment; None: its own default, a smaller one in Lava."""

    name: str
    spec: ModelSpec
    runs: Path = Path("runs")
    output: Path = Path()
    backend: Backend = "reference"
    known: tuple[str, ...] | None = None  # classes of the features
    shots: tuple[int, ...] | None = None
    passes: tuple[int, ...] | None = None
    seeds: int | None = None
    tests: int | None = None

    @property
    def written(self) -> tuple[Path, Path]:
        """Picture and figures."""
        stem = f"{self.spec.name}.{self.name}"
        return self.output / f"{stem}.png", self.output / f"{stem}.json"

    def check(self) -> None:
        """Raise one `UsageError` with everything that the experiment has no use for, or that cannot be written."""
        problems = [
            f"{option}: {self.name} {why}"
            for option, given, names, why in (
                ("--known", self.known is not None, ("drift", "from-scratch"), "teaches all classes"),
                ("--shots", self.shots is not None, ("from-scratch",), "shows all training recordings"),
            )
            if given and self.name in names
        ]
        if self.name != "few-shot":
            for option, values in (("--shots", self.shots), ("--passes", self.passes)):
                if values is not None and len(values) != 1:
                    problems.append(f"{option} {','.join(map(str, values))}: {self.name} takes one number")
        for option, values in (("--shots", self.shots), ("--passes", self.passes)):
            if values is not None and list(values) != sorted(set(values)):
                problems.append(
                    f"{option} {','.join(map(str, values))}: expected numbers from small to large, each once"
                )
        if self.passes is not None and max(self.passes) > MOST_PASSES:
            problems.append(f"--passes {','.join(map(str, self.passes))}: at most {MOST_PASSES}")
        if self.name == "from-scratch" and self.spec.network.Nhid:
            problems.append(
                f"--model {self.spec.name}: has convolutions, whose shared kernels cannot learn synapse by synapse; "
                "give a model of dense layers"
            )
        if problems:
            raise UsageError("; ".join(problems))
        for path in self.written:
            check_writable(path)

    def given(self, in_lava: dict[str, Any], **values: Any) -> dict[str, Any]:
        """Fields of settings: what was asked for, else what Lava can do in minutes, else nothing."""
        asked = {name: value for name, value in values.items() if value is not None}
        return {"backend": self.backend} | (in_lava if self.backend == "lava" else {}) | asked


def run_experiment(request: Request, console: Console) -> dict[str, Any]:
    """Returns what was written as JSON. Raises `UsageError` before any long work, `CheckError` if Lava differs."""
    request.check()
    if request.backend == "lava":
        lava_runner()  # fail now where Lava cannot be imported, not after training
    run, show, draw = RUNNERS[request.name]
    result = run(request, console)
    show(result, console)
    picture, figures_path = request.written
    content = result.to_json()
    if request.backend == "lava":
        console.print(f"equal in Lava and the integer reference: {_compared(content):,} spike counts and weights")
    draw(result, picture)
    write_json(content, figures_path)
    for path in (picture, figures_path):
        console.print(f"wrote {path}", soft_wrap=True)
    return dict(content)


def _few_shot(request: Request, console: Console) -> few_shot.FewShot:
    in_lava = {"shots": (1,), "passes": (1,), "seeds": 1, "old_shots": 2, "old_passes": 1}
    chosen = request.given(in_lava, shots=request.shots, passes=request.passes, seeds=request.seeds)
    settings = few_shot.FewShotSettings(**chosen)
    recorded = _recordings(request, console)
    known = known_classes(request.known, recorded.classes)
    few_shot.check(recorded, known, settings)
    material = prepare(request.spec, recorded, known, request.runs, console)
    return few_shot.few_shot(material, settings, console)


def _drift(request: Request, console: Console) -> drift.Drift:
    in_lava = {"changes": ("polarity flip",), "shots": 2, "passes": 1, "seeds": 1}
    chosen = request.given(in_lava, shots=_one(request.shots), passes=_one(request.passes), seeds=request.seeds)
    recorded = _recordings(request, console)
    material = prepare(request.spec, recorded, None, request.runs, console)
    return drift.drift(material, drift.DriftSettings(**chosen), console)


def _continual(request: Request, console: Console) -> continual.Continual:
    in_lava = {"shots": 1, "passes": 1, "replay": 1, "seeds": 1}
    chosen = request.given(in_lava, shots=_one(request.shots), passes=_one(request.passes), seeds=request.seeds)
    recorded = _recordings(request, console)
    material = prepare(request.spec, recorded, known_classes(request.known, recorded.classes), request.runs, console)
    return continual.continual(material, continual.ContinualSettings(**chosen), console)


def _from_scratch(request: Request, console: Console) -> from_scratch.FromScratch:
    chosen = request.given({"passes": 1, "lessons": 10}, passes=_one(request.passes), seeds=request.seeds)
    settings = from_scratch.FromScratchSettings(**chosen)
    recorded = _recordings(request, console)
    return from_scratch.from_scratch(request.spec, recorded, settings, console)


def _compared(content: Any) -> int:
    """Values of all parts of a result that were compared."""
    if isinstance(content, dict):
        return sum(value if key == "compared" else _compared(value) for key, value in content.items())
    return sum(map(_compared, content)) if isinstance(content, (list, tuple)) else 0


def _one(values: tuple[int, ...] | None) -> int | None:
    return None if values is None else values[0]


def _recordings(request: Request, console: Console) -> Recorded:
    few = LAVA_TESTS if request.backend == "lava" else None
    return read_recordings(request.spec, console, request.tests, few)


# Of each experiment: run it, print it, draw it.
RUNNERS: dict[str, tuple[Callable[[Request, Console], Any], Callable[..., None], Callable[..., None]]] = {
    "few-shot": (_few_shot, tables.print_few_shot, figures.draw_few_shot),
    "drift": (_drift, tables.print_drift, figures.draw_drift),
    "from-scratch": (_from_scratch, tables.print_from_scratch, figures.draw_from_scratch),
    "continual": (_continual, tables.print_continual, figures.draw_continual),
}
