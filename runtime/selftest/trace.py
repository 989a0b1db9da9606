"""Temperatures, clocks and memory, read from the system every half second while checks run."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import TracebackType

from lineside.runtime.selftest.findings import Sample

__all__ = ["Trace", "clocks", "memory", "temperatures"]

EVERY = 0.5
"""Seconds between two samples."""

MOST = 4000
"""Samples that are kept; of a longer selftest every second one goes."""


def temperatures(root: Path) -> dict[str, float]:
    """Degrees Celsius of every thermal zone that answers, by its name with the unit behind it.

    Args:
        root: Folder that holds ``sys``.
    """
    found: dict[str, float] = {}
    for zone in sorted(
        (root / "sys/class/thermal").glob("thermal_zone*"), key=lambda path: (len(path.name), path.name)
    ):
        value = _number(zone / "temp")
        if value is None:
            continue
        name = _text(zone / "type") or zone.name
        found[f"{name if f'{name} C' not in found else f'{name} {zone.name}'} C"] = value / 1000
    return found


def clocks(root: Path) -> dict[str, float]:
    """Clocks in MHz that the system shows: of devices, GPU among them, and of the first processor.

    Args:
        root: Folder that holds ``sys``.
    """
    found: dict[str, float] = {}
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        value = _number(folder / "cur_freq")
        if value is not None:
            found[f"{folder.name} MHz"] = value / 1e6
    value = _number(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    if value is not None:
        found["cpu MHz"] = value / 1e3
    return found


def memory(root: Path) -> dict[str, float]:
    """Megabytes (2^20) of this process and what is free on the machine.

    Args:
        root: Folder that holds ``proc``.
    """
    found = {}
    for file, key, name in (
        ("proc/self/status", "VmRSS", "process MB"),
        ("proc/self/status", "VmHWM", "process peak MB"),
        ("proc/meminfo", "MemAvailable", "free MB"),
    ):
        match = re.search(rf"^{key}:\s*(\d+) kB", _text(root / file), re.MULTILINE)
        if match is not None:
            found[name] = int(match[1]) / 1024
    return found


class Trace:
    """Samples in a thread of its own, from the begin of a ``with`` to its end.

    Args:
        root: Folder that holds ``proc`` and ``sys``.
        every: Seconds between two samples.

    Attributes:
        check: What is running, noted with each sample.
        samples: What was seen.
    """

    def __init__(self, root: Path, every: float = EVERY) -> None:
        self.check = ""
        self.samples: list[Sample] = []
        self._root = root
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="selftest trace", daemon=True)

    def __enter__(self) -> Trace:
        self._begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._take()

    def _run(self) -> None:
        while True:
            self._take()
            if len(self.samples) > MOST:
                del self.samples[1::2]
                self._every *= 2
            if self._over.wait(self._every):
                return

    def _take(self) -> None:
        values = {**temperatures(self._root), **clocks(self._root), **memory(self._root)}
        seconds = round(time.monotonic() - self._begin, 3)
        self.samples.append(
            Sample(seconds=seconds, check=self.check, values={k: round(v, 2) for k, v in values.items()})
        )


def _number(path: Path) -> float | None:
    """A file that holds a number; some zones answer with an error, which counts as no answer."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
