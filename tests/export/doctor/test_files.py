"""``lineside doctor`` on ONNX files and bundles: without torch, through every graph, in the opsets that the target reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from helpers.sick_models import making, operators, precision, structure
from helpers.sick_models.operators import one_of_old
from lineside.export.doctor.examine import examine
from lineside.export.doctor.graph_view import GraphView, without_weights
from lineside.export.doctor.rule import apply
from lineside.export.doctor.rules.table import all_rules
from lineside.export.doctor.subject import GraphSubject
from lineside.export.doctor.target import find_target
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import ExportError
from lineside.runtime.manifest import Variant

WITHOUT_TORCH = """
import sys


class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "ultralytics", "cv2"):
            raise RuntimeError(f"{name} was imported")


sys.meta_path.insert(0, Refusing())
from lineside.cli import main

sys.exit(main(["doctor", *sys.argv[1:]]))
"""


def without_torch(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs doctor where importing torch or ultralytics is an error."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, timeout=300, env=dict(os.environ)
    )


def test_an_onnx_file_needs_neither_torch_nor_ultralytics(tmp_path: Path) -> None:
    done = without_torch(making.saved(tmp_path, operators.deform(4)).model, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nodes"] == 1


def test_a_bundle_needs_neither_torch_nor_ultralytics() -> None:
    done = without_torch(str(BEARING), "--target", "onnxruntime1.23")
    assert done.returncode == 0, done.stderr
    assert "runs it: nothing to say" in done.stdout


@pytest.mark.parametrize("words", [["--debug"], []])
def test_without_onnx_it_says_that_a_bundle_needs_no_more_than_that(words: list[str]) -> None:
    program = 'import sys; sys.modules["onnx"] = None\nfrom lineside.cli import main; sys.exit(main(sys.argv[1:]))'
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", str(BEARING), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and "onnx is not installed: pip install onnx. An ONNX file or a bundle" in done.stderr
    assert ("Traceback" in done.stderr) == bool(words)


def test_weights_do_need_torch(tmp_path: Path) -> None:
    assert "torch was imported" in without_torch("yolo11n-seg.yaml").stderr


BEARING = Path(__file__).resolve().parents[3] / "demo" / "bearing.bundle"
"""A bundle of YOLO11n-seg that is there without exporting one."""

NUMBERS = np.arange(8, dtype=np.float32).reshape(2, 4)
CUBE = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)
WEIGHTS = np.exp(CUBE)


def with_variant(folder: Path, model: onnx.ModelProto, engines: tuple[str, ...]) -> str:
    """A bundle with a variant of some graph."""
    bundle = folder / "varied.bundle"
    shutil.copytree(BEARING, bundle)
    (bundle / "variants").mkdir()
    (bundle / "variants" / "fp16.onnx").write_bytes(model.SerializeToString())
    variant = Variant(file="variants/fp16.onnx", precision="fp16", engines=engines)
    write_manifest(bundle, msgspec.structs.replace(open_bundle(BEARING).manifest, variants={"fp16": variant}))
    return str(bundle)


def unknown() -> onnx.ModelProto:
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    return making.graph([node], {"x": (2, 3)}, domains=["acme"], output=(2, 3))


def test_a_variant_that_the_target_cannot_run_is_found_and_named(tmp_path: Path) -> None:
    report = examine(with_variant(tmp_path, unknown(), ("onnxruntime",)))
    assert not report.runs
    (finding,) = report.findings
    assert (finding.rule, finding.where) == ("unknown-operator", ("variants/fp16.onnx: Foo #0",))
    assert report.nodes > 300  # of the portable model


def test_a_variant_for_other_engines_is_examined_and_does_not_decide(tmp_path: Path) -> None:
    report = examine(with_variant(tmp_path, unknown(), ("tensorrt",)))
    assert report.runs
    assert [(it.rule, it.severity) for it in report.findings] == [
        ("variant-of-others", "note"), ("unknown-operator", "note"),
    ]  # fmt: skip
    assert report.findings[1].where == ("variants/fp16.onnx: Foo #0",)


def test_what_is_slow_in_a_variant_of_others_is_a_note(tmp_path: Path) -> None:
    report = examine(with_variant(tmp_path, precision.quantised(np.int8), ("tensorrt",)))
    assert [(it.rule, it.severity) for it in report.findings] == [
        ("variant-of-others", "note"), ("signed-activations", "note"),
    ]  # fmt: skip


def test_a_variant_for_tensorrt_decides_there_and_one_for_processors_does_not(tmp_path: Path) -> None:
    for folder, engines in (("a", ("tensorrt",)), ("b", ("onnxruntime",))):
        (tmp_path / folder).mkdir()
        report = examine(with_variant(tmp_path / folder, precision.quantised(np.uint8), engines), "trt10.3")
        assert report.runs == (engines == ("onnxruntime",))
        assert "unsigned-quantisation" in [it.rule for it in report.findings]


def test_a_broken_variant_is_named_too(tmp_path: Path) -> None:
    report = examine(with_variant(tmp_path, structure.broken()["circle"], ("onnxruntime",)))
    assert not report.runs
    assert report.findings[0].where[0].startswith("variants/fp16.onnx: ")


def functions(*made: onnx.FunctionProto, opset: int = 18) -> onnx.ModelProto:
    """A model that calls ``Foo`` of each of some domains in a row."""
    names = ["x", *(f"t{index}" for index in range(1, len(made))), "y"]
    nodes = [
        helper.make_node("Foo", [before], [after], domain=it.domain)
        for it, before, after in zip(made, names[:-1], names[1:], strict=True)
    ]
    domains = [it.domain for it in made]
    return making.graph(nodes, {"x": ("n", "m")}, functions=made, domains=domains, output=("a", "b"), opset=opset)


def opsets(model: onnx.ModelProto) -> dict[tuple[str, str], int]:
    """Opset of each node inside functions, as it is written."""
    view = GraphView(model)
    return {
        (it.function.domain, it.node.op_type): view.opset(it) for it in view.places if it.function is not None
    }  # fmt: skip


def test_functions_of_one_name_in_two_domains_have_their_own_opsets() -> None:
    model = functions(one_of_old("one", "Relu", 18), one_of_old("two", "ReduceSum", 11))
    assert opsets(model) == {("one", "Relu"): 18, ("two", "ReduceSum"): 11}
    model = functions(one_of_old("one", "ReduceSum", 11), one_of_old("two", "Relu", 18))
    assert opsets(model) == {("one", "ReduceSum"): 11, ("two", "Relu"): 18}


def test_a_function_inside_a_function_has_its_own_opset_too() -> None:
    inner = one_of_old("two", "ReduceSum", 11)
    outer = helper.make_function(
        "one",
        "Foo",
        ["x"],
        ["y"],
        [helper.make_node("Foo", ["x"], ["y"], domain="two")],
        [helper.make_opsetid("two", 1)],
    )
    model = functions(outer)
    model.functions.append(inner)
    model.opset_import.append(helper.make_opsetid("two", 1))
    assert opsets(model)["two", "ReduceSum"] == 11


READINGS: dict[str, tuple[onnx.FunctionProto, np.ndarray]] = {
    "gone": (one_of_old("acme", "Upsample", 9), np.repeat(NUMBERS, 2, 1)),
    "lost an attribute": (one_of_old("acme", "ReduceSum", 11), NUMBERS.sum(1, keepdims=True)),
    "another default": (one_of_old("acme", "Softmax", 11), WEIGHTS / WEIGHTS.sum((1, 2), keepdims=True)),
    "not there yet": (one_of_old("acme", "Gelu", 20), NUMBERS),
    "more types only": (one_of_old("acme", "Relu", 13), NUMBERS),
    "of before 7": (one_of_old("acme", "Sqrt", 6), np.sqrt(NUMBERS)),
    "the same": (one_of_old("acme", "Softmax", 18), WEIGHTS / WEIGHTS.sum(2, keepdims=True)),
}
"""Functions in a model of opset 18, and what each gives by the standard."""


@pytest.mark.parametrize("case", READINGS)
def test_onnxruntime_reads_functions_in_the_opset_of_the_model_and_the_doctor_knows(case: str, tmp_path: Path) -> None:
    """The standard has it that a function is read in its own; onnxruntime puts the nodes into the main graph as they are."""
    function, expected = READINGS[case]
    model = functions(function)
    x = CUBE if expected.ndim == 3 else NUMBERS
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, [None] * x.ndim))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [None] * x.ndim))
    report = examine(making.saved(tmp_path, model).model)
    blamed = [finding.rule for finding in report.findings if finding.severity == "cannot-run"]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (got,) = session.run(None, {"x": x})
    except Exception:  # onnxruntime has a dozen exception types without a common base
        right = False
    else:
        right = got.shape == expected.shape and bool(np.allclose(got, expected, atol=1e-6))
    assert blamed == ([] if right else ["function-opset"]), report.findings
    assert right == (case in ("more types only", "of before 7", "the same"))


def test_a_target_that_reads_functions_in_their_own_opsets() -> None:
    target = msgspec.structs.replace(find_target("onnxruntime"), function_opsets=True)
    for opset, rules in ((9, []), (18, ["no-kernel"])):  # Upsample has a kernel in opset 9, and none is left in 18
        view = GraphView(functions(one_of_old("acme", "Upsample", opset)))
        found = apply(all_rules(), "graph", GraphSubject(view, target), "onnxruntime")
        assert [finding.rule for finding in found if finding.severity == "cannot-run"] == rules


def test_large_weights_do_not_go_through_shape_inference(tmp_path: Path) -> None:
    weight = np.zeros((600, 300), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Reshape", ["h", "s"], ["y"])]
    model = making.graph(nodes, {"x": (2, 600)}, {"w": weight, "s": np.array([3, 200])}, output=(3, 200))
    light = without_weights(model)
    assert light.ByteSize() < 2000 < weight.nbytes < model.ByteSize()
    assert GraphView(model).shape("h") == (2, 300)
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    assert [side.dim_value for side in inferred.graph.output[0].type.tensor_type.shape.dim] == [3, 200]


@pytest.mark.parametrize("fault", ["short", "outside"])
def test_weights_beside_a_file_are_looked_for_and_not_read(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = making.graph([node], {"x": (100, 100)}, {"w": np.zeros((100, 100), np.float32)}, output=(100, 100))
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    report = examine(str(folder / "model.onnx"))
    assert report.runs and [finding.rule for finding in report.findings] == ["external-data"]
    if fault == "short":
        (folder / "weights.bin").write_bytes(b"1234")
    else:
        (folder / "weights.bin").rename(tmp_path / "weights.bin")
        moved = onnx.load(folder / "model.onnx", load_external_data=False)
        for entry in moved.graph.initializer[0].external_data:
            entry.value = "../weights.bin" if entry.key == "location" else entry.value
        (folder / "model.onnx").write_bytes(moved.SerializeToString())
    with pytest.raises(ExportError, match="cannot be read"):
        examine(str(folder / "model.onnx"))


def test_a_sick_onnx_says_the_same_without_torch(tmp_path: Path) -> None:
    sick = operators.no_kernel(tmp_path, BEARING)
    done = without_torch(sick.model, "--json")
    assert done.returncode == 1, done.stderr
    assert [it["rule"] for it in json.loads(done.stdout)["findings"]] == ["no-kernel"]
