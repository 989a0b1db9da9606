"""An RTSP camera: GStreamer's own server on a free port of the loopback, which it prints. Runs in Debian's Python.

usage: python3 rtsp_server.py {jpeg,h264,sound} [user password]
"""

from __future__ import annotations

import os
import sys
import threading

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

VIDEO = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=176,height=144,framerate=25/1"
MEDIA = {
    "jpeg": f"( {VIDEO} ! jpegenc ! rtpjpegpay name=pay0 )",
    "h264": f"( {VIDEO} ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 )",
    "sound": f"( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 {VIDEO} ! jpegenc ! rtpjpegpay name=pay1 )",
}


def main() -> None:
    Gst.init(None)
    # Whoever starts this holds the other end of its input: with them gone, this goes.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[4] if len(sys.argv) > 4 else "0")
    factory = GstRtspServer.RTSPMediaFactory(launch=MEDIA[sys.argv[1]], shared=True)
    if len(sys.argv) > 3 and sys.argv[2]:
        protect(server, factory, sys.argv[2], sys.argv[3])
    server.get_mount_points().add_factory("/line", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def protect(server: object, factory: object, user: str, password: str) -> None:
    """Lets in who knows the password."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "worker")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    role = Gst.Structure.new_empty("worker")
    role.set_value("media.factory.access", True)
    role.set_value("media.factory.construct", True)
    factory.add_role_from_structure(role)


if __name__ == "__main__":
    main()
