"""The view as an element of the graph."""

from __future__ import annotations

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.view.desk import Desk

__all__ = ["ViewSink"]


class ViewSink:
    """Hands frames to the page. Its `write` copies and encodes nothing: a page can never hold up the graph.

    Args:
        desk: The page's state.
    """

    name = "view"
    takes_failed = False

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def open(self, stream: StreamInfo) -> None:
        """A run begins."""
        self._desk.begin(stream.name)

    def write(self, frame: Frame) -> None:
        """Shows one frame; its pixels are held until a newer one comes."""
        self._desk.take(frame)

    def close(self, missing: int = 0) -> None:
        """The run has ended; the page stays."""
        self._desk.end()
