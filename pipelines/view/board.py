"""What the page of a station shows and what it may change, apart from how it travels: one object behind all routes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.events import Event
from lineside.pipelines.facts import Facts
from lineside.pipelines.frame import Frame
from lineside.pipelines.looks import BranchName
from lineside.pipelines.segment import Segment
from lineside.pipelines.settings import in_force
from lineside.pipelines.view.chronicle import Chronicle
from lineside.pipelines.view.hub import Hub
from lineside.pipelines.view.painter import Painter
from lineside.pipelines.view.tile import Tile

__all__ = ["Board"]

FRESH = 0.2
"""Seconds for which what was worked out for one page is good for every other: what asking costs is bounded."""


class Board:
    """State and actions of the page of a station. Every method may be called from any thread and returns quickly.

    Args:
        facts: The station.
        painter: Who encodes pictures.
        old: Seconds after which a picture counts as old, see `Tile`.

    Attributes:
        tiles: A tile for each branch that leads here.
        doors: Pages that want to be told what happens; they get no pictures here.
    """

    def __init__(self, facts: Facts, painter: Painter, *, old: float) -> None:
        self.tiles = [Tile(number, reach, painter, old=old) for number, reach in enumerate(facts.reaching)]
        self.doors = Hub(painter)
        self._facts = facts
        self._models: dict[str, Segment] = {
            name: model
            for name, model in facts.models.items()
            if any(name == tile.name.model for tile in self.tiles)
        }  # fmt: skip
        self._by_name = {tile.name: tile for tile in self.tiles}
        self._chronicle = Chronicle()
        self._lock = threading.Lock()
        self._status: Literal["starting", "running", "ended"] = "starting"
        self._began: float | None = None
        self._known: dict[str, Any] = {}
        self._known_until = 0.0
        self._announced = 0.0
        self._noted = {name: self._values(model) for name, model in self._models.items()}

    # ------------------------------------------------------------------ from the graph

    def begin(self) -> None:
        """The station has started."""
        with self._lock:
            self._status, self._began = "running", time.monotonic()
        self._changed()

    def take(self, frame: Frame) -> None:
        """A frame has been decided. Constant time: nothing is copied, encoded or waited for."""
        self._by_name[BranchName(frame.source, frame.model)].take(frame)

    def end(self) -> None:
        """The last frame is through; what is on the page stays."""
        with self._lock:
            self._status = "ended"
        self._changed()

    def hear(self, event: Event) -> None:
        """Something happened in the station."""
        self._chronicle.hear(event)
        with self._lock:
            soon = time.monotonic() - self._announced < FRESH
        if not soon:  # pages ask twice a second anyway; a flood of events must not become a flood of messages
            self._changed()

    # ------------------------------------------------------------------ from the page

    def settings(self, number: int) -> dict[str, float] | None:
        """Confidence and IoU of a model in force; None where there is no model of that number."""
        model = self._model(number)
        return None if model is None else self._values(model[1])

    def change(self, number: int, **changes: float) -> dict[str, float]:
        """Sets confidence, IoU or both of a model that there is; acts at the next frame.

        Raises:
            BadOption: A value lies outside its range; nothing was changed.
        """
        found = self._model(number)
        assert found is not None, "the caller has asked for its settings"
        model = found[1]
        model.settings.update(**changes)
        self._changed()
        return self._values(model)

    def note(self) -> None:
        """Makes an event of each change of settings since the last time."""
        for name, model in self._models.items():
            now = self._values(model)
            with self._lock:
                before, self._noted[name] = self._noted[name], now
            if now != before:
                steps = [f"{key} {before[key]:g} -> {now[key]:g}" for key in now if now[key] != before[key]]
                text = f"{name}: {', '.join(steps)}, set on the page"
                self._facts.bus.emit("info", name, "settings changed", text)

    # ------------------------------------------------------------------ to the page

    def state(self) -> dict[str, Any]:
        """Counters, states and settings of the whole station as JSON values."""
        with self._lock:
            if time.monotonic() < self._known_until:
                return self._known
        fresh = self._state()
        with self._lock:
            self._known, self._known_until = fresh, time.monotonic() + FRESH
        return fresh

    def events(self) -> list[dict[str, Any]]:
        """What has happened, newest first, see `Chronicle.told`."""
        return self._chronicle.told()

    # ------------------------------------------------------------------ inside

    def _state(self) -> dict[str, Any]:
        counts = self._counts()
        states = self._facts.states()
        with self._lock:
            status, began = self._status, self._began
        ended = status == "ended"
        return {
            "station": self._facts.name,
            "status": status,
            "seconds": None if began is None else round(time.monotonic() - began, 1),
            "sources": dict(states),
            "branches": [
                tile.state(counts.get(tile.name), states[tile.name.source], ended=ended) for tile in self.tiles
            ],
            "models": [
                {"id": number, "name": name, "bundle": model.model.manifest.name, "settings": self._values(model)}
                for number, (name, model) in enumerate(self._models.items())
            ],
        }

    def _counts(self) -> Mapping[BranchName, Snapshot]:
        try:
            return self._facts.snapshot()
        except RuntimeError:  # the graph is still being put together
            return {}

    def _model(self, number: int) -> tuple[str, Segment] | None:
        models = list(self._models.items())
        return models[number] if 0 <= number < len(models) else None

    @staticmethod
    def _values(model: Segment) -> dict[str, float]:
        return in_force(model.settings.thresholds, model.model.manifest.thresholds)

    def _changed(self) -> None:
        """Has every page told soon."""
        with self._lock:
            self._known_until, self._announced = 0.0, time.monotonic()
        self.doors.announce()
