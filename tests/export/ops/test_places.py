"""Places that are far away or no numbers: the bodies answer them as torch does, and never with a pixel of the map."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.op_case import Array, run_single, run_torch, single_node
from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d
from lineside.export.ops.ms_deform_attn import MSDeformAttn
from lineside.export.ops.op import CustomOp


def deform(place: float, axis: int) -> tuple[CustomOp, list[Array]]:
    """A deformable convolution of which one tap of one pixel looks there."""
    rng = np.random.default_rng(3)
    offset = rng.standard_normal((2, 18, 5, 4)).astype(np.float32)
    offset[1, 8 + axis, 2, 1] = place
    shapes = ((2, 9, 5, 4), (3, 4, 3, 3), (3,))
    mask, weight, bias = (rng.uniform(0.5, 1, shape).astype(np.float32) for shape in shapes)
    return ModDeformConv2d(), [rng.uniform(1, 2, (2, 4, 5, 4)).astype(np.float32), offset, mask, weight, bias]


def attention(place: float, axis: int) -> tuple[CustomOp, list[Array]]:
    """An attention of which one point of one query looks there."""
    rng = np.random.default_rng(4)
    sizes = np.array([(3, 4), (1, 1)], np.int32)
    places = rng.uniform(0, 1, (2, 3, 2, 2, 2, 2)).astype(np.float32)
    places[1, 2, 0, 1, 1, axis] = place
    value = rng.uniform(1, 2, (2, 13, 2, 5)).astype(np.float32)
    weights = rng.uniform(0.5, 1, places.shape[:-1]).astype(np.float32)
    return MSDeformAttn(2), [value, sizes, np.array([0, 12], np.int32), places, weights]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("place", [1e3, -1e9, 1e19, -1e30, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("make", [deform, attention])
def test_bodies_answer_strange_places_as_torch_does(make: object, place: float, axis: int) -> None:
    op, inputs = make(place, axis)  # type: ignore[operator]
    (wanted,), (found,) = run_torch(op, inputs), run_single(single_node(op, inputs), inputs)
    assert np.isnan(wanted).any() == (not np.isfinite(place)) and np.isfinite(wanted).any()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)  # NaN at the same places
