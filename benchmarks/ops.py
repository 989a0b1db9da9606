"""The bodies of our operators on onnxruntime, each beside the form that one would write first.

``python benchmarks/ops.py [--quick] [NAME ...]``: a table, and the same as JSON with ``--json``. Where onnxruntime has a
kernel for the standard ``DeformConv``, its time is given too. ``--tiny`` takes sizes that show whether the forms agree and
nothing about how fast they are.
"""

# ruff: noqa: E402 - numpy reads the environment when it is imported
from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import Load, free_openblas, interleaved

free_openblas()

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from lineside.export.graph.passes import run_passes
from lineside.export.graph.simplify import SIMPLIFY
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.native_deform import NATIVE_DEFORM, NATIVE_OPSET
from lineside.export.ops.op import DOMAIN, PLUGIN, CustomOp
from lineside.export.ops.table import find_op
from lineside.runtime.errors import ExportError

Array = np.ndarray[Any, Any]

BODY, NAIVE, NATIVE = "body", "naive", "DeformConv"


@dataclass(frozen=True)
class Line:
    """One operator at one size.

    Attributes:
        op: Name of the operator.
        shapes: Shapes of its floating-point inputs, in order; their values are drawn at random.
        naive: ``module:function`` of the other form, called with the operator, those inputs and `settings`.
        weights: Which of them are constants of the graph, as weights of a layer are.
        scale: What an input is multiplied with, by its place.
        sizes: Sizes of levels, for an operator that has them as inputs: see `_whole_inputs`.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    naive: str
    weights: tuple[int, ...] = ()
    scale: dict[int, float] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ()


def _deform(c: int, side: int) -> Line:
    shapes = ((1, c, side, side), (1, 18, side, side), (1, 9, side, side), (c, c, 3, 3), (c,))
    return Line("ModDeformConv2d_k3_s1", shapes, "naive_ops:mod_deform_conv2d", (3, 4), {1: 2.0})


def _attention(queries: int, sizes: tuple[tuple[int, int], ...] = ((80, 80), (40, 40), (20, 20))) -> Line:
    pixels = sum(h * w for h, w in sizes)
    shapes = ((1, pixels, 8, 16), (1, queries, 8, 3, 4, 2), (1, queries, 8, 3, 4))
    return Line("MSDeformAttn_l3", shapes, "naive_ops:ms_deform_attn", scale={1: 0.5}, sizes=sizes)


def _scan(channels: int, states: int, length: int) -> Line:
    per_channel, per_step = (channels, states), (1, 1, states, length)
    shapes = ((1, channels, length), (1, channels, length), per_channel, per_step, per_step)
    return Line(f"SelectiveScan_n{states}_softplus", shapes, "naive_ops:selective_scan", (2,), {2: -1.0})


LINES = (
    _deform(64, 80),
    _deform(128, 40),
    _deform(256, 20),
    Line("Carafe_k5_up2", ((1, 64, 40, 40), (1, 25, 80, 80)), "naive_ops:carafe"),
    Line("Carafe_k5_up2", ((1, 128, 20, 20), (1, 25, 40, 40)), "naive_ops:carafe"),
    Line("Carafe_k3_up1", ((1, 64, 80, 80), (1, 9, 80, 80)), "naive_ops:carafe"),
    _attention(400),
    _attention(1600),
    _scan(256, 1, 400),
    _scan(256, 16, 400),
)
"""What is timed."""

TINY = (
    _deform(4, 6),
    Line("Carafe_k5_up2", ((1, 4, 5, 6), (1, 25, 10, 12)), "naive_ops:carafe"),
    _attention(5, ((6, 5), (3, 4), (2, 2))),
    _scan(6, 1, 9),
    _scan(6, 4, 9),
)
"""One line at least for each operator, for `--tiny`."""


def _inputs(line: Line) -> list[Array]:
    """Random inputs; what decays does so, and shares are between 0 and 1."""
    rng = np.random.default_rng(0)
    arrays = []
    for place, shape in enumerate(line.shapes):
        scale = line.scale.get(place, 1.0)
        values = rng.standard_normal(shape) * scale if scale >= 0 else -np.exp(rng.standard_normal(shape))
        arrays.append(values.astype(np.float32))
    return arrays


def _whole_inputs(line: Line, arrays: Sequence[Array]) -> list[Array]:
    """The inputs of the node: for levels their sizes and first pixels stand behind the values."""
    if not line.sizes:
        return list(arrays)
    starts = np.cumsum([0, *(h * w for h, w in line.sizes[:-1])])
    return [arrays[0], np.array(line.sizes, np.int32), starts.astype(np.int32), *arrays[1:]]


def _constants(line: Line, op: CustomOp, count: int) -> set[str]:
    """Names of the inputs that are constants of the graph."""
    names = op.inputs[:count]
    return {names[place] for place in line.weights} | {n for n in names if n in ("spatial_shapes", "level_start_index")}


def _node(line: Line, op: CustomOp, arrays: Sequence[Array], native: bool = False) -> onnx.ModelProto:
    """A graph of the one node, with its body or as the standard operator."""
    inputs = dict(zip(op.inputs, _whole_inputs(line, arrays), strict=False))
    constants = _constants(line, op, len(inputs))
    node = helper.make_node(op.name, list(inputs), list(op.outputs), domain=DOMAIN, **PLUGIN, **op.attributes)
    shapes = op.shapes(*(array.shape for array in inputs.values()))
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
            for name, array in inputs.items()
            if name not in constants
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(op.outputs, shapes, strict=True)
        ],
        [numpy_helper.from_array(array, name) for name, array in inputs.items() if name in constants],
    )
    opset = helper.make_opsetid("", NATIVE_OPSET if native else 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return run_passes(model, [*([NATIVE_DEFORM] if native else []), DECLARE])[0]


class _Naive(torch.nn.Module):
    """The other form as a model, its weights as buffers."""

    def __init__(self, line: Line, op: CustomOp, arrays: Sequence[Array]) -> None:
        super().__init__()
        module, _, name = line.naive.partition(":")
        self.function, self.op = getattr(importlib.import_module(module), name), op
        self.count, self.weights = len(arrays), line.weights
        self.settings = {"sizes": line.sizes} if line.sizes else {}
        for place in line.weights:
            self.register_buffer(f"w{place}", torch.from_numpy(arrays[place]))

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        rest = iter(given)
        tensors = [getattr(self, f"w{p}") if p in self.weights else next(rest) for p in range(self.count)]
        found: torch.Tensor = self.function(self.op, *tensors, **self.settings)
        return found


def _traced(line: Line, op: CustomOp, arrays: Sequence[Array]) -> onnx.ModelProto:
    """The other form as a graph, as simple as it becomes."""
    names = [op.inputs[place] for place in range(len(arrays))] if not line.sizes else ["value", "places", "weights"]
    free = [place for place in range(len(arrays)) if place not in line.weights]
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Naive(line, op, arrays).eval(),
            tuple(torch.from_numpy(arrays[place]) for place in free),
            buffer,  # type: ignore[arg-type]
            input_names=[names[place] for place in free],
            opset_version=18,
            dynamo=False,
        )
    return run_passes(onnx.load_from_string(buffer.getvalue()), [SIMPLIFY])[0]


def _call(model: onnx.ModelProto, arrays: Sequence[Array], threads: int) -> Callable[[], Any]:
    """One run, with the settings that the runtime uses."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, dict(zip([v.name for v in session.get_inputs()], arrays, strict=True)))


def _has_native() -> bool:
    """Whether this onnxruntime has a kernel for the standard operator."""
    return tuple(int(part) for part in ort.__version__.split(".")[:2]) >= (1, 25)


def measure(line: Line, rounds: int = 40, seconds: float = 20.0) -> dict[str, Any]:
    """Times one line.

    Args:
        line: What to time.
        rounds: Rounds at most.
        seconds: Time after which no new round begins.

    Returns:
        Times in ms, nodes and the gain of the body over the naive form; and how far apart they are, relative to the
        largest magnitude.
    """
    op = find_op(line.op)
    if op is None:
        raise ValueError(f"there is no operator {line.op}")
    arrays = _inputs(line)
    free = [array for place, array in enumerate(arrays) if place not in line.weights]
    models = {BODY: _node(line, op, arrays), NAIVE: _traced(line, op, arrays)}
    if op.base == "ModDeformConv2d" and _has_native():
        models[NATIVE] = _node(line, op, arrays, native=True)
    calls = {name: _call(model, free, os.cpu_count() or 1) for name, model in models.items()}
    answers = {name: np.asarray(call()[0]) for name, call in calls.items()}
    load = Load()
    turns = interleaved(calls, rounds=rounds, warmup=2, seconds=seconds)
    return {
        "op": line.op,
        "shape": "x".join(map(str, line.shapes[0])),
        "nodes": {BODY: len(models[BODY].functions[0].node), NAIVE: len(models[NAIVE].graph.node)},
        "ms": {name: value.as_dict() for name, value in turns.times().items()},
        "gain": round(turns.gain(NAIVE, BODY), 3),
        "difference": float(np.abs(answers[BODY] - answers[NAIVE]).max() / np.abs(answers[NAIVE]).max()),
        "foreign_cpu": round(load.foreign(), 3),
    }


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="operators, such as Carafe; all when left out")
    parser.add_argument("--quick", action="store_true", help="every line a few times only, too short to quote")
    parser.add_argument(
        "--tiny", action="store_true", help="tiny sizes: whether the forms agree, not how fast they are"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    lines = [
        line for line in (TINY if asked.tiny else LINES) if not asked.names or line.op.partition("_")[0] in asked.names
    ]
    results = []
    if not asked.json:
        print(f"onnxruntime {ort.__version__}, {os.cpu_count()} threads, median ms of turns")
        print(
            f"{'operator':28} {'first input':14} {'body':>8} {'naive':>8} {'gain':>6} {'DeformConv':>10} {'nodes':>11}"
        )
    for line in lines:
        try:
            found = measure(line, rounds=3 if asked.quick else 40, seconds=2.0 if asked.quick else 20.0)
        except ExportError as error:
            print(f"{line.op}: {error}", file=sys.stderr)
            return 1
        results.append(found)
        if not asked.json:
            ms, nodes = found["ms"], found["nodes"]
            native = f"{ms[NATIVE]['median']:.2f}" if NATIVE in ms else "-"
            print(
                f"{found['op']:28} {found['shape']:14} {ms[BODY]['median']:8.2f} {ms[NAIVE]['median']:8.2f} "
                f"{found['gain']:5.1f}x {native:>10} {nodes[BODY]:>4} /{nodes[NAIVE]:>5}"
            )
    if asked.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
