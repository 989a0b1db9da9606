"""What a run came to."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.frame import Frame
from lineside.pipelines.stages import StageStats

__all__ = ["Summary", "Tally"]


class Tally:
    """Counts detections by class name; a listener of the graph."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classes: Counter[str] = Counter()

    def __call__(self, frame: Frame) -> None:
        """Takes one frame into account."""
        found = frame.detections
        if found is None or not len(found):
            return
        with self._lock:
            self._classes.update(found.names[number] for number in found.classes.tolist())

    @property
    def classes(self) -> dict[str, int]:
        """Detections so far by class name."""
        with self._lock:
            return dict(sorted(self._classes.items()))


@dataclass(frozen=True)
class Summary:
    """The end of a run, for the closing table and for programs.

    Attributes:
        bundle: Path of the bundle.
        engine: Name of the engine.
        source: Name of the source.
        live: Whether the source was live, so that frames lost to a newer one are no fault.
        counts: All counts.
        classes: Detections by class name.
        seconds: From the start to the last sink.
        stages: Latency of each stage.
        results: Folder of the results; empty where nothing was saved.
        files: File or folder of each kind of result that has everything in it.
        incomplete: What there is of the other kinds, under the name of something unfinished; empty where there is
            nothing to use.
        stopped: Name of the signal that ended the run early; empty where none did.
        problems: What went wrong, the first of each kind.
    """

    bundle: str
    engine: str
    source: str
    live: bool
    counts: Snapshot
    classes: dict[str, int]
    seconds: float
    stages: dict[str, StageStats]
    results: str = ""
    files: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    problems: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        """Decided frames per second of the whole run."""
        return self.counts.decided / self.seconds if self.seconds > 0 else 0.0

    @property
    def complete(self) -> bool:
        """Whether everything that should have been inspected and written was.

        A live source may lose frames to newer ones and is ended by a signal as a matter of course; files may not and
        are not.
        """
        counts = self.counts
        faults = counts.failed + counts.incomplete + sum(sink.failed for sink in counts.sinks.values())
        lost = 0 if self.live else counts.lost + sum(sink.dropped for sink in counts.sinks.values())
        if faults or lost or counts.in_flight or self.problems or self.incomplete:
            return False
        return self.live or not self.stopped

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values; times in ms unless named otherwise."""
        return {
            "bundle": self.bundle,
            "engine": self.engine,
            "source": self.source,
            "live": self.live,
            "complete": self.complete,
            "stopped": self.stopped or None,
            "seconds": round(self.seconds, 3),
            "fps": round(self.fps, 2),
            "counts": asdict(self.counts),
            "classes": self.classes,
            "stages": {name: stats.to_dict() for name, stats in self.stages.items()},
            "results": self.results or None,
            "files": self.files,
            "incomplete": self.incomplete,
            "problems": list(self.problems),
        }
