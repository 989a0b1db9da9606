"""``lineside synth``: synthetic data sets and conveyor videos."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


class Kind(str, Enum):
    """What to draw."""

    BEARING = "bearing"
    TUBE = "tube"
    LINE = "line"


class Task(str, Enum):
    """Parts on the line."""

    BEARING = "bearing"
    TUBE = "tube"


def command(
    kind: Annotated[Kind, typer.Argument(help="A data set of bearings or tubes, or a conveyor video.")],
    out: Annotated[Path, typer.Argument(help="New folder of the data set, or the video file (.mp4).")],
    train: Annotated[int, typer.Option(help="Set: pictures to train on.")] = 240,
    val: Annotated[int, typer.Option(help="Set: pictures to validate on.")] = 60,
    size: Annotated[int, typer.Option(help="Set: side of a picture, px.")] = 320,
    seed: Annotated[int, typer.Option(help="The same seed draws the same.")] = 0,
    photos: Annotated[
        bool, typer.Option("--photos/--no-photos", help="Use photographs of an installed scikit-image as backgrounds.")
    ] = True,
    task: Annotated[Task, typer.Option(help="Line: the parts that pass.")] = Task.BEARING,
    parts_per_minute: Annotated[float, typer.Option(help="Line: parts that enter per minute.")] = 40.0,
    fps: Annotated[float, typer.Option(help="Line: pictures per second.")] = 30.0,
    seconds: Annotated[float, typer.Option(help="Line: length.")] = 10.0,
    width: Annotated[int, typer.Option(help="Line: picture width, px.")] = 960,
    height: Annotated[int, typer.Option(help="Line: picture height, px.")] = 540,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Line: replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Draws a labelled data set (YOLO segmentation format), or a conveyor video with its truth beside it.

    Example: lineside synth bearing sets/bearing --train 600 --val 80 --size 320

    Example: lineside synth line line.mp4 --task bearing --parts-per-minute 40 --seconds 10
    """
    from lineside.cli.progress import progress

    try:
        with progress("drawing") as update:
            if kind is Kind.LINE:
                from lineside.export.synth.line import Line, write_line

                line = Line(task.value, parts_per_minute, fps, seconds, width, height, seed, photos)
                video, truth = write_line(line, out, overwrite, update)
                result = {"video": str(video), "truth": str(truth), "frames": line.frame_count}
                words = f"{video}: {line.frame_count} frames of {width}x{height} px; truth in {truth}"
            else:
                from lineside.export.synth.dataset import write_dataset

                data = write_dataset(kind.value, out, train, val, size, seed, photos, update)
                result = {"data": str(data), "train": train, "val": val}
                words = f"{data}: {train} pictures to train on, {val} to validate on"
    except KeyboardInterrupt:
        print("interrupted; nothing was left behind", file=sys.stderr)
        return 130
    print(json.dumps(result) if as_json else words)
    return 0
