"""What the output of a decode tail must be, element by element: head contract ``flat`` in terms of ``levels``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineside.export.tails.linear import DISTANCE, KIND, RAW, SIGMOID, Linear, UnknownTail, joined, same
from lineside.export.tails.operators import HeadTensors
from lineside.runtime.contract import HeadContract

__all__ = ["match"]

Atoms = npt.NDArray[np.int64]


def match(output: Linear, tensors: HeadTensors, head: HeadContract, batch: int) -> tuple[int, list[str]]:
    """Finds out which head tensor is what, and proves that the output is their decoding.

    Args:
        output: Elements of the flat output ``(batch, 4 + classes + coefficients, anchors)``.
        tensors: The head tensors.
        head: Contract of the flat output.
        batch: Pictures per run.

    Returns:
        Bins of a box distribution per side (1 where distances are predicted directly), and names of the head tensors
        in the order of contract ``levels``, without prototypes.

    Raises:
        UnknownTail: The output is anything else.
    """
    shape = (batch, 4 + head.classes + head.coefficients, head.anchors)
    if output.shape != shape:
        raise UnknownTail(f"its output has the shape {list(output.shape)}, and its contract says {list(shape)}")
    reg_max = tensors.bins or 1
    names: list[str] = []
    levels = []
    start = 0
    for stride, grid in zip(head.strides, head.grids, strict=True):
        rows = [0, 4, *([4 + head.classes] if head.coefficients else [])]
        widths = [4 * reg_max, head.classes, *([head.coefficients] if head.coefficients else [])]
        owners = [_owner(output, tensors, row, start) for row in rows]
        for owner, width in zip(owners, widths, strict=True):
            if tensors.shapes[owner] != (batch, width, *grid):
                raise UnknownTail(
                    f"stride {stride} has a head tensor of shape {list(tensors.shapes[owner])}, "
                    f"expected {[batch, width, *grid]}"
                )
        levels.append(_level([tensors.elements(owner) for owner in owners], stride, reg_max))
        names += [tensors.names[owner] for owner in owners]
        start += grid[0] * grid[1]
    agree = same(output, joined(levels, 2))
    if not agree.all():
        wrong = np.argwhere(~agree)[0]
        raise UnknownTail(
            f"row {wrong[1]} of anchor {wrong[2]} is not what a YOLO head decodes to "
            f"({int(np.count_nonzero(~agree))} of {agree.size} values differ from the formula)"
        )
    if len(set(names)) != len(names):
        raise UnknownTail("one head tensor serves two purposes")
    return reg_max, names


def _owner(output: Linear, tensors: HeadTensors, row: int, anchor: int) -> int:
    """The head tensor that an element of the output begins with."""
    for atoms, factors in zip(output.atoms, output.factors, strict=True):
        if factors[0, row, anchor] != 0:
            return int(tensors.owner(atoms[0, row, anchor] % KIND))
    raise UnknownTail(f"row {row} of anchor {anchor} does not depend on the picture")


def _level(elements: list[Atoms], stride: int, reg_max: int) -> Linear:
    """The decoding of one level: boxes as centre and size in input pixels, probabilities, coefficients.

    With distances d from the anchor point p = (column, row) + 1/2 to the four sides, in cells, in the order left, top,
    right, bottom: centre = stride * (p + (d_after - d_before) / 2), size = stride * (d_after + d_before). A distance is
    the mean of a softmax over its bins (Generalized Focal Loss, arXiv 2006.04388), or the output itself without bins.
    """
    box, scores = elements[0], elements[1]
    batch, _, height, width = box.shape
    kind = DISTANCE if reg_max > 1 else RAW
    sides = box[:, ::reg_max].reshape(batch, 4, -1) + kind
    before, after = sides[:, :2], sides[:, 2:]
    row, column = np.mgrid[:height, :width].reshape(2, -1) + 0.5
    point = np.broadcast_to(np.stack([column, row]) * stride, before.shape)
    full, half = np.full(before.shape, float(stride)), np.full(before.shape, stride / 2)
    centre = Linear((before, after), (-half, half), point)
    size = Linear((before, after), (full, full), np.zeros(before.shape))
    rest = [scores.reshape(batch, scores.shape[1], -1) + SIGMOID]
    rest += [part.reshape(batch, part.shape[1], -1) + RAW for part in elements[2:]]
    plain = [Linear((atoms,), (np.ones(atoms.shape),), np.zeros(atoms.shape)) for atoms in rest]
    return joined([centre, size, *plain], 1)
