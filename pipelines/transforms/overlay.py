"""The transform ``overlay``: what was found, drawn onto the picture, for the sink behind it."""

from __future__ import annotations

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.frame import Frame
from lineside.pipelines.overlay import Overlay

__all__ = ["Draw", "Drawing", "make"]


class Drawing(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is drawn.

    Attributes:
        late: Whether a frame whose result came after its deadline says so.
    """

    late: bool = True


def make(options: Drawing, place: Place) -> Draw:
    """Makes the transform."""
    return Draw(options)


class Draw:
    """Puts the drawing in the place of a frame's picture. One sink's thread calls it, on a fork of the frame."""

    lanes = 1

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._overlay: Overlay | None = None

    def open(self) -> None:
        """See `Transform.open`."""
        self._overlay = Overlay()

    def __call__(self, frame: Frame) -> None:
        """Draws one frame."""
        assert self._overlay is not None, "the transform is open"
        banner = "LATE" if self._drawing.late and frame.outcome == "late" else ""
        # A copy, because a sink may keep the frame while the next one is drawn.
        frame.show(self._overlay.draw(frame.bgr(), frame.detections, banner).copy())

    def close(self) -> None:
        """See `Transform.close`."""
