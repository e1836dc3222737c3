"""From sensor to inputs: the centre is cut out, blocks of pixels become one input, nothing is lost unsaid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tonic.io import events_struct

from decolle_hw.data.sensor import to_inputs
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec


def spec_of(height, width, downsample=1, sensor_size=None):
    return DatasetSpec(
        name="folder", path="x", input_shape=[2, height, width], downsample=downsample, sensor_size=sensor_size
    )


def every_pixel(height, width):
    """One event of each polarity per pixel; t counts them."""
    events = np.zeros(2 * height * width, events_struct)
    events["p"], rest = np.divmod(np.arange(len(events)), height * width)
    events["y"], events["x"] = np.divmod(rest, width)
    events["t"] = np.arange(len(events))
    return events


@settings(max_examples=60)
@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 5), st.integers(0, 5)
)  # fmt: skip
def test_every_input_sees_its_block_of_the_centre(height, width, downsample, more_rows, more_columns):
    sensor = [height * downsample + more_rows, width * downsample + more_columns]
    events = every_pixel(*sensor)
    placed = to_inputs(events, spec_of(height, width, downsample, sensor), "r")
    counts = np.zeros((2, height, width), int)
    np.add.at(counts, (placed["p"].astype(int), placed["y"], placed["x"]), 1)
    np.testing.assert_array_equal(counts, downsample**2)
    assert np.all(np.diff(placed["t"]) > 0), "the order is kept"
    for event in placed[:: max(1, len(placed) // 20)]:
        origin = events[event["t"]]
        assert event["p"] == origin["p"]
        assert event["y"] == (origin["y"] - more_rows // 2) // downsample
        assert event["x"] == (origin["x"] - more_columns // 2) // downsample


def test_nmnist_at_the_papers_size_loses_one_pixel_on_each_side():
    placed = to_inputs(every_pixel(34, 34), spec_of(32, 32, sensor_size=[34, 34]), "r")
    kept = every_pixel(34, 34)[placed["t"]]
    assert (kept["x"].min(), kept["x"].max(), kept["y"].min(), kept["y"].max()) == (1, 32, 1, 32)


def test_all_of_the_sensor_is_handed_on_as_it_is():
    events = every_pixel(5, 7)
    np.testing.assert_array_equal(to_inputs(events, spec_of(5, 7), "r"), events)


@pytest.mark.parametrize(
    ("spec", "remedy"),
    [
        (spec_of(16, 16), "set dataset.input_shape to at least [2, 16, 20]"),
        (spec_of(4, 4, downsample=4), "set dataset.input_shape to at least [2, 4, 5]"),
        (spec_of(8, 8, sensor_size=[16, 16]), "set dataset.sensor_size to at least [16, 20]"),
    ],
)
def test_events_outside_of_the_sensor_are_named(spec, remedy):
    events = every_pixel(3, 20)[10:]
    with pytest.raises(DataError) as error:
        to_inputs(events, spec, "a/1.bin")
    message = str(error.value)
    assert message.startswith("a/1.bin: event 6 at x=16, y=0 is outside of the sensor of 16x16")
    assert message.endswith(remedy) and "\n" not in message


def test_negative_coordinates_are_outside():
    events = every_pixel(2, 2)
    events["x"][3] = -1
    with pytest.raises(DataError, match=r"event 3 at x=-1, y=1 .*coordinates count from 0"):
        to_inputs(events, spec_of(2, 2), "r")


def test_a_recording_with_nothing_in_the_centre_is_refused():
    events = every_pixel(10, 10)[:20]
    with pytest.raises(DataError, match=r"r: none of its 20 events lies in the centre of 4x4 .* sensor's 10x10 pixels"):
        to_inputs(events, spec_of(4, 4, sensor_size=[10, 10]), "r")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "folder", "input_shape": [2, 34, 34], "sensor_size": [32, 34]}, "needs 34x34 pixels"),
        ({"name": "folder", "input_shape": [2, 32, 32], "sensor_size": [32]}, "sensor_size"),
        ({"name": "digits", "downsample": 2}, "camera of digits records at input_shape [2, 16, 16] itself"),
        ({"name": "array", "sensor_size": [34, 34]}, "camera of array records at"),
        ({"name": "array", "test_path": "x"}, "is for name: folder; array has its own"),
        ({"name": "dvs_gesture", "input_shape": [2, 32, 32], "downsample": 2}, "shows 64x64 of 128x128 pixels"),
        ({"name": "dvs_gesture", "input_shape": [2, 30, 30]}, "set input_shape to [2, 32, 32] and downsample to 4"),
        ({"name": "dvs_gesture", "input_shape": [2, 32, 32], "sensor_size": [64, 64]}, "have [128, 128]"),
        ({"name": "dvs_gesture", "input_shape": "x"}, "input_shape"),
    ],
)
def test_sensors_that_do_not_fit_are_refused(values, words):
    with pytest.raises(ValidationError) as error:
        DatasetSpec(**values)
    assert words in str(error.value)


def test_the_sensor_of_dvs_gesture_gives_downsample():
    spec = DatasetSpec(name="dvs_gesture", path="x", input_shape=[2, 32, 32])
    assert (spec.downsample, spec.sensor) == (4, (128, 128))
    assert DatasetSpec(**spec.model_dump()) == spec, "a stored description says the same"
    assert DatasetSpec(name="dvs_gesture", path="x", input_shape=[2, 64, 64]).downsample == 2
    centre = DatasetSpec(name="dvs_gesture", path="x", input_shape=[2, 32, 32], sensor_size=[128, 128])
    assert (centre.downsample, centre.field_of_view) == (1, (32, 32))
