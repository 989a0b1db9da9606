"""From a plan that is understood to a graph that can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lineside.pipelines.catalog import Place, make, watched
from lineside.pipelines.elements import Sink, Source, Transform
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.looks import Feed, Look, Way
from lineside.pipelines.plan.data import Node
from lineside.pipelines.plan.shape import Branch, Outlet, Shape
from lineside.pipelines.runner import Runner
from lineside.pipelines.sources.live import limits_of, stated
from lineside.pipelines.watch.isolated import Isolated
from lineside.pipelines.watch.supervised import Limits, Supervised

__all__ = ["Built", "build"]


@dataclass
class Built:
    """A graph and what it was made of.

    Attributes:
        runner: The graph, not started.
        models: Its models by name.
        sinks: Its sinks; one that there is for each source goes by both names.
    """

    runner: Runner
    models: dict[str, Any] = field(default_factory=dict)
    sinks: dict[str, Sink] = field(default_factory=dict)


def build(
    shape: Shape,
    folder: Path,
    bus: Bus,
    *,
    results: Path | None = None,
    limits: Limits = Limits(),
    listener: Callable[[Frame], None] | None = None,
    wrap: Callable[[Node, Callable[[], Source]], Source] = lambda node, make: make(),
) -> Built:
    """Makes every element of a plan and joins them.

    Args:
        shape: The plan, understood.
        folder: What relative paths start from.
        bus: Where events go.
        results: What relative paths of sinks start from, where that is another folder.
        limits: When a live source counts as frozen that does not say it itself.
        listener: Told each frame whose outcome is settled.
        wrap: Gives each source, of its node and what makes it; for who puts something around it.

    Returns:
        The graph, not started.

    Raises:
        LinesideError: An element cannot be made.
    """
    built = Built(Runner(bus))
    builder = _Builder(shape, folder, results or folder, bus, built)
    for node in shape.sources:
        built.runner.add_source(node.name, wrap(node, partial(builder.source, node, limits)), rename=True)
    for node in shape.models:
        model = built.models[node.name] = builder.made(node)
        built.runner.add_model(
            node.name, model, order=node.options.order, patience_ns=node.options.patience_ns  # type: ignore[attr-defined]
        )  # fmt: skip
    for branch in shape.branches:
        built.runner.add_look(builder.look(branch, listener))
    for source, outlets in shape.direct.items():
        if outlets:
            built.runner.add_feed(Feed(source, [builder.way(outlet, source) for outlet in outlets]))
    return built


class _Builder:
    """Makes elements; each sink once."""

    def __init__(self, shape: Shape, folder: Path, results: Path, bus: Bus, built: Built) -> None:
        self._shape = shape
        self._folder = folder
        self._results = results
        self._bus = bus
        self._built = built

    def made(self, node: Node, name: str = "") -> Any:
        """An element, under its own name or another."""
        return make(node.element, node.options, Place(self._folder, name or node.name, self._bus))

    def source(self, node: Node, limits: Limits) -> Source:
        """A source; a live one is watched over."""
        if not watched(node.element, node.options):
            found: Source = self.made(node)
            return found
        place = Place(self._folder, node.name, self._bus)
        return Supervised(
            partial(self.made, node), node.name, self._bus, limits_of(node.options, limits),
            isolate=partial(Isolated, node.element, node.options, place), stream=stated(node.options, node.name),
        )  # fmt: skip

    def look(self, branch: Branch, listener: Callable[[Frame], None] | None) -> Look:
        """A model's look at a source; every transform in it is the source's own."""
        takt = self._shape.plan.takt
        return Look(
            branch.source.name,
            branch.model.name,
            [self.way(outlet, branch.source.name) for outlet in branch.outlets],
            branch.policy,
            before=[self.made(node) for node in branch.before],
            after=[self.made(node) for node in branch.after],
            deadline_ns=takt.deadline_of(branch.source.name),
            late=takt.late,
            priority=branch.priority,
            listener=listener,
        )

    def way(self, outlet: Outlet, source: str) -> Way:
        """A way from a source to a sink."""
        chain: list[Transform] = [self.made(node) for node in outlet.chain]
        return Way(self._sink(outlet.sink, source).name, outlet.policy, chain)

    def _sink(self, node: Node, source: str) -> Sink:
        """The sink that a source's frames go to."""
        several = node.kind.each and len(self._shape.sources) > 1
        name = f"{node.name}-{source}" if several else node.name
        if name not in self._built.sinks:
            place = replace(Place(self._results, name, self._bus), aside=source if several else "")
            sink: Sink = make(node.element, node.options, place)
            sink.name = name
            self._built.sinks[name] = sink
            self._built.runner.add_sink(sink)
        return self._built.sinks[name]
