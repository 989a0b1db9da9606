"""The sources of a simulated station: see `helpers.simulated_station`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from helpers.simulated_parts import PIXELS, Camera, Clock, SimSource
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame
from lineside.pipelines.line import Passage
from lineside.pipelines.looks import BranchName
from lineside.pipelines.triggers import Triggers


class Lines:
    """Hands the frames of every source to who wants them, as the threads of `Line` do.

    Attributes:
        parts: Parts that passed each source, as far as anybody can know.
        came: Whether each frame that a source gave was whole.
        freed: Frames whose buffer came back.
        held: Sources that wait for room.
    """

    def __init__(
        self,
        sources: Mapping[str, SimSource],
        clock: Clock,
        flows: Mapping[BranchName, Flow],
        passages: Mapping[str, Passage],
        bus: Bus,
    ) -> None:
        self.parts: Counter[str] = Counter()
        self.came: dict[str, list[bool]] = {name: [] for name in sources}
        self.freed = 0
        self.held: list[Callable[[], None]] = []
        self._sources, self._clock, self._flows, self._passages = sources, clock, flows, passages
        self._cameras = {name: Camera(lambda number, n=name: self._ask(n, number)) for name in sources}
        self._triggers = {
            name: Triggers(name, camera, lambda parts, n=name: self._unseen(n, parts), bus)
            for name, camera in self._cameras.items()
        }
        for name, source in sources.items():
            self._begin(name, source)

    def held_back(self) -> list[Callable[[], None]]:
        """What the sources that wait for room try anew."""
        held, self.held = self.held, []
        return held

    def _begin(self, name: str, source: SimSource) -> None:
        """Puts what happens to a source into the list of events."""
        camera = self._cameras[name]
        for begin, end in source.outages:
            self._clock.at(begin, lambda: self._lose(name))
            self._clock.at(end, camera.back)
        if source.answers is None:
            self._next(name, 0)
            return
        assert source.live, "what is triggered does not wait"
        for number, moment in enumerate(source.arrivals):
            self._clock.at(moment, lambda k=number: self._trigger(name, k))
        last = max(source.arrivals, default=0) + sum(it or 0 for it in source.answers.values()) + 1
        self._clock.at(last if source.ends is None else source.ends, lambda: self._end(name))

    def _next(self, name: str, number: int) -> None:
        """Puts the next part of a source that takes pictures by itself into the list; or its end."""
        source = self._sources[name]
        here = [it for it in source.arrivals[number : number + 1] if source.ends is None or it < source.ends]
        self._clock.at(
            here[0] if here else self._clock.time, lambda: self._arrive(name, number) if here else self._end(name)
        )

    def _arrive(self, name: str, number: int) -> None:
        source, camera = self._sources[name], self._cameras[name]
        if self._held_back(name):  # Comes again when the next thing happens.
            self.held.append(lambda: self._arrive(name, number))
            return
        self._next(name, number + 1)
        missed = source.missed.get(number, 0)
        if camera.out:
            camera.passed += 1 + missed if source.tells else 0
            return
        frame = self._frame(name, number, source.arrivals[number])
        frame.missed, camera.passed = missed + camera.passed, 0
        self.parts[name] += 1 + frame.missed
        self._give(name, frame)

    def _held_back(self, name: str) -> bool:
        """Whether a source that can wait does so."""
        if self._sources[name].live:
            return False
        queues = [flow.queue for branch, flow in self._flows.items() if branch.source == name]
        full = any(it.policy.kind == "every" and it.full and not it.closed for it in queues)
        return full or (name in self._passages and not self._passages[name].outlets.room())

    def _frame(self, name: str, number: int, trigger: int | None) -> Frame:
        frame = Frame(PIXELS, name=str(number), recycle=lambda pixels: self._freed())
        if trigger is not None:
            frame.clock[TRIGGER] = trigger
        frame.clock[CAPTURE] = frame.clock[READ] = self._clock.time
        frame.damage = "lost packets" if number in self._sources[name].damaged else None
        return frame

    def _give(self, name: str, frame: Frame) -> None:
        """As `Line` does: the last one who takes it gets the frame, the others a fork."""
        self._triggers[name].answered(frame)
        self.came[name].append(frame.damage is None)
        takers: list[Callable[[Frame], object]] = [self._passages[name].arrive] if name in self._passages else []
        flows = [flow for branch, flow in self._flows.items() if branch.source == name]
        takers += [lambda each, flow=flow: flow.arrive(each, wait=False) for flow in flows]  # type: ignore[misc]
        *others, last = takers or [Frame.release]
        for taker, fork in [(taker, frame.fork()) for taker in others]:
            taker(fork)
        last(frame)

    def _trigger(self, name: str, number: int) -> None:
        self.parts[name] += 1
        self._triggers[name].give(f"part {number}", number, when=self._clock.time)

    def _ask(self, name: str, number: int) -> None:
        """A trigger reached the camera; it answers in the order of triggers."""
        answers, camera, asked = self._sources[name].answers, self._cameras[name], self._clock.time
        delay = answers[number] if answers is not None else None
        if delay is not None:
            camera.answered = max(asked + delay, camera.answered)
            age = camera.age
            self._clock.at(camera.answered, lambda: self._answer(name, number, age, asked))

    def _answer(self, name: str, number: int, age: int, asked: int) -> None:
        if age == self._cameras[name].age:
            self._give(name, self._frame(name, number, asked if self._sources[name].tells else None))

    def _unseen(self, name: str, parts: int) -> None:
        for branch, flow in self._flows.items():
            if branch.source == name:
                flow.counters.unseen(parts)

    def _lose(self, name: str) -> None:
        if not self._cameras[name].ended:
            self._cameras[name].lose()
            self._triggers[name].lost("the cable was pulled")

    def _end(self, name: str) -> None:
        camera = self._cameras[name]
        camera.ended, camera.age = True, camera.age + 1
        self._triggers[name].close()
        for branch, flow in self._flows.items():
            if branch.source == name:
                flow.queue.close()
        if name in self._passages:
            self._passages[name].outlets.close()

    def _freed(self) -> None:
        self.freed += 1
