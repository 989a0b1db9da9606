"""Aravis' C functions through ctypes: no binding package, so one code path for every Python and every machine."""

from __future__ import annotations

import ctypes
import threading
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

from lineside.pipelines.foreign import Functions
from lineside.pipelines.gst.structs import GError, Value

__all__ = ["Refused", "call", "library", "names_of"]

_LIBRARIES = ("libglib-2.0.so.0", "libgobject-2.0.so.0", "libaravis-0.8.so.0")

_P, _TEXT, _INT = c_void_p, c_char_p, c_int
_INTS, _DOUBLES, _ERROR = POINTER(c_int), POINTER(c_double), POINTER(POINTER(GError))

_PLAIN: dict[str, tuple[Any, ...]] = {
    # name: what it returns, what it takes
    "g_free": (None, _P),
    "g_error_free": (None, _P),
    "g_object_unref": (None, _P),
    "g_object_set_property": (None, _P, _TEXT, POINTER(Value)),
    "g_value_init": (_P, POINTER(Value), c_size_t),
    "g_value_unset": (None, POINTER(Value)),
    "g_value_set_enum": (None, POINTER(Value), _INT),
    "arv_update_device_list": (None,),
    "arv_get_n_devices": (c_uint,),
    "arv_get_device_id": (_TEXT, c_uint),
    "arv_get_device_address": (_TEXT, c_uint),
    "arv_device_error_quark": (c_uint32,),
    "arv_camera_get_device": (_P, _P),
    "arv_camera_is_gv_device": (_INT, _P),
    "arv_camera_gv_set_packet_size_adjustment": (None, _P, _INT),
    "arv_camera_gv_set_stream_options": (None, _P, _INT),
    "arv_gv_device_is_controller": (_INT, _P),
    "arv_gv_stream_packet_resend_get_type": (c_size_t,),
    "arv_stream_push_buffer": (None, _P, _P),
    "arv_stream_timeout_pop_buffer": (_P, _P, c_uint64),
    "arv_buffer_new_allocate": (_P, c_size_t),
    "arv_buffer_get_status": (_INT, _P),
    "arv_buffer_get_payload_type": (_INT, _P),
    "arv_buffer_get_data": (_P, _P, POINTER(c_size_t)),
    "arv_buffer_get_frame_id": (c_uint64, _P),
    "arv_buffer_get_timestamp": (c_uint64, _P),
    "arv_buffer_get_system_timestamp": (c_uint64, _P),
    "arv_buffer_get_image_pixel_format": (c_uint32, _P),
    "arv_buffer_get_image_region": (None, _P, _INTS, _INTS, _INTS, _INTS),
}

_FALLIBLE: dict[str, tuple[Any, ...]] = {
    # The same, for functions that take a place for an error last; see `call`.
    "arv_camera_new": (_P, _TEXT),
    "arv_camera_create_stream": (_P, _P, _P, _P),
    "arv_camera_get_payload": (c_uint, _P),
    "arv_camera_start_acquisition": (None, _P),
    "arv_camera_stop_acquisition": (None, _P),
    "arv_camera_set_acquisition_mode": (None, _P, _INT),
    "arv_camera_set_pixel_format_from_string": (None, _P, _TEXT),
    "arv_camera_get_pixel_format": (c_uint32, _P),
    "arv_camera_get_pixel_format_as_string": (_TEXT, _P),
    "arv_camera_dup_available_pixel_formats_as_strings": (_P, _P, POINTER(c_uint)),
    "arv_camera_is_feature_available": (_INT, _P, _TEXT),
    "arv_camera_set_region": (None, _P, _INT, _INT, _INT, _INT),
    "arv_camera_get_region": (None, _P, _INTS, _INTS, _INTS, _INTS),
    "arv_camera_get_width_bounds": (None, _P, _INTS, _INTS),
    "arv_camera_get_height_bounds": (None, _P, _INTS, _INTS),
    "arv_camera_is_frame_rate_available": (_INT, _P),
    "arv_camera_set_frame_rate": (None, _P, c_double),
    "arv_camera_get_frame_rate": (c_double, _P),
    "arv_camera_get_frame_rate_bounds": (None, _P, _DOUBLES, _DOUBLES),
    "arv_camera_is_exposure_auto_available": (_INT, _P),
    "arv_camera_set_exposure_time_auto": (None, _P, _INT),
    "arv_camera_set_exposure_time": (None, _P, c_double),
    "arv_camera_get_exposure_time_bounds": (None, _P, _DOUBLES, _DOUBLES),
    "arv_camera_is_gain_auto_available": (_INT, _P),
    "arv_camera_set_gain_auto": (None, _P, _INT),
    "arv_camera_set_gain": (None, _P, c_double),
    "arv_camera_get_gain_bounds": (None, _P, _DOUBLES, _DOUBLES),
    "arv_camera_clear_triggers": (None, _P),
    "arv_camera_set_trigger": (None, _P, _TEXT),
    "arv_camera_software_trigger": (None, _P),
    "arv_camera_dup_available_enumerations_as_strings": (_P, _P, _TEXT, POINTER(c_uint)),
    "arv_camera_set_string": (None, _P, _TEXT, _TEXT),
    "arv_camera_gv_set_packet_size": (None, _P, _INT),
}

_LATER = {"arv_buffer_get_image_padding": (None, _P, _INTS, _INTS)}
"""What older versions of the library do not have."""

_NOT_CONTROLLER = 10
"""``ARV_DEVICE_ERROR_NOT_CONTROLLER``."""
_DENIED = (17, 18)
"""``ARV_DEVICE_ERROR_PROTOCOL_ERROR_ACCESS_DENIED`` and ``_BUSY``: the camera's own words for the same."""


class Refused(Exception):
    """A call that Aravis or the camera did not do.

    Args:
        text: Why, in its own words.
        held: Whether it is because another program holds the camera.
    """

    def __init__(self, text: str, held: bool) -> None:
        super().__init__(text)
        self.held = held


_lock = threading.Lock()
_loaded: Functions | None = None


def library() -> Any:
    """The functions of Aravis and what it needs of GLib, as attributes by their C names.

    Raises:
        MissingPackage: Aravis is not installed, or too old.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            fallible = {name: (*words, _ERROR) for name, words in _FALLIBLE.items()}
            _loaded = Functions(
                _LIBRARIES,
                {**_PLAIN, **fallible, **_LATER},
                optional=_LATER,
                what="Aravis, which talks to industrial cameras,",
                install="apt-get install libaravis-0.8-0",
                needs="version 0.8.20 or later",
            )
        return _loaded


def call(name: str, *arguments: Any) -> Any:
    """Calls a function that may fail.

    Args:
        name: Its C name.
        arguments: What it takes, without the place for an error.

    Returns:
        What it returns.

    Raises:
        Refused: It failed.
        MissingPackage: See `library`.
    """
    arv, error = library(), POINTER(GError)()
    result = getattr(arv, name)(*arguments, byref(error))
    if not error:
        return result
    try:
        said = error.contents
        ours = said.domain == arv.arv_device_error_quark()
        held = ours and (said.code == _NOT_CONTROLLER or said.code in _DENIED)
        raise Refused((said.message or b"it gives no reason").decode(errors="replace"), held)
    finally:
        arv.g_error_free(error)


def names_of(name: str, *arguments: Any) -> list[str]:
    """The words that one of Aravis' functions lists; none where it cannot.

    Args:
        name: Its C name, one with ``dup_available`` and ``as_strings`` in it.
        arguments: What it takes, without the place for the count.
    """
    count = c_uint()
    try:
        found = call(name, *arguments, byref(count))
    except Refused:
        return []
    if not found:
        return []
    try:
        words = ctypes.cast(found, POINTER(c_char_p))
        return [(words[index] or b"").decode(errors="replace") for index in range(count.value)]
    finally:
        library().g_free(found)
