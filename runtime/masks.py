"""Masks as spans: rows of pixels, never a table of the whole picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, overload

import numpy as np
import numpy.typing as npt

from lineside.runtime import _native
from lineside.runtime.errors import BadOption

__all__ = ["Crop", "Mask", "Masks", "RunLengths"]

MAX_PIXELS = 1 << 30
"""Pixels of a picture whose run lengths are read: they are unpacked on a table of the columns that they touch."""

Crop = tuple[int, int, npt.NDArray[np.uint8]]
"""``(x0, y0, table)``: the tight box of a mask, its table ``(h, w)`` uint8 of 0 and 1."""


class RunLengths(TypedDict):
    """COCO's compressed run-length form of a mask.

    Attributes:
        size: Height and width of the picture.
        counts: Run lengths, column by column, as COCO's printable text.
    """

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One mask of a picture.

    Attributes:
        spans: ``(S, 3)`` int32 rows ``[y, x0, x1)`` in picture pixels, sorted by y then x0, read-only; two spans of one
            row never touch.
        image_size: Height and width of the picture.
    """

    spans: npt.NDArray[np.int32]
    image_size: tuple[int, int]
    _counts: list[str] = field(default_factory=list, init=False, repr=False)
    """What `rle` has made, once somebody has asked for it; a text, so that nobody can change it for the others."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and unpickled ones are made anew, so that their spans are read-only too."""
        return (_mask, (self.spans, self.image_size))

    @classmethod
    def from_array(cls, table: npt.NDArray[Any]) -> Mask:
        """Makes a mask from a table.

        Args:
            table: ``(H, W)`` of any dtype; everything that is not zero belongs to the mask.

        Returns:
            The mask.

        Raises:
            BadOption: The table is not two-dimensional.
        """
        table = np.asarray(table)
        if table.ndim != 2:
            raise BadOption(f"a mask table of shape {table.shape}: it must be (H, W)")
        flags = np.ascontiguousarray(table != 0).view(np.uint8)
        return cls(_frozen(_native.spans_from_table(flags)), (table.shape[0], table.shape[1]))

    @classmethod
    def from_rle(cls, rle: Mapping[str, Any]) -> Mask:
        """Makes a mask from COCO's compressed run lengths.

        Args:
            rle: ``{"size": [H, W], "counts": str or bytes}``.

        Returns:
            The mask.

        Raises:
            BadOption: The runs do not fit the size, or the text is not COCO's.
        """
        try:
            counts, (height, width) = rle["counts"], (int(side) for side in rle["size"])
            if min(height, width) < 0 or height * width > MAX_PIXELS:
                raise ValueError(f"a picture has from 0 to {MAX_PIXELS} pixels")
            text = counts.decode("ascii", "replace") if isinstance(counts, bytes) else str(counts)
            spans = _native.spans_from_rle(text, height, width)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadOption(
                f"run lengths {str(rle)[:80]} cannot be read: {error}; COCO's are a size [H, W] and a text of counts"
            ) from None
        return cls(_frozen(spans), (height, width))

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(_native.spans_area(self.spans))

    def to_array(self) -> npt.NDArray[np.bool_]:
        """The mask as a new table of the whole picture.

        Returns:
            ``(H, W)`` bool.
        """
        table: npt.NDArray[np.uint8] = _native.spans_dense(self.spans, *self.image_size)
        return table.view(np.bool_)

    def crop(self) -> Crop:
        """The mask as a new table of its tight box.

        Returns:
            ``(x0, y0, table)``: the box's first column and row, and ``(h, w)`` uint8 of 0 and 1. An empty mask gives
            ``(0, 0, table of shape (0, 0))``.
        """
        x0, y0, table = _native.spans_crop(self.spans)
        return int(x0), int(y0), table

    def polygons(self) -> list[npt.NDArray[np.float32]]:
        """Outer contours of the mask, one for each 8-connected component; holes are not told.

        Returns:
            ``(K, 2)`` float32 points x, y in picture pixels, through pixel centres (a pixel's centre has whole
            coordinates), clockwise on the screen. A straight run keeps its two ends only. K is at least 3: a dot or a
            line repeats its last point.
        """
        return list(_native.spans_polygons(self.spans))

    def rle(self) -> RunLengths:
        """The mask in COCO's compressed run lengths, as pycocotools reads and writes them.

        They are computed once and kept as long as the mask; threads that ask at the same time may both compute them.

        Returns:
            ``{"size": [H, W], "counts": str}``, a new one for each call.
        """
        if not self._counts:
            self._counts.append(_native.spans_rle(self.spans, *self.image_size))
        return {"size": list(self.image_size), "counts": self._counts[0]}

    def intersection(self, other: Mask) -> int:
        """Number of pixels that two masks of one picture share."""
        return int(_native.spans_intersection(self.spans, other.spans))

    def iou(self, other: Mask) -> float:
        """Intersection over union of two masks of one picture; 1 where both are empty."""
        shared = self.intersection(other)
        union = self.area + other.area - shared
        return shared / union if union else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """The masks of one picture, in the order of its detections.

    ``masks[i]`` is a :class:`Mask`, the same one each time; a slice, an array of indices or of bools gives :class:`Masks`
    again.

    Attributes:
        spans: ``(S, 3)`` int32 spans of all masks, one mask after the other, read-only.
        offsets: ``(N + 1,)`` int64: mask i owns ``spans[offsets[i]:offsets[i + 1]]``; read-only.
        image_size: Height and width of the picture.
    """

    spans: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    image_size: tuple[int, int]
    _made: dict[int, Mask] = field(default_factory=dict, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and unpickled ones are made anew, so that their arrays are read-only too."""
        return (_masks, (self.spans, self.offsets, self.image_size))

    @classmethod
    def of(cls, masks: list[Mask], image_size: tuple[int, int]) -> Masks:
        """Collects single masks of one picture.

        Args:
            masks: Masks of that picture.
            image_size: Height and width of the picture.

        Returns:
            Their collection.

        Raises:
            BadOption: A mask belongs to a picture of another size.
        """
        for mask in masks:
            if mask.image_size != image_size:
                raise BadOption(f"a mask of a {mask.image_size} picture among those of a {image_size} one (H, W)")
        parts = [mask.spans for mask in masks]
        spans = np.concatenate(parts) if parts else np.zeros((0, 3), np.int32)
        offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        return cls(_frozen(spans), _frozen(offsets), image_size)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Mask]:
        return (self._one(i) for i in range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Mask: ...
    @overload
    def __getitem__(self, index: slice | npt.NDArray[Any] | list[int] | list[bool]) -> Masks: ...
    def __getitem__(self, index: Any) -> Mask | Masks:
        """One mask, or several by a slice, indices or bools.

        Raises:
            IndexError: An index is out of range, or bools of another length.
        """
        chosen = rows_of(index, len(self), "mask")
        if isinstance(index, (int, np.integer)):
            return self._one(int(chosen[0]))
        return Masks.of([self._cut(int(i)) for i in chosen], self.image_size)

    def _one(self, i: int) -> Mask:
        mask = self._made.get(i)  # Of two threads that both find none the second takes the mask of the first.
        return self._made.setdefault(i, self._cut(i)) if mask is None else mask

    def _cut(self, i: int) -> Mask:
        return Mask(self.spans[self.offsets[i] : self.offsets[i + 1]], self.image_size)


def rows_of(index: Any, count: int, what: str) -> npt.NDArray[np.intp]:
    """Which of `count` rows an index means.

    Args:
        index: A whole number, a slice, or a list or array of whole numbers or of bools.
        count: How many rows there are.
        what: What a row is, for the message.

    Returns:
        ``(K,)`` indices from 0 to ``count - 1``; one for a whole number.

    Raises:
        IndexError: An index is out of range or of another kind, or there are more or fewer bools than rows.
    """
    rows = np.arange(count, dtype=np.intp)
    if isinstance(index, slice):
        return rows[index]
    wanted = np.asarray(index)
    if wanted.size == 0 and wanted.dtype != np.bool_:
        wanted = wanted.astype(np.intp)
    if wanted.ndim > 1 or wanted.dtype.kind not in "iub" or (wanted.dtype == np.bool_ and wanted.shape != (count,)):
        raise IndexError(f"{what}s are chosen by whole numbers, a slice or {count} bools, not by {index!r}")
    try:
        return np.atleast_1d(rows[wanted])
    except IndexError:
        raise IndexError(f"{what} {index!r} of {count}") from None


def _mask(spans: npt.NDArray[np.int32], image_size: tuple[int, int]) -> Mask:
    return Mask(_frozen(np.array(spans)), image_size)


def _masks(spans: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], image_size: tuple[int, int]) -> Masks:
    return Masks(_frozen(np.array(spans)), _frozen(np.array(offsets)), image_size)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array
