"""One camera: how much of the engine's rate arrives at the end of the line, and how soon an idle engine begins.

The rates are those of ``loop.py``. For the other, raw frames come so seldom that the engine has always finished: what lies
between the capture of a frame and the start of its run is then the line's own doing, letterbox included.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import loop
from measure import Load, tail
from station_parts import SIZE, Pixels, bundles, pictures, rounded

import lineside
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import CAPTURE, TAKEN, Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.segment import Segment
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.sources.paced import Paced
from lineside.pipelines.watch.supervised import Supervised

WARM_UP = 20
"""Frames that are not counted."""
REST = 4.0
"""Times that a run takes between two frames."""
ROUNDS = 30
"""Short ones, because a shared machine is faster one quarter of a minute than the next."""


def idle(bundle: Path, shown: Sequence[Pixels], frames: int, *, watched: bool = False) -> dict[str, Any]:
    """Time from capture to the start of a run where the engine is idle.

    Args:
        bundle: The bundle.
        shown: Frames, in turn.
        frames: How many are counted.
        watched: Whether the source is watched over, as a station's cameras are: one thread more on the way.

    Returns:
        ``takt_ms``, and in ms the tails of ``engine`` (capture to the start of the run) and ``lane`` (capture until a
        lane has the frame).
    """
    spans: list[tuple[float, float]] = []

    def note(frame: Frame) -> None:
        clock = frame.clock
        if "preprocess" in clock:
            spans.append(((clock["preprocess"] - clock[CAPTURE]) / 1e6, (clock[TAKEN] - clock[CAPTURE]) / 1e6))

    with lineside.load(bundle) as model:
        for picture in shown[:3]:
            model(picture)
        begin = time.perf_counter()
        model(shown[0])
        takt = max(0.03, REST * (time.perf_counter() - begin))
        camera = Paced(Memory(shown, frames + WARM_UP), round(takt * 1e9))
        source = Supervised(lambda: camera, "camera", Bus()) if watched else camera
        Graph(source, Segment(model, owns=False), [], listener=note).run()
    counted = spans[WARM_UP:] or spans
    return {
        "takt_ms": takt * 1e3,
        "engine": tail([engine for engine, _ in counted]),
        "lane": tail([lane for _, lane in counted]),
    }


def measure(seconds: float = 90.0, frames: int = 1000, quick: bool = False) -> dict[str, Any]:
    """Both figures of each model.

    Args:
        seconds: Time for the rates of a model.
        frames: Frames for the time to the start of a run.
        quick: With the demo's model alone.

    Returns:
        By model: ``rate`` as `loop.measure` has it in ``latency`` mode, ``idle`` as above, of a plain source and of one
        that is watched over (``idle_watched``); and the share of the machine that others used.
    """
    shown, load = pictures(), Load()
    found = {
        name: {
            "rate": loop.measure(bundle, seconds, pictures=shown, modes=("latency",), rounds=ROUNDS)["modes"][
                "latency"
            ],
            "idle": rounded(idle(bundle, shown, frames)),
            "idle_watched": rounded(idle(bundle, shown, frames, watched=True)),
        }
        for name, bundle in bundles(quick).items()
    }
    return {"size": SIZE, "rounds": ROUNDS, "bundles": found, "foreign_cpu": round(load.foreign(), 3)}
