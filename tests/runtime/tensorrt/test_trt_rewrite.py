"""What becomes of operators of ours for each version of TensorRT."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from lineside.export.ops.declare import DECLARE
from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d
from lineside.export.ops.native_deform import standard_node
from lineside.runtime.engines.tensorrt.rewrite import AHEAD_NAMESPACE, Rewritten, kernels_of, rewrite
from lineside.runtime.ops.op import DOMAIN, PLUGIN
from lineside.runtime.ops.table import find_device_op

CARAFE, DEFORM = "Carafe_k5_up2", "ModDeformConv2d_k3x5_s2_p0_g2_dg4"
OLD, NEW = (10, 3, 0), (10, 13, 3, 9)


def model(opset: int = 19) -> onnx.ModelProto:
    """A graph with two operators of ours, and their functions as an export writes them."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node(CARAFE, ["r", "m"], ["y"], name="up", domain=DOMAIN, **PLUGIN),
        helper.make_node(DEFORM, ["r", "o", "k", "w", "b"], ["z"], name="dcn", domain=DOMAIN, **PLUGIN),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xmokwb"],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "yz"],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return DECLARE.apply(made)


def loaded(found: Rewritten) -> onnx.ModelProto:
    return onnx.load_from_string(found.onnx)


def functions(found: Rewritten) -> list[str]:
    return [function.name for function in loaded(found).functions]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_without_plugins_nothing_names_one(version: tuple[int, ...]) -> None:
    given = model()
    found = rewrite(given.SerializeToString(), version, plugins=False, standalone=False)
    assert (found.plugins, found.native, found.bodies) == ((), (), (CARAFE, DEFORM))
    for node in given.graph.node:
        del node.attribute[:]
    assert loaded(found) == given


def test_a_model_without_operators_of_ours_comes_back_byte_for_byte() -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    data = helper.make_model(graph).SerializeToString()
    for plugins in (False, True):
        assert rewrite(data, OLD, plugins=plugins, standalone=False) == Rewritten(data, (), (), ())


@pytest.mark.parametrize(("version", "kept"), [(OLD, []), ((10, 6, 9), []), ((10, 7, 0), [CARAFE]), (NEW, [CARAFE])])
def test_functions_go_where_the_parser_would_take_them(version: tuple[int, ...], kept: list[str]) -> None:
    found = rewrite(model().SerializeToString(), version, plugins=True, standalone=False)
    assert functions(found) == kept
    assert [op.name for op in found.plugins] == [CARAFE]
    assert (found.native, found.bodies) == ((DEFORM,), ())
    up = loaded(found).graph.node[1]
    assert (up.domain, up.op_type) == (DOMAIN, CARAFE)
    assert {a.name: helper.get_attribute_value(a).decode() for a in up.attribute} == dict(PLUGIN)


def test_the_deformable_convolution_becomes_the_standard_one() -> None:
    given = model()
    found = rewrite(given.SerializeToString(), NEW, plugins=True, standalone=False)
    op = ModDeformConv2d.parse(DEFORM)
    assert op is not None
    mine, wanted = loaded(found).graph.node[2], standard_node(given.graph.node[2], op)
    assert list(mine.input) == list(wanted.input) == ["r", "w", "o", "b", "k"]
    assert (mine.op_type, mine.domain, mine.name) == ("DeformConv", "", "dcn")
    assert {a.name: a for a in mine.attribute} == {a.name: a for a in wanted.attribute}


def test_an_old_opset_has_no_standard_one() -> None:
    found = rewrite(model(opset=18).SerializeToString(), OLD, plugins=True, standalone=False)
    assert (found.native, found.bodies) == ((), (DEFORM,))
    assert functions(found) == [DEFORM]


def test_standalone_plugins_have_a_namespace_without_dots() -> None:
    found = rewrite(model().SerializeToString(), NEW, plugins=True, standalone=True)
    up = loaded(found).graph.node[1]
    assert (up.domain, up.op_type) == (AHEAD_NAMESPACE, CARAFE)
    assert {a.name: helper.get_attribute_value(a).decode() for a in up.attribute} == {
        **PLUGIN,
        "plugin_namespace": AHEAD_NAMESPACE,
    }
    assert functions(found) == []
    assert AHEAD_NAMESPACE in {entry.domain for entry in loaded(found).opset_import}
    assert "." not in AHEAD_NAMESPACE


def test_a_type_of_our_domain_that_is_not_known_keeps_its_body() -> None:
    given = model()
    given.graph.node[1].op_type = given.functions[0].name = "Later_k1"
    found = rewrite(given.SerializeToString(), OLD, plugins=True, standalone=False)
    assert (found.plugins, found.bodies) == ((), ("Later_k1",))
    assert functions(found) == ["Later_k1"]


def test_fingerprints_tell_kernels_apart() -> None:
    ops = tuple(op for name in (CARAFE, "Carafe_k3_up2", DEFORM) if (op := find_device_op(name)) is not None)
    found = kernels_of(ops)
    assert set(found) == {CARAFE, "Carafe_k3_up2"}
    assert kernels_of(ops) == found
    assert all(len(digest) == 64 for digest in found.values())
