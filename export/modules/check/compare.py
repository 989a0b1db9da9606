"""Compares what a module gives with what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

__all__ = ["Comparison", "compare", "relative_error"]


@dataclass(frozen=True)
class Comparison:
    """How far outputs are from what is expected.

    Attributes:
        error: The largest relative error among the outputs; infinite where one is missing, has another shape or is
            not finite where it should be.
        output: Name of the output with that error.
        fault: Why the error is infinite; empty otherwise.
    """

    error: float
    output: str
    fault: str = ""


def compare(got: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> Comparison:
    """Compares all outputs of a case; outputs that nobody asked for are left alone.

    Args:
        got: What the module gave.
        expected: What it should have given, at least one tensor.

    Returns:
        The comparison of the worst output.
    """
    worst = Comparison(-1.0, "")
    for name, wanted in expected.items():
        found = _compare_one(name, got.get(name), wanted)
        if not found.error <= worst.error:  # a NaN is worse than anything
            worst = found
    return worst


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """``max|got - expected| / max|expected|``, in float64; over 1 where everything expected is zero.

    Args:
        got: Any shape and dtype.
        expected: The same shape. Where it is infinite, ``got`` must be the same infinity; a NaN is equal to nothing.

    Returns:
        The error; infinite where ``got`` is not finite and ``expected`` is, or the other way round, or for a NaN.
    """
    got, expected = got.detach().cpu().double(), expected.detach().cpu().double()
    if not got.numel():
        return 0.0
    finite = torch.isfinite(expected)
    strange = ~finite
    same = got == expected
    if not bool(same[strange].all()) or not bool(torch.isfinite(got[finite]).all()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    scale = float(expected[finite].abs().max()) or 1.0
    return float((got[finite] - expected[finite]).abs().max()) / scale


def _compare_one(name: str, got: torch.Tensor | None, expected: torch.Tensor) -> Comparison:
    """One output."""
    if not isinstance(got, torch.Tensor):
        return Comparison(float("inf"), name, f"{name} is not among the answers")
    if got.shape != expected.shape:
        return Comparison(float("inf"), name, f"{name} has shape {tuple(got.shape)}, not {tuple(expected.shape)}")
    error = relative_error(got, expected)
    fault = f"{name} is not finite where it should be" if error == float("inf") else ""
    if bool(torch.isnan(expected).any()):
        fault = f"NaN is expected of {name}, and nothing can be compared with that"
    return Comparison(error, name, fault)
