"""FastKAN: the same as plain numpy, with 1, 2 and 3 sides, in training and in a graph."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.random_weights import picture, randomised
from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer
from lineside.export.modules.fast_kan import (
    FastKANConv,
    FastKANConv1d,
    FastKANConv2d,
    FastKANConv3d,
    RadialBasisFunction,
)
from lineside.export.trace import to_onnx
from oracle import fast_kan as oracle

EXACT = 1e-5
INSTANCE, BATCH = "InstanceNorm(affine=False,eps=1e-5)", "BatchNorm"


def answered(state: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray, source: str = "", **hyper: Any) -> float:
    """Relative error that the checker gives for a case made here."""

    def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}

    upstream = {"file": f"upstream.py:{source}"}
    case = Case("fastkan", "any", hyper, tensors({"x": x}), tensors(state), tensors({"y": y}), "", upstream)
    return relative_error(answer(case)["y"], case.expected["y"])


class TestAnswers:
    """Cases of other sizes and hyper-parameters than the shipped ones, their outputs made in numpy."""

    @pytest.mark.parametrize(
        ("shape", "hyper"),
        [
            ((4,), {}),
            ((2, 3, 4), {"grid_min": 0.5, "grid_max": 4.0, "num_grids": 3}),
            ((5, 2), {"num_grids": 12, "denominator": 0.3}),
            ((5, 2), {"grid_min": -1, "num_grids": 2}),
        ],
    )
    def test_bumps(self, shape: tuple[int, ...], hyper: dict[str, Any]) -> None:
        first, last, count = hyper.get("grid_min", -2), hyper.get("grid_max", 2), hyper.get("num_grids", 8)
        x = picture(*shape) * 2
        y = oracle.bumps(x.astype(float), first, last, count, hyper.get("denominator"))
        assert answered({}, x, y, "RadialBasisFunction", **hyper) < EXACT
        assert answered({"grid": np.linspace(first, last, count)}, x, y, "", **hyper) < EXACT

    @pytest.mark.parametrize("norm", [INSTANCE, BATCH])
    @pytest.mark.parametrize(
        ("shape", "output_dim", "hyper"),
        [
            ((2, 6, 13), 4, {"ndim": 1, "kernel_size": 3, "groups": 2, "dilation": 2, "grid_size": 3}),
            ((1, 3, 7, 8), 5, {"ndim": 2, "kernel_size": 5, "stride": 3, "padding": 2}),
            ((2, 6, 8, 9), 9, {"ndim": 2, "kernel_size": 3, "groups": 3, "dilation": 3, "padding": 3, "stride": 2}),
            ((2, 4, 6, 5), 2, {"kernel_size": [1, 3], "padding": [0, 1], "grid_range": [-3, 1], "grid_size": 2}),
            ((1, 2, 4, 5, 6), 4, {"ndim": 3, "kernel_size": 2, "groups": 2, "stride": [1, 2, 2], "padding": 1}),
        ],
    )
    def test_convolutions(self, norm: str, shape: tuple[int, ...], output_dim: int, hyper: dict[str, Any]) -> None:
        ndim, groups = len(shape) - 2, hyper.get("groups", 1)
        size, grid = hyper.get("grid_size", 8), hyper.get("grid_range", [-2, 2])
        usual = {"padding": 0, "stride": 1, "dilation": 1}
        sides = {
            name: (value if isinstance(value, list) else [value] * ndim) for name, value in (usual | hyper).items()
            if name in usual
        }  # fmt: skip
        options = {name: value for name, value in hyper.items() if name not in ("ndim", "kernel_size")}
        state = randomised(FastKANConv(ndim, shape[1], output_dim, hyper["kernel_size"], norm=kind(norm), **options))
        state["rbf.grid"] = np.linspace(*grid, size)
        x = picture(*shape) * 1.5
        y = oracle.layer(
            x.astype(float), state, sides["padding"], sides["stride"], sides["dilation"], groups, (*grid, size)
        )
        given_hyper = {"input_dim": shape[1], "output_dim": output_dim, "norm": norm} | hyper
        assert answered(state, x, y, f"FastKANConv{ndim}DLayer", **given_hyper) < EXACT

    def test_cases_that_are_none_of_ours(self) -> None:
        with pytest.raises(NoHandler, match="SplineLinear"):
            answered({"weight": picture(2, 2)}, picture(2, 2), picture(2, 2), "SplineLinear")
        state = randomised(FastKANConv2d(2, 2, 1))
        with pytest.raises(NoHandler, match="GroupNorm"):
            answered(state, picture(1, 2, 2, 2), picture(1, 2, 2, 2), norm="GroupNorm(1)")

    def test_the_grid_of_a_checkpoint_is_checked(self) -> None:
        layer = FastKANConv2d(2, 2, 3, grid_size=5)
        state = layer.state_dict() | {"rbf.grid": torch.linspace(-2, 2, 5).half()}
        layer.load_state_dict(state)
        for other in (torch.linspace(-1, 1, 5), torch.linspace(-2, 2, 6)):
            with pytest.raises(RuntimeError, match="rbf.grid is"):
                layer.load_state_dict(state | {"rbf.grid": other})


class TestLayers:
    @settings(deadline=None, max_examples=25)
    @given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(2, 6), st.booleans())
    def test_any_shape(self, ndim: int, groups: int, c1: int, c2: int, grid: int, batch_norm: bool) -> None:
        norm = BATCH if batch_norm else INSTANCE
        layer = FastKANConv(
            ndim, groups * c1, groups * c2, 3, groups=groups, padding=1, grid_size=grid, norm=kind(norm)
        )
        state = randomised(layer)
        x = picture(2, groups * c1, *(4, 5, 3)[:ndim])
        one = [1] * ndim
        wanted = oracle.layer(x.astype(float), state, one, one, one, groups, (-2.0, 2.0, grid))
        with torch.no_grad():
            assert relative_error(layer(torch.from_numpy(x)), torch.from_numpy(wanted)) < EXACT

    def test_normalisation_is_over_the_channels_that_come_in(self) -> None:
        layer = FastKANConv2d(6, 10, 3, groups=2, norm="batch")
        assert [norm.num_features for norm in layer.layer_norm] == [3, 3]
        assert layer.train()(torch.randn(2, 6, 5, 5)).shape == (2, 10, 3, 3)

    @pytest.mark.parametrize("norm", ["instance", "batch"])
    def test_gradients_reach_every_parameter(self, norm: Any) -> None:
        for layer, shape in (
            (FastKANConv1d(4, 6, 3, groups=2, norm=norm), (2, 4, 9)),
            (FastKANConv2d(4, 6, 3, padding=1, norm=norm), (2, 4, 6, 5)),
            (FastKANConv3d(2, 3, 3, padding=1, norm=norm), (1, 2, 4, 4, 4)),
        ):
            x = torch.from_numpy(picture(*shape)).requires_grad_()
            layer.train()(x).pow(3).mean().backward()
            for name, parameter in [*layer.named_parameters(), ("x", x)]:
                assert parameter.grad is not None and parameter.grad.isfinite().all(), name
                assert parameter.grad.abs().max() > 1e-9, name

    def test_dropout_is_on_the_way_of_the_bumps_only(self) -> None:
        layer = FastKANConv2d(4, 3, 3, padding=1, dropout=0.999999, norm="batch").train()
        x = torch.from_numpy(picture(2, 4, 6, 6))
        with torch.no_grad():
            dropped = layer(x)
            torch.testing.assert_close(dropped, layer.base_conv[0](nn.functional.silu(x)))
            assert not torch.allclose(layer.eval()(x), dropped)

    def test_begins_with_the_variance_of_what_comes_in(self) -> None:
        """Kaiming's uniform distribution with a gain of 1: a bound of ``sqrt(3 / fan_in)``."""
        layer = FastKANConv2d(32, 32, 3, grid_size=4)
        for conv, fan_in in ((layer.base_conv[0], 32 * 9), (layer.spline_conv[0], 32 * 9 * 4)):
            bound = (3 / fan_in) ** 0.5
            assert 0.98 * bound < float(conv.weight.detach().abs().max()) <= bound
            assert conv.bias is None

    def test_nothing_of_the_grid_is_stored(self) -> None:
        layer = FastKANConv2d(2, 2, 3, grid_range=(-1.3, 1.7), grid_size=7)
        with torch.inference_mode():
            layer(torch.zeros(1, 2, 5, 5))
        assert not [name for name in layer.state_dict() if "grid" in name]
        twin = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
        x = torch.randn(1, 2, 5, 5)
        layer(x).sum().backward()
        torch.testing.assert_close(twin(x), layer(x))
        x = torch.randn(3)
        before = layer.rbf(x)
        layer.half().float()
        assert torch.equal(layer.rbf(x), before)

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: FastKANConv2d(6, 4, 3, groups=3), "shared among 3 groups"),
            (lambda: FastKANConv2d(4, 4, 3, norm="layer"), "'layer'"),
            (lambda: FastKANConv(4, 4, 4, 3), "and 4"),
            (lambda: RadialBasisFunction(num_grids=1), "no distance"),
            (lambda: RadialBasisFunction(1, -1), "no distance"),
            (lambda: RadialBasisFunction(denominator=0.0), "width 0.0"),
        ],
    )
    def test_impossible_arguments(self, make: Any, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            make()

    @pytest.mark.parametrize("norm", ["instance", "batch"])
    @pytest.mark.parametrize("ndim", [1, 2, 3])
    def test_graph_is_the_same(self, ndim: int, norm: Any) -> None:
        layer = FastKANConv(ndim, 4, 6, 3, groups=2, padding=1, grid_size=5, norm=norm)
        randomised(layer)
        x = picture(1, 4, *(7, 6, 5)[:ndim])
        graph = to_onnx(Listed(layer).eval(), x.shape, ["y"])
        y = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"images": x})[0]
        with torch.no_grad():
            assert relative_error(torch.from_numpy(y), layer(torch.from_numpy(x))) < EXACT
        assert not [node for node in graph.graph.node if node.op_type == "Transpose"]


class Listed(nn.Module):
    """A layer whose output comes in a tuple, as graphs have it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layer(x),)


def kind(norm: str) -> Any:
    """What our layer calls a normalisation of a manifest."""
    return "batch" if norm == BATCH else "instance"
