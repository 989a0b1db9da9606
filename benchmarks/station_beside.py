"""A station beside other programs on the same network camera: rate, age of the pictures, and what a frozen camera does.

The camera gives 30 pictures a second, each with the moment of its taking in its pixels (``peers/camera.py``), the model is
slower than that, and each program says when a result is there: the age of a picture is the time from one to the other,
whatever the program calls latency. Then the camera's process is stopped for ten seconds (SIGSTOP) and goes on. One program
runs at a time, in turns, each in its own environment, as its documents use it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from measure import BLAS_OVERRIDES, Load, tail
from models import HOME, Models, models
from peers.client import OFFLINE
from peers.environments import attempt
from station_parts import rounded

PEERS = Path(__file__).resolve().parent / "peers"
DEBIANS_PYTHON = "/usr/bin/python3"
OURS = "lineside"
PROGRAMS = {
    OURS: (None, "stream_lineside.py"),
    "ultralytics, stream=True": ("ultralytics", "stream_ultralytics.py"),
    "OpenCV loop, onnx-predictor-yolo": ("onnx-predictor-yolo", "stream_opencv.py"),
    "Roboflow InferencePipeline": ("roboflow", "stream_roboflow.py"),
}
"""Environment and script of each program; None: the environment that runs this."""
FIRST, SETTLE = 300.0, 2.0
"""Seconds within which a first result has to come, and that are then left out."""
FRESH = 1.0
"""A picture that is younger than this, in seconds, is fresh."""


@dataclass
class Heard:
    """What a program has said so far.

    Attributes:
        results: Monotonic time in ns of each result, and of the taking of its picture; None where that says nothing.
        words: Monotonic time in ns of each line of its output, and the line.
    """

    results: list[tuple[int, int | None]] = field(default_factory=list)
    words: list[tuple[int, str]] = field(default_factory=list)

    def within(self, begin: int, end: int) -> list[tuple[int, int | None]]:
        """Results between two moments."""
        return [result for result in list(self.results) if begin <= result[0] < end]

    def last_words(self) -> str:
        """The end of its output."""
        return " ".join(line for _, line in self.words[-4:])[-400:]


@contextmanager
def camera(size: tuple[int, int] = (640, 480), fps: int = 30) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The camera's process and its address.

    Raises:
        RuntimeError: It cannot be started here.
    """
    words = [DEBIANS_PYTHON, str(PEERS / "camera.py"), *map(str, (*size, fps))]
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+") as said:
        try:
            process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=said, text=True)
        except OSError as error:
            raise RuntimeError(f"no camera: {error}") from error
        try:
            assert process.stdout is not None, "opened with the process"
            port = process.stdout.readline().strip()
            if not port:
                process.wait()
                said.seek(0)
                raise RuntimeError(f"no camera here: {said.read().strip()[-300:]} (sh scripts/system.sh test)")
            yield process, f"rtsp://127.0.0.1:{port}/line"
        finally:
            process.kill()
            process.communicate()


@contextmanager
def program(python: Path, script: str, url: str, model: Path) -> Iterator[tuple[subprocess.Popen[str], Heard]]:
    """A program at work, and what it says."""
    clean = {key: value for key, value in os.environ.items() if key not in (*BLAS_OVERRIDES, "PYTHONPATH")}
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as settings, os.fdopen(reading, encoding="utf-8") as answers:
        process = subprocess.Popen(
            [str(python), str(PEERS / script), url, str(model)],
            env={**clean, **OFFLINE, "YOLO_CONFIG_DIR": settings, "ANSWERS": str(writing), "PYTHONUNBUFFERED": "1"},
            pass_fds=(writing,),
            cwd=settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        os.close(writing)
        assert process.stdout is not None, "opened with the process"
        heard = Heard()
        threads = [
            threading.Thread(target=_note_results, args=(answers, heard), daemon=True),
            threading.Thread(target=_note_words, args=(process.stdout, heard), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield process, heard
        finally:
            process.kill()
            process.wait()
            for thread in threads:
                thread.join(10)
            process.stdout.close()


def _note_results(answers: IO[str], heard: Heard) -> None:
    for line in answers:
        told = json.loads(line)
        heard.results.append((told["now"], None if told["stamp"] is None else told["stamp"] * 1000))


def _note_words(output: IO[str], heard: Heard) -> None:
    for line in output:
        if line.strip():
            heard.words.append((time.monotonic_ns(), line.strip()))


def watch(name: str, python: Path, model: Path, seconds: float, freeze: float, after: float) -> dict[str, Any]:
    """One run of one program.

    Args:
        name: One of `PROGRAMS`.
        python: Its interpreter.
        model: What it is given as a model.
        seconds: How long it is watched before the freeze.
        freeze: How long the camera stands still, seconds.
        after: How long it may take to have fresh pictures again, seconds.

    Returns:
        See `steady` and `frozen`.

    Raises:
        RuntimeError: It gave no result; the message holds its last words.
    """
    with camera() as (taking, url), program(python, PROGRAMS[name][1], url, model) as (process, heard):
        end = time.monotonic() + FIRST
        while not heard.results and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if not heard.results:
            raise RuntimeError(f"it gave no result: {heard.last_words()}")
        time.sleep(SETTLE)
        begin = time.monotonic_ns()
        time.sleep(seconds)
        stopped = time.monotonic_ns()
        taking.send_signal(signal.SIGSTOP)
        time.sleep(freeze)
        taking.send_signal(signal.SIGCONT)
        resumed = time.monotonic_ns()
        until = time.monotonic() + after
        while _recovered(heard, resumed) is None and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(min(5.0, seconds))
        gone = process.poll()
    return {**steady(heard, begin, stopped), "freeze": frozen(heard, stopped, resumed, gone)}


def steady(heard: Heard, begin: int, end: int) -> dict[str, Any]:
    """Between two moments: ``fps`` of different pictures, ``repeats`` of the same one, tail of their ages in ms (``age``)."""
    results = heard.within(begin, end)
    stamps = [stamp for _, stamp in results if stamp is not None]
    return {
        "fps": len(set(stamps)) / (end - begin) * 1e9,
        "repeats": len(stamps) - len(set(stamps)),
        "age": tail([(now - stamp) / 1e6 for now, stamp in results if stamp is not None]),
    }


def frozen(heard: Heard, stopped: int, resumed: int, gone: int | None) -> dict[str, Any]:
    """What a program did while its camera stood still, and after.

    Args:
        heard: What it has said.
        stopped: When the camera was stopped, ns.
        resumed: When it went on, ns.
        gone: The program's exit code, where it has ended.

    Returns:
        ``results``: how many it gave from a second after the stop until the camera went on (each of an old picture);
        ``oldest_s``: the age of the oldest picture among all results since the stop; ``told_s`` and ``told``: its first
        words since the stop, and when; ``fresh_s``: when the first picture came that was taken after the freeze and is
        younger than a second; ``gone``.
    """
    since = [(now, stamp) for now, stamp in list(heard.results) if now >= stopped and stamp is not None]
    words = [(now, line) for now, line in list(heard.words) if now >= stopped]
    fresh = _recovered(heard, resumed)
    return {
        "seconds": (resumed - stopped) / 1e9,
        "results": len(heard.within(stopped + 10**9, resumed)),
        "oldest_s": max(((now - stamp) / 1e9 for now, stamp in since), default=None),
        "told_s": (words[0][0] - stopped) / 1e9 if words else None,
        "told": words[0][1].replace("\n", " ")[:200] if words else None,
        "fresh_s": None if fresh is None else (fresh - resumed) / 1e9,
        "gone": gone,
    }


def _recovered(heard: Heard, resumed: int) -> int | None:
    """When the first fresh picture came that was taken after a moment, ns."""
    fresh = (
        now
        for now, stamp in list(heard.results)
        if stamp is not None and stamp >= resumed and now - stamp < FRESH * 1e9
    )
    return next(fresh, None)


def forms(quick: bool) -> Models:
    """The model in the form that each program takes; those that lie there will do for a quick run."""
    there = Models(HOME / "yolo11n-seg.onnx", HOME / "exported.bundle", HOME / "imported.bundle")
    return there if quick and all(path.exists() for path in vars(there).values()) else models()


def measure(
    seconds: float = 30.0, rounds: int = 3, freeze: float = 10.0, after: float = 60.0, quick: bool = False
) -> dict[str, Any]:
    """Every program in turns.

    Args:
        seconds: How long each is watched before the freeze, in each round.
        rounds: Rounds; medians of them are told.
        freeze: How long the camera stands still, seconds.
        after: How long a program may take to have fresh pictures again, seconds.
        quick: Take the models that lie there.

    Returns:
        By program: medians of ``fps``, of the ages' ``p50`` and ``p99`` (ms), all rounds; why one is missing; and the
        share of the machine that others used.
    """
    found = forms(quick)
    pythons, missing = _environments()
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    load, order = Load(), list(pythons)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in [name for name in order if name not in missing]:
            model = found.imported if name == OURS else found.onnx
            try:
                told[name].append(watch(name, pythons[name], model, seconds, freeze, after))
            except RuntimeError as error:
                missing[name] = str(error)
    return rounded(
        {
            "camera": {"size": [640, 480], "fps": 30},
            "rounds": rounds,
            "seconds": seconds,
            "programs": {name: _medians(runs) for name, runs in told.items() if runs},
            "missing": missing,
            "foreign_cpu": load.foreign(),
        }
    )


def _environments() -> tuple[dict[str, Path], dict[str, str]]:
    """Interpreters of the programs, and the reasons of those that cannot be here."""
    pythons: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for name, (environment, _) in PROGRAMS.items():
        python, reason = (Path(sys.executable), "") if environment is None else attempt(environment)
        if python is None:
            missing[name] = reason
        else:
            pythons[name] = python
    return pythons, missing


def _medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, and the rounds."""
    aged = [run["age"] for run in runs if run["age"]["count"]]
    ages = {key: statistics.median(age[key] for age in aged) for key in ("p50", "p99")} if aged else {}
    fps = statistics.median(run["fps"] for run in runs)
    return {"fps": fps, "age_ms": ages, "count": sum(age["count"] for age in aged), "rounds": list(runs)}
