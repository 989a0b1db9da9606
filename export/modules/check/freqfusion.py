"""Answers the cases of FreqFusion and its parts; which one it is follows from inputs, parameters and hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lineside.export.modules.check.case import EXACT, SAMPLED, Case, NoHandler
from lineside.export.modules.freqfusion import FreqFusion, carafe, hamming2d
from lineside.export.modules.resample import local_similarity
from lineside.export.ops.carafe import Border

__all__ = ["answer", "tolerance"]

BORDERS: Mapping[str, Border] = {"zero": "zero", "zeros": "zero", "constant": "zero", "reflect": "reflect"}

OPTIONS = (
    "compressed_channels",
    "lowpass_kernel",
    "highpass_kernel",
    "use_high_pass",
    "use_low_pass",
    "hr_residual",
    "semi_conv",
    "hamming_window",
    "comp_feat_upsample",
    "feature_resample",
    "feature_resample_group",
    "feature_resample_norm",
)


def tolerance(case: Case) -> float:
    """Sampling moves values, the rest is exact."""
    return SAMPLED if case.hyper.get("feature_resample") else EXACT


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our modules give for a case.

    Raises:
        NoHandler: It is of a kind that is not known here.
    """
    inputs, hyper = case.inputs, case.hyper
    if "hr" in inputs and "lr" in inputs:
        return _fused(case)
    if "mask" in inputs and "x" in inputs:
        return _reassembled(case)
    if "x" in inputs:
        y = local_similarity(inputs["x"], hyper.get("k", 3), hyper.get("dilation", 2))
        return dict.fromkeys(case.expected, y)
    if not inputs and "M" in hyper and "N" in hyper:
        return dict.fromkeys(case.expected, hamming2d(hyper["M"], hyper["N"]))
    raise NoHandler(f"nothing of FreqFusion has the inputs {', '.join(inputs) or 'none'}")


def _fused(case: Case) -> dict[str, torch.Tensor]:
    """The module's three outputs."""
    hr, lr, hyper = case.inputs["hr"], case.inputs["lr"], case.hyper
    options: dict[str, Any] = {name: hyper[name] for name in OPTIONS if name in hyper}
    border = _border(str(hyper.get("carafe_border", "zero")))
    channels = hyper.get("hr_channels", hr.shape[1]), hyper.get("lr_channels", lr.shape[1])
    module = FreqFusion(*channels, border=border, **options)
    _load(module, case.params)
    outputs = dict(zip(("mask_lr", "hr", "lr"), module.eval()(hr, lr), strict=True))
    unknown = set(case.expected) - set(outputs)
    if unknown:
        raise NoHandler(f"FreqFusion has the outputs mask_lr, hr and lr, not {', '.join(sorted(unknown))}")
    return outputs


def _load(module: FreqFusion, params: Mapping[str, torch.Tensor]) -> None:
    """Fills in the parameters; constants may be missing, and so may the module lack a high-pass filter that is there.

    Raises:
        NoHandler: Parameters are missing, or the module has none of that name.
    """
    constants = {name for name, _ in module.named_buffers()}
    found = module.load_state_dict(dict(params), strict=False)
    missing = set(found.missing_keys) - constants
    unused = {} if module.use_high_pass else {name for name in params if name.startswith("content_encoder2.")}
    strange = sorted(missing | set(found.unexpected_keys).difference(unused))
    if strange:
        raise NoHandler(f"its parameters are not those of such a FreqFusion: {', '.join(strange)}")


def _reassembled(case: Case) -> dict[str, torch.Tensor]:
    """Each output with the border that its name says, or that the hyper-parameters say for all."""
    x, mask, hyper = case.inputs["x"], case.inputs["mask"], case.hyper
    groups, up = hyper.get("group", 1), hyper.get("up", mask.shape[2] // x.shape[2])
    kernel = hyper.get("kernel_size", round((mask.shape[1] / groups) ** 0.5))
    found = {}
    for name in case.expected:
        named = next((border for border in BORDERS if border in name), hyper.get("carafe_border", "zero"))
        found[name] = carafe(x, mask, kernel, up, groups, _border(str(named)))
    return found


def _border(name: str) -> Border:
    """The border of that name."""
    if name not in BORDERS:
        raise NoHandler(f"there is no border {name!r}, only {', '.join(BORDERS)}")
    return BORDERS[name]
