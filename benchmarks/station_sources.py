"""Several cameras before one engine: what they get together, and what a dead or a slow one takes from the others."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from loop import Ticks
from measure import Load, median_interval
from station_parts import DEMO, SIZE, Pixels, pictures, rounded

import lineside
from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.looks import Look, Way
from lineside.pipelines.runner import Runner
from lineside.pipelines.segment import Segment
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.sources.paced import Paced
from lineside.pipelines.stages import TOTAL, StageClock
from lineside.pipelines.watch.backoff import Delays
from lineside.pipelines.watch.supervised import Limits, Supervised

COUNTS = (1, 2, 4, 8)
TAKT_NS = round(1e9 / 30)
SLOW_NS = 2_000_000_000
OTHERS = ("a", "b", "c")
LEAST, PATIENCE = 5, 120.0
"""Frames that a round has at least, however slow the machine, and the seconds after which that is hopeless."""
_HASTY = Limits(connect=0.5, stall=0.5, grace=0.2, delays=Delays(0.1, 2.0))


class Dead:
    """A camera whose driver never answers, not even when it is asked to end."""

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        return StreamInfo("dead", "camera", live=True)

    def frames(self) -> Iterator[Frame]:
        """Nothing comes."""
        threading.Event().wait()
        return iter(())

    def stop(self) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing to close."""


def _runner(model: lineside.Segmenter, sources: dict[str, Source], sink: Any, bus: Bus | None = None) -> Runner:
    """Sources before one model and one sink."""
    runner = Runner(bus)
    runner.add_model("model", Segment(model, owns=False))
    runner.add_sink(sink)
    for name, source in sources.items():
        runner.add_source(name, source, rename=True)
        runner.add_look(Look(name, "model", [Way(sink.name)]))
    return runner


def together(model: lineside.Segmenter, shown: Sequence[Pixels], sources: int, seconds: float) -> dict[str, float]:
    """One round: frames per second of all sources, and the share of the one that got least (1 / sources is fair)."""
    ticks = Ticks(seconds, lambda: runner.stop())
    runner = _runner(model, {f"camera{number}": Memory(shown) for number in range(sources)}, ticks)
    runner.start()
    runner.join()
    counts = [counts.decided for counts in runner.snapshot().values()]
    return {"fps": ticks.fps, "least": min(counts) / sum(counts), "frames": sum(counts)}


def _fourth(kind: str, shown: Sequence[Pixels], bus: Bus) -> dict[str, Source]:
    """The fourth camera beside three healthy ones."""
    made: dict[str, Callable[[], Source]] = {
        "healthy": lambda: Paced(Memory(shown), TAKT_NS),
        "dead": lambda: Supervised(Dead, "fourth", bus, _HASTY),
        "slow": lambda: Paced(Memory(shown), SLOW_NS),
    }
    return {"fourth": made[kind]()} if kind in made else {}


FOURTH = ("none", "healthy", "dead", "slow")


def beside(model: lineside.Segmenter, shown: Sequence[Pixels], kind: str, seconds: float) -> dict[str, float]:
    """One round of three cameras at 30 fps beside a fourth.

    Returns:
        Decided frames per second of the three together and of the fourth by itself (``own``), and the p99 of the three's
        age at the last sink, ms.

    Raises:
        RuntimeError: Not one frame was decided.
    """
    bus = Bus()
    sources: dict[str, Source] = {name: Paced(Memory(shown), TAKT_NS) for name in OTHERS}
    runner = _runner(model, {**sources, **_fourth(kind, shown, bus)}, Ticks(1e9, lambda: None), bus)
    runner.start()
    runner.join(min(1.0, seconds))
    before, own, begin = _decided(runner, OTHERS), _decided(runner, ("fourth",)), time.monotonic()
    runner.join(seconds)
    while _decided(runner, OTHERS) - before < LEAST and time.monotonic() - begin < PATIENCE:
        runner.join(0.1)
    took = time.monotonic() - begin
    fps, own_fps = (_decided(runner, OTHERS) - before) / took, (_decided(runner, ("fourth",)) - own) / took
    runner.close(drain=2.0, grace=5.0)
    if not fps:
        raise RuntimeError(f"three cameras beside a {kind} one got no result in {PATIENCE:.0f} s")
    clocks = [flow.clock for name, flow in runner.flows.items() if name.source in OTHERS]
    return {"fps": fps, "own": own_fps, "p99_ms": StageClock.together(clocks).stats()[TOTAL].p99}


def _decided(runner: Runner, sources: Sequence[str]) -> int:
    return sum(counts.decided for name, counts in runner.snapshot().items() if name.source in sources)


def _with_kept(turn: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """A round with ``kept``: the rate of the three, with the fourth's own frames, beside that of the three alone.

    Where the engine is busy all the time, each frame of a slow camera is one less of the others': it is paid for and not
    lost. A camera takes something from the others where this falls below 1.
    """
    alone = turn[FOURTH[0]]["fps"]
    return {kind: {**found, "kept": (found["fps"] + found["own"]) / alone} for kind, found in turn.items()}


def _in_turns(kinds: Sequence[Any], rounds: int, one: Callable[[Any], dict[str, float]]) -> list[dict[Any, Any]]:
    """Every kind once a round, in a new random order each round."""
    shuffled, found = list(kinds), []
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(shuffled)
        turn = {kind: one(kind) for kind in shuffled}
        found.append({kind: turn[kind] for kind in kinds})
    return found


def _medians(turns: list[dict[Any, Any]], base: Any, judged: str) -> dict[str, dict[str, Any]]:
    """By kind: the median of each figure, and of the rounds' ratios of the rate to that of one kind.

    Args:
        turns: The rounds.
        base: The kind that the others are compared with.
        judged: Figure of which the 95 % interval of the median is told, as ``interval``.
    """
    for turn in turns:
        for found in turn.values():
            found["ratio"] = found["fps"] / turn[base]["fps"]
    return {
        str(kind): {
            **{key: statistics.median(turn[kind][key] for turn in turns) for key in turns[0][kind]},
            "interval": median_interval([turn[kind][judged] for turn in turns]),
        }
        for kind in turns[0]
    }


def measure(seconds: float = 2.5, rounds: int = 25, *, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Both comparisons with the demo's model, on 1080p frames in memory.

    Rounds are short and many: the speed of a shared machine changes from one quarter of a minute to the next, and only
    what is measured within one of them can be compared.

    Args:
        seconds: Time of a round for each candidate.
        rounds: Rounds; medians of them are told, and between what the median lies with 95 % probability.
        counts: Numbers of sources.

    Returns:
        ``aggregate`` by number of sources, ``fourth`` by kind of the fourth camera, each with the rounds, and the share
        of the machine that others used.
    """
    shown, load = pictures(), Load()
    with lineside.load(DEMO) as model:
        for picture in shown[:3]:
            model(picture)
        aggregate = _in_turns(counts, rounds, lambda count: together(model, shown, count, seconds))
        fourth = [*map(_with_kept, _in_turns(FOURTH, rounds, lambda kind: beside(model, shown, kind, seconds)))]
    return rounded(
        {
            "size": SIZE,
            "rounds": rounds,
            "seconds": seconds,
            "aggregate": _medians(aggregate, counts[0], "ratio"),
            "fourth": _medians(fourth, FOURTH[0], "kept"),
            "all": {"aggregate": aggregate, "fourth": fourth},
            "foreign_cpu": load.foreign(),
        }
    )
