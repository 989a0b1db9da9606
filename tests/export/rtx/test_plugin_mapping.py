"""When TensorRT's parser asks for a plugin and when it takes the body of an operator, seen by creators that note it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from helpers import rtx
from helpers.rtx import Creator
from lineside.export.ops.carafe import Carafe
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.op import DOMAIN, PLUGIN
from lineside.runtime.engines.tensorrt.rewrite import rewrite

OP = Carafe(3, 2)
NAMED = dict(PLUGIN)
"""Attributes that our exporter gives every node."""


@pytest.fixture(autouse=True)
def there() -> None:
    rtx.require()


def graph_of(folder: Path, name: str, domain: str, told: dict[str, str], body: bool) -> Path:
    """A file with one node of an operator."""
    tensors = {"x": (1, 4, 6, 6), "mask": (1, 9, 12, 12), "y": (1, 4, 12, 12)}
    values = {key: helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in tensors.items()}
    node = helper.make_node(OP.name, ["x", "mask"], ["y"], name="reassembled", domain=DOMAIN, **told)
    graph = helper.make_graph([node], "g", [values["x"], values["mask"]], [values["y"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model = DECLARE.apply(model)
    if not body:
        del model.functions[:]
    for each in (*model.graph.node, *model.functions, *(one for one in model.opset_import if one.domain)):
        each.domain = domain
    onnx.save(model, folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


PLUGIN_WINS, BODY_WINS, REFUSED = "plugin", "body", "refused"

TABLE = [
    ("as exported, with the plugin", DOMAIN, NAMED, True, DOMAIN, PLUGIN_WINS),
    ("as exported, without", DOMAIN, NAMED, True, None, BODY_WINS),
    ("nothing names the plugin, body there", DOMAIN, {}, True, DOMAIN, BODY_WINS),
    ("nothing names the plugin, no body: the domain does", DOMAIN, {}, False, DOMAIN, PLUGIN_WINS),
    ("body stripped, with the plugin", DOMAIN, NAMED, False, DOMAIN, PLUGIN_WINS),
    ("body stripped, without", DOMAIN, NAMED, False, None, REFUSED),
    ("another domain that names ours", "other", NAMED, False, DOMAIN, PLUGIN_WINS),
    ("another domain that names nothing", "other", {}, False, DOMAIN, REFUSED),
    ("the plugin of another version", DOMAIN, {**NAMED, "plugin_version": "2"}, True, DOMAIN, BODY_WINS),
]
"""What it is, the domain of the node, its attributes, whether the file has the body, where a plugin is registered, and
what becomes of the node."""


def test_precedence_of_plugin_and_body(tmp_path: Path) -> None:
    tasks = []
    for number, (_, domain, told, body, namespace, _) in enumerate(TABLE):
        creators = [] if namespace is None else [Creator(OP.name, namespace)]
        tasks.append((graph_of(tmp_path, str(number), domain, told, body), creators))
    found = {}
    for (what, *_), one in zip(TABLE, rtx.parse(tasks), strict=True):
        found[what] = PLUGIN_WINS if one.asked else REFUSED if one.errors else BODY_WINS
        if not one.errors:
            assert one.layers > 1, what
    assert found == {what: outcome for what, *_, outcome in TABLE}


def test_a_build_without_plugins_takes_bodies_although_the_plugin_is_registered(tmp_path: Path) -> None:
    path = graph_of(tmp_path, "exported", DOMAIN, NAMED, True)
    bodies = tmp_path / "bodies.onnx"
    bodies.write_bytes(rewrite(path.read_bytes(), (10, 13), plugins=False, standalone=False).onnx)
    with_plugin, without = rtx.parse([(each, [Creator(OP.name, DOMAIN)]) for each in (path, bodies)])
    assert with_plugin.asked and not without.asked
    assert not without.errors and without.layers > 1
