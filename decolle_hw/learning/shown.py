"""What a network that learns is shown, and what it is tested on."""

# R recordings, T steps, I inputs

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from decolle_hw import data
from decolle_hw.compiler.program import Program
from decolle_hw.data import BinnedRecordings
from decolle_hw.data.binning import Progress
from decolle_hw.errors import DataError, SpecError
from decolle_hw.learning.labels import read_labels, require_as_many
from decolle_hw.spec import DatasetSpec
from decolle_hw.workflow import dataset_of, spread


class Recordings(NamedTuple):
    """Both with labels of the network's classes and as many steps as it was compiled for."""

    shown: BinnedRecordings
    tested: BinnedRecordings | None  # None: there are none
    note: str = ""  # why not


def recordings_to_learn(
    program: Program, dataset: str | None, labels: Path | None, samples: int | None, progress: Progress | None = None
) -> Recordings:
    """Recordings in the order in which they stand in the data set.

    Args:
        dataset: a folder, or an .npz with spikes; default: the training recordings that the network was compiled from.
            Of a folder with subfolders train and test these are what is shown and what is tested.
        labels: file with one class per line, instead of those that the data have. A folder then need not be sorted into
            classes.
        samples: at most so many are shown, evenly spread over all.

    The test recordings, unless the folder has its own, are those of the data set that the network was compiled from.
    Raises `DataError` for recordings or labels that cannot be used.
    """
    spec = _of_steps(dataset_of(program, dataset), program)
    given_R = None if labels is None else read_labels(labels, program.classes)  # before anything takes long
    shown = _shown(program, spec, dataset, labelled=labels is None, progress=progress)
    if labels is not None and given_R is not None:
        require_as_many(labels, given_R, len(shown))
        shown = replace(shown, labels=given_R, classes=program.classes)
    tested, note = _tested(program, spec, dataset)
    return Recordings(shown if samples is None else spread(shown, samples), tested, note)


def _of_steps(spec: DatasetSpec, program: Program) -> DatasetSpec:
    """Both splits as long as a recording on chip, from its start."""
    return spec.model_copy(
        update={"chunk_size_train": program.steps, "chunk_size_test": program.steps, "crop": "start"}
    )


def _shown(
    program: Program, spec: DatasetSpec, dataset: str | None, *, labelled: bool, progress: Progress | None
) -> BinnedRecordings:
    known = program.classes
    if dataset is None:
        return data.load_split(spec, "train", progress, known)
    path = Path(dataset)
    if path.suffix == ".npz" and not path.is_dir():
        spikes = data.stream_spikes(path, program.input_shape, known, program.steps, labelled=labelled)
        return next(spikes.batches(len(spikes)))
    if not labelled:
        return data.load_unlabelled(path, spec, progress)
    if data.has_train_and_test(path):
        return data.load_split(data.of_folder(spec, path), "train", progress, known)
    return data.load_folder(path, spec, known, progress)


def _tested(program: Program, spec: DatasetSpec, dataset: str | None) -> tuple[BinnedRecordings | None, str]:
    if dataset is not None and Path(dataset).is_dir() and data.has_train_and_test(Path(dataset)):
        return data.load_folder(dataset, spec, program.classes), ""
    if not program.spec_yaml:
        return None, f"{program.name} comes from elsewhere, without test recordings"
    try:
        return data.load_split(spec, "test", classes=program.classes), ""
    except (DataError, SpecError) as error:
        if dataset is None:
            raise
        return None, f"the test recordings that {program.name} was compiled with cannot be used: {error}"
