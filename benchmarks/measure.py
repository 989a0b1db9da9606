"""How everything here is measured: candidates take turns in random order, medians are compared, foreign load is counted.

The machine is part of the measurement: `Load` reads from ``/proc/stat`` how much processor time went to other processes
while the clock ran, and the tables say so when it was more than `NOISY`.
"""

from __future__ import annotations

import gc
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

NOISY = 0.05
"""Share of the machine that others may use before a measurement is called noisy."""

LEAST = 5
"""Rounds that a slow candidate takes part in at least."""

BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that some machines set for older builds of OpenBLAS and that slow a current numpy down."""


def free_openblas() -> None:
    """Takes the OpenBLAS overrides out of this process; call it before numpy is imported."""
    for name in BLAS_OVERRIDES:
        os.environ.pop(name, None)


@dataclass(frozen=True)
class Times:
    """Times of one candidate in milliseconds."""

    median: float
    best: float
    p90: float
    count: int

    @staticmethod
    def of(samples: list[float]) -> Times:
        """Summary of samples in milliseconds."""
        ordered = sorted(samples)
        p90 = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
        return Times(statistics.median(ordered), ordered[0], p90, len(ordered))

    def as_dict(self) -> dict[str, float]:
        """The same for JSON, rounded to a tenth of a microsecond."""
        return {key: round(value, 4) for key, value in asdict(self).items()}


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of them, 0 to 1, does not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def tail(samples: Sequence[float]) -> dict[str, float]:
    """``count``, ``p50``, ``p99``, ``p999`` and ``max`` of samples, for JSON; only the count where there are none."""
    if not samples:
        return {"count": 0}
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {"count": len(samples), **{name: round(quantile(samples, share), 4) for name, share in shares.items()}}


class Load:
    """Counts the processor time of other processes between its making and `foreign`."""

    def __init__(self) -> None:
        self._busy, self._own, self._wall = _busy_seconds(), _own_seconds(), time.perf_counter()

    def foreign(self) -> float:
        """Share of all cores, 0 to 1, that other processes used since then."""
        wall = time.perf_counter() - self._wall
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return max(0.0, others) / max(1e-9, wall * (os.cpu_count() or 1))


def _busy_seconds() -> float:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, *rest = map(int, fields)
    steal = rest[0] if rest else 0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@dataclass(frozen=True)
class Rounds:
    """Milliseconds of each candidate by round; a slow candidate sits out some rounds."""

    rounds: list[dict[str, float]]

    def times(self) -> dict[str, Times]:
        """Summary of each candidate."""
        names = dict.fromkeys(name for turn in self.rounds for name in turn)
        return {name: Times.of([turn[name] for turn in self.rounds if name in turn]) for name in names}

    def gain(self, peer: str, ours: str) -> float:
        """Median of the peer's time over ours, round by round: both were measured within the same moments."""
        return statistics.median(turn[peer] / turn[ours] for turn in self.rounds if peer in turn and ours in turn)


def take_turns(
    candidates: Mapping[str, Callable[[], float]],
    *,
    rounds: int = 60,
    warmup: int = 5,
    seconds: float = 60.0,
    share: float = 1e9,
    seed: int = 0,
) -> Rounds:
    """Lets every candidate measure itself once a round, in a new random order each round.

    Args:
        candidates: Name and measurement of each: a call that returns milliseconds.
        rounds: Rounds at most.
        warmup: Rounds before the clock counts.
        seconds: Time after which no new round begins (at least five are run).
        share: Seconds that one candidate may use. A slow one takes part in every second, third ... round only, in
            `LEAST` of them at least.
        seed: Seed of the order.

    Returns:
        The times of all rounds.
    """
    order = list(candidates)
    shuffle = random.Random(seed).shuffle
    found: list[dict[str, float]] = []
    every = dict.fromkeys(order, 1)
    spent = dict.fromkeys(order, 0.0)
    end = time.perf_counter() + seconds
    for turn in range(-warmup, rounds):
        if turn >= 5 and time.perf_counter() > end:
            break
        shuffle(order)
        times = {}
        for name in order:
            if turn % every[name] if turn >= 0 else spent[name] * LEAST > share:
                continue
            begin = time.perf_counter()
            times[name] = candidates[name]()
            spent[name] = time.perf_counter() - begin
            every[name] = max(1, min(rounds // LEAST, math.ceil(spent[name] * rounds / share)))
        if turn >= 0:
            found.append(times)
    return Rounds(found)


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 60,
    warmup: int = 5,
    inner: int = 1,
    seconds: float = 60.0,
    seed: int = 0,
) -> Rounds:
    """Times calls of this process in turns, without garbage collection.

    Args:
        candidates: Name and call of each.
        rounds: As for `take_turns`, and so are the others.
        warmup: As above.
        inner: Calls per round and candidate, for work of a few microseconds.
        seconds: As above.
        seed: As above.

    Returns:
        Times per call of all rounds.
    """

    def clocked(call: Callable[[], object]) -> float:
        start = time.perf_counter_ns()
        for _ in range(inner):
            call()
        return (time.perf_counter_ns() - start) / inner / 1e6

    calls = {name: partial(clocked, call) for name, call in candidates.items()}
    collecting = gc.isenabled()
    gc.disable()
    try:
        return take_turns(calls, rounds=rounds, warmup=warmup, seconds=seconds, seed=seed)
    finally:
        if collecting:
            gc.enable()


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {
            name: _version(name)
            for name in ("numpy", "onnxruntime", "opencv-python-headless", "ultralytics-opencv-headless", "torch")
        },
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The values between which the median of what they were drawn from lies, with 95 % probability at least.

    Each value is as likely above that median as below it, whatever the distribution, so ranks follow from coin throws
    (Conover, "Practical Nonparametric Statistics", 1999, 3.2). Of less than six values it is all they span.
    """
    ordered, count = sorted(values), len(values)
    outside, rank = 0.0, 0
    while rank < (count - 1) // 2:
        outside += math.comb(count, rank) / 2**count
        if 2 * outside > 0.05:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[count - 1 - rank]
