"""What was found in one picture: columns, never to be changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.errors import BadOption, MissingPackage
from lineside.runtime.masks import Masks, rows_of

__all__ = ["Detections"]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Detections of one picture, best score first.

    ``found[i]``, a slice, an array of indices or of bools give :class:`Detections` again; iterating gives single ones.
    The arrays are read-only.

    Attributes:
        boxes: ``(N, 4)`` float32 xyxy in picture pixels, clipped to the picture. A box that the model gave a negative
            width or height stays as it is (``x2 < x1``), as torch leaves it; it overlaps nothing and its mask is empty.
        scores: ``(N,)`` float32, falling.
        classes: ``(N,)`` int32 class indices.
        anchors: ``(N,)`` int32: which anchor of the head (levels ascending, rows first) each one came from.
        masks: The masks, or None where none were asked for or the model has none.
        names: Class names, by index.
        image_size: Height and width of the picture.
        tracks: ``(N,)`` int32: number of the object over several pictures, from 0, or -1; None where nobody follows them.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]
    anchors: npt.NDArray[np.int32]
    masks: Masks | None
    names: tuple[str, ...]
    image_size: tuple[int, int]
    tracks: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        kinds = {"boxes": np.float32, "scores": np.float32, "classes": np.int32, "anchors": np.int32}
        if self.tracks is not None:
            kinds["tracks"] = np.int32
        n = len(self.scores)
        for name, dtype in kinds.items():
            array = np.asarray(getattr(self, name), dtype=dtype)
            array = array.copy() if array.flags.writeable else array  # whoever holds the original may write to it
            if array.shape != ((n, 4) if name == "boxes" else (n,)):
                raise BadOption(f"detections with {n} scores have {name} of shape {array.shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.masks is not None and len(self.masks) != n:
            raise BadOption(f"detections with {n} scores have {len(self.masks)} masks")

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and unpickled ones are made anew, so that their arrays are read-only too."""
        values = (self.boxes, self.scores, self.classes, self.anchors, self.masks, self.names, self.image_size)
        return (type(self), (*values, self.tracks))

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detections]:
        return (self[i] for i in range(len(self)))

    def __getitem__(
        self, index: int | np.integer[Any] | slice | npt.NDArray[Any] | list[int] | list[bool]
    ) -> Detections:
        """Those at an index, in a slice, at an array of indices, or where an array of bools is true.

        Raises:
            IndexError: An index is out of range, or bools of another length.
        """
        rows = rows_of(index, len(self), "detection")
        return Detections(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            classes=self.classes[rows],
            anchors=self.anchors[rows],
            masks=None if self.masks is None else self.masks[rows],
            names=self.names,
            image_size=self.image_size,
            tracks=None if self.tracks is None else self.tracks[rows],
        )

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"Detections({len(self)} in {width}x{height}, masks={'no' if self.masks is None else 'yes'})"

    def to_dict(self) -> dict[str, Any]:
        """The detections as plain values that ``json.dumps`` takes.

        Returns:
            ``{"image_size": [H, W], "names": [...], "detections": [...]}``; each detection has ``box`` (xyxy, picture
            pixels), ``score``, ``class``, ``name``, ``track`` where objects are followed and, with masks, ``area`` (pixels) and ``mask`` (COCO run lengths).
        """
        rows: list[dict[str, Any]] = []
        for i in range(len(self)):
            row: dict[str, Any] = {
                "box": self.boxes[i].tolist(),
                "score": float(self.scores[i]),
                "class": int(self.classes[i]),
                "name": self.names[self.classes[i]],
            }
            if self.tracks is not None:
                row["track"] = int(self.tracks[i])
            if self.masks is not None:
                row["area"] = self.masks[i].area
                row["mask"] = self.masks[i].rle()
            rows.append(row)
        return {"image_size": list(self.image_size), "names": list(self.names), "detections": rows}

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The detections as COCO result annotations.

        Args:
            image_id: The picture's id.

        Returns:
            One entry each: ``image_id``, ``category_id`` (the class index, counted from 0 as in ``names``), ``bbox``
            (x, y, width, height in picture pixels, none below 0), ``score``, ``iscrowd`` 0, ``area`` in pixels (of the mask, or of
            the box where there are no masks) and ``segmentation`` (compressed run lengths, or an empty list).
        """
        rows: list[dict[str, Any]] = []
        for i in range(len(self)):
            x1, y1, x2, y2 = self.boxes[i].tolist()
            width, height = max(0.0, x2 - x1), max(0.0, y2 - y1)
            mask = None if self.masks is None else self.masks[i]
            rows.append(
                {
                    "image_id": image_id,
                    "category_id": int(self.classes[i]),
                    "bbox": [x1, y1, width, height],
                    "score": float(self.scores[i]),
                    "iscrowd": 0,
                    "area": width * height if mask is None else mask.area,
                    "segmentation": [] if mask is None else mask.rle(),
                }
            )
        return rows

    def to_supervision(self) -> Any:
        """The detections as a ``supervision.Detections``; masks compact where its version can, else as tables.

        Returns:
            ``supervision.Detections`` with ``xyxy``, ``confidence``, ``class_id``, ``mask`` and ``data["class_name"]``.

        Raises:
            MissingPackage: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingPackage(
                "detections cannot be handed to supervision, which is not installed: pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=np.array(self.boxes),
            confidence=np.array(self.scores),
            class_id=self.classes.astype(int),
            tracker_id=None if self.tracks is None else self.tracks.astype(int),
            mask=None if self.masks is None else _supervision_masks(supervision, self.masks, self.boxes),
            data={"class_name": np.array([self.names[c] for c in self.classes], dtype=str)},
        )


def _supervision_masks(supervision: Any, masks: Masks, boxes: npt.NDArray[np.float32]) -> Any:
    """Compact masks where this supervision has them: a table of N x H x W bytes only where it must be."""
    compact = getattr(supervision, "CompactMask", None)
    if compact is not None and hasattr(compact, "from_coco_rle"):
        return compact.from_coco_rle([mask.rle() for mask in masks], np.array(boxes), masks.image_size)
    tables = [mask.to_array() for mask in masks]
    return np.stack(tables) if tables else np.zeros((0, *masks.image_size), bool)
