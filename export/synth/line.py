"""A conveyor seen from above: parts pass a fixed camera at a set rate, and the truth is kept frame by frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.export.synth.bearing import SMALLEST, draw_bearing
from lineside.export.synth.lighting import Exposure, expose, light_field
from lineside.export.synth.raster import Sprite, paint, place, polygon_area, rotate, shadow
from lineside.export.synth.scene import CLASSES, VISIBLE, check_task
from lineside.export.synth.texture import background
from lineside.export.synth.tube import draw_tube
from lineside.export.synth.video import VideoWriter
from lineside.runtime.errors import BadOption, SinkError

__all__ = ["Line", "LineFrame", "frames", "truth_path", "write_line"]

GOOD_SHARE = 0.4
"""Share of parts without an object (bearings without a defect; half as many tubes are empty)."""

SHUTTER = 0.002
"""Exposure time, s: it sets the motion blur."""


@dataclass(frozen=True)
class Line:
    """A conveyor and the camera over it.

    Attributes:
        task: ``bearing`` or ``tube``.
        parts_per_minute: Rate at which parts enter the picture.
        fps: Pictures per second.
        seconds: Length.
        width: Picture width, px; even.
        height: Picture height, px; even.
        seed: Not negative; part k depends on (seed, k) only.
        photos: Use photographs of an installed scikit-image for the belt.
    """

    task: str = "bearing"
    parts_per_minute: float = 40.0
    fps: float = 30.0
    seconds: float = 10.0
    width: int = 960
    height: int = 540
    seed: int = 0
    photos: bool = False

    @property
    def frame_count(self) -> int:
        """Number of pictures."""
        return max(1, round(self.seconds * self.fps))

    @property
    def part_width(self) -> float:
        """Extent of a part along the belt, px."""
        return self.height * (0.8 if self.task == "bearing" else 0.16)

    @property
    def speed(self) -> float:
        """Speed of the belt, px per second; parts keep a gap of half their width (tubes: of twice their width)."""
        pitch = self.part_width * (1.5 if self.task == "bearing" else 3.0)
        return pitch * self.parts_per_minute / 60

    def left(self, part: int, frame: int) -> int:
        """Column of a part's left edge in a frame, px; part 0 enters at frame 0."""
        return round(self.speed * (frame / self.fps - part * 60 / self.parts_per_minute) - self.part_width)

    def check(self) -> None:
        """Raises BadOption for a value out of range."""
        check_task(self.task)
        for name in ("parts_per_minute", "fps", "seconds"):
            if not 0 < getattr(self, name) < 1e6:
                raise BadOption(f"--{name.replace('_', '-')} is greater than 0; {getattr(self, name)} was given.")
        for name in ("width", "height"):
            value = getattr(self, name)
            if value < 64 or value % 2:
                raise BadOption(f"--{name} is an even number of at least 64 px; {value} was given.")
        if self.seed < 0:
            raise BadOption(f"A seed is not negative; {self.seed} was given.")


@dataclass(frozen=True)
class LineFrame:
    """One picture of the line.

    Attributes:
        image: (height, width, 3) uint8 BGR.
        parts: For each visible part ``id``, ``box`` (its visible rectangle x0, y0, x1, y1), ``whole`` (nothing is cut
            off) and ``objects``: ``id`` within the part, ``class`` and ``polygon`` [[x, y], …], continuous px.
    """

    image: NDArray[np.uint8]
    parts: list[dict[str, Any]]


def frames(line: Line) -> Iterator[LineFrame]:
    """Draws the pictures of a line in order.

    Args:
        line: The conveyor.

    Yields:
        One `LineFrame` per picture; nothing is kept, so a line of any length needs little memory.

    Raises:
        BadOption: A value of the line is out of range.
    """
    line.check()
    rng = np.random.default_rng([line.seed, 2])
    belt = _belt(line, rng)
    exposure = _exposure(line, rng)
    field = light_field(line.height, line.width, exposure)
    sprites: dict[int, Sprite] = {}
    for index in range(line.frame_count):
        scroll = round(line.speed * index / line.fps) % belt.shape[1]
        canvas = np.roll(belt, scroll, axis=1)[:, : line.width].copy()
        _rails(canvas)
        parts = []
        last = int(index / line.fps * line.parts_per_minute / 60)
        first = last
        while first >= 0 and line.left(first, index) < line.width:
            first -= 1
        for part in range(first + 1, last + 1):
            if part not in sprites:
                sprites[part] = _part(line, part)
            parts += _lay(canvas, line, sprites[part], part, line.left(part, index))
        for gone in [part for part in sprites if part <= first]:
            del sprites[gone]
        noise = np.random.default_rng([line.seed, 3, index])
        yield LineFrame(expose(canvas, exposure, noise, field), parts)


def write_line(
    line: Line, out: str | Path, overwrite: bool = False, on_step: Callable[[int, int], None] | None = None
) -> tuple[Path, Path]:
    """Writes a line as an mp4 and its truth beside it; both appear when they are whole.

    Args:
        line: The conveyor.
        out: The video file, ``*.mp4``. The truth goes to the same name with ``.json``.
        overwrite: Replace files that exist.
        on_step: Called with the number of pictures done and their total.

    Returns:
        Paths of the video and of its truth.

    Raises:
        BadOption: A value is out of range, the name is no ``.mp4``, or the file exists.
        SinkError: The files cannot be written.
    """
    line.check()
    video = Path(out)
    truth = truth_path(video)
    if video.suffix.lower() != ".mp4":
        raise BadOption(f"'{video}' does not end in .mp4, which is what is written here.")
    if not overwrite and (video.exists() or truth.exists()):
        raise BadOption(f"'{video}' or its truth exists. Choose another name, or say --overwrite.")
    scratch = truth.with_name(f".{truth.name}")
    records = []
    try:
        video.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(video, line.fps, (line.width, line.height)) as writer:
            for index, frame in enumerate(frames(line)):
                writer.write(frame.image)
                records.append({"index": index, "time": round(index / line.fps, 6), "parts": frame.parts})
                if on_step is not None:
                    on_step(index + 1, line.frame_count)
            scratch.write_text(json.dumps(_truth(line, video.name, records)) + "\n", encoding="utf-8")
        scratch.replace(truth)
    except OSError as error:
        raise SinkError(f"The line cannot be written to '{video}': {error}. Check the disk and the rights.") from error
    finally:
        scratch.unlink(missing_ok=True)
    return video, truth


def truth_path(video: str | Path) -> Path:
    """Where the truth of a line video lies: the same name with ``.json``."""
    return Path(video).with_suffix(".json")


def _truth(line: Line, name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Content of the truth file: the set-up, a list of parts, and all frames."""
    parts: dict[int, dict[str, Any]] = {}
    for record in records:
        for part in record["parts"]:
            entry = parts.setdefault(part["id"], {"id": part["id"], "first_frame": record["index"], "objects": 0})
            entry["last_frame"] = record["index"]
            entry["objects"] = max(entry["objects"], len(part["objects"]))
    return {
        "schema": 1,
        "video": name,
        "task": line.task,
        "classes": [CLASSES[line.task]],
        "width": line.width,
        "height": line.height,
        "fps": line.fps,
        "parts_per_minute": line.parts_per_minute,
        "speed_px_per_second": round(line.speed, 3),
        "seed": line.seed,
        "parts": list(parts.values()),
        "frames": records,
    }


def _exposure(line: Line, rng: np.random.Generator) -> Exposure:
    """Steady light of a line camera; motion blur from belt speed and shutter."""
    return Exposure(
        gain=float(rng.uniform(0.95, 1.08)),
        slope=(float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08))),
        vignette=0.12,
        warmth=float(rng.uniform(0.98, 1.02)),
        blur=0.0,
        motion=float(min(line.speed * SHUTTER, 12.0)) if line.speed * SHUTTER > 1 else 0.0,
        direction=0.0,
        noise=0.8,
    )


def _belt(line: Line, rng: np.random.Generator) -> NDArray[np.float32]:
    """A belt that repeats without a seam: a surface and its mirror image."""
    level = (38.0, 75.0) if line.task == "bearing" else (150.0, 200.0)
    half = background(line.height, line.width, rng, level, line.photos)
    return np.concatenate([half, half[:, ::-1]], axis=1)


def _rails(canvas: NDArray[np.float32]) -> None:
    """Two dark guide rails that stand still while the belt runs."""
    height, width = canvas.shape[:2]
    thick = max(3, height // 24)
    shade = np.asarray(28 + 46 * np.sin(np.linspace(0.2, np.pi, thick)), np.float32)[:, None, None]
    for rows in (slice(0, thick), slice(height - thick, height)):
        paint(canvas[rows], shade, np.ones((thick, width), np.float32))


def _part(line: Line, part: int) -> Sprite:
    """Draws one part of the line."""
    rng = np.random.default_rng([line.seed, 1, part])
    good = rng.random() < GOOD_SHARE * (1.0 if line.task == "bearing" else 0.5)
    if line.task == "bearing":
        # A line is set up so that its camera resolves what it has to find.
        sizes = {"largest": line.height * 0.16, "smallest": max(SMALLEST, line.height * 0.03)}
        return draw_bearing(line.part_width / 2 - 2, rng, 0 if good else int(rng.integers(1, 5)), **sizes)
    tube = draw_tube(line.height * 0.78, line.part_width * 0.72, rng, filled=not good)
    return rotate(tube, float(rng.normal(0, 0.012)))


def _lay(canvas: NDArray[np.float32], line: Line, sprite: Sprite, part: int, left: int) -> list[dict[str, Any]]:
    """Puts a part on the belt; returns its record, or nothing where it is out of sight."""
    height, width = sprite.alpha.shape
    x, y = round(left + (line.part_width - width) / 2), (line.height - height) // 2
    x0, x1 = max(x, 0), min(x + width, line.width)
    if x1 <= x0:
        return []
    shadow(canvas, sprite, x, y, (line.height // 60, line.height // 50), depth=0.5)
    objects = [
        {"id": index, "class": 0, "polygon": [[round(float(a), 2), round(float(b), 2)] for a, b in polygon]}
        for polygon, index in place(canvas, sprite, x, y)
        if polygon_area(polygon) >= VISIBLE
    ]
    whole = x >= 0 and x + width <= line.width
    return [{"id": part, "box": [x0, y, x1, y + height], "whole": whole, "objects": objects}]
