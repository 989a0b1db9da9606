"""A captured graph does what was captured, the same every time, and nothing besides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import numpy.typing as npt

from lineside.runtime.detections import Detections
from lineside.runtime.selftest.findings import Finding, Line, checked, failed
from lineside.runtime.selftest.subject import Subject

__all__ = ["check", "same"]

FRAMES = 8
"""Frames behind the counters."""

MOST_TO_HOST = 65536
"""Bytes that a frame of 1080p with 50 objects may copy back."""


def check(subject: Subject) -> Iterator[Finding]:
    """Same frame twice, captured beside uncaptured, and what a frame asks of the device in the steady state."""
    yield _twice(subject)
    yield _captured(subject)
    yield from _counters(subject)


def _twice(subject: Subject) -> Line:
    """The same picture before and after another one, bit for bit."""
    name = "the same frame again"
    first, other = subject.frame((480, 640), 0), subject.frame((480, 640), 1)
    before = subject.model(first)
    subject.model(other)
    for turn in range(3):
        difference = same(before, subject.model(first))
        if difference:
            return failed(name, f"in turn {turn + 2} {difference}")
    return checked(name, f"{len(before)} detections, equal bit for bit in 4 turns", found=len(before))


def same(first: Detections, second: Detections) -> str:
    """What of two detections is not equal bit for bit.

    Args:
        first: Of one run.
        second: Of another one on the same picture.

    Returns:
        A clause for people; empty where all is equal.
    """
    if len(first) != len(second):
        return f"{len(second)} detections were found and {len(first)} before"
    for what in ("boxes", "scores", "classes", "anchors"):
        a, b = getattr(first, what), getattr(second, what)
        if a.tobytes() != b.tobytes():
            return f"{what} differ, by {float(np.abs(a.astype(np.float64) - b).max()):.3g} at most"
    if (first.masks is None) != (second.masks is None):
        return "masks are there in one of them only"
    if first.masks is not None and second.masks is not None:
        for index in range(len(first)):
            if not np.array_equal(first.masks[index].to_array(), second.masks[index].to_array()):
                return f"the mask of detection {index} differs"
    return ""


def _captured(subject: Subject) -> Line:
    """Outputs of the engine by one captured graph beside those of the same work enqueued piece by piece."""
    name = "captured beside uncaptured"
    device = subject.device
    with device.current(), closing(subject.runner()) as runner:
        manifest, engine = subject.bundle.manifest, runner.engines[0]
        tensor = np.random.default_rng(0).random(manifest.input.shape, np.float32)
        plain = [output.copy() for output in runner.infer({manifest.input.name: tensor})]
        stream = device.stream()
        graph = device.capture(stream, lambda: engine.enqueue(stream))
        outputs: list[npt.NDArray[np.float32]] = []
        for address, shape in zip(engine.output_addresses, engine.output_shapes, strict=True):
            device.fill(stream, address, 0xFF, 4 * int(np.prod(shape)))  # NaN, so that what is not written shows
        graph.launch(stream)
        for address, shape in zip(engine.output_addresses, engine.output_shapes, strict=True):
            held = device.allocate(4 * int(np.prod(shape)), "pinned")
            device.copy(stream, held, address, held.nbytes)
            device.synchronize(stream)
            outputs.append(held.host().view(np.float32).reshape(shape).copy())
            held.free()
        graph.free()
    for output, (one, other) in zip(manifest.head.output_names, zip(plain, outputs, strict=True), strict=True):
        if one.tobytes() != other.tobytes():
            apart = float(np.abs(one.astype(np.float64) - other).max())
            return failed(name, f"the output {output} differs by {apart:.3g} at most")
    return checked(name, f"{len(plain)} outputs of the engine are equal bit for bit")


def _counters(subject: Subject) -> Iterator[Line]:
    """What the device was asked for, per frame."""
    frame, device, model = subject.frame((1080, 1920)), subject.device, subject.model
    found = [model(frame) for _ in range(3)][-1]
    device.counters.reset()
    for _ in range(FRAMES):
        model(frame)
    counts = device.counters
    graphs, waits = counts.graph_launches / FRAMES, counts.synchronisations / FRAMES
    text = f"{graphs:g} graph launches, {waits:g} synchronisations, {counts.launches} launches by themselves"
    line = checked if graphs == 1 and waits == 1 and not counts.launches else failed
    yield line("work per frame", text, graph_launches=graphs, synchronisations=waits, launches=counts.launches)
    line = failed if counts.allocations else checked
    yield line("memory in the steady state", f"{counts.allocations} allocations in {FRAMES} frames")
    copied = counts.bytes_to_host / FRAMES
    line = checked if copied <= MOST_TO_HOST or len(found) > 50 else failed
    yield line(
        "copied back per frame",
        f"{copied:.0f} bytes for {len(found)} objects at 1920x1080 (at most {MOST_TO_HOST} for 50)",
        bytes=copied,
        objects=len(found),
    )
