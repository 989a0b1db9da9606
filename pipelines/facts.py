"""What a sink may learn about the station around it: how every part fares, what the sources do, the models' settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.elements import SourceState
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.looks import BranchName
from lineside.pipelines.plan.shape import Shape

if TYPE_CHECKING:
    from lineside.pipelines.build import Built

__all__ = ["Attending", "Facts", "Hearing", "Reach", "introduced"]


@dataclass(frozen=True)
class Reach:
    """A way on which frames come to a sink.

    Attributes:
        name: Source and model; the model is empty where none looks at them.
        deadline_ns: Time from trigger or capture to decision; None for any.
    """

    name: BranchName
    deadline_ns: int | None = None


@dataclass(frozen=True)
class Facts:
    """A station as its sinks may see it. All of it may be asked at any moment and from any thread.

    Attributes:
        name: What the station is called.
        bus: Where events go.
        say: Tells the user a sentence.
        reaching: The ways to the sink.
        models: The models by name, with their live settings.
        snapshot: Gives all counts of one moment; a RuntimeError says that the station has not begun.
        states: Gives what each source is doing.
    """

    name: str
    bus: Bus
    say: Callable[[str], None]
    reaching: Sequence[Reach]
    models: Mapping[str, Any]
    snapshot: Callable[[], Mapping[BranchName, Snapshot]]
    states: Callable[[], Mapping[str, SourceState]]


@runtime_checkable
class Attending(Protocol):
    """A sink that wants to know the station around it."""

    def attend(self, facts: Facts) -> Callable[[], None]:
        """Called once, before anything is opened.

        Args:
            facts: The station.

        Returns:
            Called when everything else has ended, also after a failure.

        Raises:
            LinesideError: The sink cannot do what it is for.
        """
        ...


@runtime_checkable
class Hearing(Protocol):
    """A sink that wants to be told events."""

    def hear(self, event: Event) -> None:
        """See `Bus.listen`."""
        ...


@contextmanager
def introduced(shape: Shape, built: Built, bus: Bus, say: Callable[[str], None]) -> Iterator[None]:
    """Tells sinks about their station for as long as it runs; those that do not ask hear nothing.

    Args:
        shape: The plan, understood.
        built: What was made of it, not started.
        bus: Where events go.
        say: Tells the user a sentence.

    Raises:
        LinesideError: A sink cannot do what it is for.
    """
    runner = built.runner
    with ExitStack() as stack:
        for name, sink in built.sinks.items():
            if isinstance(sink, Hearing):
                stack.callback(bus.listen(sink.hear))
            if isinstance(sink, Attending):
                reaching = _reaching(shape, name)
                facts = Facts(shape.plan.name, bus, say, reaching, built.models, runner.snapshot, runner.states)
                stack.callback(sink.attend(facts))
        yield


def _reaching(shape: Shape, sink: str) -> list[Reach]:
    """The ways to a sink, each once, in the order of the plan."""
    found = [
        Reach(BranchName(branch.source.name, branch.model.name), shape.plan.takt.deadline_of(branch.source.name))
        for branch in shape.branches
        if any(outlet.sink.name == sink for outlet in branch.outlets)
    ]
    found += [
        Reach(BranchName(source, ""))
        for source, outlets in shape.direct.items()
        if any(outlet.sink.name == sink for outlet in outlets)
    ]
    return list({reach.name: reach for reach in found}.values())
