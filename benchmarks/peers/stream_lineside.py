"""A station of Lineside on a network camera: URL BUNDLE."""

from __future__ import annotations

import sys
from pathlib import Path

from stamps import say

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.operate import operate
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of


class Told:
    """A sink that says of each frame when it was taken."""

    def open(self, stream: StreamInfo) -> None:
        """Nothing to open."""

    def write(self, frame: Frame) -> None:
        """The result is there."""
        say(frame.bgr())

    def close(self, missing: int = 0) -> None:
        """Nothing to close."""


def main(url: str, bundle: str) -> None:
    """Runs until it is ended; what happens to the camera goes to the standard error."""

    def tell(event: Event) -> None:
        print(event.message, file=sys.stderr, flush=True)

    bus = Bus()
    bus.listen(tell)
    text = f"rtsp name=camera url={url} ! queue policy=latest ! segment bundle={bundle} ! {__file__}:Told"
    operate(shape_of(parse_launch(text)), Path(), lambda message: None, bus=bus)


if __name__ == "__main__":
    main(*sys.argv[1:])
