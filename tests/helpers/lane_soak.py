"""Frames by the thousand on the host device, in a process that does nothing else: what is held before and after, as JSON."""

from __future__ import annotations

import gc
import json
import sys
import threading

import numpy as np

import lineside
from helpers.memory import anonymous
from lineside.runtime.cuda.host import HostDevice

FORMS = ((24, 32), (32, 32))


def soak(bundle: str, recording: str, frames: int) -> dict[str, object]:
    """Plays a recording of two outputs: one with an object, one without.

    Args:
        bundle: Its bundle.
        recording: As for the engine ``host``.
        frames: How many.

    Returns:
        What was found in the first two frames and in all; ``before`` and ``after``: what the device, the threads, Python's
        objects and the memory were; and what the device did meanwhile.
    """
    pictures = [np.full((*form, 3), 250, np.uint8) for form in FORMS]
    device = HostDevice()

    def held() -> dict[str, int]:
        gc.collect()
        return {
            "buffers": device.buffers,
            "device": device.memory_used,
            "threads": threading.active_count(),
            "blocks": sys.getallocatedblocks(),
            "memory": anonymous(),
        }

    with lineside.load(bundle, engine=f"host:{recording}", device=device) as model:

        def run(count: int) -> list[int]:
            return [len(model(pictures[number % 2], max_det=1 + number % 2)) for number in range(count)]

        first = run(200)[:2]
        device.counters.reset()
        before = held()
        found = sum(run(frames))
        after = held()
        counters = device.counters
        did = [counters.graph_launches, counters.synchronisations, counters.allocations]
        device.check_bounds()
    device.close()
    return {"first": first, "found": found, "before": before, "after": after, "did": did}


if __name__ == "__main__":
    print(json.dumps(soak(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
