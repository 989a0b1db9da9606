"""A live source that dies, freezes or hangs comes back; nobody waits for it, and nothing of it is lost or doubled."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside.pipelines.build import build
from lineside.pipelines.catalog import options_of
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.sources.live import limits_of
from lineside.pipelines.watch.backoff import Backoff, Delays
from lineside.pipelines.watch.supervised import Limits, Supervised
from lineside.runtime.errors import SourceError, StationError

QUICK = Limits(connect=20.0, stall=1.0, grace=0.2, steady=60.0, rebuilds=2, delays=Delays(0.01, 0.02, 0.0))
PIXELS = np.zeros((2, 2, 3), np.uint8)


class Lives:
    """Builds sources that live as a script says: so many frames, and then an end."""

    def __init__(self, *script: tuple[int, str], then: str = "freeze") -> None:
        self.script = list(script)
        self.then = then
        self.built: list[Life] = []

    def __call__(self) -> Life:
        frames, end = self.script.pop(0) if self.script else (1, self.then)
        if end == "not there":
            raise SourceError("no such device")
        life = Life(frames, end)
        self.built.append(life)
        return life


class Life:
    """A source with so many frames and an end: ``over``, ``error``, ``freeze`` (ends when asked to) or ``hang`` (never)."""

    def __init__(self, frames: int, end: str, known: int | None = None, waits: bool = False) -> None:
        self.frames_, self.end, self.known, self.waits = frames, end, known, waits
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.closed = threading.Event()

    def open(self) -> StreamInfo:
        if self.end == "refuse":
            raise SourceError("another program has the camera")
        return StreamInfo("life", "camera", live=True, frames=self.known, waits=self.waits)

    def frames(self) -> Iterator[Frame]:
        for number in range(self.frames_):
            yield Frame(PIXELS, pts=number / 10, captured=time.monotonic_ns())
        if self.end == "error":
            raise SourceError("the cable was pulled")
        if self.end == "freeze":
            self.asked.wait()
        if self.end == "hang":
            self.let_go.wait()

    def stop(self) -> None:
        self.asked.set()

    def close(self) -> None:
        self.closed.set()


class Watcher:
    """Reads a supervised source in a thread, and waits for what happens."""

    def __init__(
        self, lives: Callable[[], Life], limits: Limits = QUICK, isolate: Callable[[], Life] | None = None
    ) -> None:
        self.news = threading.Condition()
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self.ended = False
        bus = Bus()
        bus.listen(self._hear)
        self.source = Supervised(lives, "top", bus, limits, isolate=isolate, dice=random.Random(1))
        self.stream = self.source.open()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _hear(self, event: Event) -> None:
        with self.news:
            self.events.append(event)
            self.news.notify_all()

    def _read(self) -> None:
        for frame in self.source.frames():
            with self.news:
                self.frames.append(frame)
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def until(self, done: Callable[[], object]) -> None:
        with self.news:
            assert self.news.wait_for(done, timeout=60), [event.message for event in self.events]

    def states(self) -> list[str]:
        return [it.kind.removeprefix("source ").upper() for it in self.events if it.kind.startswith("source ")]

    def stop(self) -> None:
        self.source.stop()
        self.until(lambda: self.ended)


def test_a_source_is_not_opened_before_it_is_read() -> None:
    source = Supervised(Lives((0, "refuse")), "top", Bus(), QUICK)
    assert source.open().live and source.state == "NOT_STARTED" and source.attempts == 0


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("error", "the cable was pulled"),
        ("over", "the stream ended"),
        ("refuse", "another program"),
        ("not there", "no such"),
    ],
)
def test_it_comes_back_after_any_end(end: str, why: str) -> None:
    watcher = Watcher(Lives((0 if end in ("refuse", "not there") else 3, end), (2, "freeze")))
    want = 2 if end in ("refuse", "not there") else 5
    watcher.until(lambda: len(watcher.frames) == want)
    watcher.stop()
    assert any(event.kind == "source backoff" and why in event.message for event in watcher.events)
    states = watcher.states()
    assert states[0] == "CONNECTING" and "BACKOFF" in states and states[-2:] == ["RUNNING", "ENDED"]


def test_a_frozen_source_is_noticed_and_rebuilt() -> None:
    lives = Lives((3, "freeze"), (1, "freeze"))
    watcher = Watcher(lives)
    watcher.until(lambda: len(watcher.frames) == 4)
    watcher.stop()
    assert watcher.states()[:5] == ["CONNECTING", "RUNNING", "STALLED", "BACKOFF", "CONNECTING"]
    assert any(event.level == "error" and "no frame for 1 s" in event.message for event in watcher.events)
    assert all(life.closed.wait(20) for life in lives.built)


def test_one_that_hangs_is_left_behind_and_the_next_is_in_another_process() -> None:
    first, apart = Lives((1, "hang")), Lives((2, "freeze"))
    watcher = Watcher(first, isolate=apart)
    watcher.until(lambda: len(watcher.frames) == 3)
    watcher.stop()
    assert watcher.source.left_behind == 1 and len(first.built) == 1 and len(apart.built) == 1
    assert any(event.kind == "hung" for event in watcher.events)
    first.built[0].let_go.set()
    assert first.built[0].closed.wait(20), "it closes itself when it comes back"
    assert len(watcher.frames) == 3


def test_after_some_failures_the_capture_moves_to_another_process() -> None:
    apart = Lives((1, "freeze"))
    watcher = Watcher(Lives((0, "refuse"), (0, "refuse"), (0, "never built")), isolate=apart)
    watcher.until(lambda: len(watcher.frames) == 1)
    watcher.stop()
    assert len(apart.built) == 1 and watcher.source.attempts == 3


def test_time_goes_on_over_all_attempts() -> None:
    watcher = Watcher(Lives((3, "error"), (3, "error"), (3, "freeze")))
    watcher.until(lambda: len(watcher.frames) == 9)
    watcher.stop()
    times = [frame.pts for frame in watcher.frames]
    captured = [frame.clock["capture"] / 1e9 for frame in watcher.frames]
    for first in (3, 6):  # Each life begins where the clock says, whatever its own time axis.
        assert times[first] == pytest.approx(captured[first] - captured[0], abs=1e-6)


def test_a_stop_needs_no_frame() -> None:
    for end in ("freeze", "hang"):
        watcher = Watcher(Lives((0, end)))
        watcher.until(lambda w=watcher: w.states() == ["CONNECTING"])
        watcher.stop()
        assert watcher.source.state == "ENDED"


def test_whoever_stops_reading_and_closes_it_leaves_nothing_running() -> None:
    lives = Lives((5, "freeze"))
    source = Supervised(lives, "top", Bus(), QUICK)
    source.open()
    frames = source.frames()
    next(frames)
    source.close()
    assert lives.built[0].closed.wait(60) and lives.built[0].asked.wait(60)
    frames.close()  # type: ignore[attr-defined]


def test_a_source_that_knows_its_end_has_one() -> None:
    watcher = Watcher(lambda: Life(4, "over", known=4))
    watcher.until(lambda: watcher.ended)
    assert len(watcher.frames) == 4 and watcher.states() == ["CONNECTING", "RUNNING", "ENDED"]


def test_the_same_source_ending_early_is_a_failure() -> None:
    lives = [Life(2, "over", known=4), Life(4, "over", known=4)]
    watcher = Watcher(lambda: lives.pop(0))
    watcher.until(lambda: watcher.ended)
    assert len(watcher.frames) == 6 and "BACKOFF" in watcher.states()


def test_silence_of_a_source_that_something_triggers_is_no_stall() -> None:
    short = replace(QUICK, connect=0.3, stall=0.3)
    triggered = Watcher(lambda: Life(0, "freeze", waits=True), short)
    triggered.until(lambda: triggered.states() == ["CONNECTING", "RUNNING"])
    other = Watcher(Lives((1, "freeze"), (1, "freeze")), short)
    other.until(lambda: other.states().count("STALLED") == 2)
    assert triggered.states() == ["CONNECTING", "RUNNING"] and triggered.source.attempts == 1
    triggered.stop()
    other.stop()


def test_it_is_one_where_its_options_say_so() -> None:
    limits = limits_of(options_of("aravis", {"trigger": "line", "stall": "300ms"}, "test"), QUICK)
    watcher = Watcher(lambda: Life(0, "freeze", waits=True), limits)
    watcher.until(lambda: "BACKOFF" in watcher.states())
    watcher.stop()
    assert watcher.states()[:4] == ["CONNECTING", "RUNNING", "STALLED", "BACKOFF"]
    assert any("no frame for 0.3 s" in event.message for event in watcher.events)


def test_a_camera_of_a_station_has_the_limit_that_it_was_told() -> None:
    """One frame in five seconds: by itself it counts as stalled after three times that."""
    plan = parse_launch("synthetic name=top size=8x8 fps=0.2 stall=1s ! jsonl", name="the launch string")
    news, messages = threading.Condition(), list[str]()
    bus = Bus()

    def hear(event: Event) -> None:
        with news:
            messages.append(event.message)
            news.notify_all()

    bus.listen(hear)
    (source,) = build(shape_of(plan, "it"), Path(), bus).runner._sources.values()
    reader = threading.Thread(target=lambda: [frame.release() for frame in source.source.frames()], daemon=True)
    reader.start()
    with news:
        assert news.wait_for(lambda: any("RUNNING -> STALLED" in it for it in messages), 60)
    source.source.stop()
    assert any("STALLED (no frame for 1 s)" in it for it in messages)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [({}, (5.0, 3.0, math.inf)), ({"stall": "2s"}, (2.0, 0.0, 2.0)), ({"stall": "never"}, (math.inf, 0.0, math.inf))],
)
@pytest.mark.parametrize("element", ["camera", "synthetic", "usb", "csi", "pattern", "aravis"])
def test_every_kind_of_camera_may_have_its_own_limit(
    element: str, words: dict[str, str], wanted: tuple[float, ...]
) -> None:
    limits = limits_of(options_of(element, words, "test", text=True), Limits())
    assert (limits.stall, limits.periods, limits.waiting) == wanted


def test_a_limit_that_is_no_time_is_refused() -> None:
    for element in ("camera", "aravis"):  # The second has rules of its own beside it.
        with pytest.raises(StationError, match="stall=soon is not known; write a time such as 2s, or never"):
            options_of(element, {"stall": "soon"}, "the launch string", text=True)


@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_waits_double_up_to_a_bound_and_begin_again(failures: int, jitter: float, seed: int) -> None:
    backoff = Backoff(Delays(0.5, 30.0, jitter), random.Random(seed))
    waits = [backoff.failed() for _ in range(failures)]
    for number, wait in enumerate(waits):
        middle = min(0.5 * 2**number, 30.0)
        assert middle * (1 - jitter) <= wait <= middle * (1 + jitter)
    backoff.worked()
    assert backoff.failed() <= 0.5 * (1 + jitter)


def until(done: Callable[[], object], what: str) -> None:
    """Waits for what no event tells."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_a_source_that_hangs_while_it_is_made_is_left_behind_too() -> None:
    let_go, apart = threading.Event(), Lives((1, "freeze"))

    def make() -> Life:
        let_go.wait()
        return Life(1, "freeze")

    watcher = Watcher(make, replace(QUICK, connect=0.2), apart)
    watcher.until(lambda: len(watcher.frames) == 1)
    assert watcher.source.left_behind == 1 and len(apart.built) == 1
    watcher.stop()
    let_go.set()


def test_no_more_than_a_few_captures_hang_at_once() -> None:
    lives = Lives(*[(0, "hang")] * 5, then="freeze")
    watcher = Watcher(lives, replace(QUICK, connect=0.1))
    watcher.until(lambda: sum("3 captures hang" in event.message for event in watcher.events) >= 2)
    assert len(lives.built) == 3 and watcher.source.left_behind == 3
    lives.script.clear()
    lives.built[1].let_go.set()
    watcher.until(lambda: len(watcher.frames) == 1)
    watcher.stop()
    assert len(lives.built) == 4
    for life in lives.built:
        life.let_go.set()


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_source_that_cannot_be_asked_to_end_holds_nobody_up(how: str) -> None:
    never = threading.Event()

    class Deaf(Life):
        def stop(self) -> None:
            if how == "hangs":
                never.wait()
            raise RuntimeError("no")

    lives = [Deaf(1, "freeze"), Life(2, "freeze")]
    watcher = Watcher(lambda: lives.pop(0))
    watcher.until(lambda: len(watcher.frames) == 3)
    watcher.stop()
    never.set()


def test_a_source_that_calls_exit_comes_back() -> None:
    class Leaves(Life):
        def open(self) -> StreamInfo:
            raise SystemExit("the driver has had enough")

    lives = [Leaves(1, "freeze"), Life(2, "freeze")]
    watcher = Watcher(lambda: lives.pop(0))
    watcher.until(lambda: len(watcher.frames) == 2)
    watcher.stop()
    assert any("had enough" in event.message for event in watcher.events)


def test_a_slow_camera_has_the_time_of_its_own_pace_for_its_first_frame() -> None:
    source = Supervised(Lives(), "top", Bus(), Limits(connect=10.0, periods=3.0))
    for rate, silence, late in ((1 / 60, 170.0, False), (1 / 60, 181.0, True), (30.0, 11.0, True), (None, 11.0, True)):
        attempt = SimpleNamespace(stream=StreamInfo("life", "camera", live=True, fps=rate))
        assert bool(source._silent(attempt, silence, first=True)) is late  # type: ignore[arg-type]
    assert source._silent(SimpleNamespace(stream=None), 11.0, first=True)  # type: ignore[arg-type]


def test_a_source_that_waits_for_triggers_recovers_without_a_frame() -> None:
    lives = [Life(0, "refuse"), Life(0, "freeze", waits=True)]
    watcher = Watcher(lambda: lives.pop(0), replace(QUICK, steady=0.0))
    watcher.until(lambda: "RUNNING" in watcher.states())
    until(lambda: watcher.source._backoff.failures == 0, "it has run for long enough")
    watcher.stop()


class Sleepy(Life):
    """A source that takes its time: ended before that, it has given nothing."""

    def frames(self) -> Iterator[Frame]:
        if not self.asked.wait(0.5):
            yield Frame(PIXELS, pts=0.0, captured=time.monotonic_ns())
            self.asked.wait()


def test_a_source_that_is_slow_to_begin_gets_more_time_with_each_attempt() -> None:
    watcher = Watcher(lambda: Sleepy(1, "freeze"), replace(QUICK, connect=0.2, stall=60.0))
    watcher.until(lambda: watcher.frames)
    watcher.stop()
    assert watcher.states()[:3] == ["CONNECTING", "BACKOFF", "CONNECTING"]
