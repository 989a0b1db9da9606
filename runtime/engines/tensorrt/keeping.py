"""Objects that must never be freed, not even when the program ends.

TensorRT 10.3 ends the program when Python frees a plugin that TensorRT has seen, and 11.4 when Python frees a runtime that
could not be started. Being in a list of a module is not enough: modules are cleared at the end.
"""

from __future__ import annotations

import ctypes
from typing import TypeVar

__all__ = ["immortal"]

Held = TypeVar("Held")


def immortal(held: Held) -> Held:
    """Gives an object a reference that nobody ever takes away; a few hundred bytes each."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    return held
