"""Writes a run folder while a network is being trained.

resume.safetensors is the truth and is written first; the other files follow from it. So a run that was killed between
two of them is whole again once it is resumed, and at no moment is there a file that is half-written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from decolle_hw.errors import UsageError
from decolle_hw.training.checkpoints import Origin, read_origin, write_file, write_weights
from decolle_hw.training.events import EventFile
from decolle_hw.training.history import EpochRecord, best_epoch
from decolle_hw.training.lock import FolderLock
from decolle_hw.training.runs import CHECKPOINT, LAST, METRICS, RESUME, SPEC, new_run_folder, resume_command
from decolle_hw.training.state import TrainingState, write_state


class Recorder:
    """The folder of a run, held against other processes within the block.

    A new one appears with the first `save`; so whatever ends a run before its first step leaves nothing behind.
    """

    def __init__(self, root: Path, name: str, existing: Path | None = None) -> None:
        """`existing`: a run to go on with; otherwise a new one ``root/name/<time>``."""
        self._root, self._name = root, name
        self._folder = existing
        self._stack = ExitStack()
        self._events: EventFile | None = None
        self._intact = "nothing had been saved yet"
        if existing is not None:
            self._stack.callback(FolderLock(existing).release)

    @property
    def folder(self) -> Path | None:
        """None until something was saved."""
        return self._folder

    @property
    def intact(self) -> str:
        """What is safe on disk, for messages."""
        return self._intact

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def save(self, state: TrainingState, metrics: dict[str, Any]) -> Path:
        """Write all files of a state that is new; returns the folder.

        Raises `UsageError` that says what is still intact where something cannot be written.
        """
        try:
            if self._folder is None:
                self._begin(lambda folder: self._write(folder, state, metrics))
            else:
                self._write(self._folder, state, metrics)
        except UsageError as error:
            raise self._not_saved(error) from None
        assert self._folder is not None
        return self._folder

    def log(self, record: EpochRecord) -> None:
        """Add an epoch that was saved to the event file; raises `UsageError` as `save` does."""
        assert self._folder is not None
        if self._events is None:
            self._events = self._stack.enter_context(EventFile(self._folder))
        try:
            self._events.write(record)
        except UsageError as error:
            raise self._not_saved(error) from None

    def resumed(self, state: TrainingState) -> None:
        """Make the folder whole that `state` was read from; raises `UsageError` where its best weights are lost."""
        assert self._folder is not None
        folder, best = self._folder, best_epoch(state.history)
        path = folder / CHECKPOINT
        if best and (not path.is_file() or read_origin(path).epoch != best):
            if best != state.epoch or state.recordings:
                raise UsageError(
                    f"{path}: is not the checkpoint of epoch {best}, the best one of this run so far; put it back, or "
                    f"train again"
                )
            self._write_best(folder, state)
        self._keep(folder, state)

    def note(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json alone, if there is a folder."""
        if self._folder is not None:
            _write_json(self._folder / METRICS, metrics)

    def _begin(self, write: Callable[[Path], None]) -> None:
        """Make the folder and fill it, or leave no trace."""
        made = [path for path in (self._root / self._name, self._root) if not path.exists()]
        folder = _make_run_folder(self._root, self._name)
        try:
            self._stack.callback(FolderLock(folder).release)
            write(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            for path in made:
                with suppress(OSError):  # no longer empty: another run began there
                    path.rmdir()
            raise
        self._folder = folder

    def _write(self, folder: Path, state: TrainingState, metrics: dict[str, Any]) -> None:
        _write_if_new(folder / SPEC, state.description)
        write_state(folder / RESUME, state)
        origin = Origin(state.description, state.classes, state.epoch, state.recordings)
        write_weights(folder / LAST, state.weights, origin)
        at_end_of_epoch = state.epoch > 0 and state.recordings == 0
        if at_end_of_epoch and best_epoch(state.history) == state.epoch:
            self._write_best(folder, state)
        _write_json(folder / METRICS, metrics)
        self._keep(folder, state)

    def _not_saved(self, error: UsageError) -> UsageError:
        command = f"; to go on from there: {resume_command(self._folder)}" if self._folder else ""
        return UsageError(f"{error}; {self._intact}{command}")

    def _write_best(self, folder: Path, state: TrainingState) -> None:
        origin = Origin(state.description, state.classes, state.epoch)
        write_weights(folder / CHECKPOINT, state.weights, origin)

    def _keep(self, folder: Path, state: TrainingState) -> None:
        where = f"epoch {state.epoch}" + (f" and {state.recordings} recordings" if state.recordings else "")
        best = f", with its best checkpoint (epoch {best_epoch(state.history)})" if state.history else ""
        self._intact = f"{folder} is intact up to {where}{best}"


def require_place_for_runs(root: Path) -> None:
    """Raise `UsageError` now if no run folder could be made below `root` later; makes nothing."""
    existing = root.absolute()
    while not os.path.exists(existing):  # Path.exists raises where a folder above may not be entered
        existing = existing.parent
    if not existing.is_dir():
        raise UsageError(f"{root}: cannot be written: {existing} is not a folder; give another one with --runs")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{root}: cannot be written: no permission in {existing}; give another one with --runs")


def _make_run_folder(root: Path, name: str) -> Path:
    while True:
        folder = new_run_folder(root, name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():  # a file stands in its way
                raise UsageError(f"{folder}: cannot be made: a file stands in its way; move it") from None
        except OSError as error:
            raise UsageError(f"{folder}: cannot be made: {error.strerror or error}") from None
        else:
            return folder


def _write_if_new(path: Path, text: str) -> None:
    if not path.is_file() or path.read_bytes() != text.encode():
        write_file(path, text.encode())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())
