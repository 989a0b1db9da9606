"""Golden files: pictures and what the original model saw in them, so that a bundle proves itself on any machine.

A golden file is an ``.npz`` archive without pickles:

==================  =======================  =================================================================
``pixels``          (h, w, 3) uint8 RGB      the letterboxed input, padding and all
``image_size``      (2,) int                 height and width of the picture that was letterboxed
``conf`` ``iou``    () float64               thresholds; they lie well away from every score and overlap
``max_det``         () int
``boxes``           (N, 4) float32           xyxy in picture pixels, clipped, by falling score
``scores``          (N,) float32
``classes``         (N,) int32
``rle``             (L,) uint8               a line of ASCII text for each mask: COCO's compressed run lengths in the
                                             picture; absent without masks
``box8`` …          as the model's outputs   raw outputs under their names, float16; in one file of a bundle
``candidate_*``     M rows each              only where rounding decides which detections stay: every one that may, by
                                             `lineside.runtime.ties`: ``candidate_anchors``, ``_classes``, ``_scores``,
                                             ``_boxes``, ``_input_boxes`` (input pixels, not clipped) and ``_rle``
==================  =======================  =================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lineside.runtime.arrays import NotArrays, read_arrays
from lineside.runtime.bundle import Bundle
from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import BadOption, BundleDamaged
from lineside.runtime.postprocess import check_options
from lineside.runtime.preprocess import MAX_SIDE
from lineside.runtime.ties import MOST_CANDIDATES, Candidates

__all__ = ["Golden", "mask_of_rle", "read_golden", "rle_of_mask", "write_golden"]

MAX_BYTES = 512 << 20
"""Bytes that a golden file may unpack to: an input of 8192x8192 and its raw outputs fit."""

MAX_PIXELS = 1 << 28
MAX_DETECTIONS = 10_000
"""Limits of the picture behind a golden file: a replay holds one mask of it as a table, and pairs detections one by one."""


@dataclass(frozen=True)
class Golden:
    """One golden file; the fields are those of the archive.

    Attributes:
        name: Name of the file inside the bundle.
        pixels: ``(h, w, 3)`` uint8 RGB.
        image_size: Height and width of the picture.
        conf: Score threshold.
        iou: Overlap threshold.
        max_det: Most detections.
        boxes: ``(N, 4)`` float32 xyxy in picture pixels.
        scores: ``(N,)`` float32.
        classes: ``(N,)`` int32.
        rle: COCO run lengths of each mask; None for a model without masks.
        outputs: Raw outputs by name, float16; empty in most files.
        candidates: Where rounding decides which detections stay: every one that may; else None.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    image_size: tuple[int, int]
    conf: float
    iou: float
    max_det: int
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]
    rle: tuple[str, ...] | None
    outputs: Mapping[str, npt.NDArray[np.float16]] = field(default_factory=dict)
    candidates: Candidates | None = None


def read_golden(bundle: Bundle, name: str) -> Golden:
    """Reads one golden file.

    Args:
        bundle: A verified bundle.
        name: One of `lineside.runtime.bundle.list_golden`.

    Returns:
        Its content, shapes checked.

    Raises:
        BundleDamaged: It is not a golden file of this bundle.
    """
    try:
        golden = _from_arrays(name, read_arrays(bundle.read(name), MAX_BYTES), bundle.manifest.head)
        check_options(golden.conf, golden.iou, golden.max_det, "native")
    except KeyError as error:
        raise BundleDamaged(f"{name} in {bundle.path} lacks the array {error}: export the bundle again") from error
    except (NotArrays, BadOption, TypeError, ValueError, OverflowError) as error:
        raise BundleDamaged(
            f"{name} in {bundle.path} is not a golden file ({error}): export the bundle again"
        ) from error
    count = golden.scores.size
    if (
        golden.pixels.shape != (*bundle.manifest.input.size, 3)
        or golden.scores.shape != (count,)
        or count > MAX_DETECTIONS
        or golden.boxes.shape != (count, 4)
        or golden.classes.shape != (count,)
        or (golden.rle is not None and len(golden.rle) != count)
        or not 1 <= min(golden.image_size) <= max(golden.image_size) <= MAX_SIDE
        or golden.image_size[0] * golden.image_size[1] > MAX_PIXELS
        or not _fits(golden)
    ):
        raise BundleDamaged(
            f"{name} in {bundle.path} does not fit the bundle's input of {bundle.manifest.input.size}, or its own "
            f"{count} detections: export the bundle again"
        )
    return golden


def _from_arrays(name: str, arrays: Mapping[str, npt.NDArray[np.generic]], head: HeadContract) -> Golden:
    """Takes an archive apart."""
    height, width = (int(side) for side in arrays["image_size"])
    return Golden(
        name=name,
        pixels=_of_kind(arrays, "pixels", "u").astype(np.uint8, copy=False),
        image_size=(height, width),
        conf=float(arrays["conf"]),
        iou=float(arrays["iou"]),
        max_det=int(arrays["max_det"]),
        boxes=_of_kind(arrays, "boxes", "f").astype(np.float32, copy=False),
        scores=_of_kind(arrays, "scores", "f").astype(np.float32, copy=False),
        classes=_of_kind(arrays, "classes", "iu").astype(np.int32, copy=False),
        rle=_codes(arrays, "rle"),
        outputs={
            key: _of_kind(arrays, key, "f").astype(np.float16, copy=False) for key in head.output_names if key in arrays
        },
        candidates=_candidates(arrays) if "candidate_anchors" in arrays else None,
    )


def _candidates(arrays: Mapping[str, npt.NDArray[np.generic]]) -> Candidates:
    """The arrays of the candidates."""

    def floats(name: str) -> npt.NDArray[np.float32]:
        return _of_kind(arrays, f"candidate_{name}", "f").astype(np.float32, copy=False)

    return Candidates(
        anchors=_of_kind(arrays, "candidate_anchors", "iu").astype(np.int32, copy=False),
        classes=_of_kind(arrays, "candidate_classes", "iu").astype(np.int32, copy=False),
        scores=floats("scores"),
        boxes=floats("boxes"),
        input_boxes=floats("input_boxes"),
        rle=_codes(arrays, "candidate_rle"),
    )


def _codes(arrays: Mapping[str, npt.NDArray[np.generic]], name: str) -> tuple[str, ...] | None:
    """Run lengths, a line each; None where there are none."""
    if name not in arrays:
        return None
    return tuple(_of_kind(arrays, name, "u").astype(np.uint8).tobytes().decode("ascii").splitlines())


def _fits(golden: Golden) -> bool:
    """Whether the candidates are of one length, and have masks where the detections have."""
    rows = golden.candidates
    if rows is None:
        return True
    count = rows.anchors.size
    return (
        count <= MOST_CANDIDATES
        and rows.anchors.shape == rows.classes.shape == rows.scores.shape == (count,)
        and rows.boxes.shape == rows.input_boxes.shape == (count, 4)
        and (rows.rle is None) == (golden.rle is None)
        and (rows.rle is None or len(rows.rle) == count)
        and bool(np.isfinite(rows.input_boxes).all() and np.isfinite(rows.scores).all())
    )


def _of_kind(arrays: Mapping[str, npt.NDArray[np.generic]], name: str, kinds: str) -> npt.NDArray[np.generic]:
    """One array, if its dtype is of a kind that can be converted without a word lost."""
    array = arrays[name]
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} holds {array.dtype}")
    return array


def write_golden(path: str, golden: Golden) -> None:
    """Writes a golden file.

    Args:
        path: Where; should end in ``.npz``.
        golden: What; its name is not part of the file.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "pixels": golden.pixels,
        "image_size": np.array(golden.image_size),
        "conf": np.array(golden.conf),
        "iou": np.array(golden.iou),
        "max_det": np.array(golden.max_det),
        "boxes": golden.boxes,
        "scores": golden.scores,
        "classes": golden.classes,
    }
    if golden.rle is not None:
        arrays["rle"] = _lines(golden.rle)
    rows = golden.candidates
    if rows is not None:
        for key in ("anchors", "classes", "scores", "boxes", "input_boxes"):
            arrays[f"candidate_{key}"] = getattr(rows, key)
        if rows.rle is not None:
            arrays["candidate_rle"] = _lines(rows.rle)
    np.savez_compressed(path, allow_pickle=False, **arrays, **golden.outputs)


def _lines(codes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Run lengths as one array, a line each."""
    return np.frombuffer("".join(f"{code}\n" for code in codes).encode("ascii"), np.uint8)


def rle_of_mask(mask: npt.NDArray[np.bool_]) -> str:
    """Compressed run lengths of a mask, as COCO writes them.

    Runs go down the columns and start with zeros; from the fourth on, each is the difference to the one two before;
    each number is written in groups of five bits, lowest first, as characters from '0' on.

    Args:
        mask: ``(H, W)``.
    """
    flat = np.asarray(mask, np.bool_).ravel(order="F")
    if not flat.size:
        return ""
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    counts = np.diff(edges, prepend=0).tolist()
    text = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != (-1 if group & 0x10 else 0)
            text.append(chr((group | (0x20 if more else 0)) + 48))
    return "".join(text)


def mask_of_rle(counts: str, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask that run lengths stand for: the reverse of `rle_of_mask`.

    Args:
        counts: COCO's compressed run lengths.
        size: Height and width.

    Returns:
        ``(H, W)`` mask.

    Raises:
        ValueError: The runs do not cover the picture exactly.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 45:  # no number of a picture is longer
            raise ValueError("run lengths with a character or a number that COCO does not write")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift or any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError(f"run lengths that do not cover a picture of {size[0]}x{size[1]}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(size, order="F"))
