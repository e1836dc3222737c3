"""Tonic's transforms of events as a description may name them: which there are, and what arguments each takes.

Kept here as a table, because reading a description must not import tonic (and with it torch); a test compares it with
tonic's own classes. `sensor_size` is no argument: it is filled in from the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, create_model

from decolle_hw.errors import nearest
from decolle_hw.section import Pixels, PositiveInt, Section
from decolle_hw.yamlfile import describe

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Range = Annotated[list[Share], Field(min_length=2, max_length=2)]
Size = Annotated[list[Pixels], Field(min_length=2, max_length=2)]  # width, height
Places = list[Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]]  # x, y of pixels
Factor = Annotated[float, Field(gt=0.0)]
Spread = Annotated[float, Field(ge=0.0)]
Time = Annotated[int, Field(ge=0)]  # microseconds


class EventTransform(NamedTuple):
    """One of tonic's transforms that take events and return events."""

    arguments: type[Section]
    random: bool = False  # drawn anew for each recording; only training recordings are given to it
    needs_sensor: bool = False


def _takes(**arguments: Any) -> type[Section]:
    """Fields of a section: a type, or (type, default)."""
    fields = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in arguments.items()}
    model: type[Section] = create_model("Arguments", __base__=Section, **fields)  # type: ignore[call-overload]
    return model


EVENT_TRANSFORMS: dict[str, EventTransform] = {
    "CenterCrop": EventTransform(_takes(size=Pixels | Size), needs_sensor=True),
    "CropTime": EventTransform(_takes(min=(Time, 0), max=(PositiveInt | None, None))),
    "Decimation": EventTransform(_takes(n=PositiveInt)),
    "Denoise": EventTransform(_takes(filter_time=Factor)),
    "Downsample": EventTransform(
        _takes(time_factor=(Factor, 1.0), spatial_factor=(Factor, 1.0), target_size=(Size | None, None)),
        needs_sensor=True,
    ),
    "DropEvent": EventTransform(_takes(p=Share | Range), random=True),
    "DropEventByArea": EventTransform(_takes(area_ratio=(Share, 0.2)), random=True, needs_sensor=True),
    "DropEventByTime": EventTransform(_takes(duration_ratio=(Share | Range, 0.2)), random=True),
    "DropPixel": EventTransform(
        _takes(
            coordinates=(
                list[Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]] | None,
                None,
            ),
            hot_pixel_frequency=(PositiveInt | None, None),
        )
    ),
    "EventDrop": EventTransform(_takes(), random=True, needs_sensor=True),
    "MergePolarities": EventTransform(_takes()),
    "RandomCrop": EventTransform(_takes(target_size=Size), random=True, needs_sensor=True),
    "RandomDropPixel": EventTransform(_takes(p=Share), random=True, needs_sensor=True),
    "RandomFlipLR": EventTransform(_takes(p=(Share, 0.5)), random=True, needs_sensor=True),
    "RandomFlipPolarity": EventTransform(_takes(p=(Share, 0.5)), random=True),
    "RandomFlipUD": EventTransform(_takes(p=(Share, 0.5)), random=True, needs_sensor=True),
    "RandomTimeReversal": EventTransform(_takes(p=(Share, 0.5), flip_polarities=(bool, True)), random=True),
    "RefractoryPeriod": EventTransform(_takes(delta=Time)),
    "SpatialJitter": EventTransform(
        _takes(var_x=(Spread, 1.0), var_y=(Spread, 1.0), sigma_xy=(float, 0.0), clip_outliers=(Literal[True], True)),
        random=True,
        needs_sensor=True,
    ),
    "TimeAlignment": EventTransform(_takes()),
    "TimeJitter": EventTransform(
        _takes(std=Spread, clip_negative=(Literal[True], True), sort_timestamps=(bool, False)), random=True
    ),
    "TimeSkew": EventTransform(_takes(coefficient=Factor, offset=(Time, 0))),
    "UniformNoise": EventTransform(_takes(n=Annotated[int, Field(ge=0)]), random=True, needs_sensor=True),
}

RESIZING = ("CenterCrop", "Downsample", "RandomCrop")
_FRAMES = "gives no events; decolle-hw makes its frames itself, as dataset.deltat says"
_REFUSED: dict[str, str] = {
    **dict.fromkeys(
        ("NumpyAsType", "ToAveragedTimesurface", "ToBinaRep", "ToFrame", "ToImage", "ToSparseTensor", "ToTimesurface",
         "ToVoxelGrid"), _FRAMES,
    ),
    **dict.fromkeys(("Repeat", "ToOneHotEncoding"), "is for labels, not for events"),
    "Compose": "is not needed; list the transforms one after the other",
    "EventDownsampling": "changes pixels and clock together; set dataset.downsample and dataset.deltat",
}  # fmt: skip


def _in_one_form(transforms: Any) -> Any:
    """``Name`` and ``Name: null`` are written ``{Name: {}}``."""
    if not isinstance(transforms, list):
        return transforms
    return [
        {entry: {}} if isinstance(entry, str)
        else {name: {} if arguments is None else arguments for name, arguments in entry.items()}
        if isinstance(entry, dict) else entry
        for entry in transforms
    ]  # fmt: skip


def _are_known(transforms: list[dict[str, dict[str, Any]]]) -> list[dict[str, dict[str, Any]]]:
    for place, entry in enumerate(transforms):
        if len(entry) != 1:
            raise ValueError(
                f"entry {place} names {len(entry)} transforms ({', '.join(entry) or 'none'}); begin each with a dash"
            )
        ((name, arguments),) = entry.items()
        if name in _REFUSED:
            raise ValueError(f"{name} {_REFUSED[name]}")
        if name not in EVENT_TRANSFORMS:
            raise ValueError(f"tonic has no transform {name!r} of events; {nearest(name, EVENT_TRANSFORMS)}")
        model = EVENT_TRANSFORMS[name].arguments
        if "sensor_size" in arguments:
            raise ValueError(f"{name}: sensor_size is filled in from the data; leave it out")
        try:
            model.model_validate(arguments)
        except ValidationError as error:
            raise ValueError(f"{name}: {describe(error, model)}") from None
        if name == "DropPixel" and len([value for value in arguments.values() if value is not None]) != 1:
            raise ValueError("DropPixel: give either coordinates or hot_pixel_frequency")
        if name == "Downsample" and arguments.get("target_size") is not None and "spatial_factor" in arguments:
            raise ValueError("Downsample: give either target_size or spatial_factor")
    return transforms


_SCHEMA = {
    "type": "array",
    "items": {
        "anyOf": [
            {"enum": sorted(EVENT_TRANSFORMS)},
            {
                "type": "object",
                "properties": {
                    name: {"anyOf": [kind.arguments.model_json_schema(), {"type": "null"}]}
                    for name, kind in sorted(EVENT_TRANSFORMS.items())
                },
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    },
}

Transforms = Annotated[
    list[dict[str, dict[str, Any]]], BeforeValidator(_in_one_form), AfterValidator(_are_known), WithJsonSchema(_SCHEMA)
]


def without_random(transforms: Sequence[dict[str, dict[str, Any]]]) -> list[dict[str, dict[str, Any]]]:
    """Those that do the same to a recording every time, for recordings that are tested."""
    return [entry for entry in transforms if not any(EVENT_TRANSFORMS[name].random for name in entry)]


def resizes(transforms: Any) -> bool:
    """Whether some of what a description lists, not checked yet, changes the size of the sensor."""
    for entry in transforms if isinstance(transforms, list) else []:
        names = list(entry) if isinstance(entry, dict) else [entry]
        if any(name in RESIZING for name in names):
            return True
    return False


def sensors_along(
    transforms: Sequence[Mapping[str, Mapping[str, Any]]], sensor: tuple[int, int]
) -> list[tuple[int, int]]:
    """(height, width) of the sensor before each transform, and after the last.

    Raises `ValueError` for a transform that wants more pixels than there are.
    """
    sizes = [sensor]
    for entry in transforms:
        ((name, arguments),) = entry.items()
        sizes.append(_sensor_after(name, arguments, sizes[-1]))
    return sizes


def _sensor_after(name: str, arguments: Mapping[str, Any], sensor: tuple[int, int]) -> tuple[int, int]:
    height, width = sensor
    if name == "Downsample" and arguments.get("target_size") is None:
        factor = arguments.get("spatial_factor", 1.0)
        # The last pixel is number n - 1, and coordinates are rounded down.
        return int((height - 1) * factor) + 1, int((width - 1) * factor) + 1
    asked = arguments.get(
        {"CenterCrop": "size", "RandomCrop": "target_size", "Downsample": "target_size"}.get(name, "")
    )
    if asked is None:
        return sensor
    new_width, new_height = (asked, asked) if isinstance(asked, int) else asked
    if new_width > width or new_height > height:
        raise ValueError(f"transforms: {name} to {new_width}x{new_height} (width x height) of {width}x{height} pixels")
    return new_height, new_width
