"""Light and camera: what happens to a clean drawing before it becomes a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Exposure", "expose", "light_field"]


@dataclass(frozen=True)
class Exposure:
    """One set-up of light and camera.

    Attributes:
        gain: Brightness factor.
        slope: Relative brightness change across the picture along x and y.
        vignette: Darkening at the corners, 0..1.
        warmth: Gain of red against blue, about 1.
        blur: Sigma of the lens blur, px.
        motion: Length of the motion blur, px; 0 for none.
        direction: Direction of the motion, radians.
        noise: Sigma of the sensor noise at mid-grey, grey levels.
    """

    gain: float
    slope: tuple[float, float]
    vignette: float
    warmth: float
    blur: float
    motion: float
    direction: float
    noise: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Exposure:
        """A random set-up, from a well-lit sharp one to a dim, soft, noisy one."""
        return Exposure(
            gain=float(rng.uniform(0.72, 1.18)),
            slope=(float(rng.uniform(-0.25, 0.25)), float(rng.uniform(-0.25, 0.25))),
            vignette=float(rng.uniform(0, 0.3)),
            warmth=float(rng.uniform(0.93, 1.07)),
            blur=float(rng.uniform(0.5, 1.1)) if rng.random() < 0.4 else 0.0,
            motion=float(rng.uniform(1.5, 3.5)) if rng.random() < 0.15 else 0.0,
            direction=float(rng.uniform(0, np.pi)),
            noise=float(rng.uniform(0.8, 5.0)),
        )


def light_field(height: int, width: int, exposure: Exposure) -> NDArray[np.float32]:
    """Brightness factor per pixel and channel, (height, width, 3) float32 BGR."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    field = exposure.gain * (1 + exposure.slope[0] * x + exposure.slope[1] * y)
    field = field * (1 - exposure.vignette * (x * x + y * y) / 2)
    colour = np.array([1 / exposure.warmth, 1, exposure.warmth], np.float32)
    return np.asarray(field[..., None] * colour, np.float32)


def expose(
    drawing: NDArray[np.float32],
    exposure: Exposure,
    rng: np.random.Generator,
    field: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Turns a clean drawing into a picture: light, lens, motion, shot noise, 8 bits.

    Args:
        drawing: (H, W, 3) float32 BGR, about 0..255.
        exposure: The set-up.
        rng: Source of the noise.
        field: `light_field` of the same size and set-up, to spare computing it for every frame of a video.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    height, width = drawing.shape[:2]
    lit = drawing * (light_field(height, width, exposure) if field is None else field)
    if exposure.motion > 0:
        lit[:] = cv2.filter2D(lit, -1, _motion_kernel(exposure.motion, exposure.direction))
    if exposure.blur > 0:
        lit[:] = cv2.GaussianBlur(lit, (0, 0), exposure.blur)
    # Shot noise grows with the square root of the light.
    sigma = np.sqrt(np.clip(lit, 8, None) / 128) * np.float32(exposure.noise)
    lit = lit + rng.standard_normal(lit.shape, np.float32) * sigma
    return np.asarray(np.clip(lit + 0.5, 0, 255), np.uint8)


def _motion_kernel(length: float, direction: float) -> NDArray[np.float32]:
    """A line of the given length, px, through the centre of a small kernel; sums to 1."""
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([np.cos(direction), np.sin(direction)]) * length / 2
    start, end = (np.round((side // 2 + sign * reach) * 16).astype(int) for sign in (-1, 1))
    cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0, 1, cv2.LINE_AA, 4)
    total = float(kernel.sum())
    return kernel / total if total > 0 else np.ones((1, 1), np.float32)
