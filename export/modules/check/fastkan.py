"""Answers the cases of FastKAN: the bumps, and convolutions of one, two and three sides."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lineside.export.modules.check.case import EXACT, Case, NoHandler
from lineside.export.modules.fast_kan import FastKANConv, RadialBasisFunction

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = EXACT

SHAPE = ("padding", "stride", "dilation", "groups", "grid_size", "grid_range")
"""Hyper-parameters of a convolution that go to it as they are."""


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our modules give for a case.

    Raises:
        NoHandler: The case is neither of bumps nor of a convolution, or has a normalisation that we have not.
    """
    if "base_conv.0.weight" in case.params:
        return {"y": _convolution(case)(case.inputs["x"])}
    if "grid" in case.params or case.source == "RadialBasisFunction" or "num_grids" in case.hyper:
        return {"y": _bumps(case)(case.inputs["x"])}
    raise NoHandler(f"no part of FastKAN has the parameters {', '.join(case.params) or '(none)'} of {case.source!r}")


def _bumps(case: Case) -> RadialBasisFunction:
    hyper = case.hyper
    module = RadialBasisFunction(
        hyper.get("grid_min", -2.0), hyper.get("grid_max", 2.0), hyper.get("num_grids", 8), hyper.get("denominator")
    )
    module.load_state_dict(dict(case.params))
    return module.eval()


def _convolution(case: Case) -> FastKANConv:
    base = case.params["base_conv.0.weight"]
    groups = case.hyper.get("groups", 1)
    module = FastKANConv(
        case.hyper.get("ndim", base.dim() - 2),
        case.hyper.get("input_dim", base.shape[1] * groups),
        case.hyper.get("output_dim", base.shape[0] * groups),
        case.hyper.get("kernel_size", tuple(base.shape[2:])),
        norm="batch" if _is_batch_norm(case) else "instance",
        **{name: case.hyper[name] for name in SHAPE if name in case.hyper},
    )
    module.load_state_dict(dict(case.params))
    return module.eval()


def _is_batch_norm(case: Case) -> bool:
    """The kind of normalisation, which manifests write with its arguments."""
    said = str(case.hyper.get("norm", "InstanceNorm"))
    kind = said.partition("(")[0].strip()
    if not kind.startswith(("InstanceNorm", "BatchNorm")):
        raise NoHandler(f"FastKAN is built with InstanceNorm or BatchNorm, not {said!r}")
    return kind.startswith("BatchNorm")
