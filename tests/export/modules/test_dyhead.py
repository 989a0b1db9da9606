"""Dynamic head: the same as plain numpy, in every mode; gradients; sizes."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from helpers.random_weights import picture, randomised
from lineside.export.modules.check.case import EXACT, SAMPLED, Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer, tolerance
from lineside.export.modules.dyhead import DyDCNv2, DyHead, DyHeadBlock, DyReLU
from oracle import dyhead as oracle

Arrays = Mapping[str, np.ndarray]


def case_of(inputs: Arrays, state: Arrays, wanted: Arrays, **hyper: Any) -> Case:
    def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}

    return Case("dyhead", "any name", hyper, tensors(inputs), tensors(state), tensors(wanted), "", {})


def error(case: Case) -> float:
    found = answer(case)
    return max(relative_error(found[name], wanted) for name, wanted in case.expected.items())


@pytest.mark.parametrize(
    ("pieces", "use_bias", "use_spatial"), list(itertools.product((1, 2), (False, True), (False, True)))
)
@pytest.mark.parametrize(("inp", "reduction", "lambda_a"), [(16, 4, 1.0), (24, 8, 2.0), (40, 2, 0.5)])
def test_activation(pieces: int, use_bias: bool, use_spatial: bool, inp: int, reduction: int, lambda_a: float) -> None:
    state = randomised(DyReLU(inp, reduction, lambda_a, pieces, use_bias, use_spatial))
    x = picture(2, inp, 5, 4)
    y = oracle.dy_relu(x.astype(float), state, pieces, use_bias, use_spatial, lambda_a)
    hyper = {"K2": pieces == 2, "use_bias": use_bias, "use_spatial": use_spatial}
    usual = {"K2": True, "use_bias": True, "use_spatial": False}
    given = {name: value for name, value in hyper.items() if value != usual[name]}
    case = case_of({"x": x}, state, {"y": y}, inp=inp, reduction=reduction, lambda_a=lambda_a, **given)
    assert tolerance(case) == EXACT
    assert error(case) < EXACT


@pytest.mark.parametrize(("inp", "oup"), [(1, 6), (8, 1)])
@pytest.mark.parametrize(("pieces", "use_bias"), [(2, True), (2, False), (1, True), (1, False)])
def test_activation_of_one_channel_or_with_one_slope_for_all(inp: int, oup: int, pieces: int, use_bias: bool) -> None:
    """``y[c] = max over k of a_k[c] x[c] + b_k[c]``, where one channel goes to all that there are coefficients for."""
    state = randomised(DyReLU(inp, pieces=pieces, use_bias=use_bias, oup=oup, lambda_a=0.7))
    x = picture(2, inp, 3, 4).astype(float)
    hidden = np.maximum(x.mean((2, 3)) @ state["fc.0.weight"].T + state["fc.0.bias"], 0)
    t = oracle.hard_sigmoid(hidden @ state["fc.2.weight"].T + state["fc.2.bias"]) - 0.5
    groups = list(np.split(t[:, :, None, None], t.shape[1] // oup, 1))
    slopes, starts = (groups[::2], groups[1::2]) if use_bias else (groups, [np.zeros(1)] * pieces)
    lines = [(1.4 * a + one) * x + b for a, b, one in zip(slopes, starts, (1, 0), strict=False)]
    y = np.max(lines, axis=0)
    assert len(lines) == pieces and y.shape[1] == max(inp, oup)
    hyper = {"inp": inp, "oup": oup, "lambda_a": 0.7, "K2": pieces == 2, "use_bias": use_bias}
    assert error(case_of({"x": x}, state, {"y": y}, **hyper)) < EXACT


def test_activation_of_coefficients_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="6 channels do not fit an input of 4"):
        DyReLU(4, oup=6)
    with pytest.raises(ValueError, match="pieces"):
        DyReLU(4, pieces=3)


@pytest.mark.parametrize("high_level_offset", ["crop", "flat_prefix"])
@pytest.mark.parametrize(
    ("sizes", "c1", "c2", "norm"),
    [
        ([(6, 5), (3, 3)], 16, 16, True),
        ([(7, 9), (4, 5), (2, 3)], 16, 32, True),
        ([(4, 4), (2, 2), (1, 1), (1, 1)], 16, 16, True),
        ([(5, 6), (3, 3)], 8, 12, False),
        ([(4, 3)], 16, 16, True),
    ],
)
def test_block(high_level_offset: Any, sizes: list[tuple[int, int]], c1: int, c2: int, norm: bool) -> None:
    state = randomised(DyHeadBlock(c1, c2, high_level_offset, norm))
    levels = [picture(2, c1, *size, seed=seed) for seed, size in enumerate(sizes)]
    wanted = oracle.block([level.astype(float) for level in levels], state, high_level_offset)
    names = {f"x{index}": level for index, level in enumerate(levels)}
    outputs = {f"y{index}": level for index, level in enumerate(wanted)}
    case = case_of(
        names, state, outputs, in_channels=c1, out_channels=c2, shapes=sizes, high_level_offset=high_level_offset
    )
    assert tolerance(case) == SAMPLED
    assert error(case) < 2e-5


@pytest.mark.parametrize("reduction", [2, 8])
def test_checker_gives_a_block_the_reduction_of_its_case(reduction: int) -> None:
    state = randomised(DyHeadBlock(16, 32, reduction=reduction))
    levels = [picture(1, 16, *size) for size in ((4, 3), (2, 2))]
    wanted = oracle.block([level.astype(float) for level in levels], state)
    names, outputs = (
        {f"{letter}{i}": one for i, one in enumerate(maps)} for letter, maps in (("x", levels), ("y", wanted))
    )
    assert error(case_of(names, state, outputs, out_channels=32, reduction=reduction)) < 2e-5


@pytest.mark.parametrize(
    ("name", "value"), [("lambda_a", 2.0), ("K2", False), ("use_bias", False), ("use_spatial", True)]
)
def test_checker_has_no_block_with_another_activation(name: str, value: object) -> None:
    state = randomised(DyHeadBlock(16, 16))
    usual = {"lambda_a": 1, "K2": True, "use_bias": True, "use_spatial": False}
    x = {"x0": picture(1, 16, 3, 3)}
    y = {"y0": oracle.block([x["x0"].astype(float)], state)[0]}
    assert error(case_of(x, state, y, **usual)) < 2e-5
    with pytest.raises(NoHandler, match=name):
        answer(case_of(x, state, y, **{**usual, name: value}))


@pytest.mark.parametrize("reduction", [4, 8])
def test_several_blocks(reduction: int) -> None:
    state = randomised(DyHead(16, 32, blocks=2, reduction=reduction))
    levels = [picture(1, 16, *size) for size in ((5, 4), (3, 2))]
    wanted = [level.astype(float) for level in levels]
    for number in range(2):
        prefix = f"dyhead_blocks.{number}."
        wanted = oracle.block(
            wanted, {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}
        )
    upstream = {}
    for name, values in state.items():  # upstream has 1x1 convolutions there
        task = ".task_attn_module.fc." in name
        named = name.replace(".fc.0.", ".conv1.conv.").replace(".fc.2.", ".conv2.conv.")
        upstream[named] = values[..., None, None] if task and name.endswith("weight") else values
    inputs, outputs = (
        {f"{letter}{i}": one for i, one in enumerate(maps)} for letter, maps in (("x", levels), ("y", wanted))
    )
    assert error(case_of(inputs, upstream, outputs, in_channels=16, out_channels=32, reduction=reduction)) < 2e-5


def test_checker_knows_no_other_cases() -> None:
    with pytest.raises(NoHandler):
        answer(case_of({"x": picture(1, 4, 3, 3)}, {"weight": np.ones(3)}, {"y": np.ones(3)}))


def test_where_offsets_of_the_higher_level_come_from_matters() -> None:
    levels = [torch.from_numpy(picture(1, 16, side, side)) for side in (8, 4)]
    crop, prefix = DyHeadBlock(16, 16), DyHeadBlock(16, 16, "flat_prefix")
    randomised(crop)
    prefix.load_state_dict(crop.state_dict())
    with torch.no_grad():
        finest, coarsest = ((one - other).abs().max() for one, other in zip(crop(levels), prefix(levels), strict=True))
    assert float(finest) > 0.01
    assert float(coarsest) == 0


@pytest.mark.parametrize("fresh", [True, False])
def test_every_parameter_learns(fresh: bool) -> None:
    torch.manual_seed(0)
    head = DyHead(16, 32, blocks=2)
    if not fresh:
        randomised(head)
    levels = [torch.from_numpy(picture(2, 16, *size, seed=size[0])) for size in ((7, 9), (4, 5), (2, 3))]
    target = [torch.from_numpy(picture(2, 32, *level.shape[2:], seed=5)) for level in levels]
    loss = sum((((y - t) ** 2).mean() for y, t in zip(head(levels), target, strict=True)), torch.zeros(()))
    loss.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_head_can_be_copied_and_kept() -> None:
    head = DyHead(16, 16, blocks=1).eval()
    twin = pickle.loads(pickle.dumps(copy.deepcopy(head)))
    levels = [torch.from_numpy(picture(1, 16, side, side)) for side in (6, 3)]
    with torch.no_grad():
        for one, other in zip(head(levels), twin(levels), strict=True):
            assert torch.equal(one, other)
    assert len(DyHead(16, 16).dyhead_blocks) == 6


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        DyDCNv2(16, 24)
    with pytest.raises(ValueError, match="'first'"):
        DyHeadBlock(16, 16, "first")  # type: ignore[arg-type]
    levels = [torch.zeros(1, 16, 9, 9), torch.zeros(1, 16, 4, 4)]  # half of 9, rounded up, is 5
    with pytest.raises(ValueError, match=r"\(5, 5\).*\(4, 4\)"):
        DyHeadBlock(16, 16)(levels)
