"""Several arrays in one block of memory, each where every device can read it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ALIGNMENT", "Layout"]

ALIGNMENT = 256
"""Where an array may begin: a multiple of what CUDA's allocators keep to."""


class Layout:
    """Where the parts of a block lie.

    Args:
        parts: Bytes of each part, by name, in order.

    Attributes:
        nbytes: Of the whole block, from 1.
    """

    def __init__(self, parts: Mapping[str, int]) -> None:
        self._begins: dict[str, int] = {}
        end = 0
        for name, nbytes in parts.items():
            self._begins[name] = end
            end += -(-nbytes // ALIGNMENT) * ALIGNMENT
        self.nbytes = max(end, 1)

    def __getitem__(self, name: str) -> int:
        """Where a part begins, in bytes from the begin of the block."""
        return self._begins[name]

    def at(self, address: int) -> dict[str, int]:
        """Where each part begins in a block that lies at an address."""
        return {name: address + begin for name, begin in self._begins.items()}
