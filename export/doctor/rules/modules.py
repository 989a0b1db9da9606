"""Rules about torch modules, looked at before anything is traced."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.budgets import MASK_BYTES
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import ModuleSubject

__all__ = ["HEAVY_CALLS", "HEAVY_TENSOR", "RULES"]

HEAVY_TENSOR = 2 << 30
"""Bytes of one tensor beyond which a trace is not tried."""

HEAVY_CALLS = 1000
"""Operations that one module runs itself in a pass, beyond which a loop must have been unrolled; ours stay below."""


def _tied_to_size(subject: ModuleSubject) -> Iterator[Hit]:
    from lineside.export.block_limits import static_blocks  # it imports torch, and rules about graphs need none

    for path, reason in static_blocks(subject.model).items() if subject.dynamic else ():
        yield Hit(path, {"why": reason})


def _too_large(subject: ModuleSubject) -> Iterator[Hit]:
    """Blocks that refuse the size of their map, as export does; their channels come last."""
    for path, module in subject.model.named_modules():
        limit, shape = getattr(module, "lineside_limit", None), subject.seen.inputs.get(path, ())
        reason = limit(*shape[1:3]) if limit is not None and len(shape) == 4 else None
        if reason:
            yield Hit(path, {"why": str(reason)})


def _whole_masks(subject: ModuleSubject) -> Iterator[Hit]:
    """Attention of every cell to every cell of a large map, with a mask over positions per head."""
    for path, module in subject.model.named_modules():
        shape = subject.seen.inputs.get(path, ())
        if type(module).__name__ != "MaSA" or len(shape) != 4:
            continue
        _, height, width, _ = shape
        heads = int(getattr(module, "num_heads", 1))
        size = heads * (height * width) ** 2 * 4
        if size > MASK_BYTES:
            yield Hit(path, {"map": f"{height}x{width}", "heads": heads, "size": f"{size / 1e6:.0f}"})


def _unrolled(subject: ModuleSubject) -> Iterator[Hit]:
    for path, module in subject.model.named_modules():
        count = subject.seen.calls.get(path, 0)
        if count > HEAVY_CALLS and not type(module).__module__.startswith("lineside."):
            yield Hit(path, {"count": count})


def _huge(subject: ModuleSubject) -> Iterator[Hit]:
    for path, size in subject.seen.largest.items():
        if size > HEAVY_TENSOR:
            yield Hit(path, {"size": f"{size / 1e9:.1f}"})


def _unseen(subject: ModuleSubject) -> Iterator[Hit]:
    if subject.seen.failure:
        yield Hit("model", {"why": subject.seen.failure})


def _frozen(subject: ModuleSubject) -> Iterator[Hit]:
    return (Hit(path) for path in subject.seen.frozen)


RULES = (
    Rule(
        id="frozen-numbers",
        looks_at="module",
        severity="will-not-export",
        find=_frozen,
        reason="it takes a plain number out of what it computes from the picture (if, while, int(), .item(), .numpy()): a trace "
        "writes down what that was for one picture, so the graph would be right for pictures like that one only",
        remedy="compute with tensors instead: torch.where in place of if, a mask in place of a slice of changing length",
    ),
    Rule(
        id="tied-to-size",
        looks_at="module",
        severity="will-not-export",
        find=_tied_to_size,
        reason="its graph holds for one input size: {why}",
        remedy="leave --dynamic out and export one bundle per size",
    ),
    Rule(
        id="map-too-large",
        looks_at="module",
        severity="will-not-export",
        find=_too_large,
        reason="its map is too large for it: it {why}",
        remedy="give a smaller --imgsz, or put another block there",
    ),
    Rule(
        id="whole-mask",
        looks_at="module",
        severity="slow",
        find=_whole_masks,
        reason="every cell of a {map} map sees every cell, which is {size} MB of weights for its {heads} heads; the time grows "
        "with the square of the cells, and a mask that large is added in two steps instead of being kept",
        remedy="use MaSAd (chunk) there, and whole retention at stride 32 only",
    ),
    Rule(
        id="unrolled-loop",
        looks_at="module",
        severity="will-not-export",
        find=_unrolled,
        reason="it runs {count} operations itself in one pass: a loop over positions, which a trace writes down step by step",
        remedy="use an operator that keeps the loop, such as SelectiveScan of lineside.export.ops, or a form with few steps",
    ),
    Rule(
        id="huge-tensor",
        looks_at="module",
        severity="will-not-export",
        find=_huge,
        reason="one tensor in it has {size} GB",
        remedy="give a smaller --imgsz, or put the block where the map is smaller",
    ),
    Rule(
        id="sizes-unknown",
        looks_at="module",
        severity="note",
        find=_unseen,
        reason="the model cannot be walked without numbers ({why}), so rules that need sizes of maps were left out",
        remedy="nothing needs to be done where the results are right: export goes through it with numbers, and compares them",
    ),
)
"""Rules about torch modules."""
