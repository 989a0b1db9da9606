"""Writes configs/targets/trt*.yaml: what TensorRT's ONNX parser takes, by version.

usage: python scripts/tensorrt_facts.py [FOLDER]      default: configs/targets

Needs onnx and tensorrt-rtx-cu13, whose parser is asked for its operators on the CPU; it is the one of TensorRT 11. What
came into the parser when is in the change log of the project onnx-tensorrt, docs/Changelog.md as of TensorRT 10.15, and what it restricts
in docs/operators.md of the same; both are written down below as facts with their source, one by one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorrt_rtx as trt  # type: ignore[import-untyped, import-not-found, unused-ignore]
from onnx import defs

VERSIONS = {"10.3": (10, 3), "10.16": (10, 16), "11.4": (11, 4)}

SINCE = {
    "BlackmanWindow": (10, 4), "HammingWindow": (10, 4), "HannWindow": (10, 4), "STFT": (10, 5), "Attention": (10, 14),
    "RMSNormalization": (10, 15), "RotaryEmbedding": (10, 15), "TensorScatter": (10, 15),
    "CausalConvWithState": (11, 0), "LinearAttention": (11, 0), "Swish": (11, 0),
}  # fmt: skip
"""Operators that came after 10.3 by the change log; the last three are in no list of 10.15, and the parser of 11 has them."""

OPSETS = {"10.3": 20, "10.16": 24, "11.4": 25}
"""Newest opset by the documents: 10.0's and 10.15's docs/operators.md, and the opset guide of 11."""

LIST = "docs/operators.md of onnx-tensorrt 10.15"
ASKED = "TensorRT-RTX 1.7.1 refuses it"
NARROWED = (0, 0), (99, 0)

LACKS = {
    "asymmetric-quantisation": (*NARROWED, f"{ASKED}; {LIST}"),
    "unsigned-quantisation": (*NARROWED, "TensorRT-RTX 1.7.1 makes it INT8"),
    "quantised-bias": (*NARROWED, ASKED),
    "mixed-types": (*NARROWED, f"{ASKED}; networks are strongly typed"),
    "element-type": (*NARROWED, f"{ASKED}; {LIST}"),
    "narrowed-double": (*NARROWED, f"TensorRT-RTX 1.7.1 makes it FLOAT; {LIST}"),
    "resize-form": (*NARROWED, f"{ASKED}; {LIST}"),
    "dilated-pooling": (*NARROWED, f"{ASKED}; {LIST}"),
    "scatter-reduction": (*NARROWED, f"{ASKED}; {LIST}"),
    "more-outputs": (*NARROWED, f"{ASKED}; {LIST}"),
    "deform-form": (*NARROWED, LIST),
    "function-inputs": (*NARROWED, ASKED),
    "rows-by-content": (*NARROWED, "CUDA graphs take no data-dependent shapes: TensorRT's developer guide"),
    "sampled-by-nearest": ((0, 0), (11, 2), "onnx-tensorrt pull request 1060, seen with 11.1; TensorRT-RTX 1.7.1 is right"),
    "einsum-form": ((0, 0), (10, 12), "change log of 10.12"),
    "function-before-plugin": ((0, 0), (10, 7), "change log of 10.7"),
    "plugin-needs-python": ((0, 0), (10, 9), "change log of 10.9"),
}  # fmt: skip
"""What TensorRT lacks or does in its own way, as the rule of the doctor is called: from and before which version, source."""

REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


def operators() -> list[str]:
    """Operators of the default domain that the parser has an importer for; DeformConv is TensorRT's plugin since 10.1."""
    logger = trt.Logger(trt.Logger.ERROR)
    parser = trt.OnnxParser(trt.Builder(logger).create_network(0), logger)
    names = {schema.name for schema in defs.get_all_schemas_with_history() if not schema.domain}
    return sorted({name for name in names if parser.supports_operator(name)} | {"DeformConv"})


def text(name: str) -> str:
    """One file."""
    version = VERSIONS[name]
    constant = {f"Reduce{kind}": [1] for kind in REDUCTIONS} | ({"CumSum": [1]} if version < (10, 8) else {})
    lines = [
        f"# What TensorRT {name} runs: written by scripts/tensorrt_facts.py, which asked the parser of TensorRT-RTX",
        f"# {trt.__version__} for its operators and took away what came later than {name} by onnx-tensorrt's change log.",
        "# TensorRT itself was not asked. Opsets and versions of the file format are not looked at by its parser.",
        "# lacks: by the rule of the doctor, and how that is known.",
        f"name: trt{name}",
        "runtime: tensorrt",
        f"version: '{name}'",
        "opset: 0",
        "ir_version: 0",
        f"documented_opset: {OPSETS[name]}",
        "functions: true",
        "scan_in_function: true",
        "function_opsets: true",
        "standard_bodies: false",
        "unknown_operators: false",
        "half_arithmetic: true",
        f"grid_sample_5d: false  # {LIST}; TensorRT-RTX 1.7.1 takes it, TensorRT issue 4619 has 10.6 refuse it",
        "grid_sample_over_gather: 0  # not measured",
        f"constant_inputs: {{{', '.join(f'{op}: {inputs}' for op, inputs in sorted(constant.items()))}}}",
        "lacks:",
    ]
    lines += [
        f'  {rule}: "{source}"' for rule, (first, before, source) in LACKS.items() if first <= version < before
    ]  # fmt: skip
    lines += ["kernels:", '  "":']
    lines += [f"    {op}: [[1, 99, {{}}]]" for op in operators() if SINCE.get(op, (0, 0)) <= version]
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    """Writes all files."""
    for name in VERSIONS:
        (folder / f"trt{name}.yaml").write_text(text(name))


if __name__ == "__main__":
    main(Path(*sys.argv[1:2] or ["configs/targets"]))
