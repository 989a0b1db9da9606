"""Which pictures a bundle is compared with its reference on: the user's own, or drawings and photographs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lineside.export.photographs import described, photographs
from lineside.export.pictures import Picture, drawn_pictures, golden_drawings, read_pictures

__all__ = ["GatePictures", "gate_pictures"]


@dataclass(frozen=True)
class GatePictures:
    """Pictures for everything that an export needs some for.

    Attributes:
        gate: To compare on.
        golden: To make golden files of.
        settling: To measure the statistics of an untrained model on; the same on every machine.
        described: Where those of the gate come from, in words.
    """

    gate: tuple[Picture, ...]
    golden: tuple[Picture, ...]
    settling: tuple[Picture, ...]
    described: str


def gate_pictures(names: Sequence[str], images: str | os.PathLike[str] | None, least: int) -> GatePictures:
    """Chooses pictures.

    Args:
        names: Class names of the model, which say what to draw.
        images: The user's own folder; None for drawings, and the photographs that installed packages carry.
        least: At least so many pictures.

    Raises:
        SourceError: The folder's pictures cannot be read, or are too few.
    """
    if images is not None:
        own = tuple(read_pictures(images, least))
        return GatePictures(own, own, own, Path(images).name)
    drawings = tuple(drawn_pictures(names))
    found = photographs()
    photos = tuple(picture for pictures in found.values() for picture in pictures)
    return GatePictures((*drawings, *photos), tuple(golden_drawings(names)), drawings, described(len(drawings), found))
