"""Answers the cases of AutoFocus: FocusPixel labels, chips, and what focus stacking keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineside.export.modules.check.case import EXACT, NoHandler
from lineside.runtime.chips import focus_chips
from lineside.runtime.focus import STRIDE, FocusSizes, focus_labels, keep_whole

if TYPE_CHECKING:
    import torch

    from lineside.export.modules.check.case import Case

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = EXACT

ORDERS = {"lexicographic": (0, 1, 2, 3), "raster": (1, 0, 3, 2)}
"""By which columns the rows of chips are sorted, the first one first."""


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our geometry gives for a case.

    Args:
        case: A case with ``out.labels``, ``out.chips`` or ``out.keep``.

    Raises:
        NoHandler: It asks for something else.
    """
    import torch

    known = {"labels": _labels, "chips": _chips, "keep": _keep}
    asked = [name for name in case.expected if name in known]
    if len(asked) != 1:
        raise NoHandler(f"AutoFocus has no case with outputs {', '.join(case.expected)}, only with {', '.join(known)}")
    (name,) = asked
    return {name: torch.from_numpy(np.ascontiguousarray(known[name](case)))}


def _labels(case: Case) -> npt.NDArray[Any]:
    hyper = case.hyper
    stride = int(hyper.get("stride", STRIDE))
    rows, columns = case.expected["labels"].shape
    for name, cells in (("height", rows), ("width", columns)):
        # Nothing says whether a last cell that is not whole counts, so what is expected says it.
        if name in hyper and cells not in (hyper[name] // stride, -(-hyper[name] // stride)):
            raise NoHandler(f"labels have {cells} cells along the {name} of {hyper[name]} pixels, {stride} to a cell")
    words = str(hyper.get("overlap", "last"))
    return focus_labels(
        case.inputs["boxes"].numpy(),
        (rows, columns),
        FocusSizes(*(float(hyper.get(name, usual)) for name, usual in (("a", 5), ("b", 64), ("c", 90)))),
        stride,
        upstream_order="last" in words,
    )


def _chips(case: Case) -> npt.NDArray[Any]:
    hyper = case.hyper
    stride = int(hyper.get("stride", STRIDE))
    order = str(hyper.get("order", "lexicographic"))
    if order not in ORDERS:
        raise NoHandler(f"chips in the order {order!r}, and known are {', '.join(ORDERS)}")
    least = hyper.get("min_chip_feat")
    size = (int(hyper["im_height"]), int(hyper["im_width"])) if "im_height" in hyper else None
    chips = focus_chips(
        case.inputs["prob"].numpy(),
        threshold=float(hyper.get("threshold", 0.5)),
        dilation=int(hyper.get("dilation", 3)),
        least=int(hyper.get("min_chip_px", 16 * stride)) // stride if least is None else int(least),
        stride=stride,
        input_size=size,
        scale=float(hyper.get("cscale", 1.0)),
    )
    return chips[np.lexsort([chips[:, column] for column in reversed(ORDERS[order])])]


def _keep(case: Case) -> npt.NDArray[Any]:
    hyper, inputs = case.hyper, case.inputs
    return keep_whole(
        inputs["dets"].numpy(),
        inputs["chips"].numpy(),
        inputs["chip_index"].numpy(),
        (int(hyper["im_height"]), int(hyper["im_width"])),
        float(hyper.get("delta", 10)),
    )
