"""What is said of sampling between pixels: by how much there is of it, and by how good the target is at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.op_case import single_node
from helpers.sick_models import making, operators
from helpers.sick_models.making import Sick
from lineside.export.doctor.examine import examine
from lineside.export.doctor.report import Report
from lineside.export.doctor.rules.sampling import SAMPLED
from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d
from lineside.export.ops.ms_deform_attn import MSDeformAttn


def report_of(sick: Sick) -> Report:
    return examine(sick.model, sick.target)


@pytest.mark.parametrize(
    ("side", "target", "found"),
    [(80, "onnxruntime1.23", True), (80, "onnxruntime", False), (20, "onnxruntime1.23", False)],
)
def test_sampling_is_slow_by_its_amount_and_by_the_target(side: int, target: str, found: bool, tmp_path: Path) -> None:
    report = report_of(making.saved(tmp_path, operators.sampling(side), target))
    assert report.runs and ("slow-sampling" in [finding.rule for finding in report.findings]) == found


@pytest.mark.parametrize(("queries", "found"), [(1600, True), (100, False)])
def test_sampling_inside_of_our_functions_counts(queries: int, found: bool, tmp_path: Path) -> None:
    shapes = ((1, 2100, 8, 16), (2, 2), (2,), (1, queries, 8, 2, 4, 2), (1, queries, 8, 2, 4))
    node = single_node(MSDeformAttn(2), [np.zeros(shape, np.float32) for shape in shapes])
    report = report_of(making.saved(tmp_path, node, "onnxruntime1.23"))
    slow = [finding for finding in report.findings if finding.rule == "slow-sampling"]
    assert report.runs and bool(slow) == found
    assert not slow or slow[0].reason.startswith("1.6 million values")  # 1600 queries, 8 heads, 2 levels, 4 points, 16


def test_values_that_our_operators_sample_are_what_their_torch_forms_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = []
    real = torch.nn.functional.grid_sample

    def counted(*given: Any, **more: Any) -> torch.Tensor:
        sampled.append(real(*given, **more))
        return sampled[-1]

    monkeypatch.setattr(torch.nn.functional, "grid_sample", counted)
    attention = [(1, 24, 2, 3), (2, 2), (2,), (1, 5, 2, 2, 4, 2), (1, 5, 2, 2, 4)]
    convolution = [(2, 4, 6, 7), (2, 36, 3, 4), (2, 18, 3, 4), (5, 4, 3, 3)]
    for op, shapes in ((MSDeformAttn(2), attention), (ModDeformConv2d(stride=(2, 2), deform_groups=2), convolution)):
        sampled.clear()
        tensors = [torch.rand(shape) for shape in shapes]
        if op.integers:
            tensors[1:3] = [torch.tensor([[4, 5], [2, 2]]), torch.tensor([0, 20])]
        op.torch(*tensors)
        assert SAMPLED[op.base](*shapes) == sum(values.numel() for values in sampled) > 0
