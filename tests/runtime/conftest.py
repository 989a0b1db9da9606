"""The runtime is tested without torch too: there, comparisons with what export/ does are left out."""

from __future__ import annotations

from importlib.util import find_spec

COMPARED_WITH_EXPORT = [
    "ops/test_op_kernels.py",
    "tensorrt/test_trt_plugin.py",
    "tensorrt/test_trt_rewrite.py",
    "test_onnx_file.py",
]
collect_ignore = [] if find_spec("torch") else COMPARED_WITH_EXPORT


def pytest_report_header() -> str:
    """Says what is left out."""
    return f"without torch, left out: {', '.join(collect_ignore)}" if collect_ignore else "with torch"
