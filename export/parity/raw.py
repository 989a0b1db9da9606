"""Level 1 of the gate: every output tensor, element by element."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lineside.export.parity.result import RawMeasure

__all__ = ["compare_focus", "compare_raw", "cosine"]

Tensor = npt.NDArray[np.float32]


def cosine(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Cosine of the angle between two tensors as vectors; 1 for two zero vectors, NaN where a value is not finite."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
        if lengths == 0:
            return 1.0 if not x.any() and not y.any() else 0.0
        return float(x @ y) / lengths


def compare_raw(shipped: Mapping[str, Tensor], torch_side: Mapping[str, Tensor]) -> tuple[RawMeasure, ...]:
    """Compares outputs by name.

    Args:
        shipped: Outputs of the graph that ships.
        torch_side: Outputs of torch.

    Returns:
        One measure per output of torch. An output that the other side lacks, or has in another shape, has cosine 0.
    """
    measures = []
    for name, want in torch_side.items():
        found = shipped.get(name)
        if found is None or found.shape != want.shape or not want.size:
            measures.append(RawMeasure(output=name, cosine=0.0, max_abs=float("inf")))
            continue
        worst = float(np.abs(found.astype(np.float64) - want).max())
        measures.append(RawMeasure(output=name, cosine=cosine(found, want), max_abs=worst))
    return tuple(measures)


def compare_focus(shipped: Tensor, torch_side: Tensor) -> float:
    """Greatest difference of a probability between two focus maps.

    Args:
        shipped: ``(1, 1, h, w)`` logits of the graph that ships.
        torch_side: The same of torch.

    Returns:
        From 0 to 1; infinity where the shapes differ or the map is empty, NaN where a value is no number.
    """
    if shipped.shape != torch_side.shape or not shipped.size:
        return float("inf")
    with np.errstate(over="ignore"):  # the exponential of a large number is infinite, and the probability 0
        mine, theirs = (1 / (1 + np.exp(-part.astype(np.float64))) for part in (shipped, torch_side))
    return float(np.abs(mine - theirs).max())
