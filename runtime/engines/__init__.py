"""What can execute a model, in one table; an engine's module is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from lineside.runtime.bundle import Bundle
from lineside.runtime.engines.base import Engine, EngineOptions
from lineside.runtime.errors import EngineFailed, EngineUnavailable

__all__ = ["AUTO", "ENGINES", "open_engines"]

ENGINES = {
    "onnxruntime": "lineside.runtime.engines.onnxruntime:open_engines",
    "recorded": "lineside.runtime.engines.recorded:open_engines",
    "host": "lineside.runtime.cuda.host_engine:open_engines",
    "tensorrt": "lineside.runtime.engines.tensorrt.opening:open_engines",
}
"""Every engine and the function that opens it: ``(bundle, options) -> list[Engine]``, one engine per lane."""

AUTO = "lineside.runtime.engines.auto:open_engines"
"""What ``auto`` stands for: it chooses one of them."""


def open_engines(name: str, bundle: Bundle, options: EngineOptions | None = None) -> list[Engine]:
    """Opens an engine for a bundle.

    Args:
        name: Name in `ENGINES`, or ``auto``.
        bundle: A verified bundle.
        options: How to execute it.

    Returns:
        One engine per lane; they may be used at the same time, each by one thread.

    Raises:
        EngineUnavailable: There is no such engine, or its library is absent or too old.
        EngineFailed: The engine refuses the model, or there is not enough memory.
        ContractMismatch: The model's tensors do not fit the manifest.
    """
    target = AUTO if name == "auto" else ENGINES.get(name)
    if target is None:
        raise EngineUnavailable(f"there is no engine {name!r}: choose one of auto, {', '.join(ENGINES)}")
    module, attribute = target.split(":")
    opener: Callable[[Bundle, EngineOptions], list[Engine]] = getattr(importlib.import_module(module), attribute)
    try:
        return opener(bundle, options or EngineOptions())
    except MemoryError as error:
        raise EngineFailed(
            f"there is not enough memory for lanes with inputs of {bundle.manifest.input.shape} ({error}): "
            "choose fewer lanes or a smaller imgsz, or export the bundle with a smaller batch"
        ) from error
