"""What ``auto`` takes: TensorRT where an engine for this machine lies beside the bundle, else onnxruntime.

A slow engine is never taken in silence: on a machine with a GPU a warning says why, and what to do. The reason is also in
``engine_reason`` of the loaded model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lineside.runtime.bundle import Bundle
from lineside.runtime.engines import onnxruntime
from lineside.runtime.engines.base import Engine, EngineOptions
from lineside.runtime.variants import FP32, engines_of

__all__ = ["GPU_NODES", "open_engines"]

GPU_NODES: Sequence[str] = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0")
"""Files that are there where the kernel drives a GPU of NVIDIA's: a card's, and a Jetson's."""


def open_engines(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    """Opens the fastest engine that is ready.

    Args:
        bundle: A verified bundle.
        options: How to execute it.

    Returns:
        One engine per lane; ``reason`` of each says what was taken and why.

    Raises:
        EngineUnavailable: onnxruntime is not there either.
        EngineFailed: onnxruntime refuses the model.
        BadOption: The bundle has no such precision.
    """
    meant = engines_of(bundle.manifest, options.precision or FP32)
    if meant is not None and "tensorrt" not in meant:
        return onnxruntime.open_engines(bundle, options)
    why = _obstacle(bundle)
    if why is None:
        from lineside.runtime.engines.tensorrt.opening import open_engines as open_tensorrt

        return open_tensorrt(bundle, replace(options, on_mismatch="fallback"))
    if any(Path(node).exists() for node in GPU_NODES):
        from lineside.runtime.engines.tensorrt.opening import open_instead

        return open_instead(bundle, options, why)
    engines = onnxruntime.open_engines(bundle, options)
    for engine in engines:
        engine.reason = "; ".join(filter(None, (f"there is no GPU that the system knows of, and {why}", engine.reason)))
    return engines


def _installed() -> bool:
    """Whether there is a module ``tensorrt``, without importing it."""
    try:
        return importlib.util.find_spec("tensorrt") is not None
    except ValueError:  # somebody put a module there that says nothing of itself
        return True


def _obstacle(bundle: Bundle) -> str | None:
    """What is in the way of TensorRT and can be seen without loading anything; None for nothing."""
    if not _installed():
        return "TensorRT's Python module is not installed"
    from lineside.runtime.engines.tensorrt.plans import folders

    if not any(any(folder.glob("*.plan.json")) for folder in folders(bundle)):
        return f"no TensorRT engine was built for this bundle; run `lineside build {bundle.path}`"
    return None
