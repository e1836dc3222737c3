"""What a user asks `run --sim --learn` for, checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from decolle_hw.atomic import check_writable
from decolle_hw.errors import UsageError, listed
from decolle_hw.execution import Backend
from decolle_hw.sim.learning_randoms import Rounding
from decolle_hw.training.recorder import require_place_for_runs

DEFAULT_SEED = 1  # of Lava's engine too


@dataclass(frozen=True)
class LearnRequest:
    """Arguments of `run --sim --learn`; None: not given."""

    artifact: Path | None = None  # the newest here
    backend: Backend = "lava"
    dataset: str | None = None
    labels: Path | None = None
    samples: int | None = None
    passes: int = 1
    seed: int | None = None
    rounding: Rounding | None = None
    load_state: Path | None = None
    save_state: Path | None = None
    save_learned: Path | None = None
    save_checkpoint: Path | None = None
    runs: Path = Path("runs")
    report: Path | None = None  # --json

    def check(self, artifact: Path) -> None:
        """Raise one `UsageError` with everything that does not go together, or cannot be written."""
        problems = list(self._problems(artifact))
        if problems:
            raise UsageError(listed("run --learn", problems))

    def _problems(self, artifact: Path) -> Iterator[str]:
        if self.backend == "lava":
            if self.rounding == "per-synapse":
                yield (
                    "--rounding per-synapse: Lava draws one random number per epoch for a whole matrix; use --backend "
                    "reference"
                )
            if self.load_state is not None:
                state = f"--load-state {self.load_state}"
                yield f"{state}: Lava cannot start in the middle of a run; use --backend reference"
        if self.save_learned is not None:
            if self.save_learned.suffix != ".net":
                yield f"--save-learned {self.save_learned}: the name must end in .net, or `run` would not find it"
            elif self.save_learned.resolve() == artifact.resolve():
                yield f"--save-learned {self.save_learned}: would replace what it is made from; give another name"
        if self.save_state is not None and self.save_state.suffix == ".net":
            yield f"--save-state {self.save_state}: .net is for compiled networks; name it otherwise, as STATE.npz"
        if self.save_checkpoint is not None and self.save_checkpoint.exists():
            yield f"--save-checkpoint {self.save_checkpoint}: exists already; give the name of a new run folder"
        yield from self._same_files(artifact)
        for option, path in (("--save-learned", self.save_learned), ("--save-state", self.save_state)):
            if path is not None:
                try:
                    check_writable(path)
                except UsageError as error:
                    yield f"{option} {error}"
        if self.save_checkpoint is not None:
            try:
                require_place_for_runs(self.save_checkpoint.parent)
            except UsageError as error:
                yield f"--save-checkpoint {error}"

    def _same_files(self, artifact: Path) -> Iterator[str]:
        """What is written must replace neither what is read nor each other; a state may go on in its own file."""
        taken: dict[Path, str] = {artifact.resolve(): str(artifact)}
        for option, given in (("--labels", self.labels), ("--data", self.dataset)):
            if given is not None:
                taken[Path(given).resolve()] = f"{option} {given}"
        for option, path in (("--json", self.report), ("--save-state", self.save_state)):
            if path is None:
                continue
            other = taken.setdefault(path.resolve(), f"{option} {path}")
            if other != f"{option} {path}":
                yield f"{option} {path}: is the same file as {other}; give another name"
