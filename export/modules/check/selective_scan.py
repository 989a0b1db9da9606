"""Answers the vectors of the selective scan: the scan itself, reading and merging of maps, and SS2D."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lineside.export.modules.check.case import EXACT, Case, NoHandler
from lineside.export.modules.selective_scan import SS2D, cross_merge, cross_scan, selective_scan

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = EXACT

PROJECTIONS = ("in_proj.weight", "out_proj.weight")
"""Parameters of the linear layers of SS2D."""


def answer(case: Case) -> Mapping[str, torch.Tensor]:
    """What our module gives for a case, told by the names of its tensors.

    Raises:
        NoHandler: It is none of the three kinds.
    """
    if "in_proj.weight" in case.params:
        results = _ss2d(case)
    elif {"u", "delta", "A", "B", "C"} <= set(case.inputs):
        results = _scan(case)
    elif {"cross_scan", "cross_merge"} & set(case.expected):
        results = _maps(case)
    else:
        raise NoHandler(f"no scan, SS2D or reading of maps ({', '.join(case.inputs)})")
    if not set(case.expected) <= set(results):
        raise NoHandler(f"{', '.join(sorted(set(case.expected) - set(results)))} is not known here")
    return {name: results[name] for name in case.expected}


def _scan(case: Case) -> dict[str, torch.Tensor]:
    tensors = case.inputs
    y, last_state = selective_scan(
        tensors["u"],
        tensors["delta"],
        tensors["A"],
        tensors["B"],
        tensors["C"],
        tensors.get("D"),
        tensors.get("z"),
        tensors.get("delta_bias"),
        delta_softplus=bool(case.hyper.get("delta_softplus", False)),
        return_last_state=True,
    )
    return {"out": y, "last_state": last_state}


def _maps(case: Case) -> dict[str, torch.Tensor]:
    scans, results = int(case.hyper.get("scans", 0)), {}
    if "x" in case.inputs:
        results["cross_scan"] = cross_scan(case.inputs["x"], scans)
    if "y_in" in case.inputs:
        y = case.inputs["y_in"]
        height, width = y.shape[3:] if y.ndim == 5 else case.inputs["x"].shape[2:]
        results["cross_merge"] = cross_merge(y.flatten(3), height, width, scans)
    return results


def _ss2d(case: Case) -> dict[str, torch.Tensor]:
    """SS2D; its sizes are those of the parameters, which the hyper-parameters d_model, ssm_ratio … only repeat."""
    hyper, params = case.hyper, case.params
    # The linear layers of an NCHW original may be 1x1 convolutions, and its convolution may lack the bias.
    params = {name: it.flatten(1) if name in PROJECTIONS else it for name, it in params.items()}
    (inner,), d_model = params["out_norm.weight"].shape, params["in_proj.weight"].shape[1]
    if "conv2d.weight" in params:
        params.setdefault("conv2d.bias", torch.zeros(inner))
    conv = params.get("conv2d.weight")
    module = SS2D(
        d_model=d_model,
        d_state=params["A_logs"].shape[1],
        ssm_ratio=inner / d_model,
        dt_rank=params["dt_projs_weight"].shape[2],
        d_conv=1 if conv is None else conv.shape[2],
        layout=str(hyper.get("layout", "NHWC")),
        scans=int(hyper.get("scans", 0)),
    )
    module.load_state_dict(params)
    with torch.no_grad():
        return {"y": module.eval()(case.inputs["x"])}
