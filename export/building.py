"""Builds a model from its structure; where that fails, says at which layer and why, in one sentence."""

from __future__ import annotations

import contextlib
import importlib
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from lineside.export.blocks import UserBlocks
from lineside.export.yaml_blocks import ATTRIBUTE, registered
from lineside.runtime.errors import LinesideError, WeightsError

__all__ = ["construct"]


def construct(structure: dict[str, Any], name: str, seed: int, model: str, blocks: UserBlocks) -> Any:
    """Builds a model with seeded random weights; the caller's random state is left as it was.

    Args:
        structure: ultralytics' model yaml as a dict, looked at by `lineside.export.structures.check_structure`.
        name: What to call it in messages.
        seed: Seed of the weights.
        model: Class of ``ultralytics.nn.tasks`` to build, such as ``SegmentationModel``.
        blocks: The user's own blocks, which the structure may name.

    Returns:
        The model.

    Raises:
        BadOption: A block of the user declares arguments that cannot be filled in.
        WeightsError: It cannot be built.
    """
    import torch

    tasks = importlib.import_module("ultralytics.nn.tasks")
    with torch.random.fork_rng(devices=[]), registered(blocks), _own_activation():
        torch.manual_seed(seed)
        try:
            return getattr(tasks, model)(structure, verbose=False)
        except LinesideError:
            raise
        except Exception as error:  # blocks of the user can fail in any way
            raise WeightsError(_not_built(structure, name, error, blocks)) from error


@contextlib.contextmanager
def _own_activation() -> Iterator[None]:
    """Keeps the activation that a yaml names out of later models: the parser leaves it behind where it fails."""
    conv = importlib.import_module("ultralytics.nn.modules.conv").Conv
    usual = conv.default_act
    try:
        yield
    finally:
        conv.default_act = usual


def _not_built(structure: Mapping[str, Any], name: str, error: Exception, blocks: UserBlocks) -> str:
    """Why a model yaml cannot be built, in words."""
    rows = [str(row[2]) for part in ("backbone", "head") for row in structure.get(part) or () if len(row) > 2]
    if isinstance(error, KeyError) and error.args and error.args[0] in rows:
        return (
            f"The model yaml '{name}' names the block {error.args[0]} (layer {rows.index(error.args[0])}), which "
            f"ultralytics does not have; {blocks.described()}. Give the file or package that defines it with --modules."
        )
    own = sorted(set(rows) & set(blocks.modules()))
    hint = (
        f" or the blocks of yours ({', '.join(own)}): one that changes the number of channels must declare {ATTRIBUTE}"
        if own
        else ""
    )
    text = (str(error).splitlines() or [""])[0]
    layer = _layer_reached(error)
    place = f"at layer {layer}, {rows[layer]}: " if layer is not None and layer < len(rows) else ""
    return (
        f"The model yaml '{name}' cannot be built ({place}{type(error).__name__}: {text}). "
        f"Check its module names and channel numbers{hint}."
    )


def _layer_reached(error: Exception) -> int | None:
    """The layer at which ultralytics was when it failed, building it (``i``) or running it (``m``); None for no layer."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        within, code = frame.f_locals, frame.f_code.co_name
        number = within.get("i") if code == "parse_model" else None
        if code == "_predict_once":
            number = getattr(within.get("m"), "i", None)
        found = number if isinstance(number, int) else found
    return found
