"""The letterbox rule of the runtime, said once more in plain numpy with whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.decode import placement

Array = npt.NDArray[Any]
PADDING = np.float32(114) * np.float32(1 / 255)


def neighbours(source: int, target: int) -> tuple[Array, Array, Array]:
    """For each target coordinate the two source coordinates and the weight of the second, in 256ths."""
    at = (np.arange(target) + 0.5) * (1.0 / (target / source)) - 0.5
    before = np.floor(at)
    weight = np.rint((at - before) * 256).astype(np.int64)
    weight[(before < 0) | (before >= source - 1)] = 0
    first = np.clip(before, 0, source - 1).astype(np.int64)
    return first, np.minimum(first + 1, source - 1), weight


def resized(frame: Array, height: int, width: int) -> Array:
    """A picture of another size, uint8: bilinear, rounded once."""
    top, bottom, v = neighbours(frame.shape[0], height)
    left, right, u = neighbours(frame.shape[1], width)
    u, v = u[None, :, None], v[:, None, None]
    upper, lower = (frame[rows].astype(np.int64) for rows in (top, bottom))
    lines = upper * (256 - v) + lower * v
    return ((lines[:, left] * (256 - u) + lines[:, right] * u + 32768) >> 16).astype(np.uint8)


def letterboxed(frame: Array, input_size: tuple[int, int]) -> Array:
    """The input tensor (3, h, w) float32 of a BGR or grey frame."""
    _, _, left, top, nh, nw = placement((frame.shape[0], frame.shape[1]), input_size)
    colour = frame if frame.ndim == 3 else np.stack([frame] * 3, -1)
    out = np.full((3, *input_size), PADDING, np.float32)
    rgb = resized(colour, nh, nw)[..., ::-1].transpose(2, 0, 1)
    out[:, top : top + nh, left : left + nw] = rgb * np.float32(1 / 255)
    return out


def layouts(frame: Array) -> Iterator[tuple[str, Array]]:
    """The pixels of a packed frame in every memory layout that a frame may have, each with its name."""
    height, width = frame.shape[:2]
    tail = frame.shape[2:]
    yield "packed", frame
    yield "bottom up", frame[::-1].copy()[::-1]
    yield "mirrored", frame[:, ::-1].copy()[:, ::-1]
    yield "turned", frame[::-1, ::-1].copy()[::-1, ::-1]
    yield "fortran", np.asfortranarray(frame)
    padded = np.zeros((height, width + 5, *tail), np.uint8)
    padded[:, :width] = frame
    yield "padded rows", padded[:, :width]
    spread = np.zeros((2 * height, 2 * width, *tail), np.uint8)
    spread[::2, ::2] = frame
    yield "every second pixel", spread[::2, ::2]
    odd = np.zeros(frame.size + 1, np.uint8)
    odd[1:] = frame.ravel()
    yield "odd address", odd[1:].reshape(frame.shape)
    locked = frame.copy()
    locked.flags.writeable = False
    yield "read-only", locked
    wide = np.full((height, width, 6), 77, np.uint8)
    if not tail:
        wide[..., 2] = frame
        yield "a channel of a colour picture", wide[..., 2]
        return
    yield "RGB memory", frame[..., ::-1].copy()[..., ::-1]
    yield "planes", np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0)
    bgra = np.concatenate([frame, wide[..., :1]], 2)
    yield "BGRA memory", bgra[..., :3]
    xbgr = np.concatenate([wide[..., :1], frame], 2)
    yield "XBGR memory", xbgr[..., 1:]
    rgba = np.concatenate([frame[..., ::-1], wide[..., :1]], 2)
    yield "RGBA memory", rgba[..., 2::-1]
    wide[..., 1:6:2] = frame
    yield "channels apart", wide[..., 1:6:2]
