"""A camera that lives and dies on command, as an element of a station, and a station with its page around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from websockets import Origin
from websockets.sync.client import connect

from helpers.viewing import GREEN, PATIENCE, RED, Watcher, picture
from lineside.pipelines.build import Built, build
from lineside.pipelines.events import Bus
from lineside.pipelines.facts import introduced
from lineside.pipelines.frame import Frame
from lineside.pipelines.plan.data import Takt
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.runner import Runner
from lineside.pipelines.watch.backoff import Delays
from lineside.pipelines.watch.supervised import Limits
from lineside.runtime.errors import SourceError

QUICK = Limits(connect=30.0, stall=1.5, grace=1.0, steady=60.0, rebuilds=10**6, delays=Delays(0.05, 0.2, 0.0))
"""No process of its own: the commands are given in this one."""


@dataclass
class Command:
    """What a camera is told to do.

    Attributes:
        dead: The cable is pulled.
        frozen: It stays connected and gives nothing.
        shown: What it shows.
        takt: Seconds between two pictures.
        out: Pictures that were given and have not come back yet.
    """

    dead: threading.Event = field(default_factory=threading.Event)
    frozen: threading.Event = field(default_factory=threading.Event)
    shown: np.ndarray = field(default_factory=lambda: picture((1, 1, RED), (5, 2, GREEN)))
    takt: float = 0.05
    out: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, step: int) -> None:
        """A picture was given, or has come back."""
        with self.lock:
            self.out += step


COMMANDS: dict[str, Command] = {}


class Camera:
    """A source of the user's own, for ``helpers.obedient:Camera``; obeys the command of that name."""

    live = True

    def __init__(self, told: str) -> None:
        self._command = COMMANDS[told]
        self._stop = threading.Event()

    def open(self) -> None:
        if self._command.dead.is_set():
            raise SourceError("the cable is pulled: rtsp://operator:geheim@10.0.0.7/stream")

    def frames(self) -> Iterator[Frame]:
        while not self._stop.wait(self._command.takt):
            if self._command.dead.is_set():
                raise SourceError("the cable was pulled: rtsp://operator:geheim@10.0.0.7/stream")
            if not self._command.frozen.is_set():
                self._command.count(1)
                yield Frame(
                    self._command.shown, captured=time.monotonic_ns(), recycle=lambda pixels: self._command.count(-1)
                )

    def stop(self) -> None:
        self._stop.set()


@dataclass
class Viewed:
    """A station at work, and its page."""

    url: str
    built: Built
    bus: Bus
    said: list[str]
    commands: Mapping[str, Command]

    @property
    def runner(self) -> Runner:
        return self.built.runner

    @property
    def origin(self) -> str:
        return self.url.rstrip("/")

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])

    def http(self, **headers: str) -> httpx.Client:
        """A client that says it is the page itself, unless told to say something else."""
        return httpx.Client(base_url=self.origin, headers={"origin": self.origin, **headers}, timeout=PATIENCE)

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        with self.http() as http:
            return http.get("/api/station").raise_for_status().json()

    @contextmanager
    def watch(self, path: str = "") -> Iterator[Watcher]:
        """An open page without a browser: of all, or ``/0`` of the first branch."""
        where = f"{self.origin.replace('http', 'ws', 1)}/ws{path}"
        with connect(where, origin=Origin(self.origin), open_timeout=PATIENCE, max_size=None) as socket:
            yield Watcher(socket)


def row(*names: str, old: str = "2s") -> str:
    """A launch string of obedient cameras that one model looks at, with a page whose pictures are old after that time."""
    first, *others = [f"helpers.obedient:Camera name={name} told={name}" for name in names]
    more = "".join(f"  {other} ! m." for other in others)
    return f"{first} ! segment name=m bundle=tiny.bundle ! view name=page old={old}{more}"


@contextmanager
def viewed(text: str, folder: Path, *, takt: Takt = Takt(), limits: Limits = QUICK) -> Iterator[Viewed]:
    """A station with a page that runs until the end of the ``with``.

    Args:
        text: Launch string, with one ``view``; see `COMMANDS` for its cameras.
        folder: What its paths start from.
        takt: Its deadlines.
        limits: When a camera counts as frozen.
    """
    bus, said = Bus(), list[str]()
    shape = shape_of(parse_launch(text, takt, "test"))
    built = build(shape, folder, bus, limits=limits)
    (page,) = [sink for name, sink in built.sinks.items() if shape.plan.nodes[name].element == "view"]
    with ExitStack() as stack:
        stack.enter_context(introduced(shape, built, bus, said.append))
        stack.callback(built.runner.close)
        built.runner.start()
        yield Viewed(page.url, built, bus, said, COMMANDS)  # type: ignore[attr-defined]
