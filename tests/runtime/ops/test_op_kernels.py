"""The operators' kernels, built for the processor, beside their torch forms and plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import kernel_races
from helpers.op_case import OpCase
from helpers.op_cases import all_cases
from lineside.export.ops.op import CustomOp
from lineside.export.ops.table import find_op
from lineside.runtime.kernels.host import host_function
from lineside.runtime.ops.carafe import DeviceCarafe
from lineside.runtime.ops.kernels import NAMES
from lineside.runtime.ops.op import DeviceOp
from lineside.runtime.ops.selective_scan import DeviceSelectiveScan
from lineside.runtime.ops.table import OPS, find_device_op

Array = npt.NDArray[Any]

CASES = [case for case in all_cases() if case.op.device_kernel(False) is not None]

SCANS = (
    "SelectiveScan_n1_softplus_bias_skip",
    "SelectiveScan_n4_gate_last",
    "SelectiveScan_n2_bias_gate",
    "SelectiveScan_n3_softplus_skip_last",
)

HALF = 2.0**-10
"""Half of the distance between two float16 beside each other is 2^-11 of their size; sums are float32 and rounded once."""


def typed(op: DeviceOp, names: Sequence[str], arrays: Sequence[Array], half: bool) -> list[Array]:
    """Arrays as a kernel takes them."""
    return [
        np.ascontiguousarray(array, np.float16 if half and name in op.floating else array.dtype)
        for name, array in zip(names, arrays, strict=True)
    ]


def computed(op: DeviceOp, inputs: Sequence[Array], half: bool = False) -> list[Array]:
    """Outputs of an operator's kernel."""
    given = typed(op, op.inputs, inputs, half)
    empty = [np.full(shape, np.nan, np.float32) for shape in op.shapes(*(array.shape for array in given))]
    made = typed(op, op.outputs, empty, half)
    launch = op.launch([array.shape for array in given], [array.ctypes.data for array in (*given, *made)], half)
    host_function(launch.kernel)(launch)
    return made


def by_torch(op: CustomOp, inputs: Sequence[Array]) -> list[Array]:
    with torch.no_grad():
        found = op.torch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs))
    return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]


def close(found: Sequence[Array], wanted: Sequence[Array], share: float) -> None:
    """Within a share of the largest magnitude, and no number where there is none."""
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.shape == theirs.shape
        if not theirs.size:
            continue
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
        largest = max(float(np.nanmax(np.abs(theirs), initial=0.0)), 1e-3)
        assert float(np.nanmax(np.abs(mine.astype(np.float64) - theirs), initial=0.0)) <= share * largest


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kernel_says_what_numpy_says(case: OpCase) -> None:
    inputs = case.inputs(np.random.default_rng(7))
    op = find_device_op(case.op.name)
    assert op is not None
    close(computed(op, inputs), case.oracle(case.op, *inputs), case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_float16_only_what_goes_in_and_out_is_rounded(case: OpCase) -> None:
    inputs = case.inputs(np.random.default_rng(8))
    op = case.op
    rounded = [
        array.astype(np.float32) if array.dtype == np.float16 else array for array in typed(op, op.inputs, inputs, True)
    ]
    for name, mine, theirs in zip(op.outputs, computed(op, inputs, True), case.oracle(op, *rounded), strict=True):
        assert mine.dtype == (np.float16 if name in op.floating else np.float32)
        close([mine], [np.asarray(theirs)], HALF if name in op.floating else case.tolerance)


@given(
    name=st.sampled_from(["Carafe_k3_up1", "Carafe_k5_up2", "Carafe_k4_up3_g2_reflect", "Carafe_k1_up1_g3"]),
    members=st.integers(1, 10),
    sides=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    batch=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20)
def test_reassembly_of_any_size(name: str, members: int, sides: tuple[int, int], batch: int, seed: int) -> None:
    op = find_op(name)
    assert isinstance(op, DeviceCarafe)
    kernel, up, groups = op.kernel, op.up, op.groups
    h, w = (max(side, kernel) for side in sides)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, groups * members, h, w)).astype(np.float32)
    mask = rng.standard_normal((batch, groups * kernel * kernel, h * up, w * up)).astype(np.float32)
    # At most 25 products a pixel, each and each sum rounded to 2^-24 of its size.
    close(computed(op, [x, mask]), by_torch(op, [x, mask]), 1e-5)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4),
    batch=st.integers(1, 2),
    queries=st.integers(1, 9),
    heads=st.integers(1, 3),
    width=st.integers(1, 9),
    points=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25)
def test_attention_of_any_size(
    sizes: list[tuple[int, int]], batch: int, queries: int, heads: int, width: int, points: int, seed: int
) -> None:
    op = find_op(f"MSDeformAttn_l{len(sizes)}")
    assert op is not None
    rng = np.random.default_rng(seed)
    pixels = [h * w for h, w in sizes]
    value = rng.standard_normal((batch, sum(pixels), heads, width)).astype(np.float32)
    places = rng.uniform(-0.5, 1.5, (batch, queries, heads, len(sizes), points, 2)).astype(np.float32)
    weights = rng.standard_normal(places.shape[:-1]).astype(np.float32)
    starts = np.cumsum([0, *pixels[:-1]]).astype(np.int32)
    inputs = [value, np.array(sizes, np.int32), starts, places, weights]
    # A place is rounded to 2^-24 of a map's side, in torch once more on the way through -1 to 1.
    close(computed(op, inputs), by_torch(op, inputs), 2e-5)


@given(
    name=st.sampled_from(SCANS),
    batch=st.integers(1, 2),
    groups=st.integers(1, 3),
    members=st.integers(1, 3),
    length=st.sampled_from([1, 2, 31, 127, 128, 129, 200, 300]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25)
def test_a_scan_of_any_length(name: str, batch: int, groups: int, members: int, length: int, seed: int) -> None:
    op = find_op(name)
    assert isinstance(op, DeviceSelectiveScan)
    states = op.states
    rng = np.random.default_rng(seed)
    channels = groups * members

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    delta = normal(batch, channels, length)
    tensors = {
        "u": normal(batch, channels, length),
        "delta": delta if op.softplus else np.abs(delta) + 1,
        "A": -np.exp(normal(channels, states)),
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "delta_bias": rng.uniform(-0.5, 0.5, channels).astype(np.float32),
        "D": normal(channels),
        "z": normal(batch, channels, length),
    }
    inputs = [tensors[name] for name in op.inputs]
    # The same recurrence, bracketed in another way, with exp and log1p of another library.
    close(computed(op, inputs), by_torch(op, inputs), 2e-5)


def test_a_place_that_is_no_number_makes_the_result_none() -> None:
    op = find_device_op("MSDeformAttn_l1")
    assert op is not None
    value = np.ones((1, 4, 1, 2), np.float32)
    places = np.full((1, 5, 1, 1, 1, 2), 0.5, np.float32)
    places[0, 1, ..., 0], places[0, 2, ..., 1], places[0, 3, ..., 0], places[0, 4] = np.nan, np.inf, -np.inf, 3e38
    weights = np.ones((1, 5, 1, 1, 1), np.float32)
    (found,) = computed(op, [value, np.array([[2, 2]], np.int32), np.zeros(1, np.int32), places, weights])
    assert np.isnan(found[0, 1:4]).all()
    np.testing.assert_array_equal(found[0, [0, 4], 0], [[1, 1], [0, 0]])


@pytest.mark.slow
def test_threads_of_a_scan_meet_at_barriers_only() -> None:
    op = find_device_op("SelectiveScan_n2_softplus_bias_skip_gate_last")
    assert op is not None
    rng = np.random.default_rng(3)
    shapes = {"A": (2, 2), "B": (1, 1, 2, 150), "C": (1, 1, 2, 150), "delta_bias": (2,), "D": (2,)}
    inputs = [rng.standard_normal(shapes.get(name, (1, 2, 150))).astype(np.float32) for name in op.inputs]
    made = [np.zeros(shape, np.float32) for shape in op.shapes(*(array.shape for array in inputs))]
    arrays = [*inputs, *made]
    launch = op.launch([array.shape for array in inputs], [array.ctypes.data for array in arrays], False)
    assert not kernel_races.run(launch, arrays).reports


def test_a_reassembly_of_more_pictures_than_a_grid_has_planes() -> None:
    """Along y and z a grid has 65535 blocks at most."""
    rng = np.random.default_rng(5)
    x, mask = rng.random((65536, 1, 1, 2), np.float32), rng.random((65536, 1, 1, 2), np.float32)
    (found,) = computed(DeviceCarafe(1, 1), [x, mask])
    np.testing.assert_array_equal(found, x * mask)


EMPTY = {
    "Carafe_k3_up2": [(0, 4, 3, 3), (0, 9, 6, 6)],
    "MSDeformAttn_l1": [(1, 9, 2, 4), (1, 2), (1,), (1, 0, 2, 1, 4, 2), (1, 0, 2, 1, 4)],
    "SelectiveScan_n4_softplus_bias_skip_last": [(0, 6, 9), (0, 6, 9), (6, 4), (0, 1, 4, 9), (0, 1, 4, 9), (6,), (6,)],
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_launched_for_outputs_that_hold_nothing(name: str) -> None:
    op = find_device_op(name)
    assert op is not None and op.empty(EMPTY[name])
    assert not op.empty([tuple(max(1, side) for side in shape) for shape in EMPTY[name]])


def test_a_scan_of_no_steps_still_has_a_last_state() -> None:
    op = find_device_op("SelectiveScan_n4_softplus_bias_skip_last")
    assert op is not None
    shapes = [(2, 6, 0), (2, 6, 0), (6, 4), (2, 1, 4, 0), (2, 1, 4, 0), (6,), (6,)]
    assert not op.empty(shapes)
    _, last = computed(op, [np.ones(shape, np.float32) for shape in shapes])
    np.testing.assert_array_equal(last, np.zeros((2, 6, 4), np.float32))


def test_a_name_leads_to_the_same_operator_on_both_sides() -> None:
    names = {case.op.name for case in all_cases()} | set(NAMES)
    assert {name.partition("_")[0] for name in names} == set(OPS)
    for name in names:
        mine, theirs = find_device_op(name), find_op(name)
        assert mine is not None and theirs is not None and isinstance(theirs, type(mine))
        assert (mine.name, mine.inputs, mine.outputs) == (name, theirs.inputs, theirs.outputs)
        assert mine.floating <= {*mine.inputs, *mine.outputs, "z"} and not mine.floating & mine.integers
    assert find_device_op("Carafe_k5") is None and find_device_op("Other_k5_up2") is None


def test_the_standard_operator_takes_the_place_of_a_deformable_convolution() -> None:
    op = find_device_op("ModDeformConv2d_k3_s2_g2")
    assert op is not None and op.device_kernel(False) is None
    with pytest.raises(NotImplementedError, match="no kernel"):
        op.launch([], [], False)
