"""Lineside's native core: spans of all masks, as a frame of the line uses them; and the same with a crop of each."""

from __future__ import annotations

from typing import Any

from serve import Scene, Way, serve

from lineside.runtime.contract import HeadContract
from lineside.runtime.geometry import Letterbox
from lineside.runtime.postprocess import Postprocessor


def ways_of(scene: Scene) -> dict[str, Way]:
    """Both ways, on the levels where the scene has them, else on the flat output."""
    levels = scene.levels
    head = HeadContract(
        kind="levels" if levels else "flat",
        classes=scene.classes,
        coefficients=scene.coefficients,
        input_size=(scene.input[0], scene.input[1]),
    )
    outputs = [*levels, scene.arrays["protos"]] if levels else [scene.arrays["flat"], scene.arrays["protos"]]
    box = Letterbox.fit(image_size=(scene.image[0], scene.image[1]), input_size=(scene.input[0], scene.input[1]))
    post = Postprocessor(head)

    def run() -> Any:
        return post.run(outputs, box, conf=scene.conf, iou=scene.iou, max_det=scene.max_det)

    def with_crops() -> Any:
        found = run()
        return found, [mask.crop() for mask in found.masks]

    return {
        "lineside": Way(run, lambda found: (found.boxes, found.scores, [mask.crop() for mask in found.masks])),
        "lineside with crops": Way(with_crops, lambda both: (both[0].boxes, both[0].scores, both[1])),
    }


if __name__ == "__main__":
    serve(ways_of)
