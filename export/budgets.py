"""Bounds that blocks, exports and ``lineside doctor`` share; nothing is imported for them."""

from __future__ import annotations

__all__ = ["MASK_BYTES"]

MASK_BYTES = 16_000_000
"""Largest mask that a graph may hold as a constant."""
