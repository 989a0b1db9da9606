"""C functions of gst-rtsp-server, a library of its own beside GStreamer, and those of GLib's that it needs."""

from __future__ import annotations

import threading
from ctypes import POINTER, c_char_p, c_int, c_uint, c_void_p
from typing import Any

from lineside.pipelines.foreign import Functions
from lineside.pipelines.gst.library import library
from lineside.pipelines.gst.structs import GError

__all__ = ["rtsp_library"]

_P, _TEXT, _INT = c_void_p, c_char_p, c_int

_LIBRARIES = (
    "libglib-2.0.so.0",
    "libgobject-2.0.so.0",
    "libgio-2.0.so.0",
    "libgstreamer-1.0.so.0",
    "libgstrtsp-1.0.so.0",
    "libgstrtspserver-1.0.so.0",
)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    # name: what it returns, what it takes
    "g_main_context_new": (_P,),
    "g_main_context_unref": (None, _P),
    "g_main_loop_new": (_P, _P, _INT),
    "g_main_loop_run": (None, _P),
    "g_main_loop_quit": (None, _P),
    "g_main_loop_unref": (None, _P),
    "g_source_attach": (c_uint, _P, _P),
    "g_source_destroy": (None, _P),
    "g_source_unref": (None, _P),
    "g_object_ref": (_P, _P),
    "g_socket_shutdown": (_INT, _P, _INT, _INT, _P),
    "gst_structure_from_string": (_P, _TEXT, _P),
    "gst_structure_free": (None, _P),
    "gst_rtsp_server_new": (_P,),
    "gst_rtsp_server_set_address": (None, _P, _TEXT),
    "gst_rtsp_server_set_service": (None, _P, _TEXT),
    "gst_rtsp_server_get_bound_port": (_INT, _P),
    "gst_rtsp_server_get_mount_points": (_P, _P),
    "gst_rtsp_server_get_session_pool": (_P, _P),
    "gst_rtsp_server_get_thread_pool": (_P, _P),
    "gst_rtsp_server_set_auth": (None, _P, _P),
    "gst_rtsp_server_create_source": (_P, _P, _P, POINTER(POINTER(GError))),
    "gst_rtsp_server_client_filter": (_P, _P, _P, _P),
    "gst_rtsp_client_get_connection": (_P, _P),
    "gst_rtsp_connection_get_read_socket": (_P, _P),
    "gst_rtsp_thread_pool_set_max_threads": (None, _P, _INT),
    "gst_rtsp_session_pool_cleanup": (c_uint, _P),
    "gst_rtsp_session_pool_filter": (_P, _P, _P, _P),
    "gst_rtsp_session_pool_set_max_sessions": (None, _P, c_uint),
    "gst_rtsp_mount_points_add_factory": (None, _P, _TEXT, _P),
    "gst_rtsp_media_factory_new": (_P,),
    "gst_rtsp_media_factory_set_launch": (None, _P, _TEXT),
    "gst_rtsp_media_factory_set_shared": (None, _P, _INT),
    "gst_rtsp_media_factory_set_protocols": (None, _P, c_uint),
    "gst_rtsp_media_factory_add_role_from_structure": (None, _P, _P),
    "gst_rtsp_media_get_element": (_P, _P),
    "gst_rtsp_auth_new": (_P,),
    "gst_rtsp_auth_add_digest": (None, _P, _TEXT, _TEXT, _P),
    "gst_rtsp_auth_set_supported_methods": (None, _P, c_uint),
    "gst_rtsp_token_new_empty": (_P,),
    "gst_rtsp_token_set_string": (None, _P, _TEXT, _TEXT),
}


_lock = threading.Lock()
_loaded: Functions | None = None


def rtsp_library() -> Any:
    """The functions, as attributes by their C names; GStreamer is started at the first call.

    Raises:
        MissingPackage: GStreamer or its RTSP server is not installed.
        SourceError: This process was forked from one that uses GStreamer.
    """
    global _loaded
    library()
    with _lock:
        if _loaded is None:
            _loaded = Functions(
                _LIBRARIES,
                _SIGNATURES,
                what="GStreamer's RTSP server",
                install="apt-get install libgstrtspserver-1.0-0",
                needs="version 1.20 or later",
            )
        return _loaded
