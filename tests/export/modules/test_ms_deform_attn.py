"""Multi-scale deformable attention: the same as plain numpy, with every hyper-parameter of a reference case."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from helpers.random_weights import picture, randomised
from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer
from lineside.export.modules.ms_deform_attn import (
    MSDeformAttn,
    bias_init_with_prob,
    inverse_sigmoid,
    linear_init,
    ms_deform_attn,
)
from lineside.runtime.errors import BadOption
from oracle import op_ms_deform_attn as oracle

SAMPLED = 5e-5
SHAPES = ((6, 5), (3, 4), (2, 2), (1, 3))

Arrays = Mapping[str, np.ndarray]


def error(inputs: Arrays, state: Arrays, wanted: np.ndarray, **hyper: Any) -> float:
    """Relative error of what the checker gives for a case made here."""

    def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}

    expected = {"output": wanted.astype(np.float32)}
    case = Case("ms_deform_attn", "any name", hyper, tensors(inputs), tensors(state), tensors(expected), "", {})
    return relative_error(answer(case)["output"], case.expected["output"])


def pixels(shapes: Sequence[Sequence[int]]) -> int:
    return sum(h * w for h, w in shapes)


@pytest.mark.parametrize(("levels", "heads", "width", "points"), [(1, 1, 5, 1), (2, 3, 2, 4), (4, 2, 4, 3)])
@pytest.mark.parametrize("given", ["input", "hyper"])
def test_sampling(levels: int, heads: int, width: int, points: int, given: str) -> None:
    shapes = SHAPES[:levels]
    value = picture(2, pixels(shapes), heads, width)
    places = np.random.default_rng(1).uniform(-0.3, 1.3, (2, 7, heads, levels, points, 2)).astype(np.float32)
    weights = picture(2, 7, heads, levels, points, seed=2)
    inputs = {"value": value, "sampling_locations": places, "attention_weights": weights}
    hyper: dict[str, Any] = {"heads": heads, "head_dim": width, "levels": levels, "points": points}
    if given == "input":
        inputs["spatial_shapes"] = np.array(shapes)
    else:
        hyper["spatial_shapes"] = [list(shape) for shape in shapes]
    wanted = oracle.sampled(value, shapes, places, weights).reshape(2, 7, -1)
    assert error(inputs, {}, wanted, **hyper) <= SAMPLED


@pytest.mark.parametrize("reference", [2, 4])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("hyper", "levels"),
    [
        ({"d_model": 12, "n_levels": 2, "n_heads": 3, "n_points": 2}, 2),
        ({"d_model": 8, "n_heads": 1, "n_points": 5}, 4),
        ({"d_model": 24, "n_levels": 1}, 1),
    ],
)
def test_module(hyper: dict[str, int], levels: int, padded: bool, reference: int) -> None:
    shapes, width = SHAPES[:levels], hyper["d_model"]
    heads, points = hyper.get("n_heads", 8), hyper.get("n_points", 4)
    state = randomised(MSDeformAttn(width, levels, heads, points))
    rng = np.random.default_rng(4)
    inputs = {
        "query": picture(2, 6, width),
        "reference_points": rng.uniform(0, 1, (2, 6, levels, reference)).astype(np.float32),
        "input_flatten": picture(2, pixels(shapes), width, seed=2),
        "spatial_shapes": np.array(shapes),
        "level_start_index": np.array([pixels(shapes[:level]) for level in range(levels)]),
    }
    mask = (rng.random((2, pixels(shapes))) < 0.3).astype(np.uint8) if padded else None
    if mask is not None:
        inputs["padding_mask"] = mask
    main = (inputs["query"], inputs["reference_points"], inputs["input_flatten"])
    wanted = oracle.attention(state, *main, shapes, heads, points, mask)
    assert error(inputs, state, wanted, **hyper) <= SAMPLED


def test_a_missing_hyper_parameter_has_its_usual_value() -> None:
    module = MSDeformAttn()
    assert (module.d_model, module.n_levels, module.n_heads, module.n_points) == (256, 4, 8, 4)
    state = randomised(module)
    inputs = {
        "query": picture(1, 2, 256),
        "reference_points": np.full((1, 2, 4, 2), 0.4, np.float32),
        "input_flatten": picture(1, pixels(SHAPES), 256),
        "spatial_shapes": np.array(SHAPES),
    }
    main = (inputs["query"], inputs["reference_points"], inputs["input_flatten"])
    assert error(inputs, state, oracle.attention(state, *main, SHAPES, 8, 4)) <= SAMPLED


def test_what_nothing_here_computes() -> None:
    with pytest.raises(NoHandler, match="inputs x"):
        error({"x": np.ones(3)}, {}, np.ones(3))


def test_start_looks_in_every_direction_ever_further() -> None:
    module = MSDeformAttn(8, 2, 4, 3)
    assert not module.sampling_offsets.weight.any() and not module.attention_weights.weight.any()
    assert not module.attention_weights.bias.any()
    assert not module.value_proj.bias.any() and not module.output_proj.bias.any()
    bound = math.sqrt(6 / 16)
    assert 0.8 * bound < float(module.value_proj.weight.abs().max()) <= bound
    directions = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    wanted = directions[:, None, None] * np.arange(1, 4)[:, None] * np.ones((1, 2, 1, 1))
    np.testing.assert_allclose(module.sampling_offsets.bias.detach().reshape(4, 2, 3, 2), wanted, atol=1e-6)
    diagonal = MSDeformAttn(8, 1, 8, 1).sampling_offsets.bias.detach().reshape(8, 2)[1]
    np.testing.assert_allclose(diagonal, [1, 1], atol=1e-6)


def test_every_parameter_learns_from_its_start() -> None:
    torch.manual_seed(0)
    module = MSDeformAttn(16, 2, 4, 2)
    shapes = SHAPES[:2]
    query, values = (torch.from_numpy(picture(2, n, 16, seed=n)) for n in (9, pixels(shapes)))
    reference = torch.rand(2, 9, 2, 2)
    (module(query, reference, values, shapes) ** 2).mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_gradients_are_those_of_the_formula() -> None:
    shapes = ((3, 2), (2, 2))
    rng = np.random.default_rng(0)
    value = torch.from_numpy(rng.normal(size=(1, 10, 2, 2))).requires_grad_()
    places = torch.from_numpy(rng.uniform(0.05, 0.95, (1, 3, 2, 2, 2, 2))).requires_grad_()
    weights = torch.from_numpy(rng.normal(size=(1, 3, 2, 2, 2))).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p, w: ms_deform_attn(v, shapes, p, w), (value, places, weights))


def test_one_reference_serves_all_pictures() -> None:
    module = MSDeformAttn(8, 2, 2, 2)
    randomised(module)
    query, values = (torch.from_numpy(picture(3, n, 8, seed=n)) for n in (5, pixels(SHAPES[:2])))
    reference = torch.rand(1, 5, 2, 2)
    one = module(query, reference, values, SHAPES[:2])
    torch.testing.assert_close(one, module(query, reference.expand(3, -1, -1, -1), values, SHAPES[:2]))


def test_places_are_exact_in_half_precision() -> None:
    width = 160
    ramp = torch.arange(width, dtype=torch.float32).view(1, width, 1, 1)
    places = (torch.arange(width) + 0.5) / width
    module = MSDeformAttn(1, 1, 1, 1)
    for projection in (module.value_proj, module.output_proj):
        torch.nn.init.ones_(projection.weight)
    module.sampling_offsets.bias.data.zero_()
    reference = torch.stack([places, torch.full((width,), 0.5)], -1)[None, :, None]
    with torch.no_grad():
        found = module.half()(ramp[..., 0].half(), reference, ramp[..., 0].half(), [(1, width)])
    assert found.dtype == torch.half
    assert float((found.float() - ramp[..., 0]).abs().max()) < 2e-3


def test_inverse_sigmoid() -> None:
    x = torch.tensor([-3.0, 0.0, 1e-7, 0.25, 0.5, 1 - 1e-7, 1.0, 4.0], dtype=torch.float64)
    far = math.log(1e5)
    wanted = [-far, -far, -far, math.log(1 / 3), 0, far, far, far]
    np.testing.assert_allclose(inverse_sigmoid(x), wanted, atol=1e-5)
    inner = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    torch.testing.assert_close(inverse_sigmoid(inner).sigmoid(), inner)
    assert abs(float(inverse_sigmoid(torch.tensor(0.001), eps=0.1)) - math.log(0.1 / 0.999)) < 1e-6


def test_initial_values_of_other_layers() -> None:
    assert abs(1 / (1 + math.exp(-bias_init_with_prob(0.01))) - 0.01) < 1e-12
    linear = torch.nn.Linear(300, 16)
    linear_init(linear)
    for tensor in (linear.weight, linear.bias):
        assert float(tensor.detach().abs().max()) <= 0.25
    assert float(linear.weight.detach().abs().max()) > 0.24
    linear_init(torch.nn.Linear(4, 4, bias=False))


def test_copies_and_pickles() -> None:
    module = MSDeformAttn(8, 1, 2, 2)
    randomised(module)
    arguments = (
        torch.from_numpy(picture(1, 3, 8)),
        torch.rand(1, 3, 1, 4),
        torch.from_numpy(picture(1, 30, 8)),
        [(6, 5)],
    )
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(*arguments), module(*arguments))


@pytest.mark.parametrize(
    ("numbers", "reference", "shapes", "said"),
    [
        ((8, 2, 3, 2), 2, SHAPES[:2], "share evenly"),
        ((8, 2, 2, 0), 2, SHAPES[:2], "at least 1"),
        ((8, 2, 2, 2), 3, SHAPES[:2], "2 or 4 numbers"),
        ((8, 2, 2, 2), 2, ((6, 5), (3, 5)), "45 pixels"),
        ((8, 2, 2, 2), 4, ((6, 7),), "1 levels, and 2"),
    ],
)
def test_wrong_sizes(numbers: tuple[int, ...], reference: int, shapes: Any, said: str) -> None:
    with pytest.raises(BadOption, match=said):
        module = MSDeformAttn(*numbers)
        module(torch.ones(1, 3, 8), torch.ones(1, 3, 2, reference), torch.ones(1, 42, 8), shapes)
