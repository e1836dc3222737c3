"""A file of labels: one class per line, in the order of the recordings."""

# R recordings

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decolle_hw.errors import DataError, listed, nearest

NAMED_LINES = 5  # in a message


def read_labels(file: Path, classes: Sequence[str]) -> NDArray[np.int64]:
    """(R,) index into classes. Empty lines at the end do not count.

    Raises `DataError` for a file that cannot be read, and for every line that is no class of the network, with the one
    that looks most like it.
    """
    try:
        lines = file.read_text(encoding="utf-8").rstrip().splitlines()
    except FileNotFoundError:
        raise DataError(f"--labels {file}: does not exist; give a file with one class per line") from None
    except OSError as error:
        raise DataError(f"--labels {file}: cannot be read: {error.strerror or error}; mend its permissions") from None
    except UnicodeDecodeError:
        raise DataError(f"--labels {file}: is not a text in UTF-8; give a file with one class per line") from None
    names = [line.strip() for line in lines]
    place = {name: index for index, name in enumerate(classes)}
    wrong = [number for number, name in enumerate(names, 1) if name not in place]
    problems = [f"line {number}: {_complaint(names[number - 1], classes)}" for number in wrong[:NAMED_LINES]]
    if len(wrong) > NAMED_LINES:
        problems.append(f"and {len(wrong) - NAMED_LINES} more of {len(names)} lines are no class of the network")
    if problems:
        raise DataError(listed(f"--labels {file}", problems))
    return np.array([place[name] for name in names], np.int64)


def require_as_many(file: Path, labels_R: NDArray[np.int64], recordings: int) -> None:
    """Raise `DataError` where there is not one label for each recording."""
    if len(labels_R) != recordings:
        fewer = "fewer" if len(labels_R) < recordings else "more"
        raise DataError(
            f"--labels {file}: {len(labels_R)} labels are {fewer} than the {recordings} recordings; give one line for "
            f"each, in their order"
        )


def _complaint(name: str, classes: Sequence[str]) -> str:
    if not name:
        return "is empty, and each recording needs a class"
    return f"{name!r} is no class of the network; {nearest(name, classes)}"
