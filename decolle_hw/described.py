"""A model's description as the commands read it: sizes that it leaves to the recordings are filled in from these.

In the YAML of a folder of recordings `dataset.sensor_size`, `input_shape`, `chunk_size_train` and `chunk_size_test` may
be the word `auto`. A `ModelSpec` holds their numbers, and so does the description that a training run keeps: a trained
network has the sizes that it was trained with, whatever is recorded later.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console

from decolle_hw import sizes
from decolle_hw.errors import DataError, SpecError
from decolle_hw.progress import counting
from decolle_hw.sizes import AUTO, AUTO_KEYS
from decolle_hw.spec import DatasetSpec, ModelSpec, model_values, parse_model_spec, with_folder
from decolle_hw.yamlfile import describe

if TYPE_CHECKING:
    from decolle_hw.data.survey import Surveyed

MODEL_FILE = "model.yaml"  # of a project folder, as `decolle-hw init` writes it
DEFAULT_MODEL = "digits"
OF_THE_RECORDINGS = ("test_path", "labels", "test_list")  # that --data replaces
# Stands in for a sensor that is not known yet; an N-MNIST .bin can have no larger one.
ANY_SENSOR = [240, 256]
STEPS_OF_ANY = {"chunk_size_train": 1, "chunk_size_test": 1}

__all__ = ["AUTO", "AUTO_KEYS", "DEFAULT_MODEL", "MODEL_FILE", "model_of_here", "read_model"]


def model_of_here(given: str | None, console: Console | None = None) -> str:
    """The model that a command means: the given one, else `model.yaml` of the working directory, else the digits."""
    if given is not None:
        return given
    if not Path(MODEL_FILE).is_file():
        return DEFAULT_MODEL
    if console is not None:
        console.print(f"model: {MODEL_FILE} of this folder", soft_wrap=True)
    return MODEL_FILE


def read_model(
    name: str, overrides: tuple[str, ...] = (), dataset: str | None = None, console: Console | None = None
) -> ModelSpec:
    """A model by shipped name or path, as `spec.load_model_spec`, with every `auto` replaced by what was found.

    Args:
        dataset: folder of recordings to learn from instead of the description's own.
        console: told in one line what was found for each key.

    Raises `SpecError` for a description that cannot be used, `DataError` for recordings that cannot.
    """
    values, where = model_values(name, overrides)
    section = values.get("dataset")
    if isinstance(section, dict) and any(section.get(key) == AUTO for key in AUTO_KEYS):
        if dataset is not None:
            section = section | {"path": str(Path(dataset).absolute()), **dict.fromkeys(OF_THE_RECORDINGS)}
        values = values | {"dataset": _filled_in(section, where, console)}
    spec = parse_model_spec(values, where)
    return spec if dataset is None else with_folder(spec, dataset)


def _filled_in(section: dict[str, Any], where: str, console: Console | None) -> dict[str, Any]:
    """The `dataset` section with numbers for `auto`."""
    from decolle_hw.data.folder import split_of

    asked = {key for key in AUTO_KEYS if section.get(key) == AUTO}
    provisional = listed_dataset(section, where)
    files = tuple(dict.fromkeys(file for listing in split_of(provisional) for file in listing.files))
    surveyed = survey_of(files, provisional, console)
    found: dict[str, Any] = {}
    told: dict[str, str] = {}
    if "sensor_size" in asked or ("input_shape" in asked and section.get("sensor_size") is None):
        sensor, origin = sizes.sensor_of(surveyed)
        found["sensor_size"], told["sensor_size"] = list(sensor), f"found in {len(surveyed)} recordings: {origin}"
    if "sensor_size" in found or "input_shape" in asked:
        more, explained = _inputs(section | found, "input_shape" in asked, surveyed, where)
        found |= more
        told |= explained
    steps = [key for key in ("chunk_size_train", "chunk_size_test") if key in asked]
    if steps:
        number, explanation = _steps(provisional, surveyed)
        found |= dict.fromkeys(steps, number)
        told |= dict.fromkeys(steps, explanation)
    if console is not None:
        for key, explanation in told.items():
            console.print(f"{key}: {found[key]} {explanation}", soft_wrap=True)
    return section | found


def survey_of(files: Sequence[Path], spec: DatasetSpec, console: Console | None) -> list[Surveyed]:
    """What the recordings are like that can be read. Raises `DataError` where none can."""
    from decolle_hw.data.survey import survey_files

    if console is None:
        surveyed = survey_files(files, spec.workers, keep=spec.cache)
    else:
        with counting(console, f"looking at {len(files)} recordings") as progress:
            surveyed = survey_files(files, spec.workers, progress, keep=spec.cache)
    good = [each for each in surveyed if each.error is None]
    if not good:
        raise DataError(f"none of {len(files)} recordings can be read; the first: {surveyed[0].error}")
    return good


def _inputs(
    section: dict[str, Any], shape_asked: bool, surveyed: Sequence[Surveyed], where: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """input_shape and downsample for a sensor that is known, and why."""
    # What is recorded by the sensor is cut by some transforms before it becomes inputs.
    height, width = _checked(section | {"input_shape": [1, 1, 1], "downsample": 1} | STEPS_OF_ANY, where).sensors[-1]
    downsample = section.get("downsample")
    if shape_asked:
        chosen = sizes.downsample_for(height, width) if downsample is None else downsample
        polarities = max(each.polarities for each in surveyed)
        shape = sizes.input_shape_for(polarities, height, width, chosen)
        of_pixels = "every pixel" if chosen == 1 else f"blocks of {chosen}x{chosen} pixels (downsample: {chosen})"
        return {"input_shape": shape, "downsample": chosen}, {
            "input_shape": f"for {height}x{width} pixels: {of_pixels}"
        }
    given = section.get("input_shape")
    if given is None or downsample is not None or not _is_shape(given):
        return {}, {}
    # A sensor that is found may be far larger than what is asked for: its centre alone would be seen.
    fitting = max(1, min(height // given[1], width // given[2]))
    return {"downsample": fitting}, {"downsample": f"so that {given[1]}x{given[2]} inputs see {height}x{width} pixels"}


def _steps(spec: DatasetSpec, surveyed: Sequence[Surveyed]) -> tuple[int, str]:
    """Steps of a sample, and why."""
    from decolle_hw.data.prepare import origin_us

    if spec.time_window is not None:
        steps = sizes.steps_of_window(spec.time_window, spec.deltat)
        return steps, f"steps of {spec.deltat} us for windows of {spec.time_window} us"
    lasts = [each.last_us - origin_us(spec, each.format, each.first_us) for each in surveyed]
    duration = sizes.common_duration(lasts)
    steps = sizes.steps_for(duration, spec.deltat)
    if steps > sizes.MOST_STEPS:
        return sizes.MOST_STEPS, (
            f"steps of {spec.deltat} us are the most that auto gives, recordings have {steps}; write a number, raise "
            f"deltat, or set time_window to cut them into windows"
        )
    return (
        steps,
        f"steps of {spec.deltat} us: {sizes.COVERED:.0%} of {len(surveyed)} recordings end within {duration} us",
    )


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(edge) is int and edge > 0 for edge in value)


def dataset_section(name: str) -> tuple[dict[str, Any], str]:
    """What the YAML of a model says about its data, not checked yet, and what errors call it."""
    values, where = model_values(name)
    section = values.get("dataset") or {}
    if not isinstance(section, dict):
        raise SpecError(f"{where}: dataset: {section!r} is not a section")
    return section, where


def listed_dataset(section: dict[str, Any], where: str) -> DatasetSpec:
    """The `dataset` section with something in the place of each `auto`, good for finding the recordings.

    Raises `SpecError` for any other mistake in it, and for `auto` where there is no folder of recordings.
    """
    asked = [key for key in AUTO_KEYS if section.get(key) == AUTO]
    name = section.get("name", DEFAULT_MODEL)
    if asked and name != "folder":
        raise SpecError(
            f"{where}: dataset.{asked[0]}: {AUTO} is for name: folder, whose recordings are looked at; {name} needs "
            f"numbers, or leave the key out"
        )
    instead = {key: value for key, value in section.items() if key not in asked}
    if "sensor_size" in asked or "input_shape" in asked:
        instead |= {"sensor_size": ANY_SENSOR, "input_shape": [2, 1, 1], "downsample": 1, "transforms": []}
    return _checked(instead, where)


def _checked(section: dict[str, Any], where: str) -> DatasetSpec:
    try:
        return DatasetSpec.model_validate(section)
    except ValidationError as error:
        raise SpecError(f"{where}: dataset: {describe(error, DatasetSpec)}") from None
