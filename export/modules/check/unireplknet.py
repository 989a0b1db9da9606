"""Answers the cases of UniRepLKNet; which one it is follows from the names of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from lineside.export.modules import unireplknet
from lineside.export.modules.check.case import EXACT, Case, NoHandler
from lineside.export.modules.unireplknet.parts import GRN_EPS
from lineside.runtime.errors import WeightsError

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = EXACT

DEPLOYED = ("_deploy", "_merged")
"""Endings of the outputs of a deploy form."""


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our modules give for a case, in training form and in deploy form.

    Raises:
        NoHandler: It is of a kind that is not known here.
    """
    x = case.inputs.get("x")
    if x is None:
        raise NoHandler(f"it has no input x, only {', '.join(case.inputs) or 'none'}")
    module = _module(case)
    with torch.no_grad():
        found = _named(case, "", module(x))
        if isinstance(module, (unireplknet.UniRepLKNet, unireplknet.UniRepLKNetBlock, unireplknet.DilatedReparamBlock)):
            y = module.deployed()(x)
            for ending in DEPLOYED:
                found |= _named(case, ending, y)
        if isinstance(module, unireplknet.DilatedReparamBlock):
            weight, bias = module.merged()
            found |= {"merged_weight": weight.float(), "merged_bias": bias.float()}
    return found


def _module(case: Case) -> nn.Module:
    """The module that the parameters belong to, with them, in eval mode."""
    names = case.params
    if "downsample_layers.0.0.weight" in names:
        try:
            return unireplknet.network_of(names)
        except WeightsError as error:
            raise NoHandler(str(error)) from error
    if "pwconv1.1.weight" in names:
        module: nn.Module = _block(case)
    elif "lk_origin.weight" in names:
        weight = names["lk_origin.weight"]
        kernel, channels = case.hyper.get("kernel_size", weight.shape[-1]), weight.shape[0]
        deploy = "lk_origin.bias" in names
        module = unireplknet.DilatedReparamBlock(channels, kernel, _branches(case), deploy)
    elif "down.weight" in names and "up.weight" in names:
        internal, channels = names["down.weight"].shape[:2]
        module = unireplknet.SqueezeExcite(case.hyper.get("ch", channels), case.hyper.get("internal", internal))
    elif "gamma" in names:
        module = unireplknet.GRN(
            names["gamma"].numel(), case.hyper.get("eps", GRN_EPS), use_bias="beta" in names, channels_last=True
        )
    else:
        raise NoHandler(f"no module of UniRepLKNet has the parameters {', '.join(sorted(names)[:3]) or '(none)'}")
    module.load_state_dict(dict(names))
    return module.eval()


def _block(case: Case) -> unireplknet.UniRepLKNetBlock:
    """A block with the sizes of its parameters."""
    names = case.params
    hidden, channels = names["pwconv1.1.weight"].shape
    spatial = next(
        (names[f"dwconv.{name}weight"] for name in ("lk_origin.", "") if f"dwconv.{name}weight" in names), None
    )
    block = unireplknet.UniRepLKNetBlock(
        channels,
        case.hyper.get("kernel_size", 0 if spatial is None else spatial.shape[-1]),
        case.hyper.get("ffn_factor", hidden / channels),
        layer_scale=1.0 if "gamma" in names else None,
        branches=_branches(case),
        deploy="pwconv2.0.bias" in names,
    )
    if not block.kernel and "norm.weight" in names:
        block.norm = nn.BatchNorm2d(channels)  # a kernel of none usually has no BatchNorm either, but it may
    return block


def _branches(case: Case) -> list[tuple[int, int]] | None:
    """The dilated branches that a case names; None where it leaves them to the table."""
    sides, dilations = case.hyper.get("kernel_sizes"), case.hyper.get("dilates")
    if not sides or not dilations:
        return None
    return list(zip(sides, dilations, strict=True))


def _named(case: Case, ending: str, found: torch.Tensor | list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs of one form under the names of the case: maps as p2 to p5, anything else as the one result."""
    if isinstance(found, list):
        return {f"p{index}{ending}": y for index, y in enumerate(found, 2)}
    wanted = [name for name in case.expected if not name.startswith("merged_")]
    other = tuple(end for end in DEPLOYED if end != ending) if ending else DEPLOYED
    return {name: found for name in wanted if name.endswith(ending) and not name.endswith(other)}
