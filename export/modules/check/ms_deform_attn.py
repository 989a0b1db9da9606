"""Answers the cases of multi-scale deformable attention: with parameters the module, without them the sampling alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lineside.export.modules.check.case import SAMPLED, Case, NoHandler
from lineside.export.modules.ms_deform_attn import MSDeformAttn, Shapes, ms_deform_attn

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = SAMPLED


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our modules give for a case.

    Raises:
        NoHandler: It is of a kind that is not known here.
    """
    inputs, hyper = case.inputs, case.hyper
    if "sampling_locations" in inputs and "attention_weights" in inputs and not case.params:
        locations, weights = inputs["sampling_locations"], inputs["attention_weights"]
        y = ms_deform_attn(inputs["value"], _shapes(case), locations, weights)
    elif "query" in inputs and case.params:
        module = MSDeformAttn(
            hyper.get("d_model", 256), hyper.get("n_levels", 4), hyper.get("n_heads", 8), hyper.get("n_points", 4)
        )
        module.load_state_dict(dict(case.params))
        reference, pixels = inputs["reference_points"], inputs["input_flatten"]
        mask = inputs.get("padding_mask", inputs.get("input_padding_mask"))
        y = module.eval()(inputs["query"], reference, pixels, _shapes(case), mask)
    else:
        raise NoHandler(f"no attention has the inputs {', '.join(inputs) or 'none'}")
    return dict.fromkeys(case.expected, y)


def _shapes(case: Case) -> Shapes:
    """Height and width of each level."""
    for name in ("spatial_shapes", "input_spatial_shapes", "value_spatial_shapes"):
        if name in case.inputs:
            return case.inputs[name]
    if "spatial_shapes" not in case.hyper:
        raise NoHandler("it does not say the shapes of the levels")
    return [tuple(shape) for shape in case.hyper["spatial_shapes"]]
