"""The rules for TensorRT: its parser, as TensorRT-RTX has it on a processor, refuses those very models and takes the healthy ones."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from helpers import rtx
from helpers.sick_models import SICK, making, tensorrt
from helpers.zoo_graphs import ALL, zoo_graph
from lineside.export.doctor.examine import examine
from lineside.export.doctor.graph_view import GraphView
from lineside.export.doctor.rule import Finding, apply
from lineside.export.doctor.rules.table import all_rules
from lineside.export.doctor.subject import GraphSubject
from lineside.export.doctor.target import find_target, target_names
from lineside.export.ops.op import DOMAIN, VERSION

TARGETS = ("trt10.3", "trt10.16", "trt11.4")

RULES = {rule.id: rule for rule in all_rules()}

REFUSED = (
    "asymmetric-quantisation", "quantised-bias", "mixed-types", "element-type", "resize-form", "dilated-pooling",
    "scatter-reduction", "more-outputs", "function-inputs",
)  # fmt: skip
"""Faults for which TensorRT-RTX refuses the sick model."""

NOT_ASKED = {
    "unsigned-quantisation": "built as INT8; what that does to numbers shows on a GPU",
    "narrowed-double": "built as FLOAT, which is what the rule says",
    "deform-form": "TensorRT's own plugin, which TensorRT-RTX has not",
    "rows-by-content": "no CUDA graph without a GPU",
    "sampled-by-nearest": "put right in the parser of TensorRT-RTX 1.7.1",
    "einsum-form": "of versions before 10.12",
    "function-before-plugin": "of versions before 10.7",
    "plugin-needs-python": "of versions before 10.9",
}
"""What the parser at hand cannot be asked about, and why."""


def found(model: onnx.ModelProto, target: str) -> list[Finding]:
    chosen = find_target(target)
    return apply(all_rules(), "graph", GraphSubject(GraphView(model), chosen), chosen.runtime)


def written(folder: Path, models: dict[str, onnx.ModelProto]) -> list[Path]:
    paths = []
    for name, model in models.items():
        paths.append(folder / f"{name.replace(' ', '_')}.onnx")
        paths[-1].write_bytes(model.SerializeToString())
    return paths


def test_the_targets_are_there_and_every_lack_has_a_rule_and_a_source() -> None:
    assert set(TARGETS) <= set(target_names())
    lacks = {rule: source for name in TARGETS for rule, source in find_target(name).lacks.items()}
    assert set(lacks) == set(REFUSED) | set(NOT_ASKED)
    assert set(lacks) <= set(RULES) and all(lacks.values())
    assert find_target("trt-10.3.0").version == "10.3"
    assert not find_target("onnxruntime").lacks


@pytest.mark.parametrize("rule", sorted(set(REFUSED) | set(NOT_ASKED)))
def test_a_rule_is_for_the_versions_that_have_the_lack(rule: str, tmp_path: Path, real: Path) -> None:
    sick = SICK[rule](tmp_path, real)
    for target in ("onnxruntime", *TARGETS):
        rules = [finding.rule for finding in examine(sick.model, target).findings]
        assert (rule in rules) == (rule in find_target(target).lacks), target


def test_the_parser_refuses_what_the_doctor_says_it_refuses(tmp_path: Path, real: Path) -> None:
    rtx.require()
    paths = []
    for rule in REFUSED:
        (tmp_path / rule).mkdir()
        paths.append(Path(SICK[rule](tmp_path / rule, real).model))
    paths += written(tmp_path, {"ReduceMean": tensorrt.along("ReduceMean", True)})
    for path, made in zip(paths, rtx.build(paths, only_parse=True), strict=True):
        assert made.errors, path
    assert "computed-axes" in [it.rule for it in examine(str(paths[-1]), "trt11.4").findings]


def test_healthy_neighbours_have_no_finding_and_are_built(tmp_path: Path) -> None:
    models = tensorrt.healthy()
    for name, model in models.items():
        for target in TARGETS:
            assert not found(model, target), (name, target)
    rtx.require()
    for made in rtx.build(written(tmp_path, models)):
        made.check()


def test_an_empty_name_is_an_input_that_is_left_out_too(tmp_path: Path) -> None:
    rtx.require()
    models = {"left out": tensorrt.called(["x", ""]), "given": tensorrt.called(["x", "x"])}
    left, given = rtx.build(written(tmp_path, models), only_parse=True)
    assert left.errors and not given.errors
    assert [[it.rule for it in found(model, "trt11.4")] for model in models.values()] == [
        ["function-body", "function-inputs"], ["function-body"],
    ]  # fmt: skip


def test_symmetric_pads_and_opset_19_are_fine_for_deformable_convolution() -> None:
    for target in TARGETS:
        assert not found(tensorrt.deformed([1, 1, 1, 1]), target)


def test_the_parser_does_not_know_the_operators_that_the_doctor_says_it_lacks(tmp_path: Path) -> None:
    models = tensorrt.whole_numbers()
    for name, model in models.items():
        for target in TARGETS:
            lacking = [it for it in found(model, target) if it.rule == "no-kernel"]
            assert [name in it.reason for it in lacking] == [True], (name, target)
    rtx.require()
    for path, made in zip(paths := written(tmp_path, models), rtx.build(paths, only_parse=True), strict=True):
        assert made.errors, path


def test_what_came_later_is_missing_before() -> None:
    known = {name: set(find_target(name).kernels[""]) for name in TARGETS}
    assert known["trt10.3"] < known["trt10.16"] < known["trt11.4"]
    assert {"STFT", "Attention"} <= known["trt10.16"] - known["trt10.3"]
    assert all({"DeformConv", "GridSample", "Scan", "Resize"} <= it for it in known.values())


def test_running_sums_along_a_computed_axis_are_refused_before_10_8() -> None:
    model = tensorrt.along("CumSum", True)
    assert [[it.rule for it in found(model, target)] for target in TARGETS] == [["computed-axes"], [], []]


def test_a_node_without_our_attribute_is_not_asked_a_plugin_for(tmp_path: Path) -> None:
    rtx.require()
    models = {"with": tensorrt.carafe(True), "without": tensorrt.carafe(False)}
    creator = rtx.Creator(models["with"].graph.node[0].op_type, DOMAIN, str(VERSION))
    given, lacking = rtx.parse([(path, [creator]) for path in written(tmp_path, models)])
    assert given.asked and not lacking.asked and not lacking.errors
    assert "plugin-not-named" in [it.rule for it in found(models["without"], "trt11.4")]
    assert "plugin-not-named" not in [it.rule for it in found(models["with"], "trt11.4")]


def test_newer_opsets_and_formats_are_loaded_and_a_note_says_that_they_are_not_documented(tmp_path: Path) -> None:
    rtx.require()
    newer = making.graph([tensorrt.one("Relu")], {"x": (2, 3)}, opset=99, ir=99, output=(2, 3))
    rtx.build(written(tmp_path, {"newer": newer}))[0].check()
    assert [(it.rule, it.severity) for it in found(newer, "trt11.4")] == [("undocumented-opset", "note")]


def test_functions_are_read_in_their_own_opsets(tmp_path: Path) -> None:
    """Of opset 11, where axes are an attribute, in a model of opset 18, where they are an input."""
    from onnx import helper

    from helpers.sick_models.operators import one_of_old

    rtx.require()
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    model = making.graph(
        [node],
        {"x": (2, 3)},
        functions=[one_of_old("acme", "ReduceSum", 11)],
        domains=["acme"],
        output=(2, 1),
    )
    rtx.build(written(tmp_path, {"old": model}))[0].check()
    assert [it.rule for it in found(model, "trt11.4")] == ["function-body"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_models_of_the_zoo_have_no_finding_but_their_operators(name: str) -> None:
    """They are built by TensorRT-RTX in tests/export/rtx; here nothing is said of them that is not so."""
    graph = zoo_graph(name)
    own = {node.op_type for node in graph.graph.node if node.domain == DOMAIN}
    for target in TARGETS:
        expected = {"custom-op"} if own else set()
        if own and target == "trt10.3":
            expected |= {"function-before-plugin"}
            if any(not op.startswith("ModDeformConv2d") for op in own):
                expected |= {"plugin-needs-python"}
        assert {it.rule for it in found(graph, target)} == expected, (target, found(graph, target))
