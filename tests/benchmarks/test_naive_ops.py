"""The plain forms that the bodies of our operators are timed against compute the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineside.export.ops.op import CustomOp
from lineside.export.ops.table import find_op

SIZES = ((4, 5), (2, 3), (1, 1))
STARTS = (0, 20, 26)


def drawn(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Random tensors."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


def found(name: str) -> CustomOp:
    op = find_op(name)
    assert op is not None
    return op


@pytest.mark.parametrize(
    ("name", "form", "shapes"),
    [
        ("ModDeformConv2d_k3_s2", "mod_deform_conv2d", ((2, 4, 7, 6), (2, 18, 4, 3), (2, 9, 4, 3), (5, 4, 3, 3), (5,))),
        ("Carafe_k5_up2", "carafe", ((2, 3, 4, 5), (2, 25, 8, 10))),
        (
            "SelectiveScan_n3_softplus",
            "selective_scan",
            ((2, 4, 6), (2, 4, 6), (4, 3), (2, 1, 3, 6), (2, 1, 3, 6)),
        ),
        ("MSDeformAttn_l3", "ms_deform_attn", ((2, 27, 2, 3), (2, 5, 2, 3, 4, 2), (2, 5, 2, 3, 4))),
    ],
)
def test_plain_form_is_the_operator(
    name: str, form: str, shapes: tuple[tuple[int, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    op, inputs = found(name), drawn(*shapes)
    settings: dict[str, Any] = {}
    whole = inputs
    if form == "ms_deform_attn":
        settings["sizes"] = SIZES
        levels = [torch.tensor(it, dtype=torch.int32) for it in (SIZES, STARTS)]
        whole = [inputs[0], *levels, *inputs[1:]]
    if form == "selective_scan":
        inputs[2].abs_().neg_()
    plain = getattr(importlib.import_module("naive_ops"), form)(op, *inputs, **settings)
    torch.testing.assert_close(plain, op.torch(*whole), rtol=1e-4, atol=1e-5)
