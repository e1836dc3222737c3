"""The doors of the package: a description in, binned recordings out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data import cache, digits, folder, images, workers
from decolle_hw.data.binning import Progress, assemble, pack, require_countable
from decolle_hw.data.choosing import in_their_order, of_classes, require_some
from decolle_hw.data.recordings import BinnedRecordings, Skipped
from decolle_hw.data.source import Source, limited, may_be_empty
from decolle_hw.data.stream import RecordingStream, empty_windows, open_stream
from decolle_hw.data.usable import FileSource, usable, warn_of_skipped
from decolle_hw.data.windows import cut
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec
from decolle_hw.spec_transforms import without_random

Split = Literal["train", "test"]

NAMED_CLASSES = 5  # in a message


class Chosen(NamedTuple):
    """Recordings that are to be read, and how."""

    source: Source
    spec: DatasetSpec  # random transforms only where they are learned from
    skipped: tuple[Skipped, ...]
    split: str  # ``training ``, ``test `` or nothing, for messages


def load_split(
    spec: DatasetSpec, split: Split, progress: Progress | None = None, classes: Sequence[str] | None = None
) -> BinnedRecordings:
    """Binned recordings of one split, the first ``chunk_size_<split>`` steps of each: later events are cropped.

    With ``crop: random`` training recordings are kept whole instead, and ``chunk_size_train`` is the length of the
    windows in which they are presented (`BinnedRecordings.draw_starts`).

    Args:
        progress: called with (done, total), from the beginning for each of looking at recordings and reading them.
        classes: those that a trained network knows, in the order of its labels. The data must have the same ones;
            only the test recordings may lack some.

    What cannot be used is left out with a `SkippedWarning`, and listed in ``skipped``; with ``strict`` it is an error.
    Raises `DataError` or `SpecError`, see `folder`, `images`, `gesture`, `tonic_sets`, `stills` and `binning`.
    """
    return _binned(_chosen_of_classes(spec, split, classes, progress), *_length(spec, split), progress)


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
        progress: called with (done, total) while recordings are looked at, and read into the cache.
    """
    return _streamed(_chosen_of_classes(spec, split, classes, progress), *_length(spec, split), samples, progress)


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
    spec = of_folder(spec, path)
    return _binned(_whole_folder(spec, classes, progress), spec.chunk_size_test, False, progress)


def load_unlabelled(path: str | Path, spec: DatasetSpec, progress: Progress | None = None) -> BinnedRecordings:
    """All recordings of a folder that need not be sorted into classes, as `load_folder`; they are of one class."""
    spec = of_folder(spec, path)
    chosen = _readable(folder.unsorted_folder(Path(path).expanduser()), spec, None, None, progress)
    return _binned(chosen, spec.chunk_size_test, False, progress)


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
    spec = of_folder(spec, path)
    return _streamed(_whole_folder(spec, classes, progress), spec.chunk_size_test, False, samples, progress)


def of_folder(spec: DatasetSpec, path: str | Path) -> DatasetSpec:
    """The same description for the recordings of another folder, of the same sensor."""
    size = list(spec.sensor) if spec.sensor[0] == 1 else spec.sensor_size  # a single row is not cut into squares
    elsewhere = {"test_path": None, "labels": None, "test_list": None, "sensor_size": size}
    return spec.model_copy(update={"name": "folder", "path": str(path), **elsewhere})


def dataset_classes(spec: DatasetSpec) -> tuple[str, ...]:
    """Names of the classes, in the order of the labels."""
    known = digits.CLASSES if spec.name == "digits" else _all_splits(spec)[0].classes
    return known if spec.classes is None else in_their_order(spec.classes, known, "dataset.classes")


def recording_events(spec: DatasetSpec, split: Split, index: int) -> np.ndarray:
    """Events (x, y, t, p) of recording `index` of a split, in coordinates of input_shape, sorted by t; for pictures.

    Raises `IndexError` where the split has no such recording.
    """
    chosen = _chosen(spec, split)
    return next(iter(chosen.source.take(np.array([index])).read(chosen.spec)))


def source_of(spec: DatasetSpec, split: Split) -> tuple[Source, DatasetSpec]:
    """Recordings of a split, which can be read one after the other, and the description to read them with."""
    chosen = _chosen(spec, split)
    return chosen.source, chosen.spec


def _chosen(spec: DatasetSpec, split: Split, progress: Progress | None = None) -> Chosen:
    train, test = _splits(spec)
    if split == "train":
        return _readable(train, spec, split, spec.train_limit, progress)
    return _readable(test, spec, split, spec.test_limit, progress)


def _readable(
    source: Source, spec: DatasetSpec, split: Split | None, limit: int | None, progress: Progress | None
) -> Chosen:
    """What of the recordings can be read, at most `limit`; long ones cut into windows. `split` None: all are tested."""
    title = {"train": "training ", "test": "test ", None: ""}[split]
    read_with = spec if split == "train" else spec.model_copy(update={"transforms": without_random(spec.transforms)})
    if spec.name != "folder":
        return Chosen(limited(source, limit), read_with, (), title)
    of_files = cast(FileSource, source)
    if spec.time_window is None:
        of_files = limited(of_files, limit)
    found = usable(
        of_files,
        spec,
        needs_every_class=split == "train",
        all_were_read=_are_kept(of_files, read_with, split),
        progress=progress,
    )
    warn_of_skipped(found.skipped, len(of_files.labels) + len(of_files.strays), f"{title}recordings")
    if spec.time_window is None:
        return Chosen(found.source, read_with, found.skipped, title)
    windows = cut(found.source, found.surveyed, spec, split)
    return Chosen(limited(windows, limit), read_with, found.skipped, title)


def _are_kept(source: Source, spec: DatasetSpec, split: Split | None) -> bool:
    """Whether the cache has all of these recordings as they are now: a survey would find nothing wrong with them."""
    if spec.time_window is not None or not cache.is_used_for(spec):
        return False
    steps, whole = _length(spec, split or "test")
    try:
        key = cache.key_of(source, spec, None if whole else steps)
    except DataError:  # a file is gone
        return False
    return cache.is_kept(key, len(source.labels))


def _whole_folder(spec: DatasetSpec, classes: Sequence[str] | None, progress: Progress | None) -> Chosen:
    path = str(spec.path)
    if spec.classes is None:
        return _readable(folder.whole_folder(path, classes), spec, None, None, progress)
    everything = folder.whole_folder(path)
    chosen = classes or in_their_order(spec.classes, everything.classes, "dataset.classes")
    source = of_classes(everything, chosen)
    require_some(source, "", spec)
    return _readable(source, spec, None, None, progress)


def _chosen_of_classes(
    spec: DatasetSpec, split: Split, classes: Sequence[str] | None, progress: Progress | None
) -> Chosen:
    chosen = _chosen(spec, split, progress)
    found, where = chosen.source.classes, spec.path or "the embedded digits"
    _require_same_classes(where, found, classes)
    if classes is None and len(found) < 2:
        raise DataError(
            f"{where}: all recordings are of one class, {', '.join(map(repr, found))}; a single one cannot be told "
            f"from anything, so add another class folder"
        )
    return chosen


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
    if spec.name == "folder":
        return folder.split_of(spec)
    # Here and not on top: both import tonic, which imports torch, a second or two that the others need not pay.
    if spec.name == "dvs_gesture":
        from decolle_hw.data import gesture

        return gesture.split_of(spec)
    from decolle_hw.data import tonic_sets

    return tonic_sets.split_of(spec)


def _binned(chosen: Chosen, steps: int, whole: bool, progress: Progress | None) -> BinnedRecordings:
    """Read and bin the recordings, or take them from the cache; see `binning.bin_recordings` for `steps`, `whole`."""
    source, spec, skipped, split = chosen
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
    if may_be_empty(source):
        source, packed, empty = _without_empty(source, packed)
        warn_of_skipped(empty, len(packed[0]) - 1 + len(empty), f"{split}windows")
        _require_any(spec, source)
        skipped += empty
    binned = assemble(*packed, source.labels, source.names, source.classes, spec, steps, whole)
    return replace(binned, skipped=skipped)


def _streamed(
    chosen: Chosen, steps: int, whole: bool, samples: int | None, progress: Progress | None
) -> RecordingStream:
    stream = open_stream(chosen.source, chosen.spec, steps, whole, samples, progress)
    if may_be_empty(stream.source):
        warn_of_skipped(stream.skipped, len(stream) + len(stream.skipped), f"{chosen.split}windows")
        _require_any(chosen.spec, stream.source)
    return replace(stream, skipped=chosen.skipped + stream.skipped)


def _without_empty(source: Source, packed: cache.Packed) -> tuple[Source, cache.Packed, tuple[Skipped, ...]]:
    """Only those of the windows that hold an event."""
    indptr, active = packed
    counts: NDArray[np.int64] = np.diff(indptr)
    some = np.flatnonzero(counts)
    empty = empty_windows(source, np.flatnonzero(counts == 0))
    return source.take(some), (indptr[np.append(0, some + 1)], active), empty


def _require_any(spec: DatasetSpec, source: Any) -> None:
    if not len(source.labels):
        raise DataError(
            f"{spec.path}: no window of {spec.time_window} us holds an event; raise dataset.time_window, or weaken "
            f"dataset.denoise and dataset.transforms"
        )


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
