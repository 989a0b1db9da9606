"""Pictures that a calibration looks at: a folder of the user's, or the training pictures of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lineside.export.accuracy.frames import read_frames
from lineside.export.accuracy.measure import picked
from lineside.export.datasets import check_dataset
from lineside.export.pictures import SUFFIXES
from lineside.export.precision.calibrate import letterboxed_inputs
from lineside.export.precision.choice import PrecisionChoice
from lineside.runtime.errors import SourceError

__all__ = ["calibration_inputs"]


def calibration_inputs(
    choice: PrecisionChoice, size: tuple[int, int], boxes: bool
) -> tuple[list[npt.NDArray[np.float32]], str]:
    """Reads the pictures as the runtime would.

    Args:
        choice: Where they are; checked.
        size: Height and width of the input in pixels.
        boxes: Whether the labels of the data set may be boxes.

    Returns:
        Inputs ``(1, 3, h, w)``, and where they come from, in words.

    Raises:
        SourceError: There is no folder, or no picture in it.
        DatasetError: The set is broken, or a picture cannot be read.
    """
    if choice.calibrate is not None:
        paths: Sequence[Path] = _folder(choice.calibrate)
        where = choice.calibrate.name
    else:
        assert choice.data is not None
        report = check_dataset(choice.data, choice.root, ("train",), boxes=boxes)
        report.require("calibrated on")
        paths, where = report.pictures["train"], f"training pictures of {choice.data.name}"
    chosen = picked(paths, choice.count)
    return letterboxed_inputs(read_frames(chosen), size), f"{len(chosen)} pictures of {len(paths)}: {where}"


def _folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder: --calibrate takes a folder with pictures")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise SourceError(f"{folder} holds no picture to calibrate on: give pictures of what the model will see")
    return found
