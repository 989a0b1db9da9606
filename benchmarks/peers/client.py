"""The other end of a peer's process: starts it, hands it scenes, asks for times, waits until it is idle again."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import BLAS_OVERRIDES

from peers.environments import attempt

HERE = Path(__file__).resolve().parent
BLOCK = 4.0
"""Milliseconds of repeated calls in one turn."""
OFFLINE = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false"}
"""Variables that keep ultralytics from the network and from installing packages."""
SETTLE = 2.0
"""Seconds within which a process must have come to rest after its answer."""

WORKERS = {
    "lineside": (None, "work_lineside.py"),
    "numpy + cv2": ("opencv", "work_opencv.py"),
    "onnx-predictor-yolo": ("onnx-predictor-yolo", "work_onnx_predictor.py"),
    "edgefirst": ("edgefirst", "work_edgefirst.py"),
    "ultralytics": ("ultralytics", "work_ultralytics.py"),
}
"""Environment and script of each worker; None: the environment that runs this."""


class Failed(Exception):
    """A worker could not do what it was asked for; the message is its own."""


class Worker:
    """A peer's process.

    Args:
        name: One of `WORKERS`.
        python: The interpreter of its environment.
    """

    def __init__(self, name: str, python: Path) -> None:
        _, script = WORKERS[name]
        clean = {key: value for key, value in os.environ.items() if key not in (*BLAS_OVERRIDES, "PYTHONPATH")}
        self.name = name
        self._settings = tempfile.TemporaryDirectory()
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading, encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), str(HERE / script)],
            env={**clean, **OFFLINE, "YOLO_CONFIG_DIR": self._settings.name, "ANSWERS": str(writing)},
            pass_fds=(writing,),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        os.close(writing)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            Failed: The worker ended, or says that it failed.
        """
        try:
            print(json.dumps(request), file=self._stdin, flush=True)
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed(f"the worker {self.name} ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}")
        return answer

    def open(self, scene: Path) -> list[str]:
        """Opens a scene and returns the names of the ways to deal with it."""
        return list(self.ask({"open": str(scene)})["ways"])

    def time(self, way: str, block: float = BLOCK) -> dict[str, float]:
        """One turn of a way, see `serve.timed`; returns when no thread of the process runs any more."""
        answer = self.ask({"time": way, "block": block})
        self.settle()
        return answer

    def save(self, way: str, path: Path) -> dict[str, Any]:
        """What a way finds: ``boxes``, ``scores`` and ``crops`` of ``(x0, y0, table)``."""
        self.ask({"save": way, "to": str(path)})
        with np.load(path) as found:
            tables = [found[f"crop{i}"] for i in range(len(found["at"]))]
            crops = [(int(x), int(y), table) for (x, y), table in zip(found["at"], tables, strict=True)]
            return {"boxes": found["boxes"], "scores": found["scores"], "crops": crops}

    def settle(self) -> None:
        """Waits until every thread of the process sleeps: pools that still spin would disturb whoever is next."""
        end = time.monotonic() + SETTLE
        while running(self._process.pid) and time.monotonic() < end:
            time.sleep(0.0005)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._process.wait()
        self._answers.close()
        self._settings.cleanup()

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None, "opened with the process"
        return self._process.stdin

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def workers(names: list[str]) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Starts workers, and says of those that cannot be started here why.

    Args:
        names: Some of `WORKERS`.

    Yields:
        The workers by name, and the reasons of those that are missing.
    """
    with contextlib.ExitStack() as stack:
        started: dict[str, Worker] = {}
        missing: dict[str, str] = {}
        for name in names:
            environment, _ = WORKERS[name]
            python, reason = (Path(sys.executable), "") if environment is None else attempt(environment)
            if python is None:
                missing[name] = reason
            else:
                started[name] = stack.enter_context(Worker(name, python))
        yield started, missing


def running(process: int) -> list[int]:
    """Threads of a process that are running or waiting for a processor."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if task.read_text().rpartition(")")[2].split()[0] == "R":
                found.append(int(task.parent.name))
    return found


@dataclass(frozen=True)
class Wanted:
    """What every worker is asked for on a scene; see `serve.Scene`."""

    conf: float
    iou: float
    max_det: int
    image: tuple[int, int]
    content: tuple[int, int]
    pad: tuple[int, int]
    input: tuple[int, int]


def write_scene(path: Path, wanted: Wanted, flat: Any, protos: Any, levels: list[Any] | None = None) -> Path:
    """Writes a scene for `serve.load`.

    Args:
        path: The ``.npz`` file.
        wanted: Options and geometry.
        flat: ``(1, 4 + classes + coefficients, anchors)`` float32, boxes xywh in input pixels, probabilities.
        protos: ``(1, coefficients, h, w)`` float32.
        levels: Tensors of the same head cut into levels.

    Returns:
        The path.
    """
    parts = {f"level{i}": level for i, level in enumerate(levels or [])}
    np.savez(path, about=json.dumps(vars(wanted)), flat=flat, protos=protos, **parts)
    return path
