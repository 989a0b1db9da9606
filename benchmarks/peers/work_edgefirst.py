"""edgefirst-decoder and -image: masks of each object at picture resolution, and the coarser ones of prototype size.

Its tensors are filled beforehand: in its own pipeline the engine writes into them. Boxes are given from 0 to 1 as its
decoder wants them; with boxes in pixels it answers with empty masks and no error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from edgefirst.decoder import Decoder, DimName, Output, Tensor
from edgefirst.image import ImageProcessor, MaskResolution
from serve import Crop, Scene, Way, serve


def decoder_of(scene: Scene) -> Any:
    """Its decoder for the scene's shapes, without its cap of 300 candidates, which would lose objects here."""
    features, anchors = scene.arrays["flat"].shape[1:]
    _, n, h, w = scene.arrays["protos"].shape
    table = [(DimName.Batch, 1), (DimName.NumFeatures, features), (DimName.NumBoxes, anchors)]
    planes = [(DimName.Batch, 1), (DimName.NumProtos, n), (DimName.Height, h), (DimName.Width, w)]
    decoder = Decoder.new_from_outputs(
        outputs=[Output.detection(dshape=table).with_normalized(True), Output.protos(dshape=planes)],
        score_threshold=scene.conf,
        iou_threshold=scene.iou,
        input_dims=(scene.input[1], scene.input[0]),
    )
    decoder.pre_nms_top_k = 0
    decoder.max_det = scene.max_det
    return decoder


def tensor_of(array: Any) -> Any:
    """One of its tensors with an array's values."""
    tensor = Tensor(array.shape, "float32")
    tensor.from_numpy(np.ascontiguousarray(array))
    return tensor


def ways_of(scene: Scene) -> dict[str, Way]:
    """Both ways, with the threads that it takes by itself."""
    flat = scene.arrays["flat"].copy()
    flat[:, :4] /= np.array([scene.input[1], scene.input[0]] * 2, np.float32)[:, None]
    outputs = [tensor_of(flat), tensor_of(scene.arrays["protos"])]
    decoder, processor = decoder_of(scene), ImageProcessor()
    (height, width), (left, top) = scene.image, scene.pad
    window = (
        left / scene.input[1],
        top / scene.input[0],
        (left + scene.content[1]) / scene.input[1],
        (top + scene.content[0]) / scene.input[0],
    )
    size = MaskResolution.Scaled(width, height)

    def native() -> Any:
        boxes, scores, classes, protos = decoder.decode_proto(outputs, max_boxes=scene.max_det)
        return boxes, scores, processor.materialize_masks(boxes, scores, classes, protos, window, size)

    def coarse() -> Any:
        return decoder.decode(outputs, max_boxes=scene.max_det)

    def tell(found: Any) -> tuple[Any, Any, list[Crop]]:
        boxes, scores, tables = found
        pixels = np.asarray(boxes) * ([scene.input[1], scene.input[0]] * 2) - [left, top, left, top]
        pixels = pixels / ([scene.content[1] / width, scene.content[0] / height] * 2)
        pixels = np.clip(pixels, 0, [width, height, width, height])
        corners = np.floor(pixels[:, :2] + 1e-3).astype(int)
        crops = [(int(x), int(y), table[..., 0] > 127) for (x, y), table in zip(corners, tables, strict=True)]
        return pixels, scores, crops

    def tell_coarse(found: Any) -> tuple[Any, Any, list[Crop]]:
        return np.asarray(found[0]), np.asarray(found[1]), [(0, 0, table[..., 0] > 127) for table in found[3]]

    return {"edgefirst": Way(native, tell), "edgefirst, prototype size": Way(coarse, tell_coarse)}


if __name__ == "__main__":
    serve(ways_of)
