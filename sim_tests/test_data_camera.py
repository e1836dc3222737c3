"""The simulated event camera: exact, independent of batches, and true to the definition of an event."""

import hashlib

import numpy as np
import pytest
from tonic.io import events_struct

from decolle_hw.data import camera as camera_module
from decolle_hw.data import digits, scene
from decolle_hw.data.camera import RECORDING_US, Camera, record
from decolle_hw.errors import SpecError
from decolle_hw.spec import DatasetSpec


def random_images(count, seed=0):
    return np.random.default_rng(seed).random((count, 8, 8))


def look(canvases_BYX, at, sensor):
    """(B, H, W) what the sensor sees of each canvas; the compiled view against its definition, in exact integers."""
    views_BHW = np.empty((len(canvases_BYX), *sensor), np.int32)
    (top, down), (left, right) = (divmod(int(shift), scene.SUBPIXELS) for shift in at)
    expected_BHW = np.zeros(views_BHW.shape, np.int64)
    for dy, dx, weight in (
        (0, 0, (256 - down) * (256 - right)),
        (0, 1, (256 - down) * right),
        (1, 0, down * (256 - right)),
        (1, 1, down * right),
    ):
        shifted = canvases_BYX[:, top + dy : top + dy + sensor[0], left + dx : left + dx + sensor[1]]
        expected_BHW += shifted.astype(np.int64) * weight
    for canvas_YX, view_HW in zip(canvases_BYX, views_BHW, strict=True):
        scene.look(canvas_YX, at[0], at[1], view_HW)
    np.testing.assert_array_equal(views_BHW, expected_BHW >> 16)
    return views_BHW


def record_list(images, indices, camera):
    return list(record(images, indices, camera))


def test_events_have_tonics_dtype_are_sorted_and_stay_within_time_and_sensor():
    camera = Camera(height=12, width=17, noise_hz=2.0)
    for events in record_list(random_images(5), range(5), camera):
        assert events.dtype == events_struct
        assert len(events) > 100
        assert np.all(np.diff(events["t"]) >= 0)
        assert events["t"].min() >= 0 and events["t"].max() < RECORDING_US
        assert events["x"].min() >= 0 and events["x"].max() < 17
        assert events["y"].min() >= 0 and events["y"].max() < 12


def test_a_recording_depends_on_seed_and_identity_only(monkeypatch):
    camera = Camera(height=16, width=16, noise_hz=1.0, seed=3)
    images = random_images(40)
    together = record_list(images, range(40), camera)
    monkeypatch.setattr(camera_module, "BATCH_PIXELS", 7 * 16 * 16)
    for k, events in enumerate(record(images, range(40), camera)):
        np.testing.assert_array_equal(events, together[k])
    for k in (0, 6, 7, 39):
        (alone,) = record(images[[k]], [k], camera)
        np.testing.assert_array_equal(alone, together[k])
    backwards = record_list(images[::-1], range(39, -1, -1), camera)
    np.testing.assert_array_equal(backwards[0], together[39])


def test_a_recording_with_more_events_than_room_is_complete(monkeypatch):
    images = random_images(2)
    camera = Camera(16, 16, contrast_threshold=0.05, noise_hz=1.0)
    expected = record_list(images, range(2), camera)
    monkeypatch.setattr(camera_module, "EVENTS_PER_PIXEL", 1)
    assert min(len(events) for events in expected) > 2 * 16 * 16
    for events, full in zip(record(images, range(2), camera), expected, strict=True):
        np.testing.assert_array_equal(events, full)


def test_another_seed_or_identity_is_another_recording():
    (image,) = random_images(1)
    base, seed, identity = (next(record(image[None], [k], Camera(16, 16, seed=s))) for k, s in ((0, 0), (0, 1), (1, 0)))
    assert not np.array_equal(base, seed)
    assert not np.array_equal(base, identity)


def test_recordings_are_the_same_on_every_machine():
    # Integers between image and event: a changed digest is a changed data set and needs new figures.
    digest = hashlib.sha256()
    for events in digits.record(DatasetSpec(), np.arange(20)):
        for field in ("x", "y", "t", "p"):
            digest.update(events[field].astype("<i8").tobytes())
    assert digest.hexdigest() == "2cd6e717de55ef29e2d86eb9a411bb78a6a5d3c2418570cfe78dffb891ba4e07"


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.7])
def test_on_and_off_events_add_up_to_the_change_of_light(threshold):
    """Per pixel and frame: ref = L(0) + C (ON - OFF) must lie within less than C of L."""
    camera = Camera(height=14, width=11, contrast_threshold=threshold, jitter=0.0, frame_us=2000)
    images = random_images(3)
    size = scene.size_on_sensor(14, 11, camera.amplitude, camera.jitter)
    canvas = scene.draw(images, np.zeros((3, 2)), (14, 11), camera.amplitude, size)
    table = camera_module.log_table()
    views = np.array([look(canvas, at, (14, 11)) for at in camera_module.path(camera)])
    frames = table[views].astype(np.int64)
    contrast = round(threshold * (1 << camera_module.LOG_BITS))
    for b, events in enumerate(record_list(images, range(3), camera)):
        reference = frames[0, b].copy()
        for frame in range(1, len(frames)):
            window = events[(events["t"] // 2000) == frame - 1]
            np.add.at(reference, (window["y"], window["x"]), np.where(window["p"], contrast, -contrast))
            assert np.abs(frames[frame, b] - reference).max() < contrast
        # The path ends where it starts, so every pixel has as many ON as OFF events.
        np.testing.assert_array_equal(reference, frames[0, b])


def test_timestamps_are_interpolated_between_frames():
    """Few frames or many: nearly as many events, and nearly at the same times."""
    images = random_images(1)
    (coarse,) = record(images, [0], Camera(16, 16, 0.1, jitter=0.0, frame_us=20_000))
    (fine,) = record(images, [0], Camera(16, 16, 0.1, jitter=0.0, frame_us=1000))
    # 15 coarse frames, but events fall on far more instants.
    assert len(np.unique(coarse["t"])) > 500
    assert abs(len(coarse) - len(fine)) < 0.05 * len(fine)
    first = [events[(events["x"] == 8) & (events["y"] == 8)]["t"][0] for events in (coarse, fine)]
    assert abs(int(first[0]) - int(first[1])) < 20_000


def test_a_dark_scene_has_no_events_but_noise_and_noise_has_its_rate():
    dark = np.zeros((30, 8, 8))
    assert all(len(events) == 0 for events in record(dark, range(30), Camera(16, 16)))
    noisy = record_list(dark, range(30), Camera(16, 16, noise_hz=10.0))
    count = sum(len(events) for events in noisy)
    expected = 30 * 256 * 0.3 * 10.0
    # A Poisson count stays within 5 standard deviations (seed fixed, so this cannot become flaky).
    assert abs(count - expected) < 5 * np.sqrt(expected)
    on = sum(int(events["p"].sum()) for events in noisy)
    assert abs(on - count / 2) < 5 * np.sqrt(count) / 2


def test_noise_adds_to_the_same_scene():
    (clean,) = record(random_images(1), [5], Camera(16, 16))
    (noisy,) = record(random_images(1), [5], Camera(16, 16, noise_hz=1.0))
    extra = len(noisy) - len(clean)
    assert extra > 0
    assert np.isin(clean, noisy).all()


def test_saccades_run_along_a_triangle_and_return():
    camera = Camera(16, 16, amplitude=3.0)
    path = camera_module.path(camera)
    corners = path[[0, 100, 200, 300]] / scene.SUBPIXELS
    np.testing.assert_array_equal(corners, [[0, 0], [3, 1.5], [0, 3], [0, 0]])


def test_the_scene_stays_on_the_sensor():
    """A white image, displaced as far as jitter goes: one pixel beyond the sensor it is dark at all times."""
    camera = Camera(16, 16, amplitude=3.3)
    size = scene.size_on_sensor(16, 16, camera.amplitude, camera.jitter)
    offsets = np.array([[0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    canvas = scene.draw(np.ones((3, 8, 8)), offsets, (18, 18), camera.amplitude, size)
    views = np.array([look(canvas, at, (18, 18)) for at in camera_module.path(camera)])
    beyond = np.ones((18, 18), bool)
    beyond[1:-1, 1:-1] = False
    assert views[..., beyond].max() == 0
    assert views.max() > 0.98 * scene.LEVEL_MAX


@pytest.mark.parametrize(
    ("values", "field", "remedy"),
    [
        ({"contrast_threshold": 1e-5}, "dataset.camera.contrast_threshold 1e-05", "usual value is 0.2"),
        ({"contrast_threshold": 3.0}, "dataset.camera.contrast_threshold 3.0", "usual value is 0.2"),
        ({"noise_hz": 1e6}, "dataset.camera.noise_hz 1000000.0", "a real camera has 0.1"),
        ({"frame_us": 3000}, "frame_us 3000", "take 1000"),
        ({"amplitude": 20.0}, "amplitude 20.0", "lower them"),
    ],
)
def test_impossible_cameras_are_refused(values, field, remedy):
    with pytest.raises(SpecError) as error:
        Camera(**{"height": 16, "width": 16, **values})
    assert field in str(error.value) and remedy in str(error.value) and "\n" not in str(error.value)
