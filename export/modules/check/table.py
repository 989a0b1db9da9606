"""Which function answers the cases of which family."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from lineside.export.modules.check.case import Case, NoHandler

if TYPE_CHECKING:
    import torch

__all__ = ["HANDLERS", "answer", "tolerance"]

HANDLERS = {
    "autofocus": "lineside.export.modules.check.autofocus:answer",
    "cgnet": "lineside.export.modules.check.cgnet:answer",
    "dyhead": "lineside.export.modules.check.dyhead:answer",
    "fastkan": "lineside.export.modules.check.fastkan:answer",
    "freqfusion": "lineside.export.modules.check.freqfusion:answer",
    "modulated_deform_conv": "lineside.export.modules.check.modulated_deform_conv:answer",
    "ms_deform_attn": "lineside.export.modules.check.ms_deform_attn:answer",
    "rmt": "lineside.export.modules.check.rmt:answer",
    "selective_scan": "lineside.export.modules.check.selective_scan:answer",
    "unireplknet": "lineside.export.modules.check.unireplknet:answer",
}
"""Family, as a manifest names it under ``module``, to ``module:function``; looked up when a case asks for it."""


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our modules give for a case.

    Raises:
        NoHandler: Nothing here answers it.
    """
    module, function = _target(case.module)
    handler = cast("Callable[[Case], Mapping[str, torch.Tensor]]", getattr(importlib.import_module(module), function))
    return handler(case)


def tolerance(case: Case) -> float:
    """Relative error that is allowed in a case.

    Raises:
        NoHandler: Nothing here answers it.
    """
    family = importlib.import_module(_target(case.module)[0])
    own = getattr(family, "tolerance", None)
    return float(own(case) if own is not None else family.TOLERANCE)


def _target(family: str) -> tuple[str, str]:
    """Module and function that answer a family."""
    if family not in HANDLERS:
        raise NoHandler(f"there is no handler for {family!r}, only for {', '.join(HANDLERS)}")
    module, _, function = HANDLERS[family].partition(":")
    return module, function
