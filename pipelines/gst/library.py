"""GStreamer's C functions through ctypes: no binding package, so one code path for every Python and every machine."""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_ulong, c_void_p
from typing import Any

from lineside.pipelines.foreign import Functions
from lineside.pipelines.gst.structs import GError, Value, VideoFrame, VideoInfo
from lineside.runtime.errors import MissingPackage, SourceError

__all__ = [
    "NONE",
    "TIME",
    "factory_of",
    "have",
    "library",
    "text_of",
    "version",
]

NONE = 2**64 - 1
"""A time or an offset that is not known."""
TIME = 3
"""``GST_FORMAT_TIME``."""

_LIBRARIES = (
    "libglib-2.0.so.0",
    "libgobject-2.0.so.0",
    "libgstreamer-1.0.so.0",
    "libgstapp-1.0.so.0",
    "libgstvideo-1.0.so.0",
)


_P, _TEXT, _INT, _TIME = c_void_p, c_char_p, c_int, c_uint64
_ERROR = POINTER(POINTER(GError))

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    # name: what it returns, what it takes. A `void *` that is text to be freed is a pointer here, see `text_of`.
    "g_free": (None, _P),
    "g_error_free": (None, _P),
    "g_quark_to_string": (_TEXT, c_uint32),
    "g_strfreev": (None, _P),
    "g_object_unref": (None, _P),
    "g_signal_connect_data": (c_ulong, _P, _TEXT, _P, _P, _P, _INT),
    "g_object_get_property": (None, _P, _TEXT, POINTER(Value)),
    "g_object_set_property": (None, _P, _TEXT, POINTER(Value)),
    "g_value_init": (_P, POINTER(Value), c_size_t),
    "g_value_unset": (None, POINTER(Value)),
    "g_value_set_string": (None, POINTER(Value), _TEXT),
    "g_value_get_boxed": (_P, POINTER(Value)),
    "gst_init_check": (_INT, _P, _P, _ERROR),
    "gst_deinit": (None,),
    "gst_version": (None, POINTER(c_uint), POINTER(c_uint), POINTER(c_uint), POINTER(c_uint)),
    "gst_parse_context_new": (_P,),
    "gst_parse_context_free": (None, _P),
    "gst_parse_context_get_missing_elements": (_P, _P),
    "gst_parse_launch_full": (_P, _TEXT, _P, _INT, _ERROR),
    "gst_element_factory_find": (_P, _TEXT),
    "gst_object_ref": (_P, _P),
    "gst_object_ref_sink": (_P, _P),
    "gst_object_unref": (None, _P),
    "gst_object_get_name": (_P, _P),
    "gst_mini_object_ref": (_P, _P),
    "gst_mini_object_unref": (None, _P),
    "gst_bin_get_by_name": (_P, _P, _TEXT),
    "gst_element_get_type": (c_size_t,),
    "gst_structure_get_type": (c_size_t,),
    "g_type_check_instance_is_a": (_INT, _P, c_size_t),
    "gst_element_get_factory": (_P, _P),
    "gst_element_set_state": (_INT, _P, _INT),
    "gst_element_get_bus": (_P, _P),
    "gst_element_get_static_pad": (_P, _P, _TEXT),
    "gst_element_get_current_running_time": (_TIME, _P),
    "gst_element_query_duration": (_INT, _P, _INT, POINTER(c_uint64)),
    "gst_bus_timed_pop_filtered": (_P, _P, _TIME, _INT),
    "gst_message_parse_error": (None, _P, _ERROR, POINTER(_P)),
    "gst_message_parse_warning": (None, _P, _ERROR, POINTER(_P)),
    "gst_structure_get_uint64": (_INT, _P, _TEXT, POINTER(c_uint64)),
    "gst_sample_get_buffer": (_P, _P),
    "gst_sample_get_caps": (_P, _P),
    "gst_sample_get_segment": (_P, _P),
    "gst_segment_to_running_time": (_TIME, _P, _INT, _TIME),
    "gst_segment_to_stream_time": (_TIME, _P, _INT, _TIME),
    "gst_app_sink_try_pull_sample": (_P, _P, _TIME),
    "gst_app_sink_is_eos": (_INT, _P),
    "gst_app_src_set_caps": (None, _P, _P),
    "gst_app_src_push_buffer": (_INT, _P, _P),
    "gst_buffer_new_allocate": (_P, _P, c_size_t, _P),
    "gst_buffer_fill": (c_size_t, _P, c_size_t, _P, c_size_t),
    "gst_caps_from_string": (_P, _TEXT),
    "gst_element_send_event": (_INT, _P, _P),
    "gst_video_event_new_downstream_force_key_unit": (_P, _TIME, _TIME, _TIME, _INT, c_uint),
    "gst_video_info_from_caps": (_INT, POINTER(VideoInfo), _P),
    "gst_video_frame_map": (_INT, POINTER(VideoFrame), POINTER(VideoInfo), _P, _INT),
    "gst_video_frame_unmap": (None, POINTER(VideoFrame)),
    "gst_video_meta_api_get_type": (c_size_t,),
    "gst_query_add_allocation_meta": (None, _P, c_size_t, _P),
    "gst_pad_add_probe": (c_size_t, _P, _INT, _P, _P, _P),
}


_lock = threading.Lock()
_loaded: Functions | None = None
_process = 0
"""The process that it was started in."""


def library() -> Any:
    """The functions of GStreamer, which is started at the first call, as attributes by their C names.

    Raises:
        MissingPackage: GStreamer is not installed, or does not start.
        SourceError: This process was forked from one that had started GStreamer. Its threads do not live on in the
            child, where every pipeline would silently give nothing.
    """
    global _loaded, _process
    with _lock:
        if _loaded is None:
            _loaded, _process = _started(), os.getpid()
        if _process != os.getpid():
            raise SourceError(
                "this process was forked from one that uses GStreamer, where GStreamer gives no pictures and says "
                "nothing; start processes with multiprocessing's 'spawn'"
            )
        return _loaded


def _started() -> Functions:
    loaded = Functions(
        _LIBRARIES,
        _SIGNATURES,
        what="GStreamer",
        install="apt-get install gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
        "gstreamer1.0-libav",
        needs="version 1.20 or later",
    )
    error = POINTER(GError)()
    if not loaded.gst_init_check(None, None, byref(error)):
        reason = (error.contents.message or b"").decode(errors="replace") if error else "it gives no reason"
        raise MissingPackage(f"GStreamer does not start: {reason}; install it anew with apt-get install --reinstall "
                             "libgstreamer1.0-0 gstreamer1.0-plugins-base")  # fmt: skip
    return loaded


def version() -> tuple[int, int, int]:
    """Version of GStreamer, such as ``(1, 20, 3)``.

    Raises:
        MissingPackage: See `library`.
    """
    parts = [c_uint() for _ in range(4)]
    library().gst_version(*(byref(part) for part in parts))
    return (parts[0].value, parts[1].value, parts[2].value)


def have(element: str) -> bool:
    """Whether GStreamer has an element of that name here, such as ``nvv4l2decoder``.

    Raises:
        MissingPackage: See `library`.
    """
    gst = library()
    factory = gst.gst_element_factory_find(element.encode())
    if factory:
        gst.gst_object_unref(factory)
    return bool(factory)


def text_of(gst: Any, pointer: int | None) -> str:
    """Reads a text that C code gave away, and frees it; empty where there is none."""
    if not pointer:
        return ""
    try:
        return (ctypes.cast(pointer, c_char_p).value or b"").decode(errors="replace")
    finally:
        gst.g_free(pointer)


def factory_of(gst: Any, thing: int | None) -> str:
    """What kind of element something is, such as ``rtspsrc``; empty where it is none."""
    if not thing or not gst.g_type_check_instance_is_a(thing, gst.gst_element_get_type()):
        return ""
    factory = gst.gst_element_get_factory(thing)
    return text_of(gst, gst.gst_object_get_name(factory)) if factory else ""
