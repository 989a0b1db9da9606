"""How far our masks agree with ultralytics' ``process_mask_native``: both demo models, real raw outputs, many sizes.

Every demo picture and some frames of the demo video go through the bundle's model at several picture sizes. Our side
decodes the raw levels; ultralytics' side gets the flat table that its own graph would have computed of them, and does
its own NMS, its own geometry and its own masks. Where the picture and the padding fall on whole prototype cells both
resample once, and the masks are equal but for the last bits; elsewhere ultralytics resamples twice, and they are close.
Accuracy beside ground truth is another matter: ``accuracy.py`` and ``lineside verify``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import free_openblas
from peers.client import Wanted, Worker, workers, write_scene
from postprocess import OURS, spread
from scenes import flat_of

DEMO = Path(__file__).resolve().parents[1] / "demo"
BUNDLES = ("bearing", "tube")
PEER = "ultralytics process_mask_native"
SIZES = ((640, 640), (960, 1280), (1200, 1920), (1080, 1920), (717, 1283), (500, 640))
"""Heights and widths that the pictures are brought to: the first three end on whole cells at input 320."""
EQUAL, CLOSE = 0.9999, 0.99
"""Mean IoU to reach where both resample once, and elsewhere."""


def whole_cells(box: Any) -> bool:
    """Whether a letterbox's content and padding fall on whole prototype cells, which are 4 input pixels wide."""
    return all(value % 4 == 0 for value in (*box.content_size, *box.pad))


def pictures(task: str, size: tuple[int, int], frames: int) -> Iterator[Any]:
    """The demo's pictures of a task, and frames of its video, at one size: tiles of the picture, not stretched."""
    import cv2
    import numpy as np

    found = [cv2.imread(str(path)) for path in sorted((DEMO / "pictures" / task).glob("*.jpg"))]
    if task == "bearing":
        video = cv2.VideoCapture(str(DEMO / "line.mp4"))
        total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        for at in np.linspace(0, total - 1, frames).astype(int):
            video.set(cv2.CAP_PROP_POS_FRAMES, int(at))
            read, frame = video.read()
            if read:
                found.append(frame)
        video.release()
    for picture in found:
        scale = max(size[0] / picture.shape[0], size[1] / picture.shape[1] / 2)
        height, width = round(picture.shape[0] * scale), round(picture.shape[1] * scale)
        one = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        repeats = (-(-size[0] // height), -(-size[1] // width), 1)
        yield np.ascontiguousarray(np.tile(one, repeats)[: size[0], : size[1]])


def scene_of(model: Any, picture: Any, path: Path) -> tuple[Path, Any]:
    """The raw outputs of a picture as a scene, and how the picture lies in the input."""
    import numpy as np

    from lineside.runtime.preprocess import Preprocessor

    head, wanted = model.manifest.head, model.manifest.input
    tensor = np.zeros(wanted.shape, np.float32)
    box = Preprocessor(wanted.size).prepare(picture, tensor[0])
    *levels, protos = model.infer(tensor)
    limits = model.manifest.thresholds
    asked = Wanted(
        limits.conf, limits.iou, limits.max_det, box.image_size, box.content_size, box.pad, tuple(head.input_size)
    )
    return write_scene(path, asked, flat_of(levels, tuple(head.input_size)), protos, levels), box


def compare(mine: dict[str, Any], theirs: dict[str, Any], image: tuple[int, int]) -> dict[str, Any]:
    """Objects of both sides in pairs by score, which is the order of both; masks laid over each other."""
    import numpy as np

    if len(mine["scores"]) != len(theirs["scores"]):
        return {"ours": len(mine["scores"]), "theirs": len(theirs["scores"]), "iou": [], "boxes": [], "differing": 0}
    pairs = [(spread(a, image), spread(b, image)) for a, b in zip(mine["crops"], theirs["crops"], strict=True)]
    return {
        "ours": len(mine["scores"]),
        "theirs": len(theirs["scores"]),
        "iou": [a.iou(b) for a, b in pairs],
        "boxes": np.abs(mine["boxes"] - theirs["boxes"]).max(1, initial=0).tolist(),
        "differing": sum(a.area + b.area - 2 * a.intersection(b) for a, b in pairs),
        "pixels": sum(b.area for _, b in pairs),
    }


def measure_size(
    asked: dict[str, Worker], model: Any, task: str, size: tuple[int, int], folder: Path, frames: int
) -> dict[str, Any]:
    """Both sides on all pictures of a task at one size."""
    parts = []
    for picture in pictures(task, size, frames):
        path, box = scene_of(model, picture, folder / "scene.npz")
        for worker in asked.values():
            worker.open(path)
        mine = asked[OURS].save(OURS, folder / "ours.npz")
        theirs = asked["ultralytics"].save(PEER, folder / "theirs.npz")
        parts.append(compare(mine, theirs, size))
    overlaps = [value for part in parts for value in part["iou"]]
    return {
        "whole_cells": whole_cells(box),
        "pictures": len(parts),
        "objects": sum(part["ours"] for part in parts),
        "objects_theirs": sum(part["theirs"] for part in parts),
        "compared": len(overlaps),
        "mean_iou": round(sum(overlaps) / len(overlaps), 7) if overlaps else None,
        "least_iou": round(min(overlaps), 7) if overlaps else None,
        "differing_pixels": sum(part["differing"] for part in parts),
        "pixels": sum(part.get("pixels", 0) for part in parts),
        "largest_box_difference": round(max((v for part in parts for v in part["boxes"]), default=0.0), 5),
    }


def measure(sizes: Sequence[tuple[int, int]] = SIZES, frames: int = 12) -> dict[str, Any]:
    """Agreement of both demo models.

    Args:
        sizes: Heights and widths of pictures.
        frames: Frames of the demo video beside the pictures.

    Returns:
        By bundle and size: objects on both sides, IoU of their masks, differing pixels, difference of the boxes in
        pixels; and, if ultralytics is missing, why.
    """
    import lineside

    result: dict[str, Any] = {"peer": PEER, "bundles": {}}
    with tempfile.TemporaryDirectory() as folder, workers([OURS, "ultralytics"]) as (asked, missing):
        result["missing"] = missing
        for task in () if missing else BUNDLES:
            with lineside.load(DEMO / f"{task}.bundle") as model:
                result["bundles"][task] = {
                    f"{size[1]}x{size[0]}": measure_size(asked, model, task, size, Path(folder), frames)
                    for size in sizes
                }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=12, help="frames of the demo video")
    print(json.dumps(measure(frames=parser.parse_args().frames), indent=2))


if __name__ == "__main__":
    free_openblas()
    main()
