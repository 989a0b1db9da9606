from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lineside.export.ops.native_deform import standard_node
from lineside.export.ops.table import find_op
from lineside.runtime.errors import BundleDamaged
from lineside.runtime.onnx_file import OnnxFile, ints_attribute, text_attribute
from lineside.runtime.protobuf import MOST_FIELDS, Field, NotProtobuf, bytes_field, int_field, read, write

DOMAIN = "lineside.ops"


def model_of_ours() -> onnx.ModelProto:
    """A model with two operators of ours, a function each, a weight and a doc string."""
    plugin = {"plugin_namespace": DOMAIN, "plugin_version": "1"}
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="first"),
        helper.make_node("Carafe_k5_up2", ["r", "m"], ["y"], name="up", domain=DOMAIN, **plugin),
        helper.make_node("ModDeformConv2d_k3_s1", ["r", "o", "k", "w"], ["z"], name="dcn", domain=DOMAIN, **plugin),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xmok"],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "yz"],
        [helper.make_tensor("w", TensorProto.FLOAT, (2, 4, 3, 3), range(72))],
    )
    functions = [
        helper.make_function(
            DOMAIN, node.op_type, list(node.input), list(node.output), [], [helper.make_opsetid("", 19)]
        )
        for node in nodes[1:]
    ]
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, doc_string="ünï", ir_version=9)


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=300))))
def test_what_is_written_is_read(content: list[tuple[int, int | bytes]]) -> None:
    fields = [int_field(n, v) if isinstance(v, int) else bytes_field(n, v) for n, v in content]
    data = write(fields)
    again = read(data)
    assert [(f.number, f.integer if isinstance(f.value, int) else bytes(f.data)) for f in again] == content
    assert write(again) == data


@given(st.binary(max_size=60))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        fields = read(data)
    except NotProtobuf:
        return
    assert write(fields) == data


def test_a_file_that_is_not_changed_stays_byte_for_byte() -> None:
    model = model_of_ours()
    later = bytes_field(9999, b"of an ONNX to come")
    data = model.SerializeToString() + bytes(later.raw)
    file = OnnxFile(data)
    file.change_nodes(lambda node: node)
    assert file.to_bytes() == data
    assert file.opsets == {"": 19, DOMAIN: 1}
    assert file.functions == ((DOMAIN, "Carafe_k5_up2"), (DOMAIN, "ModDeformConv2d_k3_s1"))
    assert file.types(DOMAIN) == ("Carafe_k5_up2", "ModDeformConv2d_k3_s1")
    up = file.nodes[1]
    assert (up.name, up.op_type, up.domain, up.inputs, up.outputs) == (
        "up",
        "Carafe_k5_up2",
        DOMAIN,
        ("r", "m"),
        ("y",),
    )
    assert set(up.attributes) == {"plugin_namespace", "plugin_version"}


def test_a_function_is_taken_out_and_nothing_else() -> None:
    model = model_of_ours()
    file = OnnxFile(model.SerializeToString() + bytes(bytes_field(9999, b"later").raw))
    file.drop_functions(DOMAIN, ["Carafe_k5_up2"])
    data = file.to_bytes()
    assert data.endswith(b"later")
    found = onnx.load_from_string(data)
    del model.functions[0]
    model.ParseFromString(model.SerializeToString())
    found.DiscardUnknownFields()
    assert found == model


def test_a_node_is_changed_as_the_package_onnx_would() -> None:
    model = model_of_ours()
    op = find_op("ModDeformConv2d_k3_s1")
    expected = standard_node(model.graph.node[2], op)  # type: ignore[arg-type]
    file = OnnxFile(model.SerializeToString())
    attributes = [
        ints_attribute("kernel_shape", (3, 3)),
        ints_attribute("strides", (1, 1)),
        ints_attribute("pads", (1, 1, 1, 1)),
        ints_attribute("dilations", (1, 1)),
        ints_attribute("group", 1),
        ints_attribute("offset_group", 1),
    ]
    file.change_nodes(
        lambda node: (
            node.changed("DeformConv", "", ["r", "w", "o", "", "k"], attributes)
            if node.op_type.startswith("ModDeform")
            else node
        )
    )
    found = onnx.load_from_string(file.to_bytes())
    by_name = {a.name: a for a in found.graph.node[2].attribute}
    assert by_name == {a.name: a for a in expected.attribute}
    assert list(found.graph.node[2].input) == list(expected.input)
    assert (found.graph.node[2].op_type, found.graph.node[2].domain) == ("DeformConv", "")
    assert found.graph.node[:2] == model.graph.node[:2]
    assert found.graph.initializer == model.graph.initializer


def test_an_attribute_is_replaced_and_a_domain_declared_once() -> None:
    file = OnnxFile(model_of_ours().SerializeToString())
    file.change_nodes(
        lambda node: (
            node.changed("lower", "lineside_ops").with_attribute(text_attribute("plugin_namespace", "lineside_ops"))
            if node.domain
            else node
        )
    )
    file.add_opset("lineside_ops", 1)
    file.add_opset("lineside_ops", 1)
    found = onnx.load_from_string(file.to_bytes())
    node = found.graph.node[1]
    assert {a.name: helper.get_attribute_value(a) for a in node.attribute} == {
        "plugin_namespace": b"lineside_ops",
        "plugin_version": b"1",
    }
    assert [entry.domain for entry in found.opset_import] == ["", DOMAIN, "lineside_ops"]


@pytest.mark.parametrize("data", [b"", b"\x00", b"no model at all", model_of_ours().SerializeToString()[:-7]])
def test_what_is_no_onnx_file_is_named_so(data: bytes) -> None:
    with pytest.raises(BundleDamaged, match="no readable ONNX file"):
        OnnxFile(data)


def damaged(*fields: Field) -> bytes:
    return write([*fields, bytes_field(7, b"")])


@pytest.mark.parametrize(
    "data",
    [
        damaged(int_field(8, 5)),  # an operator set that is a number
        damaged(bytes_field(8, write([int_field(1, 5)]))),  # its domain is a number
        damaged(bytes_field(8, write([bytes_field(2, b"x")]))),  # its version is text
        damaged(bytes_field(25, b"\xff")),  # a function that ends in the middle
        write([bytes_field(7, write([bytes_field(1, write([int_field(4, 1)]))]))]),  # a node whose type is a number
        write([bytes_field(7, write([bytes_field(1, write([bytes_field(5, b"\x0a\x7f")]))]))]),  # a cut attribute
        write([bytes_field(7, write([bytes_field(1, write([int_field(1, 1)]))]))]),  # an input that is a number
    ],
)
def test_nonsense_anywhere_is_a_damaged_bundle_at_once(data: bytes) -> None:
    with pytest.raises(BundleDamaged, match="no readable ONNX file"):
        OnnxFile(data)


def test_a_small_file_cannot_fill_the_memory() -> None:
    many = b"\x08\x00" * (MOST_FIELDS + 1)
    with pytest.raises(NotProtobuf, match="more than"):
        read(many)
    half = many[: 2 * (MOST_FIELDS // 2 + 2)].replace(b"\x08", b"\x38")
    graph = write([bytes_field(1, half), bytes_field(1, half)])
    with pytest.raises(BundleDamaged, match="nodes have more than"):
        OnnxFile(write([bytes_field(7, graph)]))
