"""Odd blocks of somebody's own: doctor says what is wrong with each and where, or that nothing is, and never fails itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.sick_models.making import with_block
from lineside import cli

HERE = ["model.9"]
"""Where the block stands."""

BLOCKS = {
    "complex numbers": (
        "y = torch.fft.fft2(x)\nreturn x + torch.fft.ifft2(y * y.abs()).real", "no-onnx-form", "no complex numbers",
    ),
    "volumes": (
        "grid = torch.zeros(x.shape[0], 1, *x.shape[2:], 3)\n"
        "return torch.nn.functional.grid_sample(x[:, :, None], grid, align_corners=False)[:, :, 0]",
        "no-onnx-form", "aten::grid_sampler",
    ),
    "linear algebra": (
        "a = x.flatten(2)\nreturn x + torch.linalg.inv(a @ a.transpose(1, 2) + torch.eye(a.shape[1])).mean()",
        "no-onnx-form", "aten::linalg_inv",
    ),
    "another function": ("return x + torch.quantile(x, 0.5)", "no-onnx-form", "aten::quantile"),
    "branches": ("if x.sum() > 0:\n    return x * 2\nreturn x", "frozen-numbers", "torch.where"),
    "a slice of changing length": (
        "k = int((x.mean() > 0)) + 1\nreturn torch.cat([x[:, :k] * 2, x[:, k:]], 1)", "frozen-numbers", "torch.where",
    ),
    "through numpy": (
        "import numpy as np\nreturn x + torch.from_numpy(np.sqrt(np.abs(x.detach().numpy())))", "frozen-numbers", ".numpy()",
    ),
    "a fault in export alone": (
        "if torch.onnx.is_in_onnx_export():\n    raise KeyError('no')\nreturn x", "export-refuses", "'no'",
    ),
    "einsum": ("return x + torch.einsum('bchw,bdhw->bcd', x, x).mean()", "", ""),
    "a number out of a constant": ("k = int(torch.arange(4).sum())\nreturn torch.roll(x, k, 1)", "", ""),
}  # fmt: skip
"""Body of the block, the rule that finds it, and a word of what is said; nothing where it can be exported."""


@pytest.mark.parametrize("name", BLOCKS)
def test_odd_block(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, rule, word = BLOCKS[name]
    sick = with_block(tmp_path, body)
    code = cli.main(["doctor", sick.model, "--imgsz", "64", "--json", "--modules", *sick.options["modules"]])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err and "internal error" not in printed.err
    findings = [it for it in json.loads(printed.out)["findings"] if it["severity"] != "note"]
    assert [it["rule"] for it in findings] == ([rule] if rule else [])
    assert code == (1 if rule else 0)
    for finding in findings:
        assert finding["where"] == HERE and word in finding["reason"] + finding["remedy"]
