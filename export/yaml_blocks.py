"""Lets model yamls name a user's blocks.

ultralytics' parser looks block names up among the globals of ``ultralytics.nn.tasks``. An unknown block gets the
arguments of its row as they stand, and is taken to keep the number of channels. A block that changes it says so::

    class EMADown(nn.Module):
        lineside_args = ("c1", "c2")        # or ("c1", "c2", "n")

Then its row is read like that of ``Conv`` (``[-1, 1, EMADown, [128, ...]]``): the parser scales the wanted channels
with the width of the model and calls ``EMADown(c1, c2, ...)`` with the channels that really come in. With ``n`` the
number of repeats follows as third argument, as for ``C2f``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lineside.export.blocks import UserBlocks
from lineside.runtime.errors import BadOption

__all__ = ["ATTRIBUTE", "registered"]

ATTRIBUTE = "lineside_args"

LIKE = {("c1", "c2"): "Conv", ("c1", "c2", "n"): "C2f"}
"""What a block declares, and the class of ultralytics whose rows are read that way."""


class _ReadLike:
    """Stands for a block in the parser, which asks of each class whether it is one of those with channels: yes.

    Args:
        block: The user's class.
        like: The class of ultralytics that it is read like; equal to it wherever the parser looks into a set.
    """

    def __init__(self, block: type, like: type) -> None:
        self._block, self._like = block, like

    def __hash__(self) -> int:
        return hash(self._like)

    def __eq__(self, other: object) -> bool:
        return other is self._like or other is self

    def __call__(self, *arguments: Any) -> Any:
        return self._block(*arguments)

    def __str__(self) -> str:
        return str(self._block)


@contextmanager
def registered(blocks: UserBlocks) -> Iterator[None]:
    """Lets model yamls name the user's blocks for as long as the block runs; names that ultralytics has stay its own.

    Args:
        blocks: The user's blocks.

    Raises:
        BadOption: A block declares arguments that ultralytics' parser cannot fill in.
    """
    tasks = importlib.import_module("ultralytics.nn.tasks")
    added = {name: _entry(name, block, tasks) for name, block in blocks.modules().items() if not hasattr(tasks, name)}
    vars(tasks).update(added)
    try:
        yield
    finally:
        for name in added:
            vars(tasks).pop(name, None)


def _entry(name: str, block: type, tasks: Any) -> Any:
    """What the parser finds under the name of a block."""
    declared = getattr(block, ATTRIBUTE, None)
    if declared is None:
        return block
    like = LIKE.get(tuple(declared)) if isinstance(declared, (tuple, list)) else None
    if like is None:
        allowed = " or ".join(str(words) for words in LIKE)
        raise BadOption(f"--modules: {name}.{ATTRIBUTE} is {declared!r}, and ultralytics' parser can fill in {allowed}")
    return _ReadLike(block, getattr(tasks, like))
