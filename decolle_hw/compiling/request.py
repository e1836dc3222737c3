"""What a user asks `compile` for, checked before any work is done."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from decolle_hw.atomic import check_writable
from decolle_hw.compiler.mapping import Wanted as Wanted
from decolle_hw.errors import UsageError
from decolle_hw.library import shipped_names
from decolle_hw.spec_on_chip import OUTPUT

Kind = Literal["run", "model", "net", "nir"]
PlasticLayers = tuple[int | str, ...]  # layers of the float network, pooling not counted, or `output`


@dataclass(frozen=True)
class Request:
    """Arguments of `compile`. `source`: a training run, a model, a .net or a .nir; None: the newest run."""

    wanted: Wanted
    source: str | None = None
    runs: Path = Path("runs")
    output: Path | None = None
    dataset: str | None = None
    weight_bits: int | None = None
    overrides: tuple[str, ...] = ()  # of a model's YAML
    approximate: bool = False
    steps: int | None = None
    dt: float | None = None
    dry_run: bool = False
    stages: Path | None = None  # folder for the result of each stage
    plastic: PlasticLayers | None = None  # None: what the model's on_chip.plastic says

    @property
    def kind(self) -> Kind:
        """What the source is, by its name alone."""
        if self.source is None:
            return "run"
        path = Path(self.source)
        if path.suffix in (".net", ".nir") and not path.is_dir():
            return "net" if path.suffix == ".net" else "nir"
        if path.suffix in (".yaml", ".yml") or (self.source in shipped_names("models") and not path.is_dir()):
            return "model"
        return "run"

    def check(self) -> None:
        """Raise one `UsageError` with everything that does not go together."""
        problems = [f"{option}: {what}" for option, given, kinds, what in self._rules() if given and self.kind in kinds]
        if self.kind == "model" and not self.dry_run:
            problems.append(
                f"{self.source}: is a model that is not trained; run `decolle-hw train {self.source}` first, or ask "
                "with --dry-run whether it fits"
            )
        if self.kind == "run" and self.overrides and not self._only_on_chip:
            problems.append(
                "--set: the network is trained, and only on_chip.KEY does not change what it was trained for; train "
                "again with the others, or ask with --dry-run of a model that is not trained"
            )
        if not self.dry_run and self.output is not None and self.output.suffix != ".net":
            problems.append(f"--output {self.output}: the name must end in .net, or `run --sim` would not find it")
        if self.dry_run and self.output is not None:
            problems.append(f"--output {self.output}: nothing is written in a dry run; leave it out")
        if problems:
            raise UsageError("; ".join(problems))

    def _rules(self) -> list[tuple[str, bool, tuple[Kind, ...], str]]:
        """(option, whether it was given, kinds of source without a use for it, why)."""
        imported: tuple[Kind, ...] = ("net", "nir")
        return [
            ("--set", bool(self.overrides), imported, "is for a training run (on_chip.KEY), or a model (--dry-run)"),
            (
                "--plastic",
                bool(self.plastic) and not self.dry_run,
                imported,
                "learning is lowered from the float rule of a training run; compile that, or add --dry-run",
            ),
            (
                "--plastic output",
                OUTPUT in (self.plastic or ()),
                imported,
                "a new layer is for a training run, or a model (--dry-run)",
            ),
            ("--weight-bits", self.weight_bits is not None, ("net",), "the weights of a .net are integers already"),
            ("--approximate", self.approximate, ("run", "model"), "is for networks from elsewhere (.net, .nir)"),
            ("--steps", self.steps is not None, ("run", "model"), "is for networks from elsewhere (.net, .nir)"),
            ("--dt", self.dt is not None, ("run", "model", "net"), "is for .nir files"),
            ("--data", self.dataset is not None, ("model",), "a dry run reads no recordings"),
        ]

    @property
    def _only_on_chip(self) -> bool:
        return all(override.startswith("on_chip.") for override in self.overrides)

    def paths(self, name: str) -> tuple[Path, Path, Path]:
        """Artifact, report and page, all three writable.

        Raises `UsageError` if they are not, or if the artifact would replace the file that it is made from.
        """
        path = self.output or Path(f"{name}.net")
        if self.source is not None and path.resolve() == Path(self.source).resolve():
            raise UsageError(f"{path}: would be replaced by what is compiled from it; give another name with -o")
        written = path, path.with_suffix(".report.json"), path.with_suffix(".report.html")
        for one in written:
            check_writable(one)
        return written


def layers_of(text: str | None) -> PlasticLayers | None:
    """`0,2` as (0, 2), `output` as it is. Raises `UsageError` for anything but layers, each once."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if part != OUTPUT and not (part.isdecimal() and part.isascii())]
    if wrong:
        hint = f"; did you mean {OUTPUT!r}?" if difflib.get_close_matches(wrong[0], [OUTPUT], cutoff=0.5) else ""
        raise UsageError(f"--plastic {text}: expected layers such as 1 or 0,2, or {OUTPUT}{hint}")
    layers: list[int | str] = [part if part == OUTPUT else int(part) for part in parts]
    if len(set(layers)) != len(layers):
        raise UsageError(f"--plastic {text}: each layer at most once")
    return tuple(sorted(layers, key=lambda layer: (layer == OUTPUT, layer)))
