"""Looks at the last picture again after the run has ended, so that sliders and bundle picker still act at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lineside
from lineside.pipelines.frame import Pixels
from lineside.pipelines.settings import Thresholds
from lineside.runtime.detections import Detections
from lineside.runtime.errors import LinesideError
from lineside.runtime.segmenter import Segmenter

__all__ = ["Replay"]


class Replay:
    """A worker that runs one job at a time; of those asked for meanwhile only the last one is done.

    Args:
        engine: Engine to load bundles with.
        imgsz: Height and width of the input, for dynamic bundles; None: their own.
    """

    def __init__(self, engine: str = "auto", imgsz: tuple[int, int] | None = None) -> None:
        self._engine = engine
        self._imgsz = imgsz
        self._model: Segmenter | None = None
        self._path: Path | None = None
        self._changed = threading.Condition()
        self._job: Callable[[], None] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="lineside-view-replay", daemon=True)

    def start(self) -> None:
        """Starts the worker."""
        self._thread.start()

    def ask(self, job: Callable[[], None]) -> None:
        """Has `job` done soon, in place of one that still waits. Returns at once."""
        with self._changed:
            self._job = job
            self._changed.notify()

    def load(self, bundle: Path) -> Segmenter:
        """The model of a bundle, kept until another one is asked for; call from a job only.

        Raises:
            LinesideError: The bundle cannot be loaded; the model before it is kept.
        """
        if self._model is None or self._path != bundle:
            model = lineside.load(bundle, engine=self._engine, imgsz=self._imgsz)
            if self._model is not None:
                self._model.close()
            self._model, self._path = model, bundle
        return self._model

    def segment(self, bundle: Path, pixels: Pixels, thresholds: Thresholds) -> Detections:
        """What a bundle finds in a picture; call from a job only.

        Raises:
            LinesideError: The bundle cannot be loaded, or the model failed.
        """
        return self.load(bundle)(
            pixels,
            conf=thresholds.conf,
            iou=thresholds.iou,
            max_det=thresholds.max_det,
            masks=thresholds.masks,
            agnostic=thresholds.agnostic,
        )

    def close(self, timeout: float = 5.0) -> None:
        """Stops after the job in hand, waiting no longer than `timeout` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._job is not None)
                if self._closed:
                    break
                job, self._job = self._job, None
            if job is not None:
                job()
        if self._model is not None:
            with suppress(LinesideError):
                self._model.close()
