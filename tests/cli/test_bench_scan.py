"""``lineside bench-scan``: its figures, its tables, its refusals."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from typing import Any

import pytest
import torch

from lineside import cli as program
from lineside.export.bench_scan import modes as known
from lineside.export.bench_scan.compiled import CompiledScan
from lineside.export.bench_scan.problem import INPUTS, Problem, ScanShape, parse_shapes
from lineside.export.modules.selective_scan import selective_scan

SMALL = "2x8x1x30,1x6x4x7x2"
OURS = {"ref", "easy", "two-level", "associative", "onnx-scan"}
KERNELS = {"mamba_ssm", "sscore", "sscorendstate"}

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what is missing where there is no GPU")


def figures(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert program.main(["bench-scan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@on_cpu
def test_every_mode_is_measured_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, "--shapes", SMALL, "--repeats", "2", "--threads", "1")
    assert (found["device"], found["threads"], found["repeats"]) == ("cpu", 1, 2)
    assert set(found["unavailable"]) == KERNELS
    assert all("not installed" in reason for reason in found["unavailable"].values())
    assert [row["shape"] for row in found["rows"]] == [
        {"batch": 2, "channels": 8, "states": 1, "length": 30, "groups": 4},
        {"batch": 1, "channels": 6, "states": 4, "length": 7, "groups": 2},
    ]
    for row in found["rows"]:
        assert set(row["modes"]) == OURS and row["left_out"] == {}
        for name, times in row["modes"].items():
            assert times["forward_ms"] > 0 and times["error"] < 1e-5
            assert (times["forward_backward_ms"] is None) == (times["gradient_error"] is None) == (name == "onnx-scan")
            assert name == "onnx-scan" or (times["forward_backward_ms"] > 0 and times["gradient_error"] < 1e-5)


@on_cpu
def test_the_table_names_modes_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench-scan", "--shapes", "1x4x1x9", "--modes", "two-level, sscore,two-level", "--repeats", "1"]
    assert program.main(words) == 0
    printed = capsys.readouterr().out
    assert "channels 4, states 1, steps 9" in printed
    assert "two-level" in printed and "associative" not in printed
    assert "not available: sscore: the Python package selective_scan_cuda_core is not installed" in printed


def test_the_number_of_threads_is_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    found = figures(capsys, "--shapes", "1x4x1x9", "--modes", "ref", "--threads", str(before + 1), "--device", "cpu")
    assert found["threads"] == before + 1 and torch.get_num_threads() == before


def test_a_form_that_is_wrong_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cumulative(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The form by cumulative sums, whose exponential overflows."""
        total = a.log().cumsum(0)
        return total.exp() * (b * (-total).exp()).cumsum(0)

    monkeypatch.setitem(known.MODES, "easy", known.Mode("overflows", lambda problem, threads: overflowing))

    def overflowing(u: torch.Tensor, delta: torch.Tensor, a: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        b, c, bias, skip = rest
        dt = torch.nn.functional.softplus(delta + bias.unsqueeze(1))
        states = cumulative(torch.exp(dt * a[:, 0, None]).movedim(2, 0), (dt * u * b[:, 0]).movedim(2, 0))
        return states.movedim(0, 2) * c[:, 0] + skip.unsqueeze(1) * u

    words = ["bench-scan", "--modes", "easy", "--repeats", "1", "--device", "cpu", "--shapes"]
    assert program.main([*words, "1x4x1x30x1"]) == 0
    assert program.main([*words, "1x4x1x3000x1"]) == 1
    assert "error: easy is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--shapes", "1x2"], "'1x2' is no shape of a scan"),
        (["--shapes", "1x4x1x\u0661"], "is no shape of a scan"),
        (["--shapes", f"1x4x1x{'9' * 5000}"], "is no shape of a scan"),
        (["--shapes", "1x0x1x5"], "has no size"),
        (["--shapes", "1x8x1x5x3"], "has no size"),
        (["--shapes", "9x9999x99x9999"], "has more than"),
        (["--shapes", ""], "'' is no shape"),
        (["--modes", "fast"], "there is no mode 'fast': take some of ref"),
        (["--repeats", "0"], "repeats"),
        (["--threads", "-1"], "threads"),
        pytest.param(["--device", "cuda"], "torch sees no CUDA device here", marks=on_cpu),
        pytest.param(["--modes", "mamba_ssm,sscore"], "none of the modes asked for can run here", marks=on_cpu),
    ],
)
def test_wrong_usage_is_a_sentence_and_code_2(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["bench-scan", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and says in printed.err
    assert printed.err.count("\n") == 1


def test_shapes_have_four_groups_where_they_can() -> None:
    assert [str(shape) for shape in parse_shapes("1x8x2x5, 1x6x2x5,1x8x2x5x8")] == [
        "1x8x2x5x4",
        "1x6x2x5x1",
        "1x8x2x5x8",
    ]


def test_gpu_kernels_are_refused_without_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = known.Mode("kernels", known.MODES["sscore"].make, needs="torch", gpu=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert known.why_not(mode, "cpu") == "torch sees no CUDA device here"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "--device cuda" in known.why_not(mode, "cpu")
    assert known.why_not(mode, "cuda") == ""


def compiled_double(name: str, one_state: bool = False) -> types.ModuleType:
    """A double of one of VMamba's extension modules, which need a GPU: their interface, answered by torch.

    ``fwd(u, delta, A, B, C, D, delta_bias, delta_softplus, nrows)`` and ``bwd`` with gradient and states before the last
    two; that for one state has no axis for states in A, B and C. Shapes and order are asserted, gradients have the shapes
    of what came in.
    """

    def scan(*tensors: torch.Tensor, softplus: bool) -> torch.Tensor:
        u, delta, a, b, c, d, bias = tensors
        assert u.shape == delta.shape and d.shape == bias.shape == u.shape[1:2] == a.shape[:1]
        assert (a.ndim, b.ndim) == ((1, 3) if one_state else (2, 4))
        assert b.shape == c.shape and (b.shape[0], b.shape[-1]) == (u.shape[0], u.shape[2])
        assert all(tensor.is_contiguous() for tensor in tensors)
        if one_state:
            a, b, c = a.unsqueeze(1), b.unsqueeze(2), c.unsqueeze(2)
        result: torch.Tensor = selective_scan(u, delta, a, b, c, d, None, bias, softplus)
        return result

    def forward(*given: Any) -> list[torch.Tensor]:
        *tensors, softplus, rows = given
        assert rows == 1 and softplus is True
        return [scan(*tensors, softplus=softplus), torch.ones(3)]

    def backward(*given: Any) -> list[torch.Tensor]:
        *tensors, grad, states, softplus, rows = given
        assert rows == 1 and torch.equal(states, torch.ones(3))
        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        with torch.enable_grad():
            return list(torch.autograd.grad(scan(*tensors, softplus=softplus), tensors, grad))

    double = types.ModuleType(name)
    double.fwd, double.bwd = forward, backward  # type: ignore[attr-defined]
    return double


def mamba_double(name: str) -> types.ModuleType:
    """A double of the module of mamba_ssm that has its scan, which needs a GPU: its signature, answered by torch."""

    def selective_scan_fn(
        u: torch.Tensor,
        delta: torch.Tensor,
        A: torch.Tensor,
        B: torch.Tensor,
        C: torch.Tensor,
        D: torch.Tensor | None = None,
        z: torch.Tensor | None = None,
        delta_bias: torch.Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> torch.Tensor:
        assert D is not None and delta_bias is not None and z is None and not return_last_state
        assert u.shape == delta.shape and D.shape == delta_bias.shape == u.shape[1:2] == A.shape[:1]
        assert B.shape == C.shape and B.shape[2:] == (A.shape[1], u.shape[2])
        y: torch.Tensor = selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        return y

    double = types.ModuleType(name)
    double.selective_scan_fn = selective_scan_fn  # type: ignore[attr-defined]
    return double


@pytest.mark.parametrize(
    ("mode", "double"),
    [
        ("mamba_ssm", mamba_double("mamba_ssm.ops.selective_scan_interface")),
        ("sscore", compiled_double("selective_scan_cuda_core")),
        ("sscorendstate", compiled_double("selective_scan_cuda_ndstate", one_state=True)),
    ],
)
def test_modes_of_gpu_packages_call_them_as_they_are_called(
    mode: str, double: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With doubles in the place of the packages: what is proven is how they are called, not what their kernels do."""
    monkeypatch.setitem(sys.modules, double.__name__, double)
    monkeypatch.setitem(known.MODES, mode, dataclasses.replace(known.MODES[mode], needs="", gpu=False))
    words = ["--modes", mode, "--shapes", "2x8x1x11,1x6x3x7x2", "--repeats", "1", "--device", "cpu"]
    one, several = figures(capsys, *words)["rows"]
    times = [row["modes"][mode] for row in (one, several) if mode in row["modes"]]
    assert all(time["error"] < 1e-5 and time["gradient_error"] < 1e-4 for time in times)
    only_one_state = mode == "sscorendstate"
    assert len(times) == (1 if only_one_state else 2)
    assert list(several["left_out"]) == [mode] * only_one_state


def test_a_compiled_scan_gives_every_gradient() -> None:
    extension = compiled_double("selective_scan_cuda_core")
    problem = Problem(ScanShape(2, 8, 3, 11, 4))
    u, delta, a, b, c, bias, d = problem.fresh()
    y = CompiledScan.apply(extension, u, delta, a, b, c, d, bias)
    y.sum().backward()
    wanted, gradients = problem.wanted
    assert torch.allclose(y.double(), wanted, atol=1e-5)
    for name, gradient in zip(INPUTS, gradients, strict=True):
        assert torch.allclose(problem.inputs[name].grad.double(), gradient, rtol=1e-4, atol=1e-4), name
