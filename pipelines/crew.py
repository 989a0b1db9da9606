"""The lanes of one model, shared by every source that it looks at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lineside.pipelines.elements import FAULTS, Transform
from lineside.pipelines.flow import Flow, apply
from lineside.pipelines.frame import Frame
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Link

__all__ = ["Batched", "Crew"]


@runtime_checkable
class Batched(Protocol):
    """A transform that works on several frames at once.

    Attributes:
        batch: How many at most.
    """

    batch: int

    def many(self, frames: Sequence[Frame]) -> None:
        """Works on frames in place; whatever it raises makes them failed ones."""
        ...


@dataclass(frozen=True)
class _Member:
    """One source, and what is done to its frames before the model."""

    flow: Flow
    before: tuple[Transform, ...]


class Crew:
    """Threads that take frames, from one source after the other, and put them through a model.

    No thread ever waits for a sink or for a source, so that one of those which is slow or dead costs the others nothing.

    Args:
        name: Name of the model, for threads.
        model: The model. Where it is `Batched`, frames of all sources share a run.
        inlet: Where the frames come from.
        patience_ns: How long a run waits for more frames where the model takes several.
        ended: Called by the last lane when nothing more can come.
    """

    def __init__(
        self,
        name: str,
        model: Transform,
        inlet: Inlet,
        *,
        patience_ns: int = 0,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.inlet = inlet
        self._model = model
        self._patience_ns = patience_ns
        self._ended = ended
        self._members: dict[Link, _Member] = {}
        lanes = max(1, model.lanes)
        self.threads = [
            threading.Thread(target=self._lane, name=f"lane {number} of {name}", daemon=True) for number in range(lanes)
        ]
        self._left = len(self.threads)
        self._lock = threading.Lock()

    def join(self, flow: Flow, before: Sequence[Transform] = ()) -> None:
        """Adds a source; before the start.

        Args:
            flow: Its way, whose queue is one of the inlet's.
            before: What is done to its frames before the model.
        """
        self._members[flow.queue] = _Member(flow, tuple(before))

    @property
    def working(self) -> bool:
        """Whether a lane has not come to its end yet."""
        with self._lock:
            return self._left > 0

    def _lane(self) -> None:
        """Thread of one lane."""
        try:
            several = self._model if isinstance(self._model, Batched) else None
            # Asked for each run: another bundle may have taken over meanwhile.
            while taken := self.inlet.take(several.batch if several else 1, patience_ns=self._patience_ns):
                work = [(self._members[link], frame) for link, frame in taken]
                try:
                    self._work(work)
                except FAULTS as error:  # no fault of one frame may cost the model a lane
                    work[0][0].flow.fault(error)
        finally:
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                for member in self._members.values():
                    member.flow.close()
                self._ended()

    def _work(self, taken: list[tuple[_Member, Frame]]) -> None:
        """Puts frames through, together where the model can do that."""
        wanted: list[tuple[_Member, Frame]] = []
        for member, frame in taken:
            if member.flow.expired(frame):
                member.flow.skip(frame)
                continue
            for transform in member.before:
                if frame.error is None:
                    apply(transform, frame)
            if frame.error is None:
                wanted.append((member, frame))
            else:
                member.flow.finish(frame)
        if len(wanted) > 1 and isinstance(self._model, Batched):
            _together(self._model, [frame for _, frame in wanted])
        else:
            for _, frame in wanted:
                apply(self._model, frame)
        for member, frame in wanted:
            member.flow.finish(frame)


def _together(model: Batched, frames: list[Frame]) -> None:
    """Several frames in one run. Where it fails, each by itself: one bad frame must not cost the others theirs."""
    try:
        model.many(frames)
    except FAULTS:
        for frame in frames:
            apply(model, frame)  # type: ignore[arg-type]
