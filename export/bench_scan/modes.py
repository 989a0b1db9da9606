"""The ways to compute a scan that can be timed, by the names that speed tests of VMamba give them, and ours."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lineside.export.bench_scan.compiled import CompiledScan
from lineside.export.bench_scan.problem import INPUTS, Problem

__all__ = ["MODES", "Mode", "why_not"]

Scan = Callable[..., Tensor]
"""Takes the tensors of `INPUTS` in their order and returns y."""


@dataclass(frozen=True)
class Mode:
    """A way to compute a scan.

    Attributes:
        says: What it is, in a few words.
        make: The scan, for a problem and a number of threads.
        needs: Package that must be importable.
        gpu: Whether it runs on a GPU only.
        trains: Whether it has gradients.
        one_state: Whether it is for N = 1 only.
    """

    says: str
    make: Callable[[Problem, int], Scan]
    needs: str = ""
    gpu: bool = False
    trains: bool = True
    one_state: bool = False


def _ours(problem: Problem, threads: int, form: str) -> Scan:
    from lineside.export.modules.selective_scan import selective_scan

    def scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = selective_scan(u, delta, a, b, c, skip, delta_bias=bias, delta_softplus=True, form=form)
        return y

    return scan


def _onnx(problem: Problem, threads: int) -> Scan:
    """The body of the operator in a session of onnxruntime."""
    import numpy as np
    import onnxruntime as ort

    from lineside.export.bench_scan.graph import single_node

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = single_node(problem.op, {name: tuple(tensor.shape) for name, tensor in problem.inputs.items()})
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def scan(*tensors: Tensor) -> Tensor:
        feed = {name: tensor.detach().cpu().numpy() for name, tensor in zip(INPUTS, tensors, strict=True)}
        return torch.from_numpy(np.asarray(session.run(None, feed)[0]))

    return scan


def _mamba(problem: Problem, threads: int) -> Scan:
    function: Any = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn

    def scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = function(u, delta, a, b, c, skip, delta_bias=bias, delta_softplus=True)
        return y

    return scan


def _compiled(problem: Problem, threads: int, package: str, one_state: bool = False) -> Scan:
    extension = importlib.import_module(package)

    def scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
        if one_state:
            a, b, c = a.squeeze(1), b.squeeze(2), c.squeeze(2)
        y: Tensor = CompiledScan.apply(extension, u, delta, a, b, c, skip, bias)
        return y

    return scan


CORE, ONE_STATE = "selective_scan_cuda_core", "selective_scan_cuda_ndstate"

MODES = {
    "ref": Mode("step by step, torch", partial(_ours, form="ref")),
    "easy": Mode("by chunks, all pairs of steps, torch", partial(_ours, form="easy")),
    "two-level": Mode("chunks of sqrt(L), torch", partial(_ours, form="two-level")),
    "associative": Mode("by pairs, log2(L) levels, torch", partial(_ours, form="associative")),
    "onnx-scan": Mode("the exported operator, onnxruntime CPU", _onnx, needs="onnxruntime", trains=False),
    "mamba_ssm": Mode("kernels of mamba_ssm", _mamba, needs="mamba_ssm", gpu=True),
    "sscore": Mode("kernels of VMamba", partial(_compiled, package=CORE), needs=CORE, gpu=True),
    "sscorendstate": Mode(
        "kernels of VMamba, N = 1",
        partial(_compiled, package=ONE_STATE, one_state=True),
        needs=ONE_STATE,
        gpu=True,
        one_state=True,
    ),
}
"""Every mode by name."""


def why_not(mode: Mode, device: str) -> str:
    """Why a mode cannot be timed on a device, or nothing where it can."""
    if mode.needs and importlib.util.find_spec(mode.needs) is None:
        return f"the Python package {mode.needs} is not installed" + (", a GPU build" if mode.gpu else "")
    if mode.gpu and not torch.cuda.is_available():
        return "torch sees no CUDA device here"
    if mode.gpu and not device.startswith("cuda"):
        return f"it runs on a GPU only, and this is measured on {device}: take --device cuda"
    return ""
