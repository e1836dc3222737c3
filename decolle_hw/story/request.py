"""What a user asks `decolle-hw demo MODEL` for, checked before any work is done."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from decolle_hw.atomic import check_writable
from decolle_hw.described import read_model
from decolle_hw.errors import UsageError
from decolle_hw.spec import ModelSpec
from decolle_hw.story.cast import Cast


class Files(NamedTuple):
    """What the story leaves in its folder, besides the training run and the reports of the compiler."""

    artifact: Path
    learner: Path  # with an output layer that has learned nothing yet
    learned: Path
    picture: Path
    animation: Path
    page: Path


class Tested(NamedTuple):
    """What a command has to be told to do the same again."""

    classes: tuple[str, ...] | None  # that the network was trained on; None: all
    certified: int  # recordings
    executed: int


@dataclass(frozen=True)
class StoryRequest:
    """Arguments of `decolle-hw demo MODEL`; None: not given."""

    model: str
    overrides: tuple[str, ...] = ()
    dataset: str | None = None
    runs: Path = Path("runs")
    output: Path = Path()
    new_class: str | None = None
    json_path: Path | None = None  # that the command writes after the story

    def read(self, console: Console) -> ModelSpec:
        """The model as it was asked for. Raises `SpecError`, `DataError` for what is wrong in it or its recordings."""
        return read_model(self.model, self.overrides, self.dataset, console)

    def files(self, name: str) -> Files:
        """Where everything goes. Raises `UsageError` where something cannot be written, or the model be replaced."""
        ends = ("net", "learning.net", "learned.net", "demo.png", "demo.gif", "demo.html")
        found = Files(*(self.output / f"{name}.{end}" for end in ends))
        for path in found:
            check_writable(path)
        if self.json_path is not None and self.json_path.resolve() in {path.resolve() for path in found}:
            raise UsageError(f"--json {self.json_path}: is written by the demo itself; give another name")
        return found

    @property
    def command(self) -> str:
        """What to type to see it again."""
        words = ["decolle-hw", "demo", self.model, *self._of_model]
        words += [] if self.new_class is None else ["--new-class", self.new_class]
        return shlex.join(words)

    def commands(self, run: Path, files: Files, tested: Tested, cast: Cast, learned: bool) -> dict[str, str]:
        """By step, the command that does the same, and `demo` for all of it.

        Args: run: folder of the training run. learned: whether a class was learned on chip.
        """
        trained = [] if tested.classes is None else ["--set", f"dataset.classes={as_yaml(tested.classes)}"]
        found = {
            "learn": ["train", self.model, *self._of_model, *trained],
            "compile": ["compile", str(run), "-o", str(files.artifact)],
            "certify": ["verify", str(files.artifact), "--samples", str(tested.certified)],
            "run": ["run", "--sim", str(files.artifact), "--samples", str(tested.executed)],
        }
        if learned:
            chosen = ["--set", f"on_chip.classes={as_yaml(cast.everything)}"]
            found["new class"] = ["compile", str(run), "--plastic", "output", *chosen, "-o", str(files.learner)]
        return {step: shlex.join(["decolle-hw", *words]) for step, words in found.items()} | {"demo": self.command}

    @property
    def _of_model(self) -> list[str]:
        words = [word for override in self.overrides for word in ("--set", override)]
        return words + ([] if self.dataset is None else ["--data", self.dataset])


def as_yaml(names: Sequence[str]) -> str:
    """A list that YAML reads as texts, whatever they look like."""
    return json.dumps(list(names), ensure_ascii=False)
