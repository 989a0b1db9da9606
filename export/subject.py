"""What an export starts from: a loaded model and all that is known of it before it is traced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from lineside.export.block_limits import refuse_free_size, refuse_large_maps
from lineside.export.blocks import UserBlocks, load_blocks
from lineside.export.class_paths import class_paths
from lineside.export.heads import find_head
from lineside.export.outdated import require_current
from lineside.export.provenance import CheckpointFacts, checkpoint_facts
from lineside.export.ultra import load_model
from lineside.runtime.contract import HeadContract

__all__ = ["DEFAULT_IMGSZ", "Subject", "load_subject"]

DEFAULT_IMGSZ = 640
"""Side of the input, in pixels, where neither the user nor the checkpoint names one."""


@dataclass(frozen=True)
class Subject:
    """A model that is to become a bundle.

    Attributes:
        weights: Where it comes from: a file, or the name of a model yaml.
        model: The model as loaded, not fused.
        blocks: The user's own blocks in it.
        facts: What its checkpoint says about its training.
        size: Height and width of the input, in pixels.
        head: Contract of its head at that size.
        names: Class names, in the order of the head.
    """

    weights: str
    model: nn.Module
    blocks: UserBlocks
    facts: CheckpointFacts
    size: tuple[int, int]
    head: HeadContract
    names: tuple[str, ...]


def load_subject(
    weights: str,
    imgsz: tuple[int, int] | None,
    *,
    end2end: bool,
    dynamic: bool,
    modules: Sequence[str] = (),
    safe: bool = False,
) -> Subject:
    """Loads a model and refuses it where it cannot become such a bundle.

    Args:
        weights: A ``.pt`` checkpoint, the ``.safetensors`` copy of one, or a model yaml for random weights.
        imgsz: Height and width of the input in pixels; the training size (else 640, square) when None.
        end2end: Take the one-to-one part of the head.
        dynamic: The input size is to stay free.
        modules: Files and packages with blocks of the user's own.
        safe: Load the checkpoint without running foreign code.

    Raises:
        WeightsError: The weights cannot be loaded.
        ExportError: The model has no such head, or a block of it is too large for that input size.
        BadOption: The input size does not fit the model's strides, one of `modules` cannot be imported, or the model has
            blocks for one input size and is to be `dynamic`.
    """
    blocks = load_blocks(modules, [path.module for path in class_paths(weights)])
    model = load_model(weights, safe=safe, blocks=blocks)
    require_current(model, weights, blocks)
    facts = checkpoint_facts(weights, safe, blocks)
    size = imgsz or (facts.imgsz or DEFAULT_IMGSZ,) * 2
    head = find_head(model, size, end2end).contract
    if dynamic:
        refuse_free_size(model)
    refuse_large_maps(model, size)
    return Subject(weights, model, blocks, facts, size, head, _class_names(model, head.classes))


def _class_names(model: nn.Module, classes: int) -> tuple[str, ...]:
    """Class names in the order of the head."""
    found = cast(Any, getattr(model, "names", None)) or {}
    table = dict(enumerate(found)) if isinstance(found, (list, tuple)) else dict(found)
    return tuple(str(table.get(index, index)) for index in range(classes))
