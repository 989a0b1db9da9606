"""Brings the rows of two end-to-end heads into one order.

Such a head sorts its rows by score. Two rows of nearly the same score may take each other's place, in the last bit, so
rows are matched by what they hold before they are compared one by one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lineside.export.parity.reference import Seen

__all__ = ["follow", "match_rows", "parts_of", "rows_of"]

Rows = npt.NDArray[Any]


def match_rows(rows: Rows, others: Rows) -> npt.NDArray[np.int64]:
    """Finds the counterpart of each row, best score first.

    Args:
        rows: ``(K, 6 + coefficients)``: box, score, class, coefficients.
        others: ``(L, 6 + coefficients)``.

    Returns:
        ``(min(K, L),)``: for each row the nearest row of the others, of its class while there is one, each taken once.
    """
    count = min(len(rows), len(others))
    mine, theirs = rows[:count].astype(np.float64), others.astype(np.float64)
    far = np.stack([np.abs(theirs - row).sum(axis=1) for row in mine]) if count else np.zeros((0, len(theirs)))
    far = np.where(mine[:, None, 5] == theirs[None, :, 5], far, far + 1e12)
    order = np.empty(count, np.int64)
    for index in range(count):
        order[index] = np.argmin(far[index])
        far[:, order[index]] = np.inf
    return order


def follow(rows: Rows, seen: Seen) -> Seen:
    """A view of a picture with its rows in the order of another view.

    Args:
        rows: The other view's rows ``(K, 6 + coefficients)``.
        seen: Rows of an end-to-end head.

    Returns:
        The same with counterparts first, in order, then the rest; ``raw`` holds as many rows as before.
    """
    table = rows_of(seen)
    first = match_rows(rows, table)
    rest = np.setdiff1d(np.arange(len(table)), first)
    order = torch.from_numpy(np.concatenate([first, rest]))
    name = next(iter(seen.raw))
    kept = seen.raw[name].shape[1]
    return dataclasses.replace(
        seen,
        raw={**seen.raw, name: table[order.numpy()][None, :kept].astype(np.float32)},
        input_boxes=seen.input_boxes[order],
        boxes=seen.boxes[order],
        scores=seen.scores[order],
        coefficients=seen.coefficients[order],
    )


def rows_of(seen: Seen) -> npt.NDArray[np.float64]:
    """The rows of an end-to-end head, ``(K, 6 + coefficients)``: box, score, class, coefficients."""
    scores, classes = seen.scores.max(1)
    table = [seen.input_boxes, scores[:, None], classes[:, None].double(), seen.coefficients.double()]
    return np.asarray(torch.cat(table, 1).numpy())


def parts_of(name: str, rows: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Rows ``(1, K, 6 + coefficients)`` by purpose: beside boxes in pixels, wrong scores would not show in a cosine."""
    parts = {"boxes": rows[..., :4], "scores": rows[..., 4:5], "classes": rows[..., 5:6], "coefficients": rows[..., 6:]}
    return {f"{name} {purpose}": part for purpose, part in parts.items() if part.shape[-1]}
