"""Whether the pictures of a gate tell anything: a model that answers all of them alike agrees with anybody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lineside.export.parity.result import PictureReport

__all__ = ["Apart"]

Tensor = npt.NDArray[np.float32]

ROUNDINGS = 10
"""Answers to two pictures are different where they are this many times further apart than the two sides of the gate."""


class Apart:
    """Keeps the answers to the first picture, and how far those to the others are from them."""

    def __init__(self) -> None:
        self._first: tuple[Tensor, ...] = ()
        self._furthest = 0.0

    def see(self, outputs: Sequence[Tensor]) -> None:
        """Takes note of the answers to a picture.

        Args:
            outputs: Output tensors of the graph, always of the same shapes but for final rows, whose number may differ.
        """
        if not self._first:
            self._first = tuple(outputs)
            return
        for first, output in zip(self._first, outputs, strict=True):
            if first.shape != output.shape:
                self._furthest = float("inf")
            elif output.size:
                self._furthest = max(self._furthest, float(np.abs(output - first).max()))

    def blind(self, pictures: Sequence[PictureReport]) -> bool:
        """Whether all answers were alike, but for what rounding makes.

        Args:
            pictures: What the gate measured on the same pictures.

        Returns:
            False for fewer than two pictures, of which nothing can be said.
        """
        if len(pictures) < 2:
            return False
        rounding = max(measure.max_abs for picture in pictures for measure in picture.raw)
        return self._furthest <= ROUNDINGS * rounding
