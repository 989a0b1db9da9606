"""Finds out what the installed onnxruntime can run on a processor, by asking it and by running small graphs.

usage: python scripts/target_facts.py [--name NAME] > configs/targets/NAME.yaml

Needs onnx, onnxruntime and numpy, nothing of Lineside, so that it runs in an environment made for one version:

    python3 -m venv old && old/bin/pip install onnx onnxruntime==1.23.2 && old/bin/python scripts/target_facts.py
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

PROVIDER = "CPUExecutionProvider"
FOREVER = 2**31 - 1
DOMAINS = ("", "ai.onnx.ml", "com.microsoft")

Array = np.ndarray


def model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Sequence[int]],
    opset: int = 18,
    ir: int = 8,
    kind: int = TensorProto.FLOAT,
    initializers: Sequence[TensorProto] = (),
    functions: Sequence[FunctionProto] = (),
    domains: Sequence[str] = (),
) -> ModelProto:
    """A model with one output ``y`` of free shape."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", kind, None)],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_model(graph, opset_imports=opsets)
    made.functions.extend(functions)
    made.ir_version = ir
    return made


def runs(candidate: ModelProto, dtype: type = np.float32) -> bool:
    """Whether onnxruntime loads the model and runs it to a finite end."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(candidate.SerializeToString(), options, providers=[PROVIDER])
        rng = np.random.default_rng(0)
        feeds = {entry.name: rng.random(entry.shape).astype(dtype) for entry in session.get_inputs()}
        return bool(np.isfinite(session.run(None, feeds)[0].astype(np.float64)).all())
    except Exception:  # onnxruntime has a dozen exception types without a common base
        return False


def newest(make: Callable[[int], ModelProto], numbers: Iterable[int]) -> int:
    """The largest of some numbers whose model runs."""
    return max((number for number in numbers if runs(make(number))), default=0)


def relu(opset: int = 18, ir: int = 8) -> ModelProto:
    """One node."""
    return model([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)}, opset, ir)


def function(body: Sequence[NodeProto], declared: bool = True, opset: int = 18) -> ModelProto:
    """A node of a domain of its own, with or without the function that stands for it, in a model of opset 18."""
    made = helper.make_function("probe", "Foo", ["x"], ["y"], list(body), [helper.make_opsetid("", opset)])
    call = helper.make_node("Foo", ["x"], ["y"], domain="probe", plugin_version="1")
    return model([call], {"x": (5, 3)}, functions=[made] if declared else [], domains=["probe"])


def scan() -> list[NodeProto]:
    """A running sum along the first axis."""
    state = helper.make_tensor_value_info("h", TensorProto.FLOAT, [3])
    row = helper.make_tensor_value_info("r", TensorProto.FLOAT, [3])
    sums = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("s", "t")]
    nodes = [helper.make_node("Add", ["h", "r"], ["s"]), helper.make_node("Identity", ["s"], ["t"])]
    body = helper.make_graph(nodes, "b", [state, row], sums)
    zero = helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.zeros(3, np.float32)))
    return [zero, helper.make_node("Scan", ["zero", "x"], ["last", "y"], body=body, num_scan_inputs=1)]


def half_convolution() -> ModelProto:
    """A convolution whose arithmetic is float16."""
    weight = numpy_helper.from_array(np.full((2, 3, 3, 3), 0.1, np.float16), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    return model([node], {"x": (1, 3, 8, 8)}, kind=TensorProto.FLOAT16, initializers=[weight])


def grid_of_volumes() -> ModelProto:
    """GridSample on a volume: five dimensions."""
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear", align_corners=0)
    return model([node], {"x": (1, 2, 4, 4, 4), "g": (1, 3, 3, 3, 3)}, 20, 9)


def sampling() -> ModelProto:
    """As many values sampled between pixels as `gathering` gathers."""
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode="bilinear", align_corners=0)
    return model([node], {"x": (8, 16, 40, 40), "g": (8, 40, 40, 2)})


def gathering() -> ModelProto:
    """What sampling between pixels comes to by plain operators: four pixels for each value, weighed and added up."""
    shape, rng = (8, 16, 1600), np.random.default_rng(0)
    places = [numpy_helper.from_array(rng.integers(0, 1600, shape), f"i{corner}") for corner in range(4)]
    nodes = []
    for corner in range(4):
        nodes.append(helper.make_node("GatherElements", ["x", f"i{corner}"], [f"p{corner}"], axis=2))
        nodes.append(helper.make_node("Mul", [f"p{corner}", "w"], [f"q{corner}"]))
    nodes.append(helper.make_node("Sum", [f"q{corner}" for corner in range(4)], ["y"]))
    return model(nodes, {"x": shape, "w": (8, 1, 1600)}, initializers=places)


def seconds(candidate: ModelProto, turns: int = 20) -> float:
    """Processor time of one run on one thread, the least of some."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(candidate.SerializeToString(), options, providers=[PROVIDER])
    rng = np.random.default_rng(0)
    feeds = {entry.name: rng.random(entry.shape).astype(np.float32) for entry in session.get_inputs()}
    times = []
    for _ in range(turns):
        start = time.process_time()
        session.run(None, feeds)
        times.append(time.process_time() - start)
    return min(times)


def kernels() -> dict[str, dict[str, list[list[object]]]]:
    """Every kernel of the processor, by domain and operator: first opset, last opset (0: none), types by parameter."""
    from onnxruntime.capi import _pybind_state as state

    table: dict[str, dict[str, dict[tuple[int, int], dict[str, set[str]]]]] = {}
    for kernel in state.get_all_opkernel_def():
        if kernel.provider != PROVIDER or kernel.domain not in DOMAINS:
            continue
        first, last = kernel.version_range
        versions = table.setdefault(kernel.domain, {}).setdefault(kernel.op_name, {})
        types = versions.setdefault((first, 0 if last == FOREVER else last), {})
        for parameter, allowed in kernel.type_constraints.items():
            types.setdefault(parameter, set()).update(
                kind.removeprefix("tensor(").removesuffix(")") for kind in allowed if kind.startswith("tensor(")
            )
    return {
        domain: {
            op: [[first, last, {key: sorted(types[key]) for key in sorted(types)}] for (first, last), types in sorted(versions.items())]
            for op, versions in sorted(operators.items())
        }
        for domain, operators in sorted(table.items())
    }  # fmt: skip


def probes() -> dict[str, object]:
    """What small graphs show."""
    return {
        "opset": newest(lambda number: relu(opset=number, ir=8), range(7, 40)),
        "ir_version": newest(lambda number: relu(ir=number), range(3, 30)),
        "functions": runs(function([helper.make_node("Relu", ["x"], ["y"])])),
        "scan_in_function": runs(function(scan())),
        "function_opsets": runs(function([helper.make_node("ReduceSum", ["x"], ["y"], axes=[1])], opset=11)),
        "unknown_operators": runs(function([], declared=False)),
        "half_arithmetic": runs(half_convolution(), np.float16),
        "grid_sample_5d": runs(grid_of_volumes()),
        "grid_sample_over_gather": round(seconds(sampling()) / seconds(gathering()), 1),
    }


def main() -> None:
    """Prints the target file of the onnxruntime that is installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="name of the target; onnxruntime and its version without one")
    version = ort.__version__
    name = parser.parse_args().name or f"onnxruntime{version}"
    print(
        f"# What onnxruntime {version} runs on a processor: written by scripts/target_facts.py, which asked its wheel"
    )
    print(f"# ({platform.machine()}, onnx {onnx.__version__}) and ran small graphs. A kernel: [first opset, last opset")
    print("# or 0, types of its parameters].")
    print(f"name: {name}")
    print("runtime: onnxruntime")
    print(f"version: '{version}'")
    for key, value in probes().items():
        print(f"{key}: {json.dumps(value)}")
    print("kernels:")
    for domain, operators in kernels().items():
        print(f"  {json.dumps(domain)}:")
        for op, versions in operators.items():
            print(f"    {op}: {json.dumps(versions)}")


if __name__ == "__main__":
    main()
