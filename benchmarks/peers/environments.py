"""The peers' own virtual environments, made on first use under ``build/peers/`` and kept until their pins change.

usage: python benchmarks/peers/environments.py [NAME ...]: makes those named, or all that ``runtime.py`` needs.

Each has the interpreter that runs this, and nothing of Lineside's; ``lineside`` and ``lineside-demo`` are the same the
other way round: what ``pip install '.[cpu]'`` and ``make demo`` install, and nothing of the peers'.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
HOME = REPOSITORY / "build" / "peers"
STAMP = ".pins"
ONLY_READY = "LINESIDE_BENCHMARK_READY"
"""Variable that, when set, keeps `python_of` from installing anything: what is not there is missing."""
PEERS = ("opencv", "onnx-predictor-yolo", "edgefirst", "ultralytics")
"""From small to large: the last one brings torch, 1 to 6 GB on disk."""
STREAMS = ("roboflow",)
"""Those that ``station.py`` alone needs, half a gigabyte."""
OURS = {"lineside": "cpu", "lineside-demo": "cpu,station"}
"""Environments of ours and the extras in them."""
STAND_IN = """def nms(boxes, scores, iou_threshold):
    from ultralytics.utils.nms import TorchNMS

    return TorchNMS.nms(boxes, scores, iou_threshold)
"""
"""The ``torchvision.ops`` that ultralytics needs where torch has no CUDA and no torchvision to match can be had."""


class Unavailable(Exception):
    """A peer's environment cannot be made here; the message says why."""


def python_of(name: str) -> Path:
    """The interpreter in an environment, which is made if it is not there or its pins have changed.

    Args:
        name: One of `PEERS`, `STREAMS` or `OURS`.

    Returns:
        Path of its ``python``.

    Raises:
        Unavailable: The packages cannot be installed, which mostly means that there is no network; or they are not
            there and `ONLY_READY` is set.
    """
    python = HOME / name / "bin" / "python"
    if os.environ.get(ONLY_READY) and not (python.exists() if name in OURS else ready(name)):
        raise Unavailable(f"not installed; python benchmarks/peers/environments.py {name} does it")
    if os.environ.get(ONLY_READY) or ready(name):
        return python
    return _ours(name) if name in OURS else _peer(name)


def attempt(name: str) -> tuple[Path | None, str]:
    """The same without an exception: the interpreter, or None and the reason."""
    try:
        return python_of(name), ""
    except Unavailable as error:
        return None, str(error)


def ready(name: str) -> bool:
    """Whether a peer's environment is there with its present pins, so that `python_of` installs nothing."""
    stamp = HOME / name / STAMP
    return name in (*PEERS, *STREAMS) and stamp.is_file() and stamp.read_text() == _fingerprint(name)


def _peer(name: str) -> Path:
    folder = HOME / name
    python = folder / "bin" / "python"
    print(f"installing the peer {name} into {folder} (once) ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(name, [sys.executable, "-m", "venv", str(folder)])
    *preferred, last = _pins(name)
    for pins in preferred:
        with contextlib.suppress(Unavailable):
            _install(name, python, pins)
            break
    else:
        _install(name, python, last)
    (folder / STAMP).write_text(_fingerprint(name))
    return python


def _install(name: str, python: Path, pins: Path) -> None:
    _run(name, [str(python), "-m", "pip", "install", "-q", "-r", str(pins)])
    without_cuda = "+cpu" in pins.read_text()
    if without_cuda and subprocess.run([python, "-c", "import torchvision"], capture_output=True).returncode:
        # PyPI's torchvision needs CUDA's libraries. Of all of it ultralytics' predictor calls one function, for which it
        # has a form of its own; a stand-in that is lighter than the real one does the peer no wrong.
        for folder in (HOME / name).glob("lib/python*/site-packages/torchvision"):
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "__init__.py").write_text("from torchvision import ops\n")
            (folder / "ops.py").write_text(STAND_IN)


def _pins(name: str) -> list[Path]:
    """Files of pinned packages, the preferred one first."""
    files = [REQUIREMENTS / f"{name}-cpu.txt", REQUIREMENTS / f"{name}.txt"]
    return [file for file in files if file.is_file()]


def versions(name: str) -> dict[str, str]:
    """What is installed in an environment: version by package, nothing where there is no environment."""
    found = {}
    for folder in sorted((HOME / name).glob("lib/python*/site-packages/*.dist-info")):
        package, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found[package] = version
    return found


def _ours(name: str) -> Path:
    folder = HOME / name
    maker = REPOSITORY / "scripts" / "venv.py"
    _run(name, [sys.executable, str(maker), str(folder), "--extras", OURS[name]])
    return folder / "bin" / "python"


def _run(name: str, command: list[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    answer = subprocess.run(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if answer.returncode:
        said = [line for line in answer.stdout.splitlines() if line.strip()]
        raise Unavailable(f"the environment {name} cannot be made: {said[-1] if said else 'no reason given'}")


def _fingerprint(name: str) -> str:
    words = [sys.version.encode(), str(HOME).encode(), *(pins.read_bytes() for pins in _pins(name))]
    return hashlib.sha256(b"\0".join(words)).hexdigest()


if __name__ == "__main__":
    for wanted in sys.argv[1:] or (*PEERS, *OURS):
        found, reason = attempt(wanted)
        print(wanted, found or reason, file=sys.stdout if found else sys.stderr, flush=True)
