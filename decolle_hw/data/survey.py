"""What a set of recordings is like: sizes, times and counts of each, read once and then remembered.

The results lie beside the binned recordings (`cache.folder`), one small JSON file for each folder of recordings, under
name, size, time of the last change and the source text of the readers. A damaged file counts as none, and where nothing
can be written everything is read again next time. What could not be read is never remembered; what was read before an
interrupt is.
"""

# R recordings

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from decolle_hw.atomic import new_file
from decolle_hw.data import cache
from decolle_hw.data.formats import reading
from decolle_hw.data.formats.events import Tally
from decolle_hw.data.processes import in_processes
from decolle_hw.errors import DataError, UsageError

Progress = Callable[[int, int], None]
NUMBERS = ("events", "first_us", "last_us", "height", "width", "polarities")
LARGEST_PIECE = 64  # recordings per errand of a process
State = tuple[int, int]  # size in bytes, time of the last change in nanoseconds


@dataclass(frozen=True)
class Surveyed:
    """One recording, without its events."""

    file: Path
    format: str = ""  # a key of `formats.TITLES`
    events: int = 0
    first_us: int = 0  # of the sensor's own clock, as `formats.read_events` gives it
    last_us: int = 0
    height: int = 0  # largest y + 1
    width: int = 0  # largest x + 1
    polarities: int = 0  # 1 or 2
    sensor_size: tuple[int, int] | None = None  # height, width, where the file says so
    notes: tuple[str, ...] = ()  # what had to be mended
    error: str | None = None  # why it cannot be used; then all other values are as above

    @property
    def duration_us(self) -> int:
        """From the first to the last event."""
        return self.last_us - self.first_us


REMEMBERED = tuple(field.name for field in fields(Surveyed) if field.name not in ("file", "error"))


def survey_files(
    files: Sequence[Path], workers: int = 0, progress: Progress | None = None, keep: bool = True
) -> tuple[Surveyed, ...]:
    """(R,) what each recording is like, in the order given. Never more than a block of a recording is in memory.

    Args:
        workers: processes that read what is not remembered; 0: this one.
        progress: called with (recordings done, R).
        keep: use and write what is remembered; otherwise all are read, and nothing is written.

    A recording that cannot be used raises nothing: its `error` says why.
    """
    # Before they are read: of a file that is written to meanwhile nothing is remembered that is not so.
    states = {file: _state(file) for file in files} if keep else {}
    known = _remembered(states)
    found: dict[Path, Surveyed] = {}
    missing = [file for file in dict.fromkeys(files) if file not in known]
    try:
        with closing(_survey(missing, workers)) as pieces:
            for done, surveyed in enumerate(pieces, len(files) - len(missing) + 1):
                found[surveyed.file] = surveyed
                if progress is not None:
                    progress(done, len(files))
    finally:
        _remember([one for one in found.values() if one.error is None], states)
    known.update(found)
    return tuple(known[file] for file in files)


def survey_file(file: Path) -> Surveyed:
    """One recording, read now."""
    tally, place = Tally(), str(file)
    try:
        with reading.open_recording(file) as opened:
            for block in opened.blocks:
                tally = tally.add(block, opened, place)
            tally.require_events(file)
    except DataError as error:
        return Surveyed(file, error=str(error))
    return Surveyed(
        file,
        opened.format,
        tally.events,
        tally.first_us + tally.shift_us,
        tally.last_us + tally.shift_us,
        tally.height,
        tally.width,
        tally.on + tally.off,
        opened.sensor_size,
        opened.notes + tally.notes,
    )


def survey_some(files: Sequence[Path]) -> list[Surveyed]:
    """`survey_file` of each: the errand of a process."""
    return [survey_file(file) for file in files]


def _survey(files: Sequence[Path], workers: int) -> Generator[Surveyed, None, None]:
    if not workers or not files:
        yield from map(survey_file, files)
        return
    size = max(1, min(LARGEST_PIECE, len(files) // (4 * workers)))
    pieces = [files[first : first + size] for first in range(0, len(files), size)]
    with closing(in_processes(survey_some, pieces, min(workers, len(pieces)))) as surveyed:
        for piece in surveyed:
            yield from piece


@lru_cache(maxsize=1)
def _version() -> str:
    """Of the readers: their source text, so that nobody has to remember to count up a number."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(Path(reading.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _remembered(states: Mapping[Path, State | None]) -> dict[Path, Surveyed]:
    """Those of the files that were read before and have not changed since."""
    known = {}
    for folder, members in _by_folder(states).items():
        kept = _read_kept(folder)
        for file in members:
            match kept.get(file.name):
                case [[size, time], values] if (size, time) == states[file]:
                    surveyed = _surveyed(file, values)
                    if surveyed is not None:
                        known[file] = surveyed
    return known


def _remember(surveyed: Iterable[Surveyed], states: Mapping[Path, State | None]) -> None:
    """Those whose states are known."""
    good = {one.file: one for one in surveyed if states.get(one.file) is not None}
    for folder, members in _by_folder(good).items():
        target = _file_of(folder)
        if target is None:
            return
        kept = _read_kept(folder)
        for file in members:
            kept[file.name] = [states[file], {name: getattr(good[file], name) for name in REMEMBERED}]
        try:
            with new_file(target) as partial:
                partial.write_text(json.dumps({"version": _version(), "files": kept}), encoding="ascii")
        except UsageError:
            return  # a convenience only


def _by_folder(files: Iterable[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.absolute().parent, []).append(file)
    return folders


def _state(file: Path) -> State | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _file_of(folder: Path) -> Path | None:
    where = cache.folder()
    if where is None:
        return None
    # File names need not be UTF-8.
    return where / f"survey-{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()}.json"


def _read_kept(folder: Path) -> dict[str, Any]:
    """Entries [[size, time], values] by name of file; none where the file is damaged or of another version."""
    file = _file_of(folder)
    try:
        content = json.loads(file.read_bytes()) if file is not None else None
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("version") != _version():
        return {}
    files = content.get("files")
    return files if isinstance(files, dict) else {}


def _surveyed(file: Path, values: Any) -> Surveyed | None:
    """What `_remember` wrote, or None where it is something else."""
    try:
        one = Surveyed(file, **values)
        if not all(isinstance(getattr(one, name), int) for name in NUMBERS) or not isinstance(one.format, str):
            return None
        size = None if one.sensor_size is None else (int(one.sensor_size[0]), int(one.sensor_size[1]))
        return replace(one, sensor_size=size, notes=tuple(map(str, one.notes)))
    except (TypeError, ValueError, IndexError):
        return None
