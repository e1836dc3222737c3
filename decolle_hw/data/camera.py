"""A simulated event camera that looks at still images while making three saccades, as N-MNIST was recorded.

Every step between the image and the event is integer arithmetic, so that a recording is the same on every
machine and in every batch: float summation order or a vectorised logarithm must never decide about a spike.
Floats appear only where weights and the table of logarithms are built, and are rounded before use. Compiled, and
one recording at a time, so that its pixels stay in the first-level cache: 1.5 ms for 34x34 pixels.

    light   I(x, y, t) = image, enlarged once, shifted by the path of the saccades (bilinear, 1/256 pixel)
    log     L = log(I + DARK_LEVEL)                                       (table, in units of 1/65536)
    event   |L - ref| >= C: as many events as thresholds C were crossed; ref moves by the crossed thresholds

Sources: Orchard et al. 2015, doi 10.3389/fnins.2015.00437 (three saccades along a triangle, 3 x 100 ms, 7
pixels of a 34-pixel sensor; the corners as in ``tonic.datasets.nmnist.stabilize``); Lichtsteiner et al. 2008,
doi 10.1109/JSSC.2007.914337 (change detection on log intensity).
"""

# R recordings, B recordings of one batch, h w image, H W sensor, Y X canvas (sensor and room for the path)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from decolle_hw.data import scene
from decolle_hw.data.formats import EVENTS
from decolle_hw.errors import SpecError

LEG_US = 100_000
RECORDING_US = 3 * LEG_US
CORNERS_YX = ((0.0, 0.0), (1.0, 0.5), (0.0, 1.0), (0.0, 0.0))  # in units of the amplitude

DARK_LEVEL = 0.2  # brightness of black, full white is 1: bounds the logarithm, sets contrast to log(6) = 1.8
LOG_BITS = 16
MIN_CONTRAST = 0.01  # the best sensors reach about 0.05; below, a recording no longer fits into memory
MAX_NOISE_HZ = 1000.0  # one event per pixel and millisecond: nothing is left to be seen
BATCH_PIXELS = 1 << 16  # of the canvases that are drawn together: about 512 kB per intermediate array
EVENTS_PER_PIXEL = 16  # room at first; a scene of high contrast under a low threshold has more


@dataclass(frozen=True)
class Camera:
    """Parameters of the simulated camera. Raises `SpecError` for values that cannot give a recording."""

    height: int
    width: int
    contrast_threshold: float = 0.2  # change of log intensity per event
    noise_hz: float = 0.0  # spurious events per pixel and second
    seed: int = 0  # of jitter and noise
    amplitude: float = 3.0  # of the saccades, in sensor pixels
    jitter: float = 0.5  # the scene stands off centre by up to this many sensor pixels
    frame_us: int = 1000  # between two samples of the light

    def __post_init__(self) -> None:
        highest = float(np.log(1 + 1 / DARK_LEVEL))
        if not MIN_CONTRAST <= self.contrast_threshold <= highest:
            raise SpecError(
                f"dataset.camera.contrast_threshold {self.contrast_threshold}: must be {MIN_CONTRAST} to "
                f"{highest:.2f} (black to white); the usual value is 0.2"
            )
        if not 0 <= self.noise_hz <= MAX_NOISE_HZ:
            raise SpecError(
                f"dataset.camera.noise_hz {self.noise_hz}: must be 0 to {MAX_NOISE_HZ:g} events per pixel "
                f"and second; a real camera has 0.1"
            )
        if self.frame_us < 1 or LEG_US % self.frame_us:
            raise SpecError(f"camera frame_us {self.frame_us}: must divide the {LEG_US} us of a saccade; take 1000")
        if scene.size_on_sensor(self.height, self.width, self.amplitude, self.jitter) < 1:
            raise SpecError(
                f"camera amplitude {self.amplitude}, jitter {self.jitter}: leave no room for an image on "
                f"a sensor of {self.height}x{self.width} (height x width) pixels; lower them"
            )


def record(images_Rhw: np.ndarray, indices_R: Sequence[int], camera: Camera) -> Iterator[np.ndarray]:
    """Event recordings of still images, one by one.

    Args:
        images_Rhw: brightness 0 (black) .. 1 (white).
        indices_R: identity of each recording; its jitter and noise depend on (camera.seed, identity) only.
        camera: the sensor.

    Yields:
        Per image the events (x, y, t, p) as tonic's structured array, sorted by t (then y, x, p); t in
        microseconds, 0 <= t < 300000; p True where it became brighter (ON).
    """
    positions, table = path(camera), log_table()
    batch = max(1, BATCH_PIXELS // (camera.height * camera.width))
    for first in range(0, len(images_Rhw), batch):
        rngs_B = [np.random.default_rng([camera.seed, int(k)]) for k in indices_R[first : first + batch]]
        # Drawn before the noise, so that a noisy recording shows the same scene as a clean one.
        offsets_B2 = np.array([rng.uniform(-camera.jitter, camera.jitter, 2) for rng in rngs_B])
        canvas_BYX = scene.draw(
            images_Rhw[first : first + batch],
            offsets_B2,
            (camera.height, camera.width),
            camera.amplitude,
            scene.size_on_sensor(camera.height, camera.width, camera.amplitude, camera.jitter),
        )
        for canvas_YX, rng in zip(canvas_BYX, rngs_B, strict=True):
            crossings_E = _crossings(canvas_YX, positions, table, camera)
            yield _unpack(np.concatenate([crossings_E, _noise(rng, camera)]), camera)


def path(camera: Camera) -> NDArray[np.int64]:
    """(frames + 1, 2) positions y, x along the triangle, in 1/256 pixels; ends where it starts."""
    frames = np.arange(RECORDING_US // camera.frame_us + 1)
    legs = frames * camera.frame_us / LEG_US
    corners = np.array(CORNERS_YX)
    y, x = (np.interp(legs, np.arange(len(corners)), corners[:, axis]) for axis in (0, 1))
    return np.rint(np.stack([y, x], axis=1) * camera.amplitude * scene.SUBPIXELS).astype(np.int64)


def log_table() -> NDArray[np.int32]:
    """log(I + DARK_LEVEL) in units of 2**-LOG_BITS for each of the light levels 0..LEVEL_MAX."""
    light = np.arange(scene.LEVEL_MAX + 1) / scene.LEVEL_MAX
    return np.rint(np.log(light + DARK_LEVEL) * (1 << LOG_BITS)).astype(np.int32)


def _crossings(
    canvas_YX: NDArray[np.int32], positions: NDArray[np.int64], table: NDArray[np.int32], camera: Camera
) -> NDArray[np.int64]:
    """Packed events of one recording, frame by frame (see `_unpack`)."""
    contrast = round(camera.contrast_threshold * (1 << LOG_BITS))
    keys_E = np.empty(EVENTS_PER_PIXEL * camera.height * camera.width, np.int64)
    while True:
        light_HW = np.empty((camera.height, camera.width), np.int32)
        count = _cross(canvas_YX, positions, table, contrast, camera.frame_us, light_HW, keys_E)
        if count <= len(keys_E):
            return keys_E[:count]
        keys_E = np.empty(count, np.int64)


@njit(nogil=True, cache=True, error_model="numpy")
def _cross(canvas_YX, positions, table, contrast, frame_us, light_HW, keys_E):
    """Number of events; as many as there is room for are written to `keys_E`."""
    pixels = light_HW.size
    light = light_HW.reshape(pixels)
    scene.look(canvas_YX, positions[0, 0], positions[0, 1], light_HW)
    contrast = np.int32(contrast)
    # The pixels start adapted to what they see.
    before = np.array([table[level] for level in light])
    reference = before.copy()
    after = before.copy()
    count = 0
    for frame in range(len(positions) - 1):
        scene.look(canvas_YX, positions[frame + 1, 0], positions[frame + 1, 1], light_HW)
        for pixel in range(pixels):
            after[pixel] = table[np.uint32(light[pixel])]  # unsigned: no test for a place counted from the end
        for pixel in range(pixels):
            change = np.int32(after[pixel] - reference[pixel])
            if abs(change) < contrast:
                continue
            step = contrast if change > 0 else -contrast
            swing = abs(after[pixel] - before[pixel])
            for _ in range(abs(change) // contrast):
                reference[pixel] += step
                # L changes linearly between two frames: t = frame_us (level - before) / (after - before), which
                # lies in (0, frame_us]; ceil - 1 keeps it inside of the frame.
                passed = abs(reference[pixel] - before[pixel])
                if count < len(keys_E):
                    t = frame * frame_us + (passed * frame_us - 1) // swing
                    keys_E[count] = (t * pixels + pixel) * 2 + (step > 0)
                count += 1
        before[:] = after
    return count


def _noise(rng: np.random.Generator, camera: Camera) -> NDArray[np.int64]:
    """Packed spurious events of one recording: a Poisson process per pixel, either polarity alike."""
    pixels = camera.height * camera.width
    count = rng.poisson(camera.noise_hz * pixels * RECORDING_US * 1e-6)
    t, pixel, polarity = (rng.integers(0, limit, count) for limit in (RECORDING_US, pixels, 2))
    return (t * pixels + pixel) * 2 + polarity


def _unpack(keys_E: NDArray[np.int64], camera: Camera) -> np.ndarray:
    """Events are packed as ``(t*H*W + pixel)*2 + p``, in the order of time and pixel: a plain sort is enough."""
    events = np.empty(len(keys_E), EVENTS)
    _split(np.sort(keys_E), camera.height * camera.width, camera.width, events)
    return events


@njit(nogil=True, cache=True, error_model="numpy")
def _split(keys_E, pixels, width, events_E):
    for place in range(len(keys_E)):
        key = np.uint64(keys_E[place])
        events_E[place].p = key & np.uint64(1)
        key >>= np.uint64(1)
        t = key // np.uint64(pixels)
        pixel = key - t * np.uint64(pixels)
        y = pixel // np.uint64(width)
        events_E[place].t, events_E[place].y, events_E[place].x = t, y, pixel - y * np.uint64(width)
