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

__all__ = ["ELEMENTS", "Kind", "Options", "Place", "Role", "kind_of", "make", "options_of", "struct_of", "watched"]

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
        aside: What is put into the names of its files, where there is one such element for each source.
    """

    folder: Path = Path()
    name: str = ""
    bus: Bus = field(default_factory=Bus)
    aside: str = ""

    def path(self, text: str) -> Path:
        """A path as a user wrote it, from where it counts; ``~`` is the user's own folder."""
        path = self.folder / Path(text).expanduser()
        return path.with_name(f"{path.stem}-{self.aside}{path.suffix}") if self.aside else path


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
        each: There is one such sink for each source that leads to it.
        results: Such a sink writes down what a model found, and has nothing to write without one.
    """

    role: Role
    factory: str
    options: str
    says: str
    live: bool = False
    ordered: bool = False
    shows: bool = False
    each: bool = False
    results: bool = False


def _source(module: str, options: str, says: str, factory: str = "make", *, live: bool = False) -> Kind:
    place = f"lineside.pipelines.sources.{module}"
    return Kind("source", f"{place}:{factory}", f"{place}:{options}", says, live=live)


def _transform(module: str, options: str, says: str, *, ordered: bool = False, shows: bool = False) -> Kind:
    place = f"lineside.pipelines.transforms.{module}"
    return Kind("transform", f"{place}:make", f"{place}:{options}", says, ordered=ordered, shows=shows)


def _sink(
    module: str, options: str, says: str, factory: str = "make", *, each: bool = False, results: bool = False
) -> Kind:
    place = f"lineside.pipelines.sinks.{module}"
    return Kind("sink", f"{place}:{factory}", f"{place}:{options}", says, each=each, results=results)


ELEMENTS: dict[str, Kind] = {
    "pictures": _source("elements", "Files", "files, folders, patterns", "pictures"),
    "file": _source("elements", "VideoFile", "a video file, through OpenCV", "video"),
    "camera": _source("elements", "CameraNumber", "a camera by number, through OpenCV", "camera", live=True),
    "watch": _source("watch", "WatchedFolder", "pictures as they arrive in a folder"),
    "synthetic": _source("synthetic", "Synthetic", "noise or pictures at a pace", live=True),
    "replay": _source("replay", "Replayed", "a recorded session"),
    "gst": _source("gst", "GstFile", "a file, through GStreamer", "file"),
    "rtsp": _source("gst", "GstRtsp", "a network camera", "rtsp", live=True),
    "usb": _source("gst", "GstUsb", "a USB camera", "usb", live=True),
    "csi": _source("gst", "GstCsi", "a camera on a Jetson's own connector", "csi", live=True),
    "pattern": _source("gst", "GstPattern", "GStreamer's test pictures", "pattern", live=True),
    "gst-launch": _source("gst", "GstLaunch", "any pipeline of GStreamer", "launch", live=True),
    "aravis": _source("aravis", "AravisCamera", "an industrial camera (GigE Vision, USB3 Vision)", live=True),
    "segment": Kind("model", "lineside.pipelines.model:make", "lineside.pipelines.model:Model", "a bundle that looks"),
    "roi": _transform("roi", "Region", "a part of the picture"),
    "track": _transform("track", "Following", "a part that crosses the picture is one part", ordered=True),
    "overlay": _transform("overlay", "Drawing", "what was found, drawn onto the picture", shows=True),
    "jsonl": _sink("jsonl", "JsonLinesFile", "a line of JSON per frame"),
    "csv": _sink("csv", "CsvFile", "a table, a row per detection"),
    "xlsx": _sink("journal", "Workbooks", "workbooks for people, a row per detection", "xlsx"),
    "coco": _sink("journal", "CocoFiles", "files in the COCO layout", "coco", results=True),
    "sqlite": _sink("sqlite", "Database", "a database of frames, detections and events"),
    "images": _sink("gallery", "GalleryFolder", "pictures with masks"),
    "video": _sink("film", "FilmFile", "a video with masks", each=True),
    "rtsp-server": _sink("rtsp", "RtspServed", "live pictures with masks, for players on the network"),
    "record": _sink("record", "Session", "pictures as they came, for replay", each=True),
    "view": Kind(
        "sink",
        "lineside.pipelines.view.station:make",
        "lineside.pipelines.view.station:Page",
        "the operator's page, on this machine only",
    ),
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
    if ":" in name:
        return _own().kind_of_own(name)  # type: ignore[no-any-return]
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
    return converted(dict(values), struct_of(element), name, at=at, text=text)


def struct_of(element: str) -> type[Options]:
    """The struct of what an element may be told.

    Args:
        element: Kind of element.

    Raises:
        StationError: There is no such element.
    """
    kind = kind_of(element)
    return _own().options_of_own(element) if kind.options == element else _found(kind.options)  # type: ignore[no-any-return]


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
    kind = kind_of(element)
    return _own().make_own(element, options, place) if kind.factory == element else _found(kind.factory)(options, place)


def _found(path: str) -> Any:
    """What a ``module:attribute`` names."""
    module, attribute = path.split(":")
    return getattr(importlib.import_module(module), attribute)


def _own() -> Any:
    """Elements of the user's own, see `lineside.pipelines.own`."""
    return importlib.import_module("lineside.pipelines.own")
