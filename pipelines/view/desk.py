"""What the page shows and what it may change, apart from how it travels: one object behind all routes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.settings import Settings, in_force
from lineside.pipelines.view.hub import Hub
from lineside.pipelines.view.meter import Meter
from lineside.pipelines.view.replay import Replay
from lineside.pipelines.view.results import ResultLog
from lineside.pipelines.view.shelf import Shelf, title
from lineside.runtime.bundle import open_bundle
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption, LinesideError

__all__ = ["Desk"]

NOTICE_SECONDS = {"info": 5.0, "warning": 30.0, "error": 30.0}


@dataclass(frozen=True)
class Notice:
    """A sentence that the page shows for a while."""

    text: str
    kind: str
    until: float


class Desk:
    """State and actions of the page. Every method may be called from any thread and returns quickly.

    Args:
        settings: The live settings of the graph.
        counters: Gives the counts of the run; a RuntimeError says that it has not begun.
        bundles: Bundles to offer, the running one first.
        hub: Where shots go.
        replay: Who looks at the last picture again once the run has ended.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Callable[[], Snapshot],
        bundles: Sequence[Path],
        hub: Hub,
        replay: Replay,
    ) -> None:
        self.log = ResultLog()
        self.shelf = Shelf(bundles)
        self._settings = settings
        self._counters = counters
        self._hub = hub
        self._replay = replay
        self._lock = threading.Lock()
        self._bundle = bundles[0].resolve()
        self._defaults = open_bundle(self._bundle).manifest.thresholds
        self._loading: Path | None = None
        self._notice: Notice | None = None
        self._source = ""
        self._status = "waiting"
        self._version = settings.version
        self._meter = Meter()

    # ------------------------------------------------------------------ from the graph

    def begin(self, source: str) -> None:
        """A run starts to give frames."""
        with self._lock:
            self._source, self._status = source, "running"
            self._version = self._settings.version
        self._hub.announce()

    def take(self, frame: Frame) -> None:
        """A frame has been inspected."""
        if frame.detections is None or frame.pixels is None:
            return
        self._meter.take(frame)
        self.log.append(frame.sequence, frame.name or frame.source, frame.pts, frame.detections)
        self._hub.show(frame, frame.detections, self._facts)

    def end(self) -> None:
        """The run has given its last frame; what is on the page stays."""
        with self._lock:
            self._status = "ended"
            unfinished = self._loading is not None or self._version != self._settings.version
        # Whatever came too late for the last frame is tried on its picture instead.
        self._replay.ask(self._rerun if unfinished else self._warm_up)
        self._hub.announce()

    def hear(self, event: Event) -> None:
        """Something happened in the graph."""
        if event.kind in ("bundle switched", "bundle refused"):
            self._settle(event.kind == "bundle switched")
        if event.level != "info":
            self._say(event.message, event.level)

    # ------------------------------------------------------------------ from the page

    def change(self, **changes: float) -> dict[str, float]:
        """Sets confidence, IoU or both; acts at the next frame, or on the last one where none will come.

        Raises:
            BadOption: A value lies outside its range; nothing was changed.
        """
        self._settings.update(**changes)
        self._hub.announce()
        if self._ended:
            self._replay.ask(self._rerun)
        return self.thresholds()

    def choose(self, key: str) -> None:
        """Asks for the bundle with that id; it is loaded beside the running one.

        Raises:
            BadOption: There is no such bundle, or another one is being loaded.
        """
        path = self.shelf.path(key)
        if path is None:
            raise BadOption("There is no bundle with that id; load the page again to see those there are.")
        with self._lock:
            if self._loading is not None:
                raise BadOption(f"{title(self._loading)} is still being loaded; choose again when it is done.")
            if path == self._bundle:
                return
            self._loading = path
        self._hub.announce()
        if self._ended:
            self._replay.ask(self._rerun)
            return
        try:
            self._settings.request_bundle(path)
        except LinesideError:
            self._settle(False)
            raise

    # ------------------------------------------------------------------ to the page

    def thresholds(self) -> dict[str, float]:
        """Confidence and IoU in force; where nobody set them, the bundle's own."""
        with self._lock:
            defaults = self._defaults
        return in_force(self._settings.thresholds, defaults)

    def state(self) -> dict[str, Any]:
        """Everything the page shows beside the picture, as JSON values."""
        settings = self.thresholds()
        with self._lock:
            status, source = self._status, self._source
            bundle, loading, notice = self._bundle, self._loading, self._notice
        if notice is not None and notice.until < time.monotonic():
            notice = None
        return {
            "type": "state",
            "status": status,
            "source": source,
            "bundle": title(bundle),
            "bundle_id": self.shelf.key(bundle),
            "loading": None if loading is None else self.shelf.key(loading),
            "bundles": self.shelf.listed(),
            "settings": settings,
            "notice": None if notice is None else {"text": notice.text, "kind": notice.kind},
            **self._facts(),
        }

    def report(self) -> dict[str, str | int | float]:
        """The facts of the run for the workbook's second sheet."""
        state = self.state()
        counts = {f"Frames {name.replace('_', ' ')}": value for name, value in state["counters"].items()}
        facts: dict[str, str | int | float] = {
            "Source": state["source"],
            "Bundle": state["bundle"],
            "Run": state["status"],
            "Confidence": state["settings"]["conf"],
            "IoU": state["settings"]["iou"],
            **counts,
        }
        if self.log.forgotten:
            facts["Older rows left out"] = self.log.forgotten
        return facts

    # ------------------------------------------------------------------ inside

    @property
    def _ended(self) -> bool:
        with self._lock:
            return self._status == "ended"

    def _facts(self) -> dict[str, Any]:
        """Counters, rate and latency."""
        try:
            counts = self._counters()
        except (RuntimeError, NameError):  # NameError: a closure over a graph that is still being put together
            counts = Snapshot()
        return {
            "counters": {
                "entered": counts.entered,
                "inspected": counts.inspected + counts.late,
                "late": counts.late,
                "dropped": sum(counts.dropped.values()),
                "incomplete": counts.incomplete,
                "never_inspected": counts.never_inspected,
                "failed": counts.failed,
            },
            "fps": self._meter.rate(self._ended),
            "latency": self._meter.latency(),
        }

    def _say(self, text: str, kind: str) -> None:
        with self._lock:
            self._notice = Notice(text, kind, time.monotonic() + NOTICE_SECONDS[kind])
        self._hub.announce()

    def _settle(self, switched: bool) -> None:
        """The change of bundle that was asked for has been made, or not."""
        with self._lock:
            path, self._loading = self._loading, None
        if path is not None and switched:
            defaults = self._defaults
            with suppress(LinesideError):  # it was read a moment ago; if it is gone by now, it runs all the same
                defaults = open_bundle(path).manifest.thresholds
            with self._lock:
                self._bundle, self._defaults = path, defaults
            self._say(f"{title(path)} runs now.", "info")
        self._hub.announce()

    def _warm_up(self) -> None:
        """Job of the replay: loads the bundle, so that the first move of a slider need not wait for it."""
        with self._lock:
            bundle = self._bundle
        with suppress(LinesideError):  # whoever moves a slider is told
            self._replay.load(bundle)

    def _rerun(self) -> None:
        """Job of the replay: the last picture with the bundle and the thresholds of this moment."""
        with self._lock:
            wanted, bundle = self._loading, self._bundle
        with self._hub.newest() as shot:
            if shot is None or shot.frame.pixels is None:
                self._settle(False)
                return
            try:
                found = self._replay.segment(wanted or bundle, shot.frame.bgr(), self._settings.thresholds)
            except LinesideError as error:
                self._settle(False)
                self._say(str(error), "error")
                return
            self._settle(True)
            self._show_again(shot.frame, found)

    def _show_again(self, frame: Frame, found: Detections) -> None:
        self.log.amend(frame.sequence, frame.name or frame.source, frame.pts, found)
        self._hub.show(frame, found, self._facts)
