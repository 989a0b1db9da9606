"""No function, element or property is used that JetPack 6 has not: GStreamer 1.20, GLib 2.72, Aravis 0.8.20.

The tables say since which version each is there, by the libraries' own documents. What is bound and not in a table fails: so
nothing newer slips in on a machine that has newer libraries, as the ones for tests do. Where the libraries' descriptions are
installed (GIR, of the -dev packages), the tables are compared with them.
"""

from __future__ import annotations

import ctypes
import os
import re
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from lineside.pipelines.aravis import library as aravis
from lineside.pipelines.gst import library as gst
from lineside.pipelines.gst.parse import whole
from lineside.pipelines.gst.recipes import (
    Codec,
    Size,
    camera_csi,
    camera_rtsp,
    camera_usb,
    file,
    pattern,
)
from lineside.pipelines.gst.rtsp import library as rtsp
from lineside.pipelines.gst.rtsp.encoders import Encoder, serving
from lineside.pipelines.secrets import Address
from lineside.runtime.errors import MissingPackage

Version = tuple[int, ...]

NEWEST: dict[str, Version] = {"gst": (1, 20), "g": (2, 72), "arv": (0, 8, 20)}
"""What JetPack 6 (Ubuntu 22.04) has, by the beginning of the functions' names."""
FIRST: dict[str, Version] = {"gst": (1, 0), "g": (2, 0), "arv": (0, 8, 0)}
"""Since when everything is there that is in no table below: the first version of each interface."""

GST_SINCE: dict[str, Version] = {
    "gst_element_get_current_running_time": (1, 18),
    "gst_structure_get_uint64": (1, 4),
    "gst_segment_to_stream_time": (1, 8),
    "gst_app_sink_try_pull_sample": (1, 10),
    "gst_rtsp_media_factory_add_role_from_structure": (1, 14),
    "gst_rtsp_auth_add_digest": (1, 12),
    "gst_rtsp_auth_set_supported_methods": (1, 12),
    "gst_rtsp_token_set_string": (1, 14),
}
GST_FIRST = """
gst_init_check gst_deinit gst_version gst_parse_context_new gst_parse_context_free gst_parse_context_get_missing_elements
gst_parse_launch_full gst_element_factory_find gst_object_ref gst_object_ref_sink gst_object_unref gst_object_get_name
gst_mini_object_ref gst_mini_object_unref gst_bin_get_by_name gst_element_get_type gst_structure_get_type
gst_element_get_factory gst_element_set_state gst_element_get_bus gst_element_get_static_pad gst_element_query_duration
gst_bus_timed_pop_filtered gst_message_parse_error gst_message_parse_warning gst_sample_get_buffer gst_sample_get_caps
gst_sample_get_segment gst_segment_to_running_time gst_app_sink_is_eos gst_app_src_set_caps gst_app_src_push_buffer
gst_buffer_new_allocate gst_buffer_fill gst_caps_from_string gst_element_send_event
gst_video_event_new_downstream_force_key_unit gst_video_info_from_caps gst_video_frame_map gst_video_frame_unmap
gst_video_meta_api_get_type gst_query_add_allocation_meta gst_pad_add_probe gst_structure_from_string gst_structure_free
gst_rtsp_server_new gst_rtsp_server_set_address gst_rtsp_server_set_service gst_rtsp_server_get_bound_port
gst_rtsp_server_get_mount_points gst_rtsp_server_get_session_pool gst_rtsp_server_get_thread_pool gst_rtsp_server_set_auth
gst_rtsp_server_create_source gst_rtsp_server_client_filter gst_rtsp_thread_pool_set_max_threads
gst_rtsp_client_get_connection gst_rtsp_connection_get_read_socket
gst_rtsp_session_pool_cleanup gst_rtsp_session_pool_filter gst_rtsp_session_pool_set_max_sessions
gst_rtsp_mount_points_add_factory gst_rtsp_media_factory_new gst_rtsp_media_factory_set_launch
gst_rtsp_media_factory_set_shared gst_rtsp_media_factory_set_protocols gst_rtsp_media_get_element gst_rtsp_auth_new
gst_rtsp_token_new_empty
"""
GLIB_FIRST = """
g_free g_error_free g_quark_to_string g_strfreev g_object_ref g_object_unref g_signal_connect_data g_object_get_property
g_object_set_property g_value_init g_value_unset g_value_set_string g_value_set_enum g_value_get_boxed
g_type_check_instance_is_a g_main_context_new g_main_context_unref g_main_loop_new g_main_loop_run g_main_loop_quit
g_main_loop_unref g_source_attach g_source_destroy g_source_unref
"""
GLIB_SINCE: dict[str, Version] = {"g_socket_shutdown": (2, 22)}
ARV_SINCE: dict[str, Version] = {
    "arv_camera_gv_set_packet_size_adjustment": (0, 8, 3),
    "arv_buffer_get_image_padding": (0, 8, 23),  # asked for, and done without where it is not there
}
ARV_FIRST = """
arv_update_device_list arv_get_n_devices arv_get_device_id arv_get_device_address arv_device_error_quark
arv_camera_get_device arv_camera_is_gv_device arv_camera_gv_set_stream_options arv_gv_device_is_controller
arv_gv_stream_packet_resend_get_type arv_stream_push_buffer arv_stream_timeout_pop_buffer arv_buffer_new_allocate
arv_buffer_get_status arv_buffer_get_payload_type arv_buffer_get_data arv_buffer_get_frame_id arv_buffer_get_timestamp
arv_buffer_get_system_timestamp arv_buffer_get_image_pixel_format arv_buffer_get_image_region arv_camera_new
arv_camera_create_stream arv_camera_get_payload arv_camera_start_acquisition arv_camera_stop_acquisition
arv_camera_set_acquisition_mode arv_camera_set_pixel_format_from_string arv_camera_get_pixel_format
arv_camera_get_pixel_format_as_string arv_camera_dup_available_pixel_formats_as_strings arv_camera_is_feature_available
arv_camera_set_region arv_camera_get_region arv_camera_get_width_bounds arv_camera_get_height_bounds
arv_camera_is_frame_rate_available arv_camera_set_frame_rate arv_camera_get_frame_rate arv_camera_get_frame_rate_bounds
arv_camera_is_exposure_auto_available arv_camera_set_exposure_time_auto arv_camera_set_exposure_time
arv_camera_get_exposure_time_bounds arv_camera_is_gain_auto_available arv_camera_set_gain_auto arv_camera_set_gain
arv_camera_get_gain_bounds arv_camera_clear_triggers arv_camera_set_trigger arv_camera_software_trigger
arv_camera_dup_available_enumerations_as_strings arv_camera_set_string arv_camera_gv_set_packet_size
"""
NVIDIA = {"nvarguscamerasrc", "nvvidconv", "nvv4l2decoder", "nvjpegdec", "nvv4l2h264enc"}
"""Elements that are no part of GStreamer: they come with JetPack, in its own versions."""
ELEMENTS: dict[str, Version] = {
    **dict.fromkeys(
        (
            *("appsink", "appsrc", "capsfilter", "decodebin", "filesrc", "videoconvert", "videotestsrc", "v4l2src"),
            *("rtspsrc", "rtph264depay", "rtpjpegdepay", "rtph264pay", "qtdemux", "matroskademux", "avidemux"),
            *("avdec_h264", "avdec_mjpeg", "jpegdec", "h264parse", "x264enc"),
        ),
        (1, 0),
    ),
    **dict.fromkeys(("avdec_h265", "h265parse", "rtph265depay", "openh264dec", "openh264enc", "libde265dec"), (1, 6)),
    **dict.fromkeys(("nvh264enc", "nvh264dec", "nvh265dec"), (1, 18)),
    "cudadownload": (1, 20),
}
"""GStreamer's elements that our descriptions name, and since when each is there at the latest."""
PROPERTIES: dict[str, dict[str, Version]] = {
    "appsink": dict.fromkeys(("caps", "sync", "enable-last-sample", "max-buffers", "drop"), (1, 0)),
    "appsrc": {
        **dict.fromkeys(("is-live", "format", "block", "max-bytes"), (1, 0)),
        "max-buffers": (1, 20),
        "leaky-type": (1, 20),
    },
    "capsfilter": {"caps": (1, 0)},
    "filesrc": {"location": (1, 0)},
    "nvh264enc": {"preset": (1, 16), "zerolatency": (1, 18), "bitrate": (1, 16), "gop-size": (1, 16)},
    "openh264enc": dict.fromkeys(("complexity", "rate-control", "bitrate", "gop-size", "multi-thread"), (1, 6)),
    "rtph264pay": {"pt": (1, 0), "config-interval": (1, 0), "aggregate-mode": (1, 18)},
    "rtspsrc": dict.fromkeys(
        ("protocols", "latency", "drop-on-latency", "tcp-timeout", "location", "user-id", "user-pw"), (1, 0)
    ),
    "v4l2src": {"device": (1, 0)},
    "videotestsrc": dict.fromkeys(("is-live", "pattern", "num-buffers"), (1, 0)),
    "x264enc": dict.fromkeys(("tune", "speed-preset", "threads", "bitrate", "key-int-max"), (1, 0)),
}
"""Properties of GStreamer's elements that our descriptions set, and since when each is there."""

BOUND = {**gst._SIGNATURES, **rtsp._SIGNATURES, **aravis._PLAIN, **aravis._FALLIBLE, **aravis._LATER}


def since() -> dict[str, Version]:
    """Every function of the tables."""
    first = {name: FIRST[kind_of(name)] for table in (GST_FIRST, GLIB_FIRST, ARV_FIRST) for name in table.split()}
    return first | GST_SINCE | GLIB_SINCE | ARV_SINCE


def kind_of(name: str) -> str:
    return name.split("_")[0]


def test_every_function_is_there_in_the_oldest_version_that_is_promised() -> None:
    table = since()
    assert set(table) == set(BOUND), set(table) ^ set(BOUND)
    late = {name for name, version in table.items() if version > NEWEST[kind_of(name)]}
    assert late == set(aravis._LATER), "only what can be done without may be newer"


def machines() -> Iterator[frozenset[str]]:
    """Sets of elements, so that every decoder is chosen once."""
    software = ("avdec_h264", "openh264dec", "avdec_h265", "libde265dec", "jpegdec", "avdec_mjpeg")
    boxes = ("qtdemux", "matroskademux", "avidemux")
    yield frozenset((*boxes, "nvvidconv", "nvv4l2decoder", "nvjpegdec", "nvarguscamerasrc"))
    yield frozenset((*boxes, "nvh264dec", "nvh265dec", "cudadownload", "jpegdec"))
    for number in range(0, len(software), 2):
        yield frozenset((*boxes, *software))
        yield frozenset((*boxes, *(it for it in software if it != software[number])))


def descriptions(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Every description that our recipes make, with the properties that are set besides."""
    heads = {"a.mp4": b"\0\0\0\x20ftypisom", "a.mkv": b"\x1a\x45\xdf\xa3" + bytes(8), "a.avi": b"RIFF\0\0\0\0AVI "}
    for name, head in {**heads, "a.ogg": b"OggS"}.items():
        (folder / name).write_bytes(head)
    size = Size(640, 480, 30)
    for machine in machines():
        have = machine.__contains__
        made = [file(str(folder / name), have) for name in (*heads, "a.ogg")]
        made += [camera_usb("/dev/video0", size, form, have) for form in ("auto", "raw")]
        address = Address("rtsp://camera/1", "kim", "hush")
        made += [camera_rtsp(address, codec=it, transport="tcp", latency=50, have=have) for it in get_args(Codec)]
        if "nvarguscamerasrc" in machine:
            made.append(camera_csi(0, size, have))
        yield from ((it.text, dict(it.values)) for it in made)
    yield pattern("ball", size, "NV12", 3, live=True).text, {}
    yield whole("fakesrc", True, 1).removeprefix("fakesrc ! "), {}
    for encoder in get_args(Encoder):
        yield serving(encoder, 4000, lambda name: True), {}


def elements(text: str, values: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The elements of a description with the properties that are set; caps and places are none."""
    for part in re.sub(r'"[^"]*"', '""', text).strip("() ").split(" ! "):
        name, *words = part.split()
        if "/" in name or "." in name:
            continue
        found = [word.split("=")[0] for word in words if "=" in word]
        yield name, [it for it in found if it != "name"] + (list(values) if "name=source" in words else [])


def test_every_element_and_property_is_there_in_gstreamer_1_20(tmp_path: Path) -> None:
    used: dict[str, set[str]] = {}
    for text, values in descriptions(tmp_path):
        for name, properties in elements(text, values):
            used.setdefault(name, set()).update(properties)
    assert {"rtspsrc", "qtdemux", "avdec_h265", "libde265dec", "avdec_mjpeg", "nvv4l2h264enc", "x264enc"} <= set(used)
    plain = {name: properties for name, properties in used.items() if properties and name not in NVIDIA}
    assert plain == {name: set(table) for name, table in PROPERTIES.items()}
    assert set(used) - NVIDIA == set(ELEMENTS)
    versions = [*ELEMENTS.values(), *(version for table in PROPERTIES.values() for version in table.values())]
    assert max(versions) <= NEWEST["gst"]


def test_the_properties_are_there_on_this_machine() -> None:
    """Elements that are installed take every property that the table has for them."""
    try:
        library = gst.library()
    except MissingPackage as error:
        pytest.skip(str(error))
    find = ctypes.CDLL("libgobject-2.0.so.0").g_object_class_find_property
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
    found = 0
    for name, table in PROPERTIES.items():
        if not gst.have(name):
            continue
        context = library.gst_parse_context_new()
        element = library.gst_parse_launch_full(name.encode(), context, 0, None)
        library.gst_parse_context_free(context)
        kind = ctypes.c_void_p.from_address(element).value  # an object of GLib begins with a pointer to its class
        assert not [it for it in table if not find(kind, it.encode())], name
        library.gst_object_unref(element)
        found += 1
    assert found >= 3


GIR = Path(os.environ.get("LINESIDE_GIR", "/usr/share/gir-1.0"))
CORE = "{http://www.gtk.org/introspection/core/1.0}"
C_NAME, GET_TYPE = (
    "{http://www.gtk.org/introspection/c/1.0}identifier",
    "{http://www.gtk.org/introspection/glib/1.0}get-type",
)


def said(names: tuple[str, ...]) -> dict[str, Version | None]:
    """Functions by name with the version that a library's own description gives, None where it gives none."""
    found: dict[str, Version | None] = {}

    def walk(node: xml.Element, inherited: str | None) -> None:
        version = node.get("version") or inherited
        for key in (C_NAME, GET_TYPE):
            if (name := node.get(key)) and name not in found:
                found[name] = tuple(map(int, re.findall(r"\d+", version))) if version else None
        for child in node:
            walk(child, version)

    for name in names:
        space = xml.parse(GIR / f"{name}.gir").getroot().find(f"{CORE}namespace")
        assert space is not None
        for child in space:
            walk(child, None)
    return found


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("gst", ("Gst-1.0", "GstApp-1.0", "GstVideo-1.0", "GstRtsp-1.0", "GstRtspServer-1.0")),
        ("g", ("GLib-2.0", "GObject-2.0", "Gio-2.0")),
        ("arv", ("Aravis-0.8",)),
    ],
)
def test_the_tables_are_what_the_libraries_say_of_themselves(kind: str, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not (GIR / f"{name}.gir").exists()]
    if missing:
        pytest.skip(
            f"needs the descriptions {', '.join(missing)} (packages lib…-dev), or LINESIDE_GIR that names their folder"
        )
    theirs = said(names)
    for name, version in since().items():
        if kind_of(name) == kind:
            assert name in theirs, name
            assert max(theirs[name] or FIRST[kind], FIRST[kind]) == version, name
