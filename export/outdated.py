"""Finds blocks of ours in a checkpoint that another version of Lineside saved.

A checkpoint is a pickle: it keeps the attributes that a block had when it was saved, and takes its code from what is
installed now. Where that code reads an attribute that was not there then, it would fail somewhere in the middle of a
training or an export, with the words of Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lineside.export.blocks import UserBlocks
from lineside.export.building import construct
from lineside.export.structures import check_structure
from lineside.export.ultra import TASKS
from lineside.runtime.errors import LinesideError, WeightsError

__all__ = ["require_current"]

OURS = "lineside.export."


def require_current(model: Any, path: str | Path, blocks: UserBlocks) -> None:
    """Compares every block of ours in a model from a checkpoint with a new one of the same structure.

    Training needs none of this: it builds the model anew and takes over the weights that fit.

    Args:
        model: The model of `lineside.export.ultra.load_model`; one without blocks of ours is not looked at.
        path: Where it comes from; anything but a ``.pt`` was built just now.
        blocks: The user's blocks.

    Raises:
        WeightsError: A block lacks something that it has today.
    """
    if Path(path).suffix.lower() != ".pt" or not any(_is_ours(module) for module in model.modules()):
        return
    structure = dict(getattr(model, "yaml", None) or {})
    try:
        check_structure(structure, str(path))
        new = dict(construct(structure, str(path), 0, TASKS[model.task], blocks).named_modules())
    except LinesideError:
        return  # no structure that could be built again; whatever is wrong will show
    for name, module in model.named_modules():
        lacks = _names(new[name]) - _names(module) if _is_ours(module) and type(new.get(name)) is type(module) else ()
        if lacks:
            raise WeightsError(
                f"'{path}' was saved with another version of Lineside: {name}, {type(module).__name__}, has no "
                f"'{min(lacks)}', which it has in this one. Use the best.safetensors that training left beside it, or "
                "the version that it was trained with; `lineside train` can start from it and keeps what fits."
            )


def _is_ours(module: Any) -> bool:
    """Whether a block comes from Lineside."""
    return type(module).__module__.startswith(OURS)


def _names(module: Any) -> set[str]:
    """Names of everything that a block holds."""
    own = vars(module)
    inner = ("_modules", "_parameters", "_buffers")
    return {name for name in own if not name.startswith("_")} | {name for kind in inner for name in own[kind]}
