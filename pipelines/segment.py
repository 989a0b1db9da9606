"""The transform ``segment``: one frame through the model, with the settings of that moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.settings import Settings
from lineside.runtime.errors import LinesideError

if TYPE_CHECKING:
    from lineside.runtime.segmenter import Segmenter

__all__ = ["Segment", "fresh_lanes"]


def fresh_lanes(policy: str, mode: str) -> int | None:
    """How many lanes a transform should use so that ``latest`` means latest.

    In ``latency`` mode the lanes share one engine. A second lane would take a frame while the engine is busy and hold
    it while newer ones come; the milliseconds of preparation that it saves are not worth the age.

    Args:
        policy: Kind of the inspection queue's policy.
        mode: Mode of the engine.

    Returns:
        1 there, None (all lanes of the model) elsewhere.
    """
    return 1 if policy == "latest" and mode == "latency" else None


class Segment:
    """Runs a `Segmenter` on frames, from as many threads as the model has lanes.

    Args:
        model: The loaded bundle.
        settings: Thresholds, read anew for each frame, and the door for another bundle.
        bus: Where a change of bundle is reported.
        load: Loads another bundle; without it a change of bundle is refused.
        lanes: Frames at once, where that is fewer than the model could take, see `fresh_lanes`.
        owns: Whether the model is closed with the transform; not where several graphs use it in turn.
    """

    def __init__(
        self,
        model: Segmenter,
        settings: Settings | None = None,
        *,
        bus: Bus | None = None,
        load: Callable[[Path], Segmenter] | None = None,
        lanes: int | None = None,
        owns: bool = True,
    ) -> None:
        self.lanes = max(1, min(model.lanes, lanes or model.lanes))
        self.settings = settings or Settings()
        self._bus = bus or Bus()
        self._load = load
        self._owns = owns
        self._lock = threading.Lock()
        self._model = model
        self._users: dict[int, int] = {}
        self._retired: dict[int, Segmenter] = {}
        self._loading = False
        self._closed = False

    @property
    def model(self) -> Segmenter:
        """The model that the next frame meets."""
        return self._model

    def open(self) -> None:
        """Takes requests for another bundle from now on."""
        if self._load is not None:
            self.settings.on_bundle(self._switch)

    def __call__(self, frame: Frame) -> None:
        """Fills ``detections`` and stamps ``preprocess``, ``infer`` and ``postprocess``.

        Raises:
            LinesideError: The frame is not a picture, or the model failed on it.
        """
        pixels = _pixels(frame)
        with self._held() as model:
            frame.detections = model(pixels, **vars(self.settings.thresholds), stamp=frame.stamp)

    def many(self, frames: Sequence[Frame]) -> None:
        """Fills the ``detections`` of several frames, in runs of as many as the model takes.

        Raises:
            LinesideError: A frame is not a picture, or the model failed.
        """

        def stamp(stage: str) -> None:
            now = time.monotonic_ns()
            for frame in frames:
                frame.stamp(stage, now)

        pictures = [_pixels(frame) for frame in frames]
        with self._held() as model:
            found = model.many(pictures, **vars(self.settings.thresholds), stamp=stamp)
        for frame, detections in zip(frames, found, strict=True):
            frame.detections = detections

    @property
    def batch(self) -> int:
        """How many frames the model takes at once."""
        return self._model.manifest.input.batch

    @contextmanager
    def _held(self) -> Iterator[Segmenter]:
        """The model of this moment, which is not closed meanwhile."""
        with self._lock:
            model = self._model
            self._users[id(model)] = self._users.get(id(model), 0) + 1
        try:
            yield model
        finally:
            self._leave(model)

    def _leave(self, model: Segmenter) -> None:
        """A lane is through with a model; one that was replaced is closed by its last user."""
        with self._lock:
            self._users[id(model)] -= 1
            idle = self._users[id(model)] == 0
            old = self._retired.pop(id(model), None) if idle else None
            if idle:
                del self._users[id(model)]
        if old is not None:
            old.close()

    def _switch(self, path: Path) -> None:
        """Loads another bundle beside the running one, in a thread of its own: the line goes on meanwhile."""
        with self._lock:
            if self._loading or self._closed:
                busy = "another bundle is being loaded" if self._loading else "the graph has ended"
                self._bus.emit("warning", "segment", "bundle refused", f"{path}: {busy}")
                return
            self._loading = True
        threading.Thread(target=self._replace, args=(path,), name="bundle", daemon=True).start()

    def _replace(self, path: Path) -> None:
        assert self._load is not None
        try:
            fresh = self._load(path)
        except Exception as error:
            with self._lock:
                self._loading = False
            reason = str(error) if isinstance(error, LinesideError) else f"{type(error).__name__}: {error}"
            self._bus.emit("error", "segment", "bundle refused", f"{path}: {reason}")
            return
        with self._lock:
            self._loading = False
            old, unwanted = self._model, None
            if self._closed:
                unwanted = fresh
            else:
                self._model = fresh
                if self._users.get(id(old)):
                    self._retired[id(old)] = old  # A lane still works with it and closes it.
                else:
                    unwanted = old
        if unwanted is not None:
            unwanted.close()
        if unwanted is not fresh:
            self._bus.emit("info", "segment", "bundle switched", str(path))

    def close(self) -> None:
        """Closes the model that runs."""
        if not self._owns:
            return
        self.settings.on_bundle(None)
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._model.close()


def _pixels(frame: Frame) -> Any:
    """The picture of a frame, which the graph never hands on without one."""
    assert frame.pixels is not None, "the graph hands only frames with pixels to a transform"
    return frame.pixels
