"""What tensors of a graph hold, for some pictures."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Ranges"]

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value that is to be kept, by name of the tensor."""
