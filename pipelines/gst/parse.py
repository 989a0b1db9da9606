"""From the description of a pipeline to the pipeline, or to a sentence about what is missing."""

from __future__ import annotations

from ctypes import POINTER, byref, c_char_p, c_void_p, cast
from typing import Any

from lineside.pipelines.gst.library import have
from lineside.pipelines.gst.sample import FORMATS
from lineside.pipelines.gst.structs import GError
from lineside.pipelines.secrets import redacted
from lineside.runtime.errors import SourceError

__all__ = ["SINK", "in_bytes", "parsed", "whole"]

SINK = "lineside"
"""Name of the appsink. A description that has one of that name is taken as it is."""

_FATAL = 1
"""``GST_PARSE_FLAG_FATAL_ERRORS``."""
_NO_ELEMENT = 1
"""``GST_PARSE_ERROR_NO_SUCH_ELEMENT``."""


def whole(text: str, newest: bool, buffers: int) -> str:
    """A description with our appsink at its end.

    Args:
        text: Description up to the last element before it.
        newest: See `Pipeline`.
        buffers: See `Pipeline`.
    """
    if f"name={SINK}" in text.replace('"', ""):
        return text
    caps = f"video/x-raw,format={{{','.join(FORMATS)}}}"
    return (
        f'{text} ! videoconvert ! appsink name={SINK} caps="{caps}" sync=false enable-last-sample=false '
        f"max-buffers={buffers} drop={'true' if newest else 'false'}"
    )


def parsed(gst: Any, text: str, secrets: tuple[str, ...] = ()) -> int:
    """Makes a pipeline, which belongs to the caller.

    Args:
        gst: See `library`.
        text: Its whole description.
        secrets: What no message may show.

    Raises:
        SourceError: The description is wrong, or names elements that are not installed.
    """
    words = in_bytes(text)
    context, error = gst.gst_parse_context_new(), POINTER(GError)()
    try:
        pipeline = gst.gst_parse_launch_full(words, context, _FATAL, byref(error))
        missing = _missing(gst, context)
    finally:
        gst.gst_parse_context_free(context)
    reason, code = "", 0
    if error:
        code = int(error.contents.code)
        reason = (error.contents.message or b"").decode(errors="replace")
        gst.g_error_free(cast(error, c_void_p))
    if not pipeline:
        raise SourceError(redacted(_unparsed(reason, missing if code == _NO_ELEMENT else []), *secrets))
    return int(gst.gst_object_ref_sink(pipeline))


def in_bytes(text: str) -> bytes:
    """A text for C, with the bytes of file names that are no UTF-8.

    Raises:
        SourceError: There is a NUL in it, which C would take for the end.
    """
    if "\0" in text:
        raise SourceError("the text of a pipeline, path or address holds a NUL character, which none of them can have")
    return text.encode(errors="surrogateescape")


def _missing(gst: Any, context: int) -> list[str]:
    """Names of the elements that a description wants and GStreamer does not have."""
    pointer = gst.gst_parse_context_get_missing_elements(context)
    if not pointer:
        return []
    try:
        names = cast(pointer, POINTER(c_char_p))
        found: list[str] = []
        while (name := names[len(found)]) is not None:
            found.append(name.decode(errors="replace"))
        return found
    finally:
        gst.g_strfreev(pointer)


def _unparsed(reason: str, missing: list[str]) -> str:
    """Why a description cannot be used, and what to do."""
    if not missing:
        return f"GStreamer cannot make the pipeline: {reason.rstrip('.') or 'it gives no reason'}; check the text of it"
    if not have("videoconvert") or not have("appsink"):
        return "GStreamer has no elements here; install them with: apt-get install gstreamer1.0-plugins-base"
    names = ", ".join(f"'{name}'" for name in missing)
    where = next((f"; install it with: apt-get install {it}" for it in map(_package, missing) if it), "")
    return f"GStreamer has no element {names} here{where or '; check the spelling, or install the plugin that has it'}"


_PACKAGES = {
    "gstreamer1.0-plugins-base": ("decodebin", "videotestsrc", "videoconvert", "appsink", "videorate", "videoscale"),
    "gstreamer1.0-plugins-good": ("rtspsrc", "v4l2src", "jpegdec", "qtdemux", "matroskademux", "rtph264depay"),
    "gstreamer1.0-plugins-bad": ("h264parse", "h265parse", "openh264dec", "nvh264dec", "nvh265dec", "srtsrc"),
    "gstreamer1.0-libav": ("avdec_h264", "avdec_h265"),
    "gstreamer1.0-aravis": ("aravissrc",),
    "nvidia-l4t-gstreamer (on a Jetson)": ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder"),
}
"""Debian's and NVIDIA's packages, by some of the elements in them."""


def _package(element: str) -> str | None:
    return next((package for package, elements in _PACKAGES.items() if element in elements), None)
