"""A network camera whose pictures say when they were taken. Runs in Debian's Python, with GStreamer's RTSP server.

    python3 camera.py [WIDTH HEIGHT FPS]     prints its port; ends with its standard input

The top of each picture holds 48 cells, black or white: the monotonic clock in microseconds, highest bit first, in rows of
sixteen. Whoever has the pixels knows their age, whatever library they came through; see ``stamps.py``.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

COLUMNS, ROWS = 16, 3


def stamped(width: int, height: int, ground: bytes) -> bytes:
    """A grey picture of this very moment."""
    bits = format(time.monotonic_ns() // 1000, f"0{COLUMNS * ROWS}b")
    cell = width // COLUMNS
    lines = []
    for row in range(ROWS):
        cells = (b"\xff" * cell if bit == "1" else bytes(cell) for bit in bits[row * COLUMNS : (row + 1) * COLUMNS])
        lines.append(b"".join(cells).ljust(width, b"\0") * cell)
    top = b"".join(lines)
    return top + ground[len(top) :]


def feed(source: object, width: int, height: int, fps: float) -> None:
    """Gives the server a picture at each moment of the rate, until it is closed; moments that have passed are left out."""
    ground = bytes((x * 7 + y * 3) % 256 for y in range(height) for x in range(width))
    due = time.monotonic()
    while source.emit("push-buffer", Gst.Buffer.new_wrapped(stamped(width, height, ground))) == Gst.FlowReturn.OK:  # type: ignore[attr-defined]
        due = max(due + 1 / fps, time.monotonic() - 1 / fps)
        time.sleep(max(0.0, due - time.monotonic()))


def main(width: int = 640, height: int = 480, fps: int = 30) -> None:
    """Serves ``/line`` on a free port of the loopback."""
    Gst.init(None)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
    caps = f"video/x-raw,format=GRAY8,width={width},height={height},framerate={fps}/1"
    factory = GstRtspServer.RTSPMediaFactory(
        launch=f"( appsrc name=camera is-live=true do-timestamp=true format=time max-buffers=2 leaky-type=downstream "
        f"caps={caps} ! videoconvert ! video/x-raw,format=I420 ! jpegenc quality=90 ! rtpjpegpay name=pay0 )",
        shared=True,
    )

    def begin(_: object, media: object) -> None:
        source = media.get_element().get_by_name("camera")  # type: ignore[attr-defined]
        threading.Thread(target=feed, args=(source, width, height, fps), daemon=True).start()

    factory.connect("media-configure", begin)
    server.get_mount_points().add_factory("/line", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
