"""The doors of the package: a description in, binned recordings out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from decolle_hw.data import cache, digits, folder, gesture, images, workers
from decolle_hw.data.binning import Progress, assemble, pack, require_countable
from decolle_hw.data.choosing import in_their_order, of_classes, require_some
from decolle_hw.data.recordings import BinnedRecordings
from decolle_hw.data.source import Source, limited
from decolle_hw.data.stream import RecordingStream, open_stream
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec

Split = Literal["train", "test"]

NAMED_CLASSES = 5  # in a message


def load_split(
    spec: DatasetSpec, split: Split, progress: Progress | None = None, classes: Sequence[str] | None = None
) -> BinnedRecordings:
    """Binned recordings of one split, the first ``chunk_size_<split>`` steps of each: later events are cropped.

    With ``crop: random`` training recordings are kept whole instead, and ``chunk_size_train`` is the length of the
    windows in which they are presented (`BinnedRecordings.draw_starts`).

    Args:
        progress: called with (done, total).
        classes: those that a trained network knows, in the order of its labels. The data must have the same ones;
            only the test recordings may lack some.

    Raises `DataError` or `SpecError`, see `folder`, `images`, `gesture`, `stills` and `binning`.
    """
    source = _source_of_classes(spec, split, classes)
    return _binned(source, spec, *_length(spec, split), progress)


def stream_split(
    spec: DatasetSpec,
    split: Split,
    samples: int | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> RecordingStream:
    """The same recordings batch by batch, so that memory does not grow with their number.

    Args:
        samples: at most so many, evenly spread over the split.
        classes: as in `load_split`.
        progress: called with (done, total) while recordings are read into the cache.
    """
    source = _source_of_classes(spec, split, classes)
    return open_stream(source, spec, *_length(spec, split), samples, progress)


def load_folder(
    path: str | Path,
    spec: DatasetSpec,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> BinnedRecordings:
    """All recordings of a folder, the first chunk_size_test steps of each.

    Of a folder with subfolders train and test, those of test.
    `spec` gives sensor, inputs, deltat and steps, whatever its own data are; `classes` are those that a trained
    network knows. With `dataset.classes` recordings of others are left out, otherwise they are an error.
    """
    spec = spec.model_copy(update={"name": "folder", "path": str(path)})
    return _binned(_whole_folder(path, spec, classes), spec, spec.chunk_size_test, False, progress)


def load_unlabelled(path: str | Path, spec: DatasetSpec, progress: Progress | None = None) -> BinnedRecordings:
    """All recordings of a folder that need not be sorted into classes, as `load_folder`; they are of one class."""
    spec = spec.model_copy(update={"name": "folder", "path": str(path)})
    return _binned(folder.unsorted_folder(Path(path).expanduser()), spec, spec.chunk_size_test, False, progress)


def has_train_and_test(path: str | Path) -> bool:
    """Whether a folder of recordings has subfolders train and test. Raises `DataError` where it cannot be read."""
    return folder.train_and_test(Path(path).expanduser()) is not None


def stream_folder(
    path: str | Path,
    spec: DatasetSpec,
    samples: int | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> RecordingStream:
    """The recordings of `load_folder` batch by batch; `samples` and `progress` as in `stream_split`."""
    spec = spec.model_copy(update={"name": "folder", "path": str(path)})
    return open_stream(_whole_folder(path, spec, classes), spec, spec.chunk_size_test, False, samples, progress)


def dataset_classes(spec: DatasetSpec) -> tuple[str, ...]:
    """Names of the classes, in the order of the labels."""
    known = digits.CLASSES if spec.name == "digits" else _all_splits(spec)[0].classes
    return known if spec.classes is None else in_their_order(spec.classes, known, "dataset.classes")


def recording_events(spec: DatasetSpec, split: Split, index: int) -> np.ndarray:
    """Events (x, y, t, p) of recording `index` of a split, in coordinates of input_shape, sorted by t; for pictures.

    Raises `IndexError` where the split has no such recording.
    """
    return next(iter(_source(spec, split).take(np.array([index])).read(spec)))


def _source(spec: DatasetSpec, split: Split) -> Source:
    train, test = _splits(spec)
    return limited(train, spec.train_limit) if split == "train" else limited(test, spec.test_limit)


def _whole_folder(path: str | Path, spec: DatasetSpec, classes: Sequence[str] | None) -> Source:
    if spec.classes is None:
        return folder.whole_folder(path, classes)
    everything = folder.whole_folder(path)
    chosen = classes or in_their_order(spec.classes, everything.classes, "dataset.classes")
    source = of_classes(everything, chosen)
    require_some(source, "", spec)
    return source


def _source_of_classes(spec: DatasetSpec, split: Split, classes: Sequence[str] | None) -> Source:
    source = _source(spec, split)
    _require_same_classes(spec.path or "the embedded digits", source.classes, classes)
    return source


def _length(spec: DatasetSpec, split: Split) -> tuple[int, bool]:
    """`steps` and `whole` of `binning.bin_recordings`."""
    if split == "train":
        return spec.chunk_size_train, spec.crop == "random"
    return spec.chunk_size_test, False


def _splits(spec: DatasetSpec) -> tuple[Source, Source]:
    """Training and test recordings, of `dataset.classes` only: which is which does not depend on these."""
    train, test = _all_splits(spec)
    if spec.classes is None:
        return train, test
    chosen = in_their_order(spec.classes, train.classes, "dataset.classes")
    if chosen == train.classes:
        return train, test
    of_split = {"training": of_classes(train, chosen), "test": of_classes(test, chosen)}
    for split, source in of_split.items():
        require_some(source, split, spec)
    return of_split["training"], of_split["test"]


def _all_splits(spec: DatasetSpec) -> tuple[Source, Source]:
    if spec.name == "digits":
        return digits.split_of(spec)
    if spec.name == "array":
        return images.split_of(spec)
    if spec.name == "dvs_gesture":
        return gesture.split_of(spec)
    return folder.split_of(spec)


def _binned(source: Source, spec: DatasetSpec, steps: int, whole: bool, progress: Progress | None) -> BinnedRecordings:
    """Read and bin the recordings, or take them from the cache; see `binning.bin_recordings` for `steps`, `whole`."""
    require_countable(spec, steps)
    kept = None if whole else steps
    key = cache.key_of(source, spec, kept) if cache.is_used_for(spec) else None
    packed = None if key is None else cache.read(key, len(source.labels))
    if packed is None:
        packed = pack(workers.read_entries(source, spec, kept, progress))
        if key is not None:
            cache.write(key, packed)
    elif progress is not None:
        progress(len(source.labels), len(source.labels))
    return assemble(*packed, source.labels, source.names, source.classes, spec, steps, whole)


def _require_same_classes(where: str, found: Sequence[str], known: Sequence[str] | None) -> None:
    if known is None or tuple(found) == tuple(known):
        return
    differences = []
    for what, names in (
        ("missing", [name for name in known if name not in found]),
        ("new", [name for name in found if name not in known]),
    ):
        if names:
            more = f" and {len(names) - NAMED_CLASSES} more" if len(names) > NAMED_CLASSES else ""
            differences.append(f"{what}: {', '.join(names[:NAMED_CLASSES])}{more}")
    raise DataError(
        f"{where}: its classes are not those that the network was trained on "
        f"({'; '.join(differences) or 'they stand in another order'}); train again, or give the folder it was "
        f"trained on"
    )
