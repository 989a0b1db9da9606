"""What a pipeline's elements say on its bus, as sentences: who, what, why, and what to do."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_void_p
from dataclasses import dataclass
from typing import Any

from lineside.pipelines.gst.library import factory_of, text_of
from lineside.pipelines.gst.structs import GError, Message
from lineside.pipelines.secrets import redacted

__all__ = ["END", "ERROR", "NO_LINK", "WARNING", "Note", "next_note", "sentence"]

END, ERROR, WARNING = 1, 2, 4
"""``GST_MESSAGE_EOS``, ``GST_MESSAGE_ERROR``, ``GST_MESSAGE_WARNING``."""
NO_LINK = ("gst_parse_error", 7)
"""All streams of a file or camera are known, and none of them fits what comes next."""

_PLUGINS = "install the missing plugins (Debian and Ubuntu: gstreamer1.0-plugins-base, -good, -bad, -ugly and gstreamer1.0-libav)"
_ADVICE = {
    ("gst-resource-error-quark", 3): "check that it is there, and how its name or address is written",
    ("gst-resource-error-quark", 4): "another program has it: end that program, or wait until it lets go",
    (
        "gst-resource-error-quark",
        5,
    ): "check that it is there, switched on and reachable, and that this user may read it",
    ("gst-resource-error-quark", 7): "check that it is there, switched on and reachable, and its address and port",
    ("gst-resource-error-quark", 9): "check its cable, power and network",
    (
        "gst-resource-error-quark",
        13,
    ): "it is no camera, or does not support these settings: leave out size, rate and format",
    ("gst-resource-error-quark", 15): "check the user name and the password",
    (
        "gst-stream-error-quark",
        1,
    ): "it is damaged, or the elements and settings of the pipeline do not fit what it gives",
    ("gst-stream-error-quark", 3): "the data is no video that GStreamer knows here; check the file or address",
    ("gst-stream-error-quark", 4): "the data is no video that GStreamer knows here; check the file or address",
    ("gst-stream-error-quark", 6): _PLUGINS,
    ("gst-stream-error-quark", 7): "the data is damaged, or not what it says it is",
    ("gst-stream-error-quark", 9): "the file is damaged or cut off, or not what its name says it is",
    ("gst-core-error-quark", 7): "the elements before and after this one do not fit: name a format that both have",
    ("gst-core-error-quark", 12): _PLUGINS,
}
"""What to do about errors, by their domain and code (gsterror.h)."""

_PLACE = re.compile(r"^\S+\(\d+\): \w+ \(\): \S*\s*")
"""Where in GStreamer's source code something was said, which helps nobody here."""


@dataclass(frozen=True)
class Note:
    """One thing that was said on a bus.

    Attributes:
        kind: `END`, `ERROR` or `WARNING`.
        element: Who said it, such as ``rtspsrc 'camera'``; empty for the end of the stream.
        text: What happened.
        detail: Why, in the words of the element; empty where it does not say.
        code: Domain and number of the error.
    """

    kind: int
    element: str = ""
    text: str = ""
    detail: str = ""
    code: tuple[str, int] = ("", 0)


def next_note(gst: Any, bus: int, wanted: int = END | ERROR | WARNING) -> Note | None:
    """Takes the next message off a bus, past all that is not wanted; does not wait.

    Whoever runs a pipeline calls this often: messages that nobody takes off lie on the bus for ever.

    Args:
        gst: See `library`.
        bus: The bus.
        wanted: Kinds of messages.
    """
    pointer = gst.gst_bus_timed_pop_filtered(bus, 0, wanted)
    if not pointer:
        return None
    try:
        message = Message.from_address(pointer)
        return Note(END) if message.type == END else _said(gst, pointer, message)
    finally:
        gst.gst_mini_object_unref(pointer)


def _said(gst: Any, pointer: int, message: Message) -> Note:
    """What an error or a warning says."""
    error, debug = POINTER(GError)(), c_void_p()
    parse = gst.gst_message_parse_error if message.type == ERROR else gst.gst_message_parse_warning
    parse(pointer, byref(error), byref(debug))
    detail = _PLACE.sub("", text_of(gst, debug.value)).strip()
    try:
        domain = (gst.g_quark_to_string(error.contents.domain) or b"").decode()
        text = (error.contents.message or b"").decode(errors="replace").strip()
        code = int(error.contents.code)
    finally:
        gst.g_error_free(ctypes.cast(error, c_void_p))
    return Note(int(message.type), _who(gst, message.source), text, " ".join(detail.split()), (domain, code))


def _who(gst: Any, source: int | None) -> str:
    """An element as ``kind 'name'``; the kind alone where the name is only a number of GStreamer's."""
    if not source:
        return "the pipeline"
    kind, name = factory_of(gst, source), text_of(gst, gst.gst_object_get_name(source))
    return kind if kind and re.fullmatch(rf"{re.escape(kind)}\d*", name) else f"{kind or 'the element'} '{name}'"


def sentence(note: Note, *secrets: str) -> str:
    """A note as one sentence with what to do about it, free of credentials."""
    text = note.text.rstrip(".")
    detail = "" if note.detail.rstrip(".").lower() in ("", text.lower()) else f" ({note.detail.rstrip('.')})"
    advice = _ADVICE.get(note.code, "")
    if "unauthorized" in note.detail.lower() or "(401)" in note.detail:
        advice = _ADVICE["gst-resource-error-quark", 15]
    said = f"{note.element} says: {text}{detail}{f'; {advice}' if advice else ''}"
    return redacted(said, *secrets)
