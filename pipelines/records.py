"""A frame and its detections as plain values: what every file of results is written from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lineside.pipelines.frame import DECIDED, Frame
from lineside.pipelines.stages import spans

__all__ = ["COLUMNS", "STATION_COLUMNS", "Row", "plain", "record", "rows", "station_rows"]

Row = tuple[int | float | str | None, ...]

COLUMNS = (
    "frame",
    "file",
    "time_s",
    "class",
    "name",
    "score",
    "x0",
    "y0",
    "x1",
    "y1",
    "width",
    "height",
    "mask_area",
)
"""Head of a table with a row per detection: pixels for lengths, square pixels for areas. ``mask_area`` is empty where
the masks were not asked for."""

STATION_COLUMNS = (*COLUMNS, "track", "source", "model", "outcome", "wall", "trigger", "part", "encoder")
"""The same in a station, where a table may hold several cameras, models and days: which it was, what became of it, and when
it was taken, in seconds since 1970. What is not known is empty."""

_PART = ("trigger", "part", "encoder")
"""What a line says about the part, where the source knows it."""


def record(frame: Frame) -> dict[str, Any]:
    """All there is to know about one frame, ready for JSON.

    Boxes are xyxy in pixels to 0.01, masks COCO run lengths in picture resolution, times in ms to 1 us.
    """
    found = frame.detections
    line: dict[str, Any] = {
        "frame": frame.sequence,
        "source": frame.source,
        "file": frame.name,
        "pts": round(frame.pts, 6),
        "size": frame.size,
        "outcome": frame.outcome,
    }
    line |= {key: value for key in _PART if (value := getattr(frame, key)) is not None}
    if frame.error is not None:
        line["error"] = frame.error
        return line
    if frame.note is not None:
        line["note"] = frame.note
    objects = []
    if found is not None:
        for i, (box, score, number) in enumerate(plain(found)):
            item = {"box": box, "score": score, "class": number, "name": found.names[number]}
            if found.tracks is not None:
                item["track"] = int(found.tracks[i])
            if found.masks is not None:
                mask = found.masks[i]
                item |= {"area": int(mask.area), "mask": mask.rle()}
            objects.append(item)
    line["detections"] = objects
    line["ms"] = _times(frame)
    return line


def rows(frame: Frame) -> Iterator[Row]:
    """A row under `COLUMNS` for each detection of a frame."""
    found = frame.detections
    if found is None:
        return
    for i, (box, score, number) in enumerate(plain(found)):
        yield (
            frame.sequence,
            frame.name,
            round(frame.pts, 3),
            number,
            found.names[number],
            score,
            *box,
            round(box[2] - box[0], 2),
            round(box[3] - box[1], 2),
            None if found.masks is None else int(found.masks[i].area),
        )


def station_rows(frame: Frame) -> Iterator[Row]:
    """A row under `STATION_COLUMNS` for each detection of a frame."""
    tracks = None if frame.detections is None else frame.detections.tracks
    place = (frame.source, frame.model, frame.outcome, round(frame.wall, 3), frame.trigger, frame.part, frame.encoder)
    for i, row in enumerate(rows(frame)):
        yield (*row, None if tracks is None else int(tracks[i]), *place)


def plain(found: Any) -> Iterator[tuple[list[float], float, int]]:
    """Box, score and class of each detection as Python numbers of sensible precision."""
    for box, score, number in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True):
        yield [round(side, 2) for side in box], round(score, 4), number


def _times(frame: Frame) -> dict[str, float]:
    """Milliseconds of each stage that is over."""
    times = {stage: round(span / 1e6, 3) for stage, span in spans(frame.clock)}
    times["age"] = round((frame.clock[DECIDED] - frame.begin) / 1e6, 3)
    return times
