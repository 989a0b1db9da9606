"""Each rule finds the fault that it is there for in a real model, and onnxruntime agrees where it has a say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import defs, helper

from helpers.sick_models import SICK, making, operators, precision, structure
from helpers.sick_models.making import Sick
from lineside.export.doctor.examine import examine
from lineside.export.doctor.graph_view import GraphView
from lineside.export.doctor.report import Report
from lineside.export.doctor.rule import BLOCKING, SEVERITIES, Hit, Rule, apply
from lineside.export.doctor.rules.table import all_rules
from lineside.export.doctor.subject import GraphSubject
from lineside.export.doctor.target import Target, find_target, target_names
from lineside.runtime.errors import BundleError

RULES = {rule.id: rule for rule in all_rules()}

OTHER_TARGETS: dict[str, tuple[dict[str, bool], Callable[[Path, Path], Sick]]] = {
    "no-functions": ({"functions": False}, operators.function_body),
    "scan-in-function": (
        {"scan_in_function": False},
        lambda folder, real: making.saved(folder, operators.scanning_body()),
    ),
}
"""Rules for what every target of today has: what another would lack, and a model that it could not run for it."""

TRUE_OF_THIS_ONE = (
    "opset-too-new", "file-format-too-new", "unknown-operator", "no-kernel", "uncropped-offsets", "invalid-transpose",
    "weights-lost", "broken-graph", "function-opset",
)  # fmt: skip
"""Faults for which the onnxruntime of the tests refuses to load the model or to run it."""


def examined(sick: Sick) -> Report:
    return examine(sick.model, sick.target, **sick.options)


def test_names_of_rules_are_their_own_and_no_model_is_of_another() -> None:
    assert len(RULES) == len(all_rules())
    assert not set(SICK) & OTHER_TARGETS.keys()
    assert set(SICK) | OTHER_TARGETS.keys() == set(RULES)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_rule_finds_its_model(rule: str, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walks the table of rules: one without a model of its own fails here, and so does one that its model escapes."""
    if rule in OTHER_TARGETS:
        lack, sick_model = OTHER_TARGETS[rule]
        assert examined(sick_model(tmp_path, real)).runs
        other = msgspec.structs.replace(find_target("onnxruntime"), **lack)
        monkeypatch.setattr("lineside.export.doctor.examine.find_target", lambda name: other)
    else:
        sick_model = SICK[rule]
    report = examined(sick_model(tmp_path, real))
    found = [finding for finding in report.findings if finding.rule == rule]
    assert found, [finding.rule for finding in report.findings]
    assert found[0].severity == RULES[rule].severity
    assert found[0].where and all(found[0].where)
    assert "{" not in found[0].reason + found[0].remedy
    assert report.runs == (not any(finding.severity in BLOCKING for finding in report.findings))
    if RULES[rule].severity in BLOCKING:
        assert not report.runs


@pytest.mark.parametrize("rule", TRUE_OF_THIS_ONE)
def test_onnxruntime_refuses_what_the_doctor_says_it_cannot_run(rule: str, tmp_path: Path, real: Path) -> None:
    sick = SICK[rule](tmp_path, real)
    assert not examined(sick).runs
    assert not runs(Path(sick.model))


@pytest.mark.parametrize(
    "rule",
    [
        "function-body",
        "standard-body",
        "half-arithmetic",
        "fold-of-patches",
        "volume-sampling",
        "external-data",
        "slow-sampling",
    ],
)
def test_onnxruntime_runs_what_the_doctor_says_it_runs(rule: str, tmp_path: Path, real: Path) -> None:
    sick = SICK[rule](tmp_path, real)
    assert examined(sick).runs
    assert runs(Path(sick.model))


def test_the_overflowing_scan_gives_what_the_doctor_says(tmp_path: Path, real: Path) -> None:
    session = ort.InferenceSession(SICK["overflowing-scan"](tmp_path, real).model, providers=["CPUExecutionProvider"])
    assert not np.isfinite(session.run(None, {"x": np.ones((1, 4, 64), np.float32)})[0]).all()


@pytest.mark.parametrize(("kind", "found"), [(np.float32, True), (np.float16, False), (np.int64, True)])
def test_a_mask_is_as_large_as_its_numbers_are(kind: type, found: bool) -> None:
    table = np.zeros((1, 2050, 2050), kind)
    x = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(table.dtype), table.shape)
    y = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(table.dtype), table.shape)
    nodes, constants = [helper.make_node("Add", ["x", "m"], ["y"])], [onnx.numpy_helper.from_array(table, "m")]
    graph = GraphView(helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants)))
    findings = apply(all_rules(), "graph", GraphSubject(graph, find_target("onnxruntime")), "onnxruntime")
    assert ("folded-mask" in [finding.rule for finding in findings]) == found


@pytest.mark.parametrize("fault", sorted(structure.broken()))
def test_graphs_that_are_none_end_in_a_finding_or_a_sentence(fault: str, tmp_path: Path) -> None:
    sick = making.saved(tmp_path, structure.broken()[fault])
    report = examined(sick)
    if "strides" not in fault:  # a graph, if one of numbers that make no sense
        assert {finding.rule for finding in report.findings} == {"broken-graph"} and not report.runs
    assert not runs(Path(sick.model))


def test_a_long_chain_of_products_is_walked_once(tmp_path: Path) -> None:
    names = ["x", *(f"t{index}" for index in range(2000))]
    nodes = [helper.make_node("Mul", [a, a], [b]) for a, b in itertools.pairwise(names)]
    nodes += [helper.make_node(kind, [a], [b]) for kind, a, b in (("Neg", names[-1], "n"), ("Exp", "n", "e"))]
    nodes += [helper.make_node("Mul", ["x", "e"], ["p"]), helper.make_node("CumSum", ["p", "k"], ["y"])]
    model = making.graph(nodes, {"x": (2, 3)}, {"k": np.array(1, np.int64)}, output=(2, 3))
    assert examined(making.saved(tmp_path, model)).runs


def weights_in_other_forms() -> dict[str, onnx.ModelProto]:
    """Constants of more than the budget of a mask, none of which is one; and the smallest of outputs."""
    node, large = helper.make_node, np.zeros((2100, 2100), np.float32)
    product = node("MatMul", ["x", "v"], ["y"])
    size, lstm = (
        {"x": (1, 2100)},
        {"w": np.zeros((1, 400, 11000), np.float32), "r": np.zeros((1, 400, 100), np.float32)},
    )
    helpless = helper.make_function(
        "acme", "F", ["x"], ["y"], [node("Foo", ["x"], ["y"], domain="else")], [helper.make_opsetid("else", 1)]
    )
    return {
        "stored as half": making.graph(
            [node("Cast", ["w"], ["v"], to=1), product], {"x": (1, 3000)}, {"w": np.zeros((3000, 3000), np.float16)}
        ),
        "turned": making.graph([node("Transpose", ["w"], ["v"]), product], size, {"w": large}),
        "einsum": making.graph([node("Einsum", ["x", "w"], ["y"], equation="ij,jk->ik")], size, {"w": large}),
        "lstm": making.graph(
            [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=100)], {"x": (1, 1, 11000)}, lstm, output=(1, 1, 1, 100)
        ),
        "a number": onnx.shape_inference.infer_shapes(
            making.graph([node("ReduceSum", ["x"], ["y"], keepdims=0)], size)
        ),
        "function of no use": making.graph(
            [node("Relu", ["x"], ["y"])], size, functions=[helpless], domains=["acme", "else"], output=(1, 2100)
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["stored as half", "turned", "einsum", "lstm", "a number", "function of no use"])
def test_what_runs_is_not_called_sick(name: str, tmp_path: Path) -> None:
    sick = making.saved(tmp_path, weights_in_other_forms()[name])
    report = examined(sick)
    assert report.runs and not report.findings
    assert runs(Path(sick.model))


@pytest.mark.parametrize(("runtime", "found"), [("onnxruntime", False), ("tensorrt", True), ("another", True)])
def test_a_rule_is_applied_to_the_runtimes_that_it_is_for(
    runtime: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = Rule(
        id="for-others",
        looks_at="graph",
        severity="cannot-run",
        find=lambda subject: [Hit(place.where) for place in subject.view.places],
        reason="it adds",
        remedy="take it away",
        runtimes=("tensorrt", "another"),
    )
    target = msgspec.structs.replace(find_target("onnxruntime"), runtime=runtime)
    monkeypatch.setattr("lineside.export.doctor.examine.find_target", lambda name: target)
    monkeypatch.setattr("lineside.export.doctor.examine.all_rules", lambda: (*all_rules(), rule))
    report = examined(making.saved(tmp_path, making.add_one(tmp_path)))
    assert [finding.rule for finding in report.findings] == ["for-others"] * found
    assert report.runs != found


def test_a_file_with_a_folded_mask_runs_and_is_called_slow(tmp_path: Path, real: Path) -> None:
    sick = SICK["folded-mask"](tmp_path, real)
    assert examined(sick).runs and runs(Path(sick.model))


@pytest.mark.parametrize(
    "name", ["deform", "quantised", "plain"]
)  # fmt: skip
def test_healthy_graphs_pass(name: str, tmp_path: Path) -> None:
    models = {
        "deform": lambda: operators.deform(4),
        "quantised": lambda: precision.quantised(np.uint8),
        "plain": lambda: making.add_one(tmp_path),
    }
    report = examined(making.saved(tmp_path, models[name]()))
    assert report.runs and not report.findings


@pytest.mark.parametrize("target", ["onnxruntime", "onnxruntime1.23"])
def test_the_base_and_a_bundle_are_healthy(target: str, real: Path) -> None:
    for model in ("yolo11n-seg.yaml", str(real)):
        report = examine(model, target, imgsz=(96, 96))
        assert report.runs and not report.findings
        assert report.nodes > 300


def test_module_paths_tell_where(tmp_path: Path, real: Path) -> None:
    places = {
        rule: next(it for it in examined(SICK[rule](tmp_path, real)).findings if it.rule == rule).where
        for rule in ("no-onnx-form", "custom-op", "unrolled-loop")
    }
    assert places["no-onnx-form"] == ("model.9",)
    assert places["unrolled-loop"] == ("model.9",)
    assert all(where.startswith("model.") and where.endswith(".conv") for where in places["custom-op"])


def test_a_bundle_that_is_not_there_is_missed_as_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nosuch.bundle"):
        examine(str(tmp_path / "nosuch.bundle"), "onnxruntime")


def test_severities_are_sorted(tmp_path: Path) -> None:
    model = precision.quantised(np.int8)
    model.graph.node.append(helper.make_node("Foo", ["y"], ["more"], domain="acme"))
    report = examined(making.saved(tmp_path, model))
    order = [SEVERITIES.index(finding.severity) for finding in report.findings]
    assert order == sorted(order) and len(order) == 2


def runs(path: Path) -> bool:
    """Whether the onnxruntime of the tests loads a model and runs it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
        session.run(None, {it.name: np.ones(it.shape, kinds[it.type]) for it in session.get_inputs()})
    except Exception:  # onnxruntime has a dozen exception types without a common base
        return False
    return True


KINDS = {"float": 1, "double": 11, "float16": 10, "int32": 6, "int64": 7, "uint8": 2, "bool": 9}

SHAPED = {"Conv", "ConvTranspose", "Resize", "Split", "ConstantOfShape", "DynamicQuantizeLinear", "Loop", "If", "Scan"}
"""Operators that want more than a square matrix."""

BY_CONTEXT = {("Gelu", "double"), *(("Bernoulli", kind) for kind in KINDS)}
"""What has a body that depends on attributes; such a body is taken to run."""


def one_node_models(opset: int) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    """A model of one node for every simple operator of an opset, for every element type that it admits."""
    for schema in {it.name: defs.get_schema(it.name, opset, "") for it in simple_operators(opset)}.values():
        constraints = {it.type_param_str: it.allowed_type_strs for it in schema.type_constraints}
        allowed = constraints.get(schema.inputs[0].type_str, ())
        for kind, number in KINDS.items():
            if f"tensor({kind})" not in allowed or schema.name in SHAPED or (schema.name, kind) in BY_CONTEXT:
                continue
            names = [f"x{index}" for index in range(required(schema))]
            node = helper.make_node(schema.name, names, ["y"])
            inputs = [helper.make_tensor_value_info(name, number, [4, 4]) for name in names]
            model = helper.make_model(
                helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name="y")]),
                opset_imports=[helper.make_opsetid("", opset)],
                ir_version=8,
            )
            yield schema.name, kind, onnx.shape_inference.infer_shapes(model)


def simple_operators(opset: int) -> Iterator[defs.OpSchema]:
    """Operators of one or two inputs of one type that need no attribute."""
    for schema in defs.get_all_schemas():
        if schema.domain == "" and not schema.deprecated and schema.since_version <= opset:
            count = required(schema)
            needy = any(attribute.required for attribute in schema.attributes.values())
            if (
                1 <= count <= 2
                and schema.min_output == 1
                and len({it.type_str for it in schema.inputs[:count]}) == 1
                and not needy
            ):
                yield schema


def required(schema: defs.OpSchema) -> int:
    """Inputs that a node must have; 0 where their number is free."""
    options = [str(it.option).rpartition(".")[2] for it in schema.inputs]
    return 0 if "Variadic" in options else sum(option == "Single" for option in options)


def installed_target() -> Target | None:
    """The target file of the onnxruntime that the tests run with; None where there is none."""
    every = (find_target(name) for name in target_names())
    return next((it for it in every if (it.runtime, it.version) == ("onnxruntime", ort.__version__)), None)


INSTALLED = installed_target()


@pytest.mark.skipif(INSTALLED is None, reason=f"no target file is of onnxruntime {ort.__version__}: make it anew")
@pytest.mark.parametrize("opset", [13, 18, 21, 26, 28])
def test_kernel_table_says_what_onnxruntime_loads(opset: int) -> None:
    target, rules = INSTALLED, [RULES["no-kernel"]]
    assert target is not None
    if opset > target.opset:
        pytest.skip(f"onnxruntime {target.version} reads opsets up to {target.opset}")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    refused = 0
    for op, kind, model in one_node_models(opset):
        says = not apply(rules, "graph", GraphSubject(GraphView(model), target), "onnxruntime")
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            loads = True
        except Exception as error:  # onnxruntime has a dozen exception types without a common base
            if "NOT_IMPLEMENTED" not in str(error):
                continue  # the square matrix does not suit the operator, so nothing is known of its kernels
            loads = False
        assert says == loads, f"{op} with {kind} in opset {opset}"
        refused += not loads
    assert refused > 3
