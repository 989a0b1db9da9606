"""A Lineside of its own process with the double in TensorRT's place, to kill, to interrupt, or to run beside another."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["start"]

TESTS = Path(__file__).resolve().parents[1]

HEAD = """
    import sys
    sys.path.insert(0, {tests})
    from helpers import trt_double
    from lineside.runtime.cuda.host import HostDevice
    from lineside.runtime.engines.tensorrt import machine
    sys.modules["tensorrt"] = trt_double
    device = trt_double.SETTINGS.device = HostDevice()
    device.arch = "compute_87"
    machine.open_device = lambda: device
"""


def start(script: str, cache: Path, **values: object) -> subprocess.Popen[str]:
    """Starts a process; the caller ends it or waits for it.

    Args:
        script: What it does; ``{name}`` stands for the `repr` of a value.
        cache: Its cache.
        values: By name.
    """
    text = textwrap.dedent(HEAD) + textwrap.dedent(script)
    for name, value in {"tests": str(TESTS), **values}.items():
        text = text.replace(f"{{{name}}}", repr(value))
    return subprocess.Popen(
        [sys.executable, "-u", "-c", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LINESIDE_CACHE": str(cache)},
    )
