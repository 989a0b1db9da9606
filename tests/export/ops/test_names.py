"""A name says the whole configuration, and nothing else is a name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.export.ops.carafe import Carafe
from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d
from lineside.export.ops.ms_deform_attn import MSDeformAttn
from lineside.export.ops.op import CustomOp
from lineside.export.ops.selective_scan import SelectiveScan
from lineside.export.ops.table import OPS as COMPLETE
from lineside.export.ops.table import find_op
from lineside.runtime.ops.table import OPS as DECLARED
from lineside.runtime.ops.table import find_device_op

SOME, NONE_TOO = st.integers(1, 40), st.integers(0, 40)
pairs, flag = st.tuples(SOME, SOME), st.booleans()
OPS = st.one_of(
    st.builds(ModDeformConv2d, pairs, pairs, st.tuples(NONE_TOO, NONE_TOO), pairs, SOME, SOME),
    st.builds(Carafe, SOME, SOME, SOME, st.sampled_from(["zero", "reflect"])),
    st.builds(MSDeformAttn, SOME),
    st.builds(SelectiveScan, SOME, flag, flag, flag, flag, flag),
)


def test_devices_know_every_operator_of_the_training_side_and_no_other() -> None:
    assert list(COMPLETE) == list(DECLARED)


@settings(max_examples=300, deadline=None)
@given(OPS)
def test_every_configuration_comes_back_from_its_name(op: CustomOp) -> None:
    assert find_op(op.name) == op
    assert op.body().name == op.name
    declared = find_device_op(op.name)
    assert declared is not None and isinstance(op, type(declared)) and declared.name == op.name


@settings(max_examples=300, deadline=None)
@given(OPS, st.integers(0, 60), st.sampled_from("0123456789x_kspdg٣ "))
def test_a_changed_name_is_that_of_another_operator_or_of_none(op: CustomOp, place: int, sign: str) -> None:
    changed = op.name[:place] + sign + op.name[place:]
    found = find_op(changed)
    assert found is None or (found.name == changed and found != op)


@pytest.mark.parametrize(
    "name",
    [
        "ModDeformConv2d_k0_s1", "ModDeformConv2d_k3_s0", "ModDeformConv2d_k3_s1_d0", "ModDeformConv2d_k3_s1_g0",
        "ModDeformConv2d_k3x3_s1", "ModDeformConv2d_k3_s1_p1", "Carafe_k0_up2", "MSDeformAttn_l0", "SelectiveScan_n0",
        "SelectiveScan_n1٣", "Carafe", "", "_", "Relu",
    ],
)  # fmt: skip
def test_what_is_no_name_leads_nowhere(name: str) -> None:
    assert find_op(name) is None


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no ModDeformConv2d"):
        ModDeformConv2d(stride=(0, 1))
