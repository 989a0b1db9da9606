"""How long a frame takes: percentiles of the whole, of each stage, and of each layer where the engine tells it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping

from lineside.runtime.selftest.bench import stage_times
from lineside.runtime.selftest.findings import Cell, Finding, Table, checked, failed, unchecked
from lineside.runtime.selftest.percentiles import SHARES, percentiles
from lineside.runtime.selftest.subject import Subject
from lineside.runtime.selftest.trace import memory

__all__ = ["check", "time_frames"]

WARM_UP = 10
FEW = 1000
"""With fewer frames p99.9 is the slowest one."""
MOST_RUNS = 200
"""Runs behind the times of single steps."""
MOST_LAYERS = 40
"""Layers that are listed."""
MOST_GROWTH = 64.0
"""Megabytes that the process may grow by while frames are run."""
STAGES = {
    "preprocess": "picture into the device's reach",
    "wait": "wait for the lane",
    "infer": "device: upload, letterbox, model, decoding, masks, download",
    "postprocess": "reading the result",
    "total": "frame, from call to detections",
}
"""What the stages of a call are on a device."""


def check(subject: Subject) -> Iterator[Finding]:
    """Runs frames one after the other, as fast as they go."""
    stages, growth = time_frames(subject)
    total = percentiles(stages["total"])
    count = len(stages["total"])
    height, width = subject.options.size
    text = f"p50 {total['p50']:.2f} ms, p99 {total['p99']:.2f} ms over {count} frames of {width}x{height}"
    if count < FEW:
        text += f"; p99.9 of so few is the slowest ({FEW} show more)"
    if not subject.real:
        text += "; of the host device, which says nothing about a GPU"
    yield checked("frame", text, frames=count, **{f"{name} ms": round(value, 4) for name, value in total.items()})
    if growth is not None:
        line = checked if growth <= MOST_GROWTH else failed
        yield line(
            "growth", f"the process grew by {growth:.1f} MB in {count} frames (at most {MOST_GROWTH:g})", mb=growth
        )
    yield table("Latency in ms", "stage", {f"{name}: {STAGES[name]}": found for name, found in stages.items()})
    steps = stage_times(subject, min(subject.options.frames, MOST_RUNS))
    yield table("Steps of a frame on the device in ms, each launched and timed by itself", "step", steps)
    yield from _layers(subject)


def _layers(subject: Subject) -> Iterator[Finding]:
    """The slowest layers of the engine."""
    if not subject.real:
        yield unchecked("layers", "onnxruntime, which executes the model on the host device, does not tell their times")
        return
    from lineside.runtime.selftest.layers import layer_times

    found = layer_times(subject, min(subject.options.frames, MOST_RUNS))
    if not found:
        yield unchecked("layers", "TensorRT's profiler told nothing")
        return
    whole = sum(sum(times) for times in found.values())
    slowest = dict(sorted(found.items(), key=lambda item: -sum(item[1]))[:MOST_LAYERS])
    first, times = next(iter(slowest.items()))
    yield checked("layers", f"{len(found)} of them; {sum(times) / whole:.0%} of the time is in {first[:120]}")
    yield table(
        f"Slowest layers in ms, {len(slowest)} of {len(found)}", "layer", {k[:160]: v for k, v in slowest.items()}
    )


def time_frames(subject: Subject) -> tuple[dict[str, list[float]], float | None]:
    """Milliseconds of each stage, frame by frame, and megabytes that the process grew by after the first frames."""
    frames = [subject.frame(subject.options.size, number) for number in range(min(4, max(1, len(subject.golden))))]
    model = subject.model
    for number in range(WARM_UP):
        model(frames[number % len(frames)])
    before = memory(subject.options.root).get("process MB")
    stages: dict[str, list[float]] = {name: [] for name in STAGES}
    end = time.perf_counter() + subject.options.seconds
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(subject.options.frames):
            begin = last = time.perf_counter_ns()

            def stamp(stage: str) -> None:
                nonlocal last
                now = time.perf_counter_ns()
                stages[stage].append((now - last) / 1e6)
                last = now

            model(frames[number % len(frames)], stamp=stamp)
            stages["total"].append((time.perf_counter_ns() - begin) / 1e6)
            if time.perf_counter() > end:
                break
    finally:
        if collecting:
            gc.enable()
    after = memory(subject.options.root).get("process MB")
    growth = None if before is None or after is None else after - before
    return {name: found for name, found in stages.items() if found}, growth


def table(title: str, what: str, samples: Mapping[str, list[float]]) -> Table:
    """Percentiles as a table.

    Args:
        title: Of the table.
        what: Heading of the first column.
        samples: Milliseconds by name.
    """
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, len(found), *percentiles(found).values()) for name, found in samples.items()
    )
    return Table(title=title, columns=(what, "count", *SHARES), rows=rows)
