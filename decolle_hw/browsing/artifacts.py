"""Compiled networks, and which run each of them came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decolle_hw.browsing.runs import FoundRun, Unusable
from decolle_hw.errors import ArtifactError, UsageError

if TYPE_CHECKING:  # it needs h5py, which most lists do not
    from decolle_hw.compiler.artifact_head import ArtifactHead


@dataclass(frozen=True)
class FoundArtifact:
    """A `.net` file; the figures are those of NAME.report.json beside it, None where it does not have them."""

    path: Path
    head: ArtifactHead
    cores: int | None
    integer_accuracy: float | None  # of the network as it was trained, on the recordings that were measured

    def to_json(self) -> dict[str, Any]:
        return {
            "artifact": str(self.path),
            **self.head._asdict(),
            "cores": self.cores,
            "integer_accuracy": self.integer_accuracy,
        }


def find_artifacts(folders: Sequence[Path]) -> tuple[list[FoundArtifact], list[Unusable]]:
    """All `.net` files in folders (not below them), by name. Raises `UsageError` where there is no such folder."""
    found, unusable = [], []
    for folder in folders:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise UsageError(f"--artifacts {folder}: {what}; name one that holds .net files")
        for path in sorted(folder.glob("*.net")):
            from decolle_hw.compiler.artifact_head import read_head

            try:
                found.append(FoundArtifact(path, read_head(path), *_figures(path.with_suffix(".report.json"))))
            except ArtifactError as error:
                unusable.append(Unusable(path, str(error).removeprefix(f"{path}: ")))
    return found, unusable


def made_from(run: FoundRun, artifacts: Sequence[FoundArtifact]) -> list[FoundArtifact]:
    """Those that hold the weights of a run's best epoch."""
    return [one for one in artifacts if one.head.checkpoint_sha256 == run.checkpoint_sha256]


def _figures(report: Path) -> tuple[int | None, float | None]:
    """(cores, integer accuracy) of a report, as far as it can be read: it is not what is run."""
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None, None
    cores = _at(content, "placement", "cores")
    accuracy = _at(content, "fidelity", "integer_accuracy")
    return (
        len(cores) if isinstance(cores, list) else None,
        float(accuracy) if isinstance(accuracy, (int, float)) else None,
    )


def _at(content: Any, *keys: str) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content
