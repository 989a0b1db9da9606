"""Checks a model yaml before ultralytics builds it.

Its parser evaluates the text under ``activation`` as Python, and calls whatever name a row has among the globals of a
large module, functions included, and whole models, which parse a yaml of their own that nobody has looked at. A
``.safetensors`` file carries such a yaml, and promises to be harmless.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping
from typing import Any

from lineside.runtime.errors import WeightsError

__all__ = ["FETCHING", "check_structure"]

ACTIVATION = re.compile(r"\s*(torch\.)?nn\.\w+\([\w.,=+\- ]*\)\s*")
"""A class of ``torch.nn`` with plain arguments: no call and no string within."""

FETCHING = frozenset({"TorchVision"})
"""Blocks of ultralytics that fetch weights from the internet."""

SCALES = "Give each letter three positive numbers, [depth, width, most channels], such as n: [0.5, 0.25, 1024]."
"""What ``scales`` must be."""


def check_structure(config: Any, name: str) -> None:
    """Refuses a structure that would run something else than the making of torch modules.

    Args:
        config: The model yaml as a dict.
        name: What to call it in messages.

    Raises:
        WeightsError: It does not have the form of a model yaml, or names something else than a torch module.
    """
    if not isinstance(config, Mapping):
        raise WeightsError(f"The model yaml '{name}' is no mapping. Take one of ultralytics' model yamls as a pattern.")
    if "base" not in config and (orphan := sorted({"replace", "insert", "remove"} & set(config))):
        raise WeightsError(
            f"The model yaml '{name}' has '{orphan[0]}' and no 'base' that it changes. Name one, such as base: yolo11-seg.yaml."
        )
    rows = [row for part in ("backbone", "head") for row in _rows(config, part, name)]
    _check_numbers(config, name)
    activation = config.get("activation")
    if activation is not None and not (isinstance(activation, str) and ACTIVATION.fullmatch(activation)):
        raise WeightsError(
            f"The model yaml '{name}' has an activation that is no torch module: {str(activation)[:60]!r}. "
            "Write it like nn.SiLU() or nn.LeakyReLU(0.1)."
        )
    for row in rows:
        block = row[2]
        if not _is_block(block):
            raise WeightsError(
                f"The model yaml '{name}' names {block!r:.80} as a block, which is no torch module that a "
                "row may hold. Correct that row."
            )


def _check_numbers(config: Mapping[str, Any], name: str) -> None:
    """Numbers of a whole model; ultralytics would stop somewhere in the middle, or build something else."""
    for key in ("nc", "reg_max"):
        value = config.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise WeightsError(f"The model yaml '{name}' has {key}: {value!r:.60}, and it is a whole number from 1.")
    scales = config.get("scales", {"": (1, 1, 1)})
    if not isinstance(scales, Mapping) or not scales:
        raise WeightsError(f"The model yaml '{name}' has the scales {scales!r:.60}, which are no mapping. {SCALES}")
    for letter, factors in scales.items():
        good = isinstance(factors, (list, tuple)) and len(factors) == 3
        if not good or not all(isinstance(it, (int, float)) and 0 < it < math.inf for it in factors):
            raise WeightsError(f"The model yaml '{name}' has the scale {letter!r} as {factors!r:.60}. {SCALES}")


def _rows(config: Mapping[str, Any], part: str, name: str) -> list[Any]:
    """The rows of a part."""
    rows = config.get(part)
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) >= 4 for row in rows):
        raise WeightsError(
            f"The model yaml '{name}' has no list of rows [from, repeats, block, arguments] under '{part}'. "
            "Take one of ultralytics' model yamls as a pattern."
        )
    return rows


def _is_block(name: Any) -> bool:
    """Whether the parser finds a torch module that is a part of a model, or nothing, under the name in a row."""
    import torch

    if not isinstance(name, str):
        return False
    tasks = importlib.import_module("ultralytics.nn.tasks")
    if name.startswith("nn."):
        found = getattr(torch.nn, name[3:], None)
    elif name.startswith("torchvision.ops."):
        found = getattr(importlib.import_module("torchvision.ops"), name[16:], None)
    else:
        found = vars(tasks).get(name)
        if found is None:
            return True  # a block of the user's own; or nobody's, and then the parser says so
    whole = isinstance(found, type) and issubclass(found, tasks.BaseModel)
    return isinstance(found, type) and issubclass(found, torch.nn.Module) and not whole and name not in FETCHING
