"""Answers the reference vectors of the dynamic head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from lineside.export.modules.check.case import EXACT, SAMPLED, Case, NoHandler
from lineside.export.modules.dyhead import DyHead, DyHeadBlock, DyReLU, HighLevelOffset

__all__ = ["answer", "tolerance"]

TASK = "task_attn_module."
"""Upstream this activation has 1x1 convolutions where ours has linear layers."""

BLOCKS = "dyhead_blocks."
"""How names of parameters begin where there are several blocks."""

OF_A_BLOCK: Mapping[str, object] = {"lambda_a": 1.0, "K2": True, "use_bias": True, "use_spatial": False}
"""What the dynamic ReLU inside of a block is; a block has no argument for anything else."""


def tolerance(case: Case) -> float:
    """What is allowed to a case: only a block samples between pixels."""
    return SAMPLED if _is_block(case.params) else EXACT


def answer(case: Case) -> Mapping[str, Tensor]:
    """What our modules give for the inputs and parameters of a case.

    Raises:
        NoHandler: It is neither a dynamic ReLU nor a block of the head.
    """
    if _is_block(case.params):
        return _block(case)
    if len(case.inputs) == 1 and _is_activation(case.params):
        return _activation(case)
    raise NoHandler(f"{case.case} is neither a dynamic ReLU nor a block of a dynamic head")


def _is_block(params: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(("spatial_conv_", BLOCKS)) for name in params)


def _is_activation(params: Mapping[str, Tensor]) -> bool:
    return any(name in params for name in ("fc.0.weight", "conv1.conv.weight"))


def _activation(case: Case) -> Mapping[str, Tensor]:
    """The dynamic ReLU."""
    x = next(iter(case.inputs.values()))
    hyper, params = case.hyper, _linear(case.params)
    inp = int(hyper.get("inp", x.shape[1]))
    module = DyReLU(
        inp,
        reduction=int(hyper.get("reduction", 4)),
        lambda_a=float(hyper.get("lambda_a", 1.0)),
        pieces=2 if hyper.get("K2", True) else 1,
        use_bias=bool(hyper.get("use_bias", True)),
        use_spatial=bool(hyper.get("use_spatial", False)),
        oup=int(hyper.get("oup", inp)),
    ).eval()
    module.load_state_dict(params)
    return dict.fromkeys(case.expected, module(x))


def _block(case: Case) -> Mapping[str, Tensor]:
    """One block, or several behind each other: inputs x0, x1, ..., the finest first, and outputs y0, y1, ..."""
    for name, usual in OF_A_BLOCK.items():
        if case.hyper.get(name, usual) != usual:
            raise NoHandler(f"a block whose dynamic ReLU has {name} = {case.hyper[name]}, and known is {usual} there")
    names = sorted(case.inputs, key=_number)
    inside = int(case.hyper.get("in_channels", case.inputs[names[0]].shape[1]))
    outside = int(case.hyper.get("out_channels", inside))
    offsets = cast(HighLevelOffset, case.hyper.get("high_level_offset", "crop"))
    reduction = int(case.hyper.get("reduction", 4))
    numbers = [int(name.split(".")[1]) for name in case.params if name.startswith(BLOCKS)]
    if numbers:
        module: nn.Module = DyHead(inside, outside, max(numbers) + 1, offsets, reduction)
    else:
        module = DyHeadBlock(inside, outside, offsets, "spatial_conv_mid.norm.weight" in case.params, reduction)
    module.eval().load_state_dict(_linear(case.params))
    found = module([case.inputs[name] for name in names])
    levels = {f"y{level}": y for level, y in enumerate(found)}
    unknown = set(case.expected) - set(levels)
    if unknown:
        raise NoHandler(f"a dynamic head has the outputs {', '.join(levels)} here, not {', '.join(sorted(unknown))}")
    return levels


def _number(name: str) -> int:
    """The level in a name such as ``x0``."""
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits or 0)


def _linear(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters under our names, the 1x1 convolutions of the activation as linear layers."""
    renamed = {}
    for name, tensor in params.items():
        for old, new in (("conv1.conv.", "fc.0."), ("conv2.conv.", "fc.2.")):
            if name.startswith(old) or TASK + old in name:
                name = name.replace(old, new)
                tensor = tensor.flatten(1) if tensor.ndim == 4 else tensor
        renamed[name] = tensor
    return renamed
