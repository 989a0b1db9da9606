"""Tells decoders that rows may be padded: otherwise they copy every picture into rows without gaps."""

from __future__ import annotations

from ctypes import CFUNCTYPE, Structure, c_int, c_uint, c_uint64, c_ulong, c_void_p
from typing import Any

__all__ = ["offer_strides"]

_QUERY_DOWNSTREAM = 1 << 9
"""``GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM``."""
_PASS, _HANDLED = 1, 4
"""``GST_PAD_PROBE_OK``, ``GST_PAD_PROBE_HANDLED``."""
_ALLOCATION = 140 << 8 | 1 << 1 | 1 << 2
"""``GST_QUERY_ALLOCATION``: number 140, downstream, serialised."""
_TYPE_AT = 64
"""Bytes into a ``GstQuery`` at which its type stands."""


class _ProbeInfo(Structure):
    """``GstPadProbeInfo``."""

    _fields_ = (("type", c_int), ("id", c_ulong), ("data", c_void_p), ("offset", c_uint64), ("size", c_uint))


_PROBE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
_callbacks: dict[int, Any] = {}
"""One callback for all pipelines, by the functions it was made for. It lives as long as the process: C code has it."""


def offer_strides(gst: Any, sink: int) -> None:
    """Has an appsink say that it reads the row strides that come with each buffer.

    From GStreamer 1.24 on an application may say so by a signal; before, an appsink lets the question pass unanswered.
    The answer is given where formats are negotiated, never once per picture.

    Args:
        gst: See `library`.
        sink: The appsink.
    """
    if id(gst) not in _callbacks:
        _callbacks[id(gst)] = _PROBE(_answering(gst))
    pad = gst.gst_element_get_static_pad(sink, b"sink")
    gst.gst_pad_add_probe(pad, _QUERY_DOWNSTREAM, _callbacks[id(gst)], None, None)
    gst.gst_object_unref(pad)


def _answering(gst: Any) -> Any:
    video_meta = gst.gst_video_meta_api_get_type()

    def answer(pad: int, info: int, data: int | None) -> int:
        query = _ProbeInfo.from_address(info).data
        if c_uint.from_address(query + _TYPE_AT).value != _ALLOCATION:
            return _PASS
        gst.gst_query_add_allocation_meta(query, video_meta, None)
        return _HANDLED

    return answer
