"""`decolle-hw init`: looks at the recordings, checks that they can be learned from, and writes the folder at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from decolle_hw.atomic import umask
from decolle_hw.data import Progress, source_of
from decolle_hw.data.load import Split
from decolle_hw.described import MODEL_FILE, read_model
from decolle_hw.errors import DataError, SpecError, UsageError
from decolle_hw.inspecting.analysis import Inspection
from decolle_hw.inspecting.found import ONE_RECORDING, shown
from decolle_hw.inspecting.inspect import inspect
from decolle_hw.progress import counting
from decolle_hw.project.files import LABELS, project_files
from decolle_hw.project.plan import Network, Neuron, Plan, plan_digits, plan_recordings
from decolle_hw.spec import ModelSpec

FILES = (MODEL_FILE, "README.md", ".gitignore", LABELS)
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Project:
    """A folder that was written."""

    folder: Path
    plan: Plan
    inspection: Inspection | None  # None: of the embedded digits
    spec: ModelSpec
    written: tuple[Path, ...]


def init_project(
    folder: Path, data: str | None, network: Network, neuron: Neuron, force: bool, console: Console
) -> Project:
    """Write a project for the recordings of a folder (None: the embedded digits), complete or not at all.

    Raises `UsageError` for a name or a place that cannot be used, `DataError` for recordings that cannot be learned.
    """
    name = _name(folder)
    _require_place(folder, data, force)
    found: Inspection | None = None
    if data is None:
        plan, recordings = plan_digits(name, network, neuron), []
    else:
        with counting(console, f"reading {shown(data)}") as progress:
            found = _inspected(data, progress)
        plan = plan_recordings(name, _as_written(data, folder), found, network, neuron)
        recordings = [recording.name for recording in found.recordings]
    texts = project_files(plan, recordings)
    return Project(folder, plan, found, _write(folder, texts, data), tuple(folder / name for name in texts))


def _name(folder: Path) -> str:
    """Name of the model, that of the folder."""
    name = folder.name or folder.resolve().name
    pattern = next(rule.pattern for rule in ModelSpec.model_fields["name"].metadata if hasattr(rule, "pattern"))
    if not re.match(pattern, name):
        better = re.sub(r"[^A-Za-z0-9_.-]+", "-", shown(name)).strip("-_.") or "my-network"
        raise UsageError(
            f"{shown(folder)}: the folder names the network and its files, so it must have letters, digits, - _ and . "
            f"only, and begin with a letter or digit; for example {better}"
        )
    return name


def _require_place(folder: Path, data: str | None, force: bool) -> None:
    """Raise `UsageError` where the folder cannot be made, or would lose something."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{shown(folder)}: is a file; give the name of a new folder")
    there = [name for name in FILES if os.path.lexists(folder / name)]
    if there and not force:
        raise UsageError(
            f"{shown(folder)}: has {', '.join(there)} already; give another name, or --force to write "
            f"{'it' if len(there) == 1 else 'them'} anew"
        )
    # Files of a project in a folder of recordings would be taken for recordings.
    if data is None:
        if not force and folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise UsageError(
                f"{shown(folder)}: is there and not empty; for recordings in it give a new name and --data "
                f"{shown(folder)}, or --force to write beside what it holds"
            )
        return
    recordings = Path(data).expanduser().resolve()
    if recordings in (folder.resolve(), *folder.resolve().parents):
        raise UsageError(
            f"{shown(folder)}: lies in the recordings, --data {shown(data)}, and would be taken for one of them; give "
            f"a folder beside them"
        )


def _inspected(data: str, progress: Progress) -> Inspection:
    path = Path(data).expanduser()
    if path.is_file() and path.suffix.lower() != ".npz":
        raise UsageError(f"--data {shown(data)}: is one file; give the folder with all recordings")
    if not path.exists():
        raise DataError(f"--data {shown(data)}: does not exist; give a folder of recordings (run from {Path.cwd()})")
    found = inspect(str(path.absolute()), progress=progress)
    if found.layout == ONE_RECORDING:
        raise UsageError(f"--data {shown(data)}: holds one recording; give the folder with all recordings")
    return found


def _as_written(data: str, folder: Path) -> str:
    """The path of the recordings as the YAML says it: from the YAML's folder where they lie near, else absolute."""
    path = os.path.abspath(Path(data).expanduser())
    base = os.path.abspath(folder)
    near = os.path.commonpath([path, os.path.dirname(base)]) == os.path.dirname(base) != os.path.sep
    written = Path(os.path.relpath(path, base) if near else path).as_posix()
    if shown(written) != written:
        raise DataError(f"{shown(written)}: the path is not UTF-8, and YAML could not hold it; rename the folder")
    return written


def _write(folder: Path, texts: dict[str, str], data: str | None) -> ModelSpec:
    """All files, after they were read back as training would read them.

    A new folder appears complete; into one that is there already each file comes complete.
    """
    exists = folder.is_dir()
    try:
        if not exists:
            folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        parent = folder if exists else folder.absolute().parent
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=parent))
    except OSError as error:
        raise _cannot_write(folder, error) from None
    try:
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        spec = _checked(partial, folder, data)
        if exists:
            for name in texts:
                os.replace(partial / name, folder / name)
        else:
            partial.chmod(0o777 & ~umask())
            os.rename(partial, folder)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return spec


def _checked(partial: Path, folder: Path, data: str | None) -> ModelSpec:
    """The description as training reads it; its recordings are listed and divided as training would."""
    # A relative path would count from the temporary folder.
    path = () if data is None else (f"dataset.path={json.dumps(os.path.abspath(Path(data).expanduser()))}",)
    try:
        spec = read_model(str(partial / MODEL_FILE), path)
        for split in SPLITS:
            source, _ = source_of(spec.dataset, split)
            if not len(source.labels):
                raise DataError(f"{shown(data)}: no {split} recordings are left; add recordings")
    except (DataError, SpecError) as error:
        raise type(error)(str(error).replace(str(partial), str(folder))) from None
    return spec


def _cannot_write(folder: Path, error: OSError) -> UsageError:
    reason = error.strerror or str(error)
    return UsageError(f"{shown(folder)}: cannot be written: {reason}; choose another place or change its permissions")
