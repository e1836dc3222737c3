"""What `data inspect` was pointed at: files, images, or the data set of a model."""

from __future__ import annotations

import os
from pathlib import Path

from decolle_hw.data import images
from decolle_hw.data.binning import Progress
from decolle_hw.data.folder import split_of
from decolle_hw.data.formats import SUFFIXES
from decolle_hw.described import dataset_section, listed_dataset
from decolle_hw.errors import DataError, UsageError, nearest
from decolle_hw.inspecting.analysis import Inspection
from decolle_hw.inspecting.found import Found, Place, find_recordings, shown
from decolle_hw.inspecting.gather import inspect_files
from decolle_hw.inspecting.sources import inspect_source
from decolle_hw.library import shipped_names
from decolle_hw.sizes import downsample_for, input_shape_for
from decolle_hw.spec import DatasetSpec

IMAGE_US = 5000  # step of images, of which the camera's saccades have 60
IMAGE_STEPS = 60


def inspect(what: str, workers: int = 0, progress: Progress | None = None) -> Inspection:
    """Everything about a folder, a recording, an .npz of images, or the data set of a model (by name or YAML).

    Raises `DataError`, `SpecError` or `UsageError` for what cannot be inspected.
    """
    path = Path(what).expanduser()
    if path.suffix.lower() in (".yaml", ".yml") or (what in shipped_names("models") and not path.exists()):
        return _inspect_model(what, workers, progress)
    if not os.path.lexists(path) and os.sep not in what:
        raise UsageError(f"{shown(what)}: there is no such file or folder, nor a model; {_known(what)}")
    if path.suffix.lower() == ".npz" and path.is_file() and "x_train" in images.array_names(path):
        return _inspect_images(path, progress)
    return inspect_files(find_recordings(path, SUFFIXES), workers, progress)


def _known(what: str) -> str:
    return f"{nearest(what, shipped_names('models'))}; give a folder of recordings, or run where it is"


def _inspect_model(name: str, workers: int, progress: Progress | None) -> Inspection:
    section, where = dataset_section(name)
    spec = listed_dataset(section, where)
    if spec.name != "digits" and spec.path is None:
        raise DataError(f"{name}: names no data of its own (dataset.path); inspect the folder itself")
    if spec.name != "folder":
        return inspect_source(name, spec, "described", f"the inputs of {name}", progress)
    return inspect_files(_found_by(spec, name), workers or spec.workers, progress)


def _found_by(spec: DatasetSpec, name: str) -> Found:
    """The recordings of a description, divided as training divides them."""
    train, test = split_of(spec)
    by_time = spec.split_by == "time" and set(train.files) == set(test.files)
    parts = {"": train} if by_time else {"train": train, "test": test}
    places = tuple(
        Place(file, recording, listing.classes[label], part)
        for part, listing in parts.items()
        for file, recording, label in zip(listing.files, listing.names, listing.labels, strict=True)
    )
    others = tuple(dict.fromkeys((*train.strays, *test.strays)))
    sides = "each in train and test" if by_time else "train and test"
    return Found(Path(name), f"{sides}, as {shown(spec.path)} and the description have it", places, others)


def _inspect_images(file: Path, progress: Progress | None) -> Inspection:
    shape = images.read_array(file, "x_train").shape
    if len(shape) < 3:
        raise DataError(f"{shown(file)}: x_train has shape {shape}; {images.NEEDED}")
    height, width = shape[1:3]
    inputs = input_shape_for(2, height, width, downsample_for(height, width))
    spec = DatasetSpec(
        name="array",
        path=str(file),
        input_shape=inputs,
        deltat=IMAGE_US,
        chunk_size_train=IMAGE_STEPS,
        chunk_size_test=IMAGE_STEPS,
    )
    origin = f"images of {height}x{width} before the simulated camera"
    return inspect_source(str(file), spec, "images", origin, progress)
