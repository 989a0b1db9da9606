"""A million frames through a station that writes them down: whether memory, threads, descriptors or queues grow.

The engine ``recorded`` answers at once, so that what runs is everything else: source, queues, letterbox, decoding, masks,
and three sinks that begin new files and remove old ones. Nothing may be lost: the counts at the end must say so.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measure import Load
from station_parts import DEMO, built_from, pictures, process_facts, rounded

from lineside.pipelines.runner import Runner
from lineside.pipelines.sources.memory import Memory

SIZE = (120, 160)
"""Small frames: what leaks with a frame leaks with a small one."""
LAUNCH = (
    "synthetic name=line ! segment name=model bundle={bundle} engine=recorded ! tee name=t"
    " ! jsonl name=lines path=lines.jsonl rotate_size=2MB keep_size=20MB floor=0B"
    "  t. ! csv name=table path=table.csv rotate_size=2MB keep_size=20MB floor=0B"
    "  t. ! sqlite name=store path=parts.db keep=30s floor=0B"
)
WATCHED = ("frames", "rss", "own", "threads", "descriptors", "waiting")
SETTLING = 0.25
"""Share of the frames after which memory is watched: pools, caches and files have found their size."""
BLOCKS = 20
"""Neighbouring samples have much in common, so that the slope is taken over the means of so many stretches."""


def run(frames: int, looks: int = 1000) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Sends frames through, and looks at the process meanwhile.

    Args:
        frames: How many.
        looks: How often the process is looked at, about.

    Returns:
        Samples (``frames`` decided, ``rss`` and ``own`` bytes, ``threads``, ``descriptors``, ``waiting`` frames in all queues) and
        what the end was like.

    Raises:
        RuntimeError: Frames were lost, or the station did not end.
    """
    kept = np.full((looks + 2, len(WATCHED)), -1.0)  # of its final size: the notes themselves must not grow
    filled = 0
    with tempfile.TemporaryDirectory(prefix="lineside-soak-") as folder:
        built = built_from(LAUNCH.format(bundle=DEMO), Path(folder), lambda: Memory(pictures(SIZE), frames))
        runner, begin = built.runner, time.monotonic()
        runner.start()
        step, due = max(1, frames // looks), 0
        while not runner.join(0.02):
            decided = _decided(runner)
            if decided >= due and filled < len(kept):
                due = decided + step
                facts = {"frames": decided, **process_facts(), "waiting": _waiting(runner)}
                kept[filled] = [facts[name] for name in WATCHED]
                filled += 1
        seconds = time.monotonic() - begin
        ((_, counts),) = runner.snapshot().items()
        written = {name: sink.written for name, sink in counts.sinks.items()}
        if not counts.balanced or counts.inspected != frames or set(written.values()) != {frames}:
            raise RuntimeError(f"frames were lost: {counts}")
    samples = [dict(zip(WATCHED, row, strict=True)) for row in kept[:filled].tolist()]
    return samples, {"seconds": seconds, "fps": frames / seconds, "inspected": counts.inspected, "written": written}


def _decided(runner: Runner) -> int:
    return sum(counts.decided for counts in runner.snapshot().values())


def _waiting(runner: Runner) -> int:
    """Frames in all queues."""
    return sum(
        len(link) for flow in runner.flows.values() for link in (flow.queue, *flow.outlets.links.values())
    )  # fmt: skip


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The slope of a straight line through points, by least squares, and the half width of its 95 % interval.

    Raises:
        ValueError: There are fewer than three points, or all have the same x.
    """
    if len(x) < 3:
        raise ValueError(f"{len(x)} points have no interval")
    middle, level = statistics.fmean(x), statistics.fmean(y)
    spread = sum((a - middle) ** 2 for a in x)
    if not spread:
        raise ValueError("all points have the same x")
    found = sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / spread
    left = sum((b - level - found * (a - middle)) ** 2 for a, b in zip(x, y, strict=True))
    return found, student(len(x) - 2) * math.sqrt(left / (len(x) - 2) / spread)


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t (Abramowitz and Stegun 26.7.5, below 1 % off from 3 degrees of freedom on)."""
    if freedom < 3:
        return {1: 12.706, 2: 4.303}[freedom]
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def blocks(samples: Sequence[dict[str, float]], count: int) -> list[dict[str, float]]:
    """Means of neighbouring samples, in so many stretches or fewer."""
    count = min(count, len(samples))
    edges = [round(number * len(samples) / count) for number in range(count + 1)]
    return [
        {key: statistics.fmean(sample[key] for sample in samples[first:last]) for key in samples[0]}
        for first, last in pairwise(edges)
    ]


def measure(frames: int = 1_000_000) -> dict[str, Any]:
    """Growth over a run.

    Args:
        frames: How many frames; the goal counts for a million or more.

    Returns:
        ``rss_per_million`` in MB (10^6 bytes) with ``half`` of its 95 % interval, from the means of ``blocks``
        stretches, and ``own_per_million`` likewise, without the pages that files stand behind; by resource the least and the most after the settling (``steady``); the end; some samples; and the share
        of the machine that others used (``others``), which makes it slower and changes nothing that is counted here.
    """
    load = Load()
    samples, end = run(frames)
    steady = [sample for sample in samples if sample["frames"] >= SETTLING * frames]
    means = blocks(steady, BLOCKS)
    growth = {key: slope([it["frames"] for it in means], [it[key] for it in means]) for key in ("rss", "own")}
    kept = samples[:: max(1, len(samples) // 50)]
    return {
        "frames": frames,
        "size": SIZE,
        "samples": len(steady),
        "blocks": len(means),
        **{f"{key}_per_million": {"mb": round(mb, 4), "half": round(half, 4)} for key, (mb, half) in growth.items()},
        "steady": {
            key: [min(it[key] for it in steady), max(it[key] for it in steady)]
            for key in ("rss", "own", "threads", "descriptors", "waiting")
        },
        **rounded(end),
        "some": kept,
        "others": round(load.foreign(), 3),
    }
