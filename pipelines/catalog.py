"""Every element by its name: what it is, what it is told, and who makes it. Imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from lineside.pipelines.events import Bus
from lineside.pipelines.typed import converted
from lineside.runtime.errors import StationError

__all__ = ["ELEMENTS", "Kind", "Options", "Place", "Role", "kind_of", "make", "options_of", "watched"]

Role = Literal["source", "transform", "model", "sink"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an element is told; each kind of element has its own. Plain values, so that another process can have them."""


@dataclass(frozen=True)
class Place:
    """Where an element stands.

    Attributes:
        folder: What its relative paths start from.
        name: Its name in the graph.
        bus: Where it tells what happens in it.
    """

    folder: Path = Path()
    name: str = ""
    bus: Bus = field(default_factory=Bus)

    def path(self, text: str) -> Path:
        """A path as a user wrote it, from where it counts; ``~`` is the user's own folder."""
        return self.folder / Path(text).expanduser()


@dataclass(frozen=True)
class Kind:
    """A kind of element.

    Attributes:
        role: What it does in a graph. A model is a transform that several sources may share.
        factory: ``module:function`` that makes one of `Options` and a `Place`.
        options: ``module:Struct`` of what it is told.
        says: What it is, in a few words.
        live: The world does not wait for such a source, which is therefore watched over.
        ordered: Such a transform wants the frames of a source one by one, in the order of capture.
        shows: Such a transform changes pictures for those who look at them, and nothing else.
    """

    role: Role
    factory: str
    options: str
    says: str
    live: bool = False
    ordered: bool = False
    shows: bool = False


_SOURCES = "lineside.pipelines.sources"
_SINKS = "lineside.pipelines.sinks"

ELEMENTS: dict[str, Kind] = {
    "pictures": Kind(
        "source", f"{_SOURCES}.elements:pictures", f"{_SOURCES}.elements:Files", "files, folders, patterns"
    ),
    "video": Kind("source", f"{_SOURCES}.elements:video", f"{_SOURCES}.elements:VideoFile", "a video file"),
    "camera": Kind(
        "source", f"{_SOURCES}.elements:camera", f"{_SOURCES}.elements:CameraNumber", "a camera by number", live=True
    ),
    "synthetic": Kind(
        "source", f"{_SOURCES}.synthetic:make", f"{_SOURCES}.synthetic:Synthetic", "drawn pictures at a pace", live=True
    ),
    "gst": Kind("source", f"{_SOURCES}.gst:file", f"{_SOURCES}.gst:GstFile", "a video file, through GStreamer"),
    "rtsp": Kind("source", f"{_SOURCES}.gst:rtsp", f"{_SOURCES}.gst:GstRtsp", "a network camera", live=True),
    "usb": Kind(
        "source", f"{_SOURCES}.gst:usb", f"{_SOURCES}.gst:GstUsb", "a USB camera, through GStreamer", live=True
    ),
    "csi": Kind(
        "source", f"{_SOURCES}.gst:csi", f"{_SOURCES}.gst:GstCsi", "a camera on a Jetson's CSI connector", live=True
    ),
    "pattern": Kind(
        "source", f"{_SOURCES}.gst:pattern", f"{_SOURCES}.gst:GstPattern", "GStreamer's test picture", live=True
    ),
    "gst-launch": Kind(
        "source", f"{_SOURCES}.gst:launch", f"{_SOURCES}.gst:GstLaunch", "any GStreamer pipeline", live=True
    ),
    "segment": Kind("model", "lineside.pipelines.model:make", "lineside.pipelines.model:Model", "a bundle that looks"),
    "jsonl": Kind("sink", f"{_SINKS}.elements:jsonl", f"{_SINKS}.elements:File", "a line of JSON per frame"),
    "csv": Kind("sink", f"{_SINKS}.elements:csv", f"{_SINKS}.elements:File", "a table, a row per detection"),
}
"""All elements that come with Lineside."""


def kind_of(name: str, where: str = "") -> Kind:
    """Looks up a kind of element.

    Args:
        name: Its name.
        where: Where somebody named it, for the message.

    Raises:
        StationError: There is none of that name; the message names those that are like it.
    """
    if name in ELEMENTS:
        return ELEMENTS[name]
    near = difflib.get_close_matches(name, ELEMENTS, 3) or sorted(ELEMENTS)
    place = f"{where}: " if where else ""
    raise StationError(f"{place}there is no element '{name}'; there are: {', '.join([*near, 'tee', 'queue'])}")


def options_of(element: str, values: Mapping[str, Any], name: str, *, at: str = "", text: bool = False) -> Options:
    """Reads what an element is told.

    Args:
        element: Kind of element.
        values: Options by name.
        name: What the text is called in messages.
        at: Place of the values in it.
        text: All values are words, as in a launch string.

    Raises:
        StationError: There is no such element, or it cannot be told that.
    """
    struct: type[Options] = _found(kind_of(element).options)
    return converted(dict(values), struct, name, at=at, text=text)


def watched(element: str, options: Options) -> bool:
    """Whether a source is to be watched over: it is live, and is not told otherwise (a ``watched`` of its options)."""
    return bool(getattr(options, "watched", kind_of(element).live))


def make(element: str, options: Options, place: Place) -> Any:
    """Makes an element.

    Args:
        element: Kind of element.
        options: What it is told, see `options_of`.
        place: Where it stands.

    Raises:
        LinesideError: It cannot be made.
    """
    return _found(kind_of(element).factory)(options, place)


def _found(path: str) -> Any:
    """What a ``module:attribute`` names."""
    module, attribute = path.split(":")
    return getattr(importlib.import_module(module), attribute)
