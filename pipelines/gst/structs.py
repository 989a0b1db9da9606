"""GStreamer's C structures, as far as they are read here. Their layout is part of its stable interface (1.x)."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p

__all__ = ["Buffer", "GError", "Message", "Value", "VideoFrame", "VideoInfo"]


class GError(Structure):
    """``GError``."""

    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


class Value(Structure):
    """``GValue``: any value with its type, here for properties of elements."""

    _fields_ = (("type", c_size_t), ("data", c_uint64 * 2))


class _MiniObject(Structure):
    """``GstMiniObject``, the head of buffers, messages and samples."""

    _fields_ = (
        ("type", c_size_t),
        ("references", c_int),
        ("lock_state", c_int),
        ("flags", c_uint),
        ("functions", c_void_p * 3),
        ("private_uint", c_uint),
        ("private_pointer", c_void_p),
    )


class Buffer(Structure):
    """``GstBuffer`` as far as anybody may read it. Times in ns; offsets are frame numbers where the source counts."""

    _fields_ = (
        ("mini", _MiniObject),
        ("pool", c_void_p),
        ("pts", c_uint64),
        ("dts", c_uint64),
        ("duration", c_uint64),
        ("offset", c_uint64),
        ("offset_end", c_uint64),
    )


class Message(Structure):
    """``GstMessage`` as far as anybody may read it."""

    _fields_ = (("mini", _MiniObject), ("type", c_uint), ("timestamp", c_uint64), ("source", c_void_p))


class _FormatInfo(Structure):
    """The head of ``GstVideoFormatInfo``."""

    _fields_ = (("format", c_int), ("name", c_char_p))


class VideoInfo(Structure):
    """``GstVideoInfo``: format, size, colours, and where the planes lie."""

    _fields_ = (
        ("format", POINTER(_FormatInfo)),
        ("interlace_mode", c_int),
        ("flags", c_int),
        ("width", c_int),
        ("height", c_int),
        ("size", c_size_t),
        ("views", c_int),
        ("chroma_site", c_int),
        ("range", c_int),
        ("matrix", c_int),
        ("transfer", c_int),
        ("primaries", c_int),
        ("aspect", c_int * 2),
        ("rate", c_int * 2),
        ("offset", c_size_t * 4),
        ("stride", c_int * 4),
        ("reserved", c_void_p * 4),
    )


class _MapInfo(Structure):
    """``GstMapInfo``."""

    _fields_ = (
        ("memory", c_void_p),
        ("flags", c_int),
        ("data", c_void_p),
        ("size", c_size_t),
        ("maxsize", c_size_t),
        ("user_data", c_void_p * 4),
        ("reserved", c_void_p * 4),
    )


class VideoFrame(Structure):
    """``GstVideoFrame``: the planes of a buffer, mapped; ``info`` holds their true row strides."""

    _fields_ = (
        ("info", VideoInfo),
        ("flags", c_int),
        ("buffer", c_void_p),
        ("meta", c_void_p),
        ("id", c_int),
        ("data", c_void_p * 4),
        ("map", _MapInfo * 4),
        ("reserved", c_void_p * 4),
    )
