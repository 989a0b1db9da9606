"""What a model puts out for a picture, before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineside.runtime.focus import focus_scores
from lineside.runtime.geometry import Letterbox

__all__ = ["Raw"]


@dataclass(frozen=True)
class Raw:
    """The outputs of one picture.

    Attributes:
        letterbox: How the picture lies in the input; takes boxes back to the picture.
        outputs: Float32 tensors by the names of the head contract and in its order, batch 1: what
            `lineside.runtime.decode` takes as ``list(raw.outputs.values())``.
    """

    letterbox: Letterbox
    outputs: Mapping[str, npt.NDArray[np.float32]]

    @property
    def focus(self) -> npt.NDArray[np.float32] | None:
        """``(h, w)`` probability of each cell that a small object lies there; None for a model that does not say.

        A cell is as many pixels of the input as ``focus`` in the head contract says;
        `lineside.runtime.chips.focus_chips` makes chips of it.
        """
        logits = self.outputs.get("focus")
        return None if logits is None else focus_scores(logits[0, 0])
