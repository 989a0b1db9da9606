"""The runtime is tested without torch too: there, comparisons with export/ and the GPU's frame path are left out."""

from __future__ import annotations

from importlib.util import find_spec

LEFT_OUT = ["cuda", "kernels", "ops", "selftest", "tensorrt", "test_onnx_file.py"]
"""What is compared with export/, and the GPU's frame path, which has not been seen whole in that environment yet."""
collect_ignore = [] if find_spec("torch") else LEFT_OUT


def pytest_report_header() -> str:
    """Says what is left out."""
    return f"without torch, left out: {', '.join(collect_ignore)}" if collect_ignore else "with torch"
