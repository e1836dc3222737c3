"""What stands in front of the simulated camera: an image, enlarged onto a dark canvas, and the view of it.

Integers throughout (see `camera`): light levels are 12 bits, positions 1/256 pixels.
"""

# B recordings, h w image, H W sensor, Y X canvas

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

LEVEL_BITS = 12
LEVEL_MAX = (1 << LEVEL_BITS) - 1
IMAGE_MAX = 255  # images are read with 8 bits
SUBPIXEL_BITS = 8
SUBPIXELS = 1 << SUBPIXEL_BITS


def size_on_sensor(height: int, width: int, amplitude: float, jitter: float) -> float:
    """Edge length, in sensor pixels, of the largest scene that never leaves the sensor; see `draw`."""
    return min(height, width) - 1 - amplitude - 2 * jitter


def draw(
    images_Bhw: np.ndarray, offsets_B2: np.ndarray, sensor: tuple[int, int], amplitude: float, size: float
) -> NDArray[np.int32]:
    """Images enlarged to `size` sensor pixels (bilinear, fading into a dark margin) on canvases.

    Args:
        images_Bhw: brightness 0..1.
        offsets_B2: displacement (y, x) of each image from the centre, in sensor pixels.
        sensor: (H, W).
        amplitude: of the path, in sensor pixels: the canvas is larger than the sensor by as much, plus one
            pixel to interpolate with.
        size: of the scene, in sensor pixels: the longer image edge, and one image pixel in which it fades.

    Returns:
        (B, Y, X) light levels 0..LEVEL_MAX.
    """
    levels_Bhw = np.rint(images_Bhw * IMAGE_MAX).astype(np.int64)
    rows_BYh, columns_BXw = (
        _weights(
            levels_Bhw.shape[1 + axis],
            sensor[axis],
            size / (max(levels_Bhw.shape[1:]) + 1),
            amplitude,
            offset_B,
        )
        for axis, offset_B in enumerate(offsets_B2.T)
    )
    light_BYX = rows_BYh @ levels_Bhw @ columns_BXw.transpose(0, 2, 1)
    # Rounded weights may add up to a little more than one.
    return np.minimum(light_BYX * LEVEL_MAX // (IMAGE_MAX * SUBPIXELS**2), LEVEL_MAX).astype(np.int32)


@njit(nogil=True, cache=True)
def look(canvas_YX, y, x, light_HW):
    """Light levels 0..LEVEL_MAX that the sensor sees from (y, x), in 1/256 pixels, into `light_HW`; bilinear."""
    top, down = divmod(y, SUBPIXELS)
    left, right = divmod(x, SUBPIXELS)
    up, back = SUBPIXELS - down, SUBPIXELS - right
    here, beside = np.int32(up * back), np.int32(up * right)
    below, across = np.int32(down * back), np.int32(down * right)
    for row in range(light_HW.shape[0]):
        upper, lower = canvas_YX[top + row, left:], canvas_YX[top + row + 1, left:]
        for column in range(light_HW.shape[1]):
            light = upper[column] * here + upper[column + 1] * beside
            light += lower[column] * below + lower[column + 1] * across
            light_HW[row, column] = light >> (2 * SUBPIXEL_BITS)


def _weights(points: int, pixels: int, scale: float, amplitude: float, offset_B: np.ndarray) -> NDArray[np.int64]:
    """(B, canvas, points) interpolation weights along one axis, in 1/256: a tent as wide as an image pixel.

    Where the image is made smaller the tent is as wide as a sensor pixel, and its weights add up to one.
    """
    canvas = np.arange(pixels + math.ceil(amplitude) + 1)
    centre_B = (pixels - 1 + amplitude) / 2 + offset_B
    position_BY = (canvas[None, :] - centre_B[:, None]) / scale + (points - 1) / 2
    reach = max(1.0, 1.0 / scale)
    tent = np.maximum(0.0, 1.0 - np.abs(position_BY[:, :, None] - np.arange(points)) / reach) / reach
    return np.rint(tent * SUBPIXELS).astype(np.int64)
