"""Metadata entries that hold Python literals, read and never run."""

from __future__ import annotations

import ast
from typing import Any

__all__ = ["literal"]


def literal(text: str | None) -> Any:
    """The Python literal that a metadata entry holds; None where it holds none."""
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
