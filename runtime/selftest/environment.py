"""What the device is and how it is set: board, JetPack, libraries, power mode, clocks."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lineside.runtime import hardware
from lineside.runtime.selftest.findings import Line, checked, unchecked
from lineside.runtime.selftest.subject import Subject
from lineside.runtime.selftest.trace import clocks, temperatures

__all__ = ["check"]

JETPACKS = {35: 5, 36: 6, 38: 7, 39: 7}
"""JetPack by the major version of Jetson Linux."""

LIBRARIES = ("numpy", "msgspec", "onnxruntime", "onnxruntime-gpu", "cuda-bindings", "cuda-core", "pycuda")
"""Packages whose version is told."""

TENSORRTS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings")
"""Names under which TensorRT is installed."""

_NVPMODEL = re.compile(r"NV Power Mode:\s*(.+)")


def check(subject: Subject) -> Iterator[Line]:
    """Looks around; nothing here can fail, since no setting of a device is wrong by itself."""
    root = subject.options.root
    cpu = hardware.cpu(root)
    board = _read(root / "proc/device-tree/model").strip("\0\n ")
    yield checked("board", board or f"{cpu.model}, {cpu.machine}", cores=cpu.cores, logical=cpu.logical)
    yield checked("system", f"{platform.platform(terse=True)}, Python {platform.python_version()}")
    yield _jetpack(root)
    yield checked("device", f"{subject.device.name}, kernels for {subject.device.arch}")
    yield _tensorrt()
    yield _cuda(subject)
    yield _libraries()
    yield _power(subject)
    yield _clocks(root)
    yield _thermal(root)
    yield _memory(root)


def _jetpack(root: Path) -> Line:
    """Release of Jetson Linux: ``# R36 (release), REVISION: 4.3, …``."""
    text = _read(root / "etc/nv_tegra_release")
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    if not text:
        return unchecked(
            "JetPack", "there is no /etc/nv_tegra_release: this is no Jetson, or it is not in the container"
        )
    if found is None:
        return unchecked("JetPack", f"/etc/nv_tegra_release says something unknown: {text.splitlines()[0][:80]!r}")
    major = int(found[1])
    name = f"JetPack {JETPACKS[major]}" if major in JETPACKS else "an unknown JetPack"
    return checked("JetPack", f"Jetson Linux {major}.{found[2]}, {name}")


def _tensorrt() -> Line:
    found = _versions(TENSORRTS)
    if found:
        return checked("TensorRT", ", ".join(found))
    return unchecked("TensorRT", "no Python package of it is installed")


def _cuda(subject: Subject) -> Line:
    """Versions of driver and runtime."""
    if not subject.real:
        return unchecked("CUDA", "the host device needs none")
    from lineside.runtime.cuda.library import open_library

    library = open_library()
    asked = {"driver": library.runtime.cudaDriverGetVersion, "runtime": library.runtime.cudaRuntimeGetVersion}
    numbers = {what: int(library.read(call(), f"the version of CUDA's {what}")) for what, call in asked.items()}
    said = (f"{what} {number // 1000}.{number % 1000 // 10}" for what, number in numbers.items())
    return checked("CUDA", ", ".join(said), **numbers)


def _libraries() -> Line:
    return checked("libraries", ", ".join(_versions(LIBRARIES)))


def _versions(names: tuple[str, ...]) -> list[str]:
    """Names and versions of those that are installed."""
    found = ((name, _version(name)) for name in names)
    return [f"{name} {number}" for name, number in found if number]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _power(subject: Subject) -> Line:
    """The power mode: of a Jetson by nvpmodel, of a card by its power limit."""
    if shutil.which("nvpmodel"):
        text = _ask("nvpmodel", "-q")
        found = _NVPMODEL.search(text)
        return checked("power mode", found[1].strip() if found else f"nvpmodel says {text.strip()[:80]!r}")
    if subject.real and shutil.which("nvidia-smi"):
        fields = "power.limit,clocks.max.sm,persistence_mode"
        return checked(
            "power mode", f"{fields}: " + _ask("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader").strip()
        )
    return unchecked("power mode", "neither nvpmodel nor nvidia-smi is on this machine")


def _clocks(root: Path) -> Line:
    found = clocks(root)
    governor = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    if not found and not governor:
        return unchecked("clocks", "the system shows none in /sys/class/devfreq and none of the processor")
    said = ", ".join(f"{name.removesuffix(' MHz')} {value:.0f} MHz" for name, value in found.items())
    return checked("clocks", ", ".join(filter(None, (said, governor and f"governor {governor}"))), **found)


def _thermal(root: Path) -> Line:
    found = temperatures(root)
    if not found:
        return unchecked("temperatures", "the system shows no zone in /sys/class/thermal")
    said = ", ".join(f"{name.removesuffix(' C')} {value:.1f} C" for name, value in found.items())
    return checked("temperatures", said, **found)


def _memory(root: Path) -> Line:
    found = re.search(r"MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"))
    if found is None:
        return unchecked("memory", "the system does not say how much there is")
    return checked("memory", f"{int(found[1]) / 1024:.0f} MB", total_mb=round(int(found[1]) / 1024))


def _ask(*words: str) -> str:
    """What a program says; what went wrong where it does not."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{words[0]} did not answer ({error})"
    return done.stdout or done.stderr


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
