"""Answers the cases of RMT: positions, both attentions, the block, the way down, the stem, the backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lineside.export.modules.check.case import EXACT, Case, NoHandler
from lineside.export.modules.rmt import (
    RMT,
    DWConv2d,
    FeedForwardNetwork,
    MaSA,
    MaSAd,
    PatchEmbed,
    PatchMerging,
    Relation,
    RelPos2d,
    RetBlock,
    RMTConfig,
)

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = EXACT

KINDS = {"VisionRetentionChunk": "chunk", "MaSAd": "chunk", "VisionRetentionAll": "whole", "MaSA": "whole"}
"""Names of the two attentions where the originals come from, and which one each is."""


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our modules give for a case; a parameter that only one of them has says which it is.

    Raises:
        NoHandler: The case is of none of them.
    """
    for parameter, handler in _HANDLERS.items():
        if parameter in case.params:
            return handler(case)
    if not case.inputs and {"embed_dim", "num_heads", "H", "W"} <= set(case.hyper):
        return _positions(case)
    raise NoHandler(f"no part of RMT has the parameters {', '.join(case.params) or '(none)'} of {case.source!r}")


def _positions(case: Case) -> dict[str, torch.Tensor]:
    """Masks, rates and angles of a map."""
    module = _relpos(case, rotary=True)
    found: Relation = module(case.hyper["H"], case.hyper["W"], torch.zeros(()))
    assert found.sin is not None and found.cos is not None
    return {
        "sin": found.sin,
        "cos": found.cos,
        "mask_whole": found.mask_whole(),
        "mask_h": found.mask_h,
        "mask_w": found.mask_w,
        "decay": module.decay,
        "angle": module.angle,
    }


def _attention(case: Case) -> dict[str, torch.Tensor]:
    kind = case.hyper.get("retention") or next((kind for name, kind in KINDS.items() if name in case.source), None)
    if kind not in ("chunk", "whole"):
        raise NoHandler(
            "it does not say which attention it is: neither retention chunk or whole, nor its upstream file"
        )
    module = (MaSAd if kind == "chunk" else MaSA)(case.hyper["embed_dim"], case.hyper["num_heads"])
    return _related(_loaded(module, case), case)


def _block(case: Case) -> dict[str, torch.Tensor]:
    module = RetBlock(
        case.hyper.get("retention", "whole"),
        case.hyper["embed_dim"],
        case.hyper["num_heads"],
        case.hyper.get("ffn_dim", case.params["ffn.fc1.weight"].shape[0]),
        case.hyper.get("layerscale", "gamma_1" in case.params),
    )
    return _related(_loaded(module, case), case)


def _related(module: nn.Module, case: Case) -> dict[str, torch.Tensor]:
    """A module that wants the positions of its map."""
    x = case.inputs["x"]
    return {"y": module(x, _relpos(case, _rotary(case))(x.shape[1], x.shape[2], x))}


def _backbone(case: Case) -> dict[str, torch.Tensor]:
    hyper = case.hyper
    stages = range(len(hyper["embed_dims"]))
    config = RMTConfig(
        tuple(hyper["embed_dims"]),
        tuple(hyper["depths"]),
        tuple(hyper["num_heads"]),
        tuple(hyper.get("init_values", (2, 2, 2, 2))),
        tuple(hyper.get("heads_ranges", (4, 4, 6, 6))),
        tuple(hyper.get("mlp_ratios", (3, 3, 3, 3))),
        tuple(hyper.get("chunkwise_recurrents", (True, True, False, False))),
        tuple(f"layers.{stage}.blocks.0.gamma_1" in case.params for stage in stages),
        rotary=_rotary(case),
        extra_norms="extra_norms.0.weight" in case.params,
    )
    in_chans = case.params["patch_embed.proj.0.weight"].shape[1]
    maps = _loaded(RMT(config, in_chans), case)(case.inputs["x"])
    return {f"p{level + 2}": found for level, found in enumerate(maps)}


def _relpos(case: Case, rotary: bool) -> RelPos2d:
    hyper = case.hyper
    return RelPos2d(
        hyper["embed_dim"], hyper["num_heads"], hyper.get("initial_value", 2), hyper.get("heads_range", 4), rotary
    )


def _rotary(case: Case) -> bool:
    """Whether the original rotates; it does unless the case says otherwise."""
    return bool(case.hyper.get("rotary", True))


def _loaded(module: nn.Module, case: Case) -> nn.Module:
    """The module with the parameters of the case, all of them and no others."""
    module.load_state_dict(dict(case.params))
    return module.eval()


def _plain(make: Callable[[Mapping[str, torch.Tensor]], nn.Module]) -> Callable[[Case], dict[str, torch.Tensor]]:
    """Handler of a module that takes a map alone; its sizes follow from its parameters."""

    def handler(case: Case) -> dict[str, torch.Tensor]:
        return {"y": _loaded(make(case.params), case)(case.inputs["x"])}

    return handler


def _depth_wise(params: Mapping[str, Any]) -> DWConv2d:
    dim, _, kernel, _ = params["conv.weight"].shape
    return DWConv2d(dim, kernel, 1, kernel // 2)


_HANDLERS: dict[str, Callable[[Case], dict[str, torch.Tensor]]] = {
    "patch_embed.proj.0.weight": _backbone,
    "retention.q_proj.weight": _block,
    "q_proj.weight": _attention,
    "reduction.weight": _plain(lambda p: PatchMerging(p["reduction.weight"].shape[1], p["reduction.weight"].shape[0])),
    "proj.0.weight": _plain(lambda p: PatchEmbed(p["proj.0.weight"].shape[1], p["proj.6.weight"].shape[0])),
    "fc1.weight": _plain(lambda p: FeedForwardNetwork(p["fc1.weight"].shape[1], p["fc1.weight"].shape[0])),
    "conv.weight": _plain(_depth_wise),
}
"""A parameter that tells which part a case is of, the most telling first."""
