"""TensorRT's Python module: found, new enough, and whole, or a plain sentence."""

from __future__ import annotations

import importlib
from typing import Any

from lineside.runtime.errors import EngineUnavailable

__all__ = ["OLDEST", "require_library", "version_of"]

OLDEST = (10, 3)
"""The TensorRT of JetPack 6; what is older lacks plugins of the third generation as they are used here."""

INSTALL = (
    "on a Jetson it comes with JetPack (apt install python3-libnvinfer, and a virtual environment needs "
    "--system-site-packages); elsewhere pip install tensorrt"
)

USED = ("Logger", "Builder", "OnnxParser", "Runtime", "IPluginV3", "IProgressMonitor")
"""What a whole module has."""


def version_of(trt: Any) -> tuple[int, ...]:
    """Version of the module as numbers: ``(10, 16, 1, 11)``."""
    numbers = []
    for part in str(trt.__version__).split("."):
        if not (part.isascii() and part.isdigit()):
            break
        numbers.append(int(part))
    return tuple(numbers)


def require_library() -> Any:
    """The module ``tensorrt``.

    Raises:
        EngineUnavailable: It is not installed, its libraries are not, it is broken, or too old; the message says which.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tensorrt":
            raise EngineUnavailable(f"TensorRT's Python module is not installed: {INSTALL}") from error
        raise EngineUnavailable(_broken(error)) from error
    except ImportError as error:
        raise EngineUnavailable(_broken(error)) from error
    except Exception as error:  # built for another numpy or Python, half removed: it raises what it likes
        raise EngineUnavailable(_broken(error)) from error
    version = getattr(trt, "__version__", None)
    if version is None or not version_of(trt):
        raise EngineUnavailable(f"the module tensorrt is an empty folder or another package: {INSTALL}")
    if version_of(trt) < OLDEST:
        raise EngineUnavailable(
            f"TensorRT {version} is installed and {'.'.join(map(str, OLDEST))} or newer is needed: update JetPack to 6.1 "
            "or newer on a Jetson, elsewhere pip install -U tensorrt"
        )
    lacking = next((name for name in USED if not hasattr(trt, name)), None)
    if lacking is not None:
        raise EngineUnavailable(
            f"TensorRT {version} is installed without {lacking}, as its lean and dispatch packages are: {INSTALL}"
        )
    return trt


def _broken(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if "libnv" in reason:
        return f"TensorRT's Python module is installed and its libraries are not ({reason}): {INSTALL}"
    return f"TensorRT's Python module is installed and broken ({reason}): install it again; {INSTALL}"
