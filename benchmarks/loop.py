"""The camera loop beside the bare engine: how much of the engine's rate arrives at the end of the line.

Usage::

    python benchmarks/loop.py demo/bearing.bundle --seconds 60 --json loop.json

Both run the same model with the same engine settings in this process, in turns, each several times; medians are
compared. The loop takes raw 1920x1080 BGR frames from memory through the whole graph: source thread, queue, letterbox,
inference, decoding, masks, one sink. The engine runs on one of the pictures, prepared, and its outputs are not looked at.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))

from measure import Load, Times, median_interval

import lineside
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.segment import Segment
from lineside.pipelines.sources.memory import Memory, synthetic
from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import Engine, EngineOptions
from lineside.runtime.preprocess import Preprocessor

Mode = Literal["latency", "throughput"]

BUNDLE = Path(__file__).resolve().parents[1] / "demo" / "bearing.bundle"
MODES: tuple[Mode, ...] = ("latency", "throughput")
VIDEO = BUNDLE.parent / "line.mp4"
SIZE = (1080, 1920)
ROUNDS = 7
WARM_UP = 3
"""Frames of a round before the clock counts."""


class Ticks:
    """A sink that notes when each frame arrived."""

    name = "ticks"
    takes_failed = False

    def __init__(self, seconds: float, stop: Any) -> None:
        self.times: list[int] = []
        self.busy: list[int] = []
        self.seconds = seconds
        self.stop = stop

    def open(self, stream: StreamInfo) -> None:
        """Nothing to open."""

    def write(self, frame: Frame) -> None:
        """Notes the time; ends the round when it is over."""
        self.times.append(time.perf_counter_ns())
        self.busy.append(time.process_time_ns())
        if len(self.times) > WARM_UP + 2 and self.times[-1] - self.times[WARM_UP] > self.seconds * 1e9:
            self.stop()

    def close(self, missing: int = 0) -> None:
        """Nothing to close."""

    @property
    def fps(self) -> float:
        """Frames per second after the warm-up."""
        times = self.times[WARM_UP:]
        return (len(times) - 1) * 1e9 / (times[-1] - times[0])

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds per frame of the whole process after the warm-up."""
        busy = self.busy[WARM_UP:]
        return (busy[-1] - busy[0]) / 1e6 / (len(busy) - 1)


def loop_round(
    model: lineside.Segmenter, pictures: Sequence[npt.NDArray[np.uint8]], seconds: float
) -> tuple[float, float]:
    """One round of the loop: frames per second, and processor milliseconds per frame of the whole process."""
    source = Memory(pictures)
    ticks = Ticks(seconds, source.stop)
    graph = Graph(source, Segment(model, owns=False), [ticks])
    graph.run()
    return ticks.fps, ticks.cpu_ms


def engine_round(engines: Sequence[Engine], seconds: float) -> tuple[float, float]:
    """One round of the engine alone: runs per second of all sessions, and processor milliseconds per run."""
    counts = [0] * len(engines)
    end = [0.0]

    def work(number: int) -> None:
        engine, inputs = engines[number], engines[number].buffers()
        while time.perf_counter() < end[0] or not counts[number]:
            engine.infer(inputs)
            counts[number] += 1

    for engine in engines:
        for _ in range(WARM_UP):
            engine.infer(engine.buffers())
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(engines))]
    begin, busy = time.perf_counter(), time.process_time()
    end[0] = begin + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(counts)
    return total / (time.perf_counter() - begin), (time.process_time() - busy) * 1e3 / total


def measure_mode(
    bundle: str | Path,
    seconds: float,
    mode: Mode,
    pictures: Sequence[npt.NDArray[np.uint8]],
    threads: int | None,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Compares loop and engine in one mode; in ``throughput`` all its sessions run side by side in both."""
    share = seconds / rounds / 2
    loops: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []
    load = Load()
    with lineside.load(bundle, mode=mode, threads=threads) as model:
        engines = open_engines(model.engine_name, open_bundle(bundle), EngineOptions(mode=mode, threads=threads))
        engines = engines[:1] if mode == "latency" else engines
        for engine in engines:
            for slot in engine.buffers()[model.manifest.input.name]:
                Preprocessor(model.manifest.input.size).prepare(pictures[0], slot)
        for number in range(rounds):
            # In turns, each first every other time, so that neither profits from a machine that warms up.
            for what in ("loop", "engine") if number % 2 else ("engine", "loop"):
                if what == "loop":
                    loops.append(loop_round(model, pictures, share))
                else:
                    alone.append(engine_round(engines, share))
        lanes = model.lanes
    ratios = [loop[0] / engine[0] for loop, engine in zip(loops, alone, strict=True)]
    shares = [loop[1] / engine[1] - 1 for loop, engine in zip(loops, alone, strict=True)]
    return {
        "lanes": lanes,
        "loop_fps": statistics.median(fps for fps, _ in loops),
        "engine_fps": statistics.median(fps for fps, _ in alone),
        "ratio": statistics.median(ratios),
        "ratio_interval": median_interval(ratios),
        "loop_cpu_ms": statistics.median(cpu for _, cpu in loops),
        "engine_cpu_ms": statistics.median(cpu for _, cpu in alone),
        "cpu_over_engine": statistics.median(shares),
        "cpu_interval": median_interval(shares),
        "rounds": {"loop": loops, "engine": alone},
        "foreign_cpu": load.foreign(),
    }


def measure(
    bundle: str | Path = BUNDLE,
    seconds: float = 60.0,
    *,
    pictures: Sequence[npt.NDArray[np.uint8]] | None = None,
    modes: Sequence[Mode] = MODES,
    threads: int | None = None,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Compares loop and engine.

    Args:
        bundle: The bundle.
        seconds: Time for each mode; at least three frames a round are taken however long that lasts.
        pictures: Frames, uint8 BGR; noise of 1920x1080 by default.
        modes: Modes of the engine to compare in.
        threads: Threads of one inference; None leaves the choice to the engine.
        rounds: Rounds that the time is divided into.

    Returns:
        By mode the medians of the rounds: ``loop_fps``, ``engine_fps``, their ``ratio`` (median of the rounds' ratios),
        processor time per frame of both in ms (``loop_cpu_ms``, ``engine_cpu_ms``) and how much more the loop takes
        (``cpu_over_engine``, median of the rounds' shares), between what both medians lie with 95 % probability
        (``ratio_interval``, ``cpu_interval``), the rounds themselves, and ``foreign_cpu``, the share of the machine that
        other processes used meanwhile.
    """
    if pictures is None:
        pictures = [frame.pixels for frame in synthetic(SIZE, 4, pictures=4).frames() if frame.pixels is not None]
    return {
        "bundle": Path(bundle).name,
        "size": list(pictures[0].shape[:2]),
        "modes": {mode: measure_mode(bundle, seconds, mode, pictures, threads, rounds) for mode in modes},
    }


def decoded(video: Path, every: int = 1) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of a video, or every second, third ... of them."""
    import cv2

    reader = cv2.VideoCapture(str(video))
    try:
        number = 0
        while (answer := reader.read())[0]:
            if number % every == 0:
                yield np.asarray(answer[1], np.uint8)
            number += 1
    finally:
        reader.release()


def measure_decoding(video: Path = VIDEO, rounds: int = 5) -> dict[str, Any]:
    """What reading a video costs by itself: the source's share, which the loop over frames in memory leaves out.

    Args:
        video: The file.
        rounds: How often it is read from the start to the end.

    Returns:
        ``size`` (H, W), number of ``frames``, ``ms`` of wall time a frame (by round), ``cpu_ms`` of processor time a
        frame of all threads, and ``foreign_cpu``.
    """
    walls, cpus = [], []
    load = Load()
    frames, size = 0, (0, 0)
    for _ in range(rounds):
        busy, begin, frames = time.process_time(), time.perf_counter(), 0
        for frame in decoded(video):
            size, frames = (frame.shape[0], frame.shape[1]), frames + 1
        walls.append((time.perf_counter() - begin) * 1e3 / frames)
        cpus.append((time.process_time() - busy) * 1e3 / frames)
    return {
        "video": video.name,
        "size": size,
        "frames": frames,
        "ms": Times.of(walls).as_dict(),
        "cpu_ms": statistics.median(cpus),
        "foreign_cpu": load.foreign(),
    }


def measure_all(seconds: float = 40.0) -> dict[str, Any]:
    """Both modes with YOLO11n-seg at 640 and with the demo model at 320, on frames of the demo video.

    At 640 the frames are enlarged to 1080p, and the random weights find next to nothing on them. On noise they find
    objects whose masks are noise as well: 10 000 runs each, 20 ms a frame, which no camera sees.

    Args:
        seconds: Time for each model and mode.

    Returns:
        By model what `measure` returns (``bundles``), and what reading the video costs (``decoding``).
    """
    import cv2
    from models import models

    made = models()
    frames = list(decoded(VIDEO, every=5))
    large = [np.asarray(cv2.resize(frame, SIZE[::-1]), np.uint8) for frame in frames[:8]]
    return {
        "bundles": {
            "YOLO11n-seg 640": measure(made.exported, seconds, pictures=large),
            "demo model 320": measure(BUNDLE, seconds, pictures=frames),
        },
        "decoding": measure_decoding(),
    }


def main(words: list[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="The camera loop beside the bare engine.")
    parser.add_argument("bundle", nargs="?", default=BUNDLE)
    parser.add_argument("--seconds", type=float, default=60.0, help="time for each mode")
    parser.add_argument("--mode", choices=MODES, action="append", help="one mode only; may be given again")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    options = parser.parse_args(words)
    result = measure(options.bundle, options.seconds, modes=options.mode or MODES, threads=options.threads)
    for mode, found in result["modes"].items():
        print(
            f"{mode}: loop {found['loop_fps']:.2f} fps, engine alone {found['engine_fps']:.2f} fps, "
            f"ratio {found['ratio']:.3f}; processor {found['loop_cpu_ms']:.1f} and {found['engine_cpu_ms']:.1f} ms per "
            f"frame; others used {found['foreign_cpu']:.0%} of the machine"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
