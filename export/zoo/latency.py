"""Times graphs against each other: every one runs once in every round, in a new order each."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lineside.runtime import hardware
from lineside.runtime.errors import EngineFailed

__all__ = ["cores", "foreign_load", "interleaved", "opened", "processor", "ratio"]

WARM_UP = 2
"""Rounds before the clock counts."""


def opened(model: bytes, size: tuple[int, int], threads: int) -> Callable[[], None]:
    """Opens a graph with the settings of the runtime.

    Args:
        model: An ONNX file with one float32 input.
        size: Height and width of the input in pixels.
        threads: Threads of a run.

    Returns:
        A call that runs it once.

    Raises:
        EngineFailed: onnxruntime refuses it.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    try:
        session: Any = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        raise EngineFailed(f"onnxruntime refuses the graph: {(str(error).splitlines() or ['?'])[0]}") from error
    name = session.get_inputs()[0].name
    picture = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    return lambda: session.run(None, {name: picture})


def interleaved(
    runs: Mapping[str, Callable[[], None]], rounds: int, update: Callable[[int, int], None]
) -> dict[str, list[float]]:
    """Times several calls in turns.

    Args:
        runs: Calls by name.
        rounds: Rounds that count.
        update: Called with rounds done and rounds in all.

    Returns:
        Milliseconds of each call in each round.
    """
    names, order = list(runs), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(WARM_UP + rounds):
        order.shuffle(names)
        for name in names:
            began = time.perf_counter()
            runs[name]()
            times[name].append((time.perf_counter() - began) * 1e3)
        update(number + 1, WARM_UP + rounds)
    return {name: values[WARM_UP:] for name, values in times.items()}


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """Median over the rounds of one call's time over another's: both were measured within the same moments."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def processor() -> str:
    """Name of the processor; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    found = next((line for line in lines if line.startswith("model name")), "")
    return found.partition(":")[2].strip()


def foreign_load() -> Callable[[], float]:
    """Starts to watch the machine.

    Returns:
        A call that says which share of the machine, 0 to 1, other processes have used since then.
    """
    began = _busy(), _own(), time.perf_counter()

    def share() -> float:
        busy, own, wall = _busy() - began[0], _own() - began[1], time.perf_counter() - began[2]
        return max(0.0, busy - own) / max(1e-9, wall * (os.cpu_count() or 1))

    return share


def _busy() -> float:
    """Seconds that all processes have used since the machine started; 0 where the system does not tell."""
    try:
        fields = Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, irq, softirq, *stolen = map(int, fields)
    return (user + nice + system + irq + softirq + sum(stolen)) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    spent = os.times()
    return spent.user + spent.system


def cores() -> int:
    """Threads of a run: the physical cores that this process may use."""
    return hardware.available_cores()
