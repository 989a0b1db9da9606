"""From the start of a process to its first result, and the most memory it held: new processes in turns.

All read the same 1080p frame from a file, load the same model (YOLO11n-seg, 640 x 640, random weights) and run it once
on onnxruntime, each in an environment of its own with its modules compiled and its files in the system's cache.
``lineside imported`` is a bundle made of the very ONNX file that the peers load, ``lineside exported`` one of the same
weights by our exporter. Lineside keeps the optimised graph of its first start in the user's cache; that first start, with
an empty cache, is told apart (``first_ever``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import BLAS_OVERRIDES, Load, Times, free_openblas, take_turns
from models import models, noise
from peers.client import OFFLINE
from peers.environments import attempt

HERE = Path(__file__).resolve().parent / "peers"
IMAGE = (1080, 1920)
EXPORTED, IMPORTED = "lineside exported", "lineside imported"
ULTRALYTICS, PREDICTOR = "ultralytics", "onnx-predictor-yolo"


def launch(python: Path, script: str, words: list[str], variables: dict[str, str]) -> dict[str, float]:
    """Starts a process and waits for its first result.

    Returns:
        ``seconds`` from the start to the result, ``peak_mb`` of resident memory (MB = 10^6 bytes), objects ``found``,
        and processor ``cpu_seconds`` of the whole process.

    Raises:
        RuntimeError: The process ended without a result; the message holds its last words.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in (*BLAS_OVERRIDES, "PYTHONPATH")}
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+") as said, os.fdopen(reading) as answers:
        before = os.times()
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(python), str(HERE / script), *words],
            env={**inherited, **variables, "ANSWERS": str(writing)},
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        os.close(writing)
        line = answers.readline()
        seconds = time.perf_counter() - start
        peak = answers.readline()
        process.wait()
        after = os.times()
        if not peak:
            said.seek(0)
            raise RuntimeError(f"{script} gave no result: {said.read().strip()[-500:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "seconds": seconds,
        "peak_mb": json.loads(peak)["peak_kb"] * 1024 / 1e6,
        "found": json.loads(line)["found"],
        "cpu_seconds": cpu,
    }


def candidates(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What is started, by name, and the reasons of those that cannot be here."""
    import numpy as np

    made = models()
    frame = str(folder / "frame.npy")
    np.save(frame, noise(IMAGE))
    cache = {"LINESIDE_CACHE": str(folder / "cache")}
    quiet = {**OFFLINE, "YOLO_CONFIG_DIR": str(folder)}
    wanted: dict[str, tuple[str, str, list[str], dict[str, str]]] = {
        EXPORTED: ("lineside", "first_lineside.py", [frame, str(made.exported)], cache),
        IMPORTED: ("lineside", "first_lineside.py", [frame, str(made.imported)], cache),
        ULTRALYTICS: ("ultralytics", "first_ultralytics.py", [frame, str(made.onnx)], quiet),
        PREDICTOR: ("onnx-predictor-yolo", "first_onnx_predictor.py", [frame, str(made.onnx)], {}),
    }
    calls: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, (environment, script, words, variables) in wanted.items():
        python, missing_because = attempt(environment)
        if python is None:
            missing[name] = missing_because
        else:
            calls[name] = partial(launch, python, script, words, variables)
    return calls, missing


def measure(rounds: int = 9) -> dict[str, Any]:
    """Starts every candidate once a round.

    Args:
        rounds: Interleaved rounds.

    Returns:
        By candidate: times in ms (``ms``), medians of the peak memory (``peak_mb``), of the processor time
        (``cpu_seconds``) and objects found; for the peers the gain in time and our share of their memory, for both
        bundles of ours; why a peer is missing; and the share of the machine that others used.
    """
    with tempfile.TemporaryDirectory() as name:
        calls, missing = candidates(Path(name))
        load = Load()
        first_ever = calls[EXPORTED]() if EXPORTED in calls else {}
        for call in calls.values():
            call()  # files into the system's cache, settings and optimised graphs onto the disk
        told: dict[str, list[dict[str, float]]] = {name: [] for name in calls}

        def turn(name: str) -> float:
            told[name].append(calls[name]())
            return told[name][-1]["seconds"] * 1e3

        turns = take_turns({name: partial(turn, name) for name in calls}, rounds=rounds, warmup=0, seconds=240)
        share = load.foreign()
    medians = {
        key: {name: Times.of([one[key] for one in starts]).median for name, starts in told.items()}
        for key in ("peak_mb", "cpu_seconds", "found")
    }
    peaks = medians["peak_mb"]
    ours = [name for name in (EXPORTED, IMPORTED) if name in calls]
    peers = [name for name in calls if name not in ours]
    return {
        "model": "YOLO11n-seg, 640 x 640, random weights",
        "image": IMAGE,
        "ms": {name: value.as_dict() for name, value in turns.times().items()},
        "first_ever": {key: round(value, 3) for key, value in first_ever.items()},
        **{key: {name: round(value, 3) for name, value in found.items()} for key, found in medians.items()},
        "gain": {mine: {p: round(turns.gain(p, mine), 2) for p in peers} for mine in ours},
        "memory": {mine: {p: round(peaks[mine] / peaks[p], 3) for p in peers} for mine in ours},
        "missing": missing,
        "foreign_cpu": round(share, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    print(json.dumps(measure(parser.parse_args().rounds), indent=2))


if __name__ == "__main__":
    free_openblas()
    main()
