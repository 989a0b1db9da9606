"""One run of a bundle over sources, from opening to summary: what ``lineside run`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import lineside
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.elements import Sink, Source
from lineside.pipelines.events import Bus
from lineside.pipelines.graph import Graph
from lineside.pipelines.link import Policy
from lineside.pipelines.names import printable
from lineside.pipelines.problems import Problems
from lineside.pipelines.results import RunFolder, usual_sinks
from lineside.pipelines.segment import Segment, fresh_lanes
from lineside.pipelines.settings import Settings
from lineside.pipelines.signals import Signals, catch_signals, patiently
from lineside.pipelines.sinks import make_sink
from lineside.pipelines.sources import make_source
from lineside.pipelines.sources.find import Found
from lineside.pipelines.summary import Summary, Tally
from lineside.pipelines.watch.supervised import Limits
from lineside.runtime.errors import SinkError, SourceError

if TYPE_CHECKING:
    from lineside.pipelines.view import View

__all__ = ["Job", "Session"]

_TICK = 0.1
"""Seconds between two looks at signals and progress."""
_FINISH = 60.0
"""Seconds that sinks may take to put their files together after a signal: a large workbook takes its time."""


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Attributes:
        bundle: The bundle.
        sources: What is read, see `find`.
        title: Name of the source in tables, where one word stands for all of it.
        settings: Thresholds; live, so that a page can change them.
        engine: Name of the engine.
        precision: ``fp32`` or a variant of the bundle; None for what the engine runs by itself.
        mode: ``latency`` or ``throughput``, see `lineside.load`.
        threads: Threads of one inference; None leaves the choice to the engine.
        imgsz: Height and width of the input, for a dynamic bundle; None: the bundle's own.
        policy: Policy of the inspection queue; None chooses by source.
        limit: Stop after so many frames.
        sinks: Kinds of results; None chooses by source.
        folder: Where they go; None makes a new folder in ``runs/``.
        view: Whether to show a page.
        port: Its port, 0 for any.
    """

    bundle: Path
    sources: Sequence[Found]
    title: str = ""
    settings: Settings = field(default_factory=Settings)
    engine: str = "auto"
    precision: str | None = None
    mode: Literal["latency", "throughput"] = "latency"
    threads: int | None = None
    imgsz: tuple[int, int] | None = None
    policy: Policy | None = None
    limit: int | None = None
    sinks: Sequence[str] | None = None
    folder: Path | None = None
    view: bool = False
    port: int = 0


class Session:
    """Runs one job; a context manager that stops everything at its end. For the main thread: it takes the signals.

    Args:
        job: What is to be run.
        say: Told what the user should know while it runs, a sentence at a time.
        limits: When a camera counts as frozen.
    """

    def __init__(self, job: Job, say: Callable[[str], None], limits: Limits = Limits()) -> None:
        self._job = job
        self._limits = limits
        self._say = say
        self._stack = ExitStack()
        self._bus = Bus()
        self._tally = Tally()
        self._problems = Problems(say)
        self._view: View | None = None
        self._signals = Signals()
        self._folder: RunFolder | None = None
        self._names: tuple[str, ...] = ()

    def __enter__(self) -> Session:
        self._signals = self._stack.enter_context(catch_signals())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, show: Callable[[Graph], None], *, drain: float = 10.0, grace: float = 3.0) -> Summary:
        """Runs the job to its end.

        The first signal stops the source and lets through what is queued, for at most ``drain`` seconds; a second one
        gives the queue up at once. Files that are being finished are waited for, a minute at most and not after a
        second signal. Elements that still hang ``grace`` seconds later are left behind.

        A run that never began, or in which nothing could be inspected, leaves no file and no folder. A camera has to be
        there at the beginning; from then on it is watched over as in a station, and comes back after every failure.

        Args:
            show: Called about ten times a second, for progress.
            drain: See above, seconds.
            grace: See above, seconds.

        Raises:
            BundleError: The bundle is not usable.
            EngineError: The model cannot be executed.
            SourceError: Nothing at all could be read.
            SinkError: Results cannot be written there.
            KeyboardInterrupt: A signal came while an element hung in its opening.
        """
        job = self._job
        source = self._source()
        self._choose_sinks()
        try:
            graph, engine = patiently(lambda: self._started(source), self._signals, grace)
            begin = time.monotonic()
        except BaseException:
            self._discard()
            raise
        self._carry(graph, show, drain, grace)
        seconds = time.monotonic() - begin
        counts = graph.flow.counters.snapshot()
        if self._problems.messages and counts.failed == counts.entered and not self._signals.received:
            self._discard()
            raise SourceError(f"nothing could be inspected: {self._problems.messages[0]}")
        folder = self._folder
        return Summary(
            bundle=printable(str(job.bundle)),
            engine=engine,
            source=graph.stream.name,
            live=graph.stream.live,
            counts=counts,
            classes=self._tally.classes,
            seconds=seconds,
            stages=graph.flow.clock.stats(),
            results="" if folder is None else printable(str(folder.path)),
            files={} if folder is None else folder.files(),
            incomplete={} if folder is None else folder.incomplete(lambda name: counts.sinks[name].given),
            stopped=self._signals.received[0] if self._signals.received else "",
            problems=tuple(self._problems.messages),
        )

    def _source(self) -> Source:
        """What is read; a camera is watched over."""
        job = self._job
        if [it.kind for it in job.sources] != ["camera"]:
            return make_source(job.sources, job.title)
        from lineside.pipelines.sources.attended import attended

        return attended(int(job.sources[0].what), self._bus, self._limits)

    def _started(self, source: Source) -> tuple[Graph, str]:
        """The graph at work, and the name of the engine in it."""
        graph, engine = self._build(source)
        graph.start()
        return graph, engine

    def _build(self, source: Source) -> tuple[Graph, str]:
        """The graph, and the name of the engine in it."""
        job = self._job
        model = self._load(job.bundle)
        engine = model.engine_name
        self._bus.listen(self._problems)
        live = any(it.kind == "camera" for it in job.sources)
        kind = job.policy.kind if job.policy else "latest" if live else "every"
        lanes = fresh_lanes(kind, job.mode)
        transform = Segment(model, job.settings, bus=self._bus, load=self._load, lanes=lanes)
        graph = Graph(
            self._paced(source),
            transform,
            self._open_sinks(lambda: graph.flow.counters.snapshot()),
            policy=job.policy,
            limit=job.limit,
            bus=self._bus,
            listener=self._tally,
        )
        return graph, engine

    def linger(self) -> None:
        """Keeps the page up until a signal comes; returns at once where there is no page or one has come."""
        if self._view is None or self._signals.received:
            return
        self._say(f"the page stays at {self._view.url} until Ctrl-C")
        while not self._signals.received:
            time.sleep(_TICK)

    def _load(self, path: Path) -> lineside.Segmenter:
        job = self._job
        return lineside.load(
            path,
            engine=job.engine,
            mode=job.mode,
            threads=job.threads,
            imgsz=job.imgsz,
            precision=job.precision,
        )

    def _choose_sinks(self) -> None:
        """Settles the kinds of results, and that there is room for them, before anything slow begins."""
        job = self._job
        self._names = tuple(usual_sinks([it.kind for it in job.sources]) if job.sinks is None else job.sinks)
        if self._names and job.folder is not None:
            if job.folder.resolve().is_relative_to(job.bundle.resolve()):
                raise SinkError(
                    f"{printable(str(job.folder))} lies in the bundle, which nothing may be added to; name another "
                    "place with --out"
                )
            self._take(job.folder)

    def _take(self, path: Path | None) -> RunFolder:
        """Takes a folder of results for this run alone."""
        folder = self._folder = RunFolder(path, self._names)
        self._stack.callback(folder.close)
        return folder

    def _discard(self) -> None:
        """Removes the results of a run that came to nothing."""
        if self._folder is not None:
            self._folder.discard()

    def _open_sinks(self, counters: Callable[[], Snapshot]) -> list[Sink]:
        sinks: list[Sink] = []
        if self._names:
            folder = self._folder or self._take(None)
            folder.clear(self._say)
            options = {"xlsx": {"bundle": printable(str(self._job.bundle))}}
            sinks = [make_sink(name, folder.path, **options.get(name, {})) for name in self._names]
        if self._job.view:
            from lineside.pipelines.view import start_view

            job = self._job
            self._view = start_view(
                job.settings,
                counters,
                self._bus,
                bundles=[job.bundle],
                port=job.port,
                engine=job.engine,
                imgsz=job.imgsz,
            )
            self._stack.callback(self._view.close)
            self._say(f"page: {self._view.url}")
            sinks.append(self._view.sink)  # takes a frame in no time, and its workbook should have them all
        return sinks

    def _paced(self, source: Source) -> Source:
        """A video that is watched plays at its own speed."""
        if not self._job.view or {it.kind for it in self._job.sources} != {"video"}:
            return source
        from lineside.pipelines.sources.paced import Playback

        return Playback(source)

    def _carry(self, graph: Graph, show: Callable[[Graph], None], drain: float, grace: float) -> None:
        """Waits for the end of a graph, or brings it about where a signal asks for it."""
        stopped = None
        while not graph.join(_TICK):
            show(graph)
            if not self._signals.received:
                continue
            if stopped is None:
                graph.stop()
                stopped = time.monotonic()
            waited = time.monotonic() - stopped
            patient = len(self._signals.received) == 1 and waited < drain + (_FINISH if graph.finishing() else 0.0)
            if not patient:
                graph.close(drain=0.0, grace=grace)
                break
        show(graph)
