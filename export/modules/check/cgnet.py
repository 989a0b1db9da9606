"""Answers the cases of the context guided network; which one it is follows from the names of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from lineside.export.modules import cgnet
from lineside.export.modules.check.case import EXACT, Case, NoHandler

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = EXACT


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our modules give for a case.

    Raises:
        NoHandler: It is of a kind that is not known here.
    """
    x = case.inputs.get("x")
    if x is None:
        raise NoHandler(f"it has no input x, only {', '.join(case.inputs) or 'none'}")
    if not case.params:
        return _injected(case, x)
    module = _module(case)
    module.load_state_dict(dict(case.params))
    with torch.no_grad():
        y = cast(torch.Tensor, module.eval()(x))
    return dict.fromkeys(case.expected, y)


def _module(case: Case) -> nn.Module:
    """The module that the parameters belong to."""
    names, hyper = case.params, case.hyper
    usual: dict[str, Any] = {"dilation": hyper.get("dilation_rate", 2), "eps": hyper.get("bn_eps", cgnet.BN_EPS)}
    reduction = hyper.get("reduction", 16)
    residual = hyper.get("residual", "global")
    if "level1_0.conv.weight" in names:
        classes, channels = names["classifier.0.conv.weight"].shape[0], names["level1_0.conv.weight"].shape[1]
        second, third = (_blocks(names, f"level{stage}.") + 1 for stage in (2, 3))
        return cgnet.CGNet(classes, second, third, residual, channels)
    if "reduce.conv.weight" in names:
        c2, c1 = names["conv1x1.conv.weight"].shape[:2]
        return cgnet.ContextGuidedDown(hyper.get("nIn", c1), hyper.get("nOut", c2), reduction=reduction, **usual)
    if "conv1x1.conv.weight" in names:
        half, c1 = names["conv1x1.conv.weight"].shape[:2]
        c1, c2, add = hyper.get("nIn", c1), hyper.get("nOut", 2 * half), hyper.get("add", True)
        return cgnet.ContextGuidedBlock(c1, c2, reduction=reduction, add=add, residual=residual, **usual)
    if "fc.0.weight" in names:
        return cgnet.GlobalContext(hyper.get("channel", names["fc.0.weight"].shape[1]), reduction)
    raise NoHandler(f"no module of CGNet has the parameters {', '.join(sorted(names)[:3])}")


def _blocks(names: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many blocks a list of them has."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


def _injected(case: Case, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The picture halved n times for an output ``yn``, and by the hyper-parameter or once for ``y``."""
    found = {}
    for name in case.expected:
        digits = name.removeprefix("y")
        if name[:1] != "y" or (digits and not digits.isdigit()):
            raise NoHandler(f"a case without parameters has outputs y, y1, y2 ..., not {name}")
        times = int(digits) if digits else case.hyper.get("downsamplingRatio", case.hyper.get("n", 1))
        found[name] = cgnet.InputInjection(int(times))(x)
    return found
