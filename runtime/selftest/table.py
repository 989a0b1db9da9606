"""Which checks there are, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import cast

from lineside.runtime.selftest.findings import Finding
from lineside.runtime.selftest.subject import Subject

__all__ = ["CHECKS", "TITLES", "find_check"]

CHECKS = {
    "environment": "lineside.runtime.selftest.environment:check",
    "build": "lineside.runtime.selftest.building:check",
    "parity": "lineside.runtime.selftest.parity:check",
    "frames": "lineside.runtime.selftest.frames:check",
    "plugins": "lineside.runtime.selftest.plugins:check",
    "kernels": "lineside.runtime.selftest.kernels:check",
    "replay": "lineside.runtime.selftest.replay:check",
    "latency": "lineside.runtime.selftest.latency:check",
    "resources": "lineside.runtime.selftest.resources:check",
}
"""Every check and its function, which is imported when it is asked for."""

TITLES = {
    "environment": "Environment",
    "build": "Build",
    "parity": "Golden files on the device",
    "frames": "Whole frames beside the native core",
    "plugins": "Plugins beside the bodies of operators",
    "kernels": "Kernels beside the processor",
    "replay": "Captured graphs",
    "latency": "Latency",
    "resources": "Memory, temperatures, clocks",
}
"""What each check is called in a report."""


def find_check(name: str) -> Callable[[Subject], Iterable[Finding]]:
    """The function of a check.

    Args:
        name: A key of `CHECKS`.
    """
    module, _, attribute = CHECKS[name].partition(":")
    return cast("Callable[[Subject], Iterable[Finding]]", getattr(import_module(module), attribute))
