"""Denoising and tonic's transforms: as tonic does them, drawn for training only, and refused when the YAML is read."""

import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest
import tonic.transforms as of_tonic
from pydantic import ValidationError
from recording_tools import drawn_events, folder_spec, write_bin

from decolle_hw.data import cache, load_split, recording_events
from decolle_hw.data.denoising import denoised
from decolle_hw.data.formats import read_events
from decolle_hw.data.transforming import WIDE, transformed
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec
from decolle_hw.spec_transforms import EVENT_TRANSFORMS

DVS128 = Path(__file__).resolve().parents[2] / "shared" / "data" / "dvs128_recordings" / "01.bin"


def assert_denoised_as_by_tonic(events, filter_time):
    expected = of_tonic.Denoise(filter_time)(events)
    np.testing.assert_array_equal(denoised(events, filter_time), expected)
    assert 0 < len(expected) < len(events)


@pytest.mark.parametrize("filter_time", [300, 2_000, 10_000.5])
@pytest.mark.parametrize("size", [(1, 20), (12, 9)])
def test_denoise_equals_tonics_on_random_events(filter_time, size):
    assert_denoised_as_by_tonic(drawn_events(3, 1500, 200_000, size)[200:], filter_time)


@pytest.mark.skipif(not DVS128.is_file(), reason=f"{DVS128} is absent")
def test_denoise_equals_tonics_on_a_real_recording():
    assert_denoised_as_by_tonic(read_events(DVS128).events[:20_000], 1_000)


def test_denoise_of_nothing_is_nothing():
    assert len(denoised(drawn_events(0)[:0], 1000)) == 0


def test_the_table_is_that_of_tonic():
    theirs = {
        name: {field.name: field.default for field in dataclasses.fields(kind)}
        for name, kind in vars(of_tonic).items()
        if inspect.isclass(kind) and dataclasses.is_dataclass(kind)
    }
    for name, ours in EVENT_TRANSFORMS.items():
        wanted = {key: default for key, default in theirs[name].items() if key != "sensor_size"}
        fields = ours.arguments.model_fields
        assert set(fields) == set(wanted), name
        assert ours.needs_sensor == ("sensor_size" in theirs[name]), name
        for key, field in fields.items():
            assert field.is_required() == (wanted[key] is dataclasses.MISSING), (name, key)
    makes_events = set(theirs) - {"NumpyAsType", "Repeat", "ToOneHotEncoding", "EventDownsampling"}
    assert {name for name in makes_events if not name.startswith("To")} == set(EVENT_TRANSFORMS)


ARGUMENTS = {
    "CenterCrop": {"size": [6, 8]},
    "CropTime": {"max": 100_000},
    "Decimation": {"n": 2},
    "Denoise": {"filter_time": 5000},
    "Downsample": {"spatial_factor": 0.5},
    "DropEvent": {"p": [0.1, 0.5]},
    "DropEventByArea": {"area_ratio": 0.3},
    "DropEventByTime": {"duration_ratio": 0.25},
    "DropPixel": {"coordinates": [[1, 1], [2, 3]]},
    "RandomCrop": {"target_size": [6, 5]},
    "RandomDropPixel": {"p": 0.3},
    "RandomFlipLR": {"p": 1},
    "RandomFlipUD": {"p": 1},
    "RandomFlipPolarity": {"p": 1},
    "RandomTimeReversal": {"p": 1},
    "RefractoryPeriod": {"delta": 20_000},
    "SpatialJitter": {},
    "TimeJitter": {"std": 500},
    "TimeSkew": {"coefficient": 1.5},
    "UniformNoise": {"n": 40},
}


@pytest.mark.parametrize("name", sorted(EVENT_TRANSFORMS))
def test_every_transform_does_what_tonic_does(name):
    spec = folder_spec("x", input_shape=[2, 4, 4], sensor_size=[8, 8], transforms=[{name: ARGUMENTS.get(name, {})}])
    assert DatasetSpec(**spec.model_dump()) == spec, "a stored description says the same"
    events = drawn_events(5)
    before = np.random.get_state()[1].copy()
    found = transformed(events, spec, "a/0.bin", "here")
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # the global generator is left as it was
    np.testing.assert_array_equal(found, transformed(events, spec, "a/0.bin", "here"))
    assert np.all(np.diff(found["t"]) >= 0) and found.dtype == events.dtype
    height, width = spec.sensors[-1]
    assert found["x"].max() < width and found["y"].max() < height

    kind = EVENT_TRANSFORMS[name]
    if kind.random:
        others = [transformed(events, spec, f"a/{k}.bin", "here") for k in range(1, 12)]
        certain = ("RandomFlipLR", "RandomFlipUD", "RandomFlipPolarity", "RandomTimeReversal")
        assert (name in certain) == all(np.array_equal(found, other) for other in others)
        return
    given = {key: tuple(value) if key == "size" else value for key, value in ARGUMENTS.get(name, {}).items()}
    if kind.needs_sensor:
        given["sensor_size"] = (8, 8, 2)
    expected = getattr(of_tonic, name)(**given)(events.astype(WIDE))
    np.testing.assert_array_equal(found, expected[np.argsort(expected["t"], kind="stable")].astype(events.dtype))


def test_noise_has_both_polarities():
    """Tonic's own, given a boolean polarity, would always be on."""
    spec = folder_spec("x", transforms=[{"UniformNoise": {"n": 400}}])
    noisy = transformed(drawn_events(0, 10), spec, "n", "p")
    assert 0.4 < noisy["p"].mean() < 0.6


@pytest.fixture
def recordings(tmp_path):
    for k in range(8):
        write_bin(tmp_path / "data" / "ab"[k % 2] / f"{k}.bin", drawn_events(k))
    return tmp_path / "data"


def test_random_transforms_are_for_training_only_and_in_the_key(recordings):
    plain, flipped = folder_spec(recordings), folder_spec(recordings, transforms=[{"RandomFlipLR": {"p": 1.0}}])
    np.testing.assert_array_equal(load_split(flipped, "test").active, load_split(plain, "test").active)
    before, after = (load_split(spec, "train").dense([0]).reshape(-1, 2, 8, 8) for spec in (plain, flipped))
    np.testing.assert_array_equal(after, before[..., ::-1])
    noisy = [folder_spec(recordings, transforms=[{"DropEvent": {"p": 0.5}}], transform_seed=seed) for seed in (0, 1)]
    assert not np.array_equal(load_split(noisy[0], "train").active, load_split(noisy[1], "train").active)
    again = noisy[0].model_copy(update={"cache": False})
    np.testing.assert_array_equal(load_split(again, "train").active, load_split(noisy[0], "train").active)


@pytest.mark.parametrize("change", [{"denoise": 3000}, {"transforms": ["TimeAlignment"]}, {"time_origin": "zero"}])
def test_what_becomes_of_events_is_in_the_key(recordings, change):
    from decolle_hw.data.load import _chosen

    keys = {
        cache.key_of(_chosen(spec, "train").source, spec, 30)
        for spec in (folder_spec(recordings), folder_spec(recordings, **change))
    }
    assert len(keys) == 2


def test_denoise_comes_before_blocks_of_pixels(recordings):
    spec = folder_spec(recordings, input_shape=[2, 4, 4], downsample=2, denoise=20_000)
    name = load_split(spec, "train").names[0]
    kept = of_tonic.Denoise(20_000)(read_events(recordings / name).events)
    expected = kept.copy()
    expected["x"], expected["y"] = kept["x"] // 2, kept["y"] // 2
    np.testing.assert_array_equal(recording_events(spec, "train", 0), expected)


def test_a_recording_that_becomes_empty_is_named(recordings):
    with pytest.raises(DataError, match=r"0\.bin: dataset.denoise and dataset.transforms leave none of its 200 events"):
        load_split(folder_spec(recordings, transforms=[{"DropEvent": {"p": 1}}]), "train")


def test_a_transform_that_cannot_take_a_recording_is_named(recordings):
    spec = folder_spec(recordings, transforms=[{"DropEventByTime": {"duration_ratio": 1.0}}])
    with pytest.raises(DataError, match=r"\.bin: dataset.transforms DropEventByTime cannot take it"):
        load_split(spec, "train")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"transforms": ["Denois"]}, "no transform 'Denois' of events; did you mean 'Denoise'?"),
        ({"transforms": [{"Denoise": {"filter": 3}}]}, "unknown key 'filter'; did you mean 'filter_time'?"),
        ({"transforms": ["Denoise"]}, "Denoise: filter_time: is missing"),
        ({"transforms": [{"RandomFlipLR": {"p": 2}}]}, "RandomFlipLR: p: 2 is not valid"),
        ({"transforms": [{"RandomFlipLR": {"sensor_size": [1, 2, 3]}}]}, "sensor_size is filled in from the data"),
        ({"transforms": [{"Denoise": {"filter_time": 9}, "RandomFlipUD": None}]}, "names 2 transforms"),
        ({"transforms": ["ToFrame"]}, "ToFrame gives no events"),
        ({"transforms": ["Repeat"]}, "is for labels"),
        ({"transforms": ["DropPixel"]}, "give either coordinates or hot_pixel_frequency"),
        ({"transforms": [{"CenterCrop": {"size": 9}}]}, "CenterCrop to 9x9 (width x height) of 8x8 pixels"),
        ({"transforms": [{"CenterCrop": {"size": 4}}]}, "the sensor has 4x4 after the transforms"),
        ({"denoise": 0}, "denoise"),
        ({"name": "digits", "denoise": 5}, "denoise is for recordings"),
        ({"name": "digits", "transforms": ["RandomFlipLR"]}, "transforms is for recordings"),
    ],
)
def test_wrong_transforms_are_refused_when_the_description_is_read(values, words):
    with pytest.raises(ValidationError) as error:
        DatasetSpec(**{"name": "folder", "input_shape": [2, 8, 8], **values})
    assert words in str(error.value)
