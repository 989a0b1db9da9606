"""What keeps the slowest frames fast: each control of a station's ``machine`` section on and off, in turns.

Each trial is a process of its own: a camera at 25 fps, the demo's model, two files of results. Latency counts from the trigger to
the last sink. Trials run on a machine that is left alone and on one with a busy process for each core. So that all do the
same work, every trial has the engine use all cores but one (at least one), and the control ``cores`` keeps it off the first.

    python benchmarks/station_tails.py '{"machine": {...}, "seconds": 20}'     one trial, its figures as JSON
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import BLAS_OVERRIDES, Load, tail
from station_parts import DEMO, SIZE, built_from, pictures, rounded

FPS = 25
PRIORITY = 50
OFF = "off"
LAUNCH = (
    "synthetic name=camera ! queue policy=latest ! segment name=model bundle={bundle} threads={threads} ! tee name=t"
    " ! jsonl path=lines.jsonl floor=0B  t. ! csv path=table.csv floor=0B"
)
WARM_UP = 25
"""Frames of a trial that are not counted."""


def controls() -> dict[str, dict[str, Any]]:
    """The ``machine`` section of each trial."""
    last = (os.cpu_count() or 1) - 1
    alone = {
        "cores": {"cores": f"1-{last}" if last > 1 else f"{last}"},
        "priority": {"priority": PRIORITY},
        "memory": {"memory": "lock"},
        "garbage": {"garbage": "freeze"},
    }
    return {OFF: {}, **alone, "all": {key: value for each in alone.values() for key, value in each.items()}}


def trial(machine: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One trial in this process.

    Returns:
        Latencies in ms (``ms``), frames that were never looked at (``dropped``), and what the system refused.
    """
    import msgspec

    from lineside.pipelines.frame import DONE, TRIGGER, Frame
    from lineside.pipelines.sources.memory import Memory
    from lineside.pipelines.sources.paced import Paced
    from lineside.pipelines.tails import Machine, apply_machine, settle_garbage

    wanted, refused = msgspec.convert(machine, Machine), []
    apply_machine(wanted, refused.append)
    found: list[float] = []

    def note(frame: Frame) -> None:
        if frame.outcome in ("inspected", "late"):
            found.append((frame.clock[DONE] - frame.clock[TRIGGER]) / 1e6)

    shown, threads = pictures(SIZE, 4), max(1, (os.cpu_count() or 1) - 1)
    with tempfile.TemporaryDirectory(prefix="lineside-tails-") as folder:
        source = Paced(Memory(shown, WARM_UP + round(seconds * FPS)), round(1e9 / FPS))
        text = LAUNCH.format(bundle=DEMO, threads=threads)
        built = built_from(text, Path(folder), lambda: source, listener=note)
        for picture in shown:
            built.models["model"].model(picture)
        built.runner.start()
        settle_garbage(wanted)
        built.runner.join()
        ((_, counts),) = built.runner.snapshot().items()
    return {"ms": found[WARM_UP:] or found, "dropped": sum(counts.dropped.values()), "refused": refused}


def _launched(machine: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One trial in a process of its own.

    Raises:
        RuntimeError: It failed; the message holds its last words.
    """
    environment = {key: value for key, value in os.environ.items() if key not in BLAS_OVERRIDES}
    words = [sys.executable, __file__, json.dumps({"machine": machine, "seconds": seconds})]
    answer = subprocess.run(words, env=environment, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"a trial with {machine} failed: {answer.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return told


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
        for process in busy:
            process.wait()


def measure(seconds: float = 20.0, rounds: int = 5, *, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Every control in turns, left alone and beside busy neighbours.

    Args:
        seconds: How long frames come in a trial.
        rounds: Rounds; each has every control once, in a new random order.
        names: Some of `controls`; all by default.

    Returns:
        By circumstance (``quiet``, ``busy``) and control: the tail of all rounds' latencies in ms, frames dropped, the
        median of the rounds' ratios of p99 to that without any control, and what the system refused. The share that
        others used counts the quiet circumstance alone.
    """
    wanted = {name: machine for name, machine in controls().items() if names is None or name in names}
    found: dict[str, Any] = {}
    foreign = 0.0
    for circumstance, count in (("quiet", 0), ("busy", os.cpu_count() or 1)):
        load = Load()
        with neighbours(count):
            turns = list(_turns(wanted, rounds, seconds))
        foreign = foreign if count else load.foreign()
        found[circumstance] = {name: _told(turns, name) for name in wanted}
    return rounded(
        {
            "fps": FPS,
            "rounds": rounds,
            "seconds": seconds,
            "machine": {name: controls()[name] for name in wanted},
            "circumstances": found,
            "foreign_cpu": foreign,
        }
    )


def _turns(wanted: dict[str, dict[str, Any]], rounds: int, seconds: float) -> Iterator[dict[str, dict[str, Any]]]:
    order = list(wanted)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        yield {name: _launched(wanted[name], seconds) for name in order}


def _told(turns: Sequence[dict[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    """The figures of one control over all rounds."""
    trials = [turn[name] for turn in turns]
    ratios = [
        tail(turn[name]["ms"])["p99"] / tail(turn[OFF]["ms"])["p99"]
        for turn in turns
        if OFF in turn and turn[name]["ms"]
    ]
    return {
        "ms": tail([span for each in trials for span in each["ms"]]),
        "dropped": sum(each["dropped"] for each in trials),
        "p99_ratio": statistics.median(ratios) if ratios else None,
        "refused": sorted({word for each in trials for word in each["refused"]}),
    }


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    print(json.dumps(trial(told["machine"], told["seconds"])))
