"""Modulated deformable convolution: the same as plain loops, with every hyper-parameter; gradients."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from helpers.random_weights import picture, randomised
from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer
from lineside.export.modules.deform_conv import DCNv2, ModulatedDeformConv2d
from oracle.op_mod_deform_conv2d import mod_deform_conv2d

SAMPLED = 2e-5


def case_of(
    layer: ModulatedDeformConv2d, x: np.ndarray, offset: np.ndarray, mask: np.ndarray, **hyper: Any
) -> tuple[Case, np.ndarray]:
    """A case of the checker made of a layer, and what plain loops give for it."""
    state = randomised(layer)
    wanted = mod_deform_conv2d(layer.op, x, offset, mask, state["weight"], state.get("bias"))[0]
    tensors = [torch.from_numpy(array) for array in (x, offset, mask)]
    return Case(
        "modulated_deform_conv",
        "any name",
        hyper,
        dict(zip(("input", "offset", "mask"), tensors, strict=True)),
        {name: torch.from_numpy(array) for name, array in state.items()},
        {"output": torch.from_numpy(wanted)},
        "",
        {},
    ), wanted


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_checker_answers_cases_with_any_hyper_parameters(data: st.DataObject) -> None:
    small = st.integers(1, 2)
    kernel = data.draw(st.sampled_from([1, 2, 3, 5, (3, 1), (2, 3)]))
    hyper = {
        "kernel": kernel if isinstance(kernel, int) else list(kernel),
        "stride": data.draw(st.integers(1, 3)),
        "padding": data.draw(st.integers(0, 3)),
        "dilation": data.draw(small),
        "groups": data.draw(small),
        "deform_groups": data.draw(st.sampled_from([1, 2, 4])),
    }
    arguments: dict[str, Any] = {**hyper, "kernel": kernel}
    layer = ModulatedDeformConv2d(4, 4, bias=data.draw(st.booleans()), **arguments)
    x = picture(data.draw(small), 4, data.draw(st.integers(9, 11)), data.draw(st.integers(9, 12)))
    op = layer.op
    n, _, oh, ow = op.shapes(x.shape, (), (), tuple(layer.weight.shape))[0]
    offset = picture(n, 2 * op.deform_groups * op.taps, oh, ow, seed=2) * data.draw(st.sampled_from([0, 1, 8]))
    mask = np.abs(picture(n, op.deform_groups * op.taps, oh, ow, seed=3))
    given = {
        name: value for name, value in hyper.items() if value != {"padding": 0, "kernel": 3}.get(name, 1)
    }  # what is as usual may be left out
    case, wanted = case_of(layer, x, offset.astype(np.float32), mask, **given)
    assert relative_error(answer(case)["output"], torch.from_numpy(wanted)) < SAMPLED


def test_checker_knows_no_other_cases() -> None:
    with pytest.raises(NoHandler):
        answer(
            Case("modulated_deform_conv", "x", {}, {"input": torch.zeros(1)}, {}, {"output": torch.zeros(1)}, "", {})
        )


@pytest.mark.parametrize("layout", ["x, y of each tap: ch 2t=dx, 2t+1=dy", "all dy, then all dx", ""])
def test_checker_refuses_offsets_in_another_order(layout: str) -> None:
    layer = ModulatedDeformConv2d(4, 4, 3)
    offset, mask = picture(1, 18, 3, 3, seed=2), np.abs(picture(1, 9, 3, 3, seed=3))
    case, _ = case_of(layer, picture(1, 4, 5, 5), offset, mask, offset_layout=layout)
    with pytest.raises(NoHandler, match="2t = dy"):
        answer(case)


def test_checker_takes_the_order_that_it_knows_however_it_is_spaced() -> None:
    layer = ModulatedDeformConv2d(4, 4, 3)
    offset, mask = picture(1, 18, 3, 3, seed=2), np.abs(picture(1, 9, 3, 3, seed=3))
    case, wanted = case_of(layer, picture(1, 4, 5, 5), offset, mask, offset_layout="per tap: ch 2t = dy, 2t+1 = dx")
    assert relative_error(answer(case)["output"], torch.from_numpy(wanted)) < SAMPLED


def test_no_offsets_and_a_mask_of_one_make_a_plain_convolution() -> None:
    layer = ModulatedDeformConv2d(4, 6, 3, 2, 1, groups=2, deform_groups=2)
    x = torch.from_numpy(picture(2, 4, 9, 8))
    with torch.no_grad():
        found = layer(x, torch.zeros(2, 36, 5, 4), torch.ones(2, 18, 5, 4))
        wanted = functional.conv2d(x, layer.weight, layer.bias, 2, 1, groups=2)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    layer = ModulatedDeformConv2d(2, 2, 3, 2, 1, deform_groups=2).double()
    shapes = ((1, 2, 5, 6), (1, 36, 3, 3), (1, 18, 3, 3))
    tensors = [torch.from_numpy(picture(*shape, seed=seed)).double() for seed, shape in enumerate(shapes)]
    inputs = [tensor.requires_grad_() for tensor in (*tensors, layer.weight.detach(), torch.zeros(2).double())]
    assert torch.autograd.gradcheck(layer.op.torch, inputs)


def test_places_are_exact_in_half_precision() -> None:
    layer = ModulatedDeformConv2d(1, 1, 1, bias=False)
    layer.weight.data.fill_(1)
    x = torch.arange(301).remainder(2).float().view(1, 1, 1, 301)
    offset = torch.full((1, 2, 1, 301), 0.125)
    offset[:, 0] = 0
    with torch.no_grad():
        found = layer.half()(x.half(), offset.half(), torch.ones(1, 1, 1, 301).half())
    assert found.dtype == torch.float16
    wanted = torch.where(x > 0, 0.875, 0.125)
    assert float((found.float() - wanted)[..., :-1].abs().max()) < 1e-3


@pytest.mark.parametrize("fresh", [True, False])
def test_every_parameter_learns(fresh: bool) -> None:
    block = DCNv2(4, 6, stride=2, deform_groups=2)
    if not fresh:
        randomised(block)
    x = torch.from_numpy(picture(2, 4, 9, 9)).requires_grad_()
    block(x).square().sum().backward()
    for name, tensor in [*block.named_parameters(), ("x", x)]:
        assert tensor.grad is not None and bool(torch.isfinite(tensor.grad).all()), name
        assert bool((tensor.grad != 0).any()), name


def test_block_starts_as_a_plain_convolution_of_half_strength() -> None:
    block = DCNv2(4, 6, bias=False).eval()
    x = torch.from_numpy(picture(1, 4, 7, 8))
    with torch.no_grad():
        wanted = functional.conv2d(x, block.conv.weight, padding=1) / 2
        torch.testing.assert_close(block(x), wanted, atol=1e-5, rtol=1e-5)
        twin = pickle.loads(pickle.dumps(copy.deepcopy(block)))
        assert torch.equal(twin(x), block(x))


def test_sizes_and_groups_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="3 deform groups"):
        ModulatedDeformConv2d(4, 4, deform_groups=3)
    layer = ModulatedDeformConv2d(4, 4, 3, 2, 1)
    with pytest.raises(ValueError, match=r"\(5, 5\).*\(9, 9\)"):
        layer(torch.zeros(1, 4, 9, 9), torch.zeros(1, 18, 9, 9), torch.ones(1, 9, 9, 9))
