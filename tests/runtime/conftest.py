"""The runtime is tested without torch too, as on a Jetson with Python 3.10: there, some files are left out."""

from __future__ import annotations

from importlib.util import find_spec

COMPARED_WITH_EXPORT = (
    "ops/test_op_kernels.py",
    "selftest/test_operators.py",
    "tensorrt/test_trt_plugin.py",
    "tensorrt/test_trt_rewrite.py",
    "test_onnx_file.py",
)
"""What export/ writes or calculates, which needs torch, is what these hold the runtime against."""

NO_PYTHON_IN_IT = ("kernels/test_every_kernel.py", "kernels/test_kernel_races.py", "cuda/test_steps_races.py")
"""NVIDIA's compilers for every GPU, and ThreadSanitizer: what they say of a source is the same whichever Python asks."""

collect_ignore = [] if find_spec("torch") else [*COMPARED_WITH_EXPORT, *NO_PYTHON_IN_IT]


def pytest_report_header() -> str:
    """Says what is left out."""
    return f"without torch, left out: {', '.join(collect_ignore)}" if collect_ignore else "with torch"
