"""A station file: what one station inspects, with what, and where its results go, as YAML.

::

    station: 1                      # version of this form
    bundle: bearing.bundle
    sources: [parts/]               # as for `lineside run`
    segment: {conf: 0.3}
    sinks: [jsonl, csv]
    folder: results

Paths are relative to the file, so that a folder with a station in it can be moved.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec
import yaml

from lineside.pipelines.link import Policy
from lineside.pipelines.session import Job
from lineside.pipelines.settings import Settings, Thresholds
from lineside.pipelines.sources.find import find
from lineside.runtime.errors import StationError
from lineside.runtime.sizing import size_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SinkKind", "Station", "StationSegment", "job_of", "parse_station", "read_station"]

SinkKind = Literal["jsonl", "csv", "xlsx", "coco", "images", "video"]
"""Kinds of results that a station file may name."""

MAX_BYTES = 1 << 20
"""A station file is a page of text."""

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Sides = Annotated[list[Count], msgspec.Meta(min_length=2, max_length=2)]  # msgspec 0.22 dies of int | tuple with limits
Name = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\x00]*$")]
Camera = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class StationSegment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model is used; what is not given is the bundle's own value.

    Attributes:
        conf: Lowest score that is kept, exclusive.
        iou: Overlap above which the weaker of two boxes goes.
        max_det: Most detections per frame.
        masks: Resolution of the masks.
        agnostic: Suppress across classes.
        engine: Engine that runs the model.
        mode: One frame soon, or many frames side by side.
        threads: Threads of one inference.
        imgsz: Input in pixels, one number or [height, width], for a dynamic bundle.
    """

    conf: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    iou: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_det: Count | None = None
    masks: Literal["native", "proto", "none"] = "native"
    agnostic: bool = False
    engine: Name = "auto"
    mode: Literal["latency", "throughput"] = "latency"
    threads: Count | None = None
    imgsz: Count | Sides | None = None


class Station(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A station file.

    Attributes:
        station: Version of the form.
        bundle: The bundle, relative to the file.
        sources: Pictures, folders, patterns, videos (relative to the file), or the number of a camera, as long as nothing
            beside the file has that name.
        segment: How the model is used.
        policy: Full queue before the model: ``latest``, ``every``, ``every:N``, ``drop-oldest:N``; chosen by source
            where it is not given.
        sinks: Kinds of results; chosen by source where it is not given, none where the list is empty.
        folder: Folder of the results, relative to the file; a new one in ``runs/`` where it is not given.
        limit: Stop after so many frames.
    """

    station: Literal[1]
    bundle: Name
    sources: Annotated[list[Name | Camera], msgspec.Meta(min_length=1)]
    segment: StationSegment = StationSegment()
    policy: Name | None = None
    sinks: list[SinkKind] | None = None
    folder: Name | None = None
    limit: Count | None = None


ALLOWED = {
    "masks": ("native", "proto", "none"),
    "mode": ("latency", "throughput"),
    "sinks": get_args(SinkKind),
    "station": ("1",),
}
"""What a field may hold, for the fields with a choice."""


def read_station(path: str | os.PathLike[str]) -> Station:
    """Reads a station file.

    Args:
        path: The file.

    Returns:
        What it says.

    Raises:
        StationError: There is no such file, or it is no station file; the message names the place in the file.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise StationError(f"{path} is no file but a device or a pipe: give the path of a station file")
        if path.stat().st_size > MAX_BYTES:
            raise StationError(f"{path} has more than {MAX_BYTES} bytes: a station file is a page of YAML")
        data = path.read_bytes()
    except OSError as error:
        raise StationError(f"{path} cannot be read ({error.strerror}): give the path of a station file") from error
    return parse_station(data, str(path))


def parse_station(data: bytes, name: str) -> Station:
    """Reads the text of a station file.

    Args:
        data: The text, UTF-8.
        name: What the text is called in messages.

    Returns:
        What it says.

    Raises:
        StationError: It is no station file.
    """
    try:
        tree = yaml.load(data.decode("utf-8-sig"), Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StationError(f"{name}{line} is not the YAML of a station: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StationError(f"{name} is not the YAML of a station: {_first_line(error)}") from None
    try:
        station = msgspec.convert(tree, Station)
    except msgspec.ValidationError as error:
        raise StationError(f"{name} {_explained(str(error))}") from None
    if station.policy is not None:
        _checked(name, "policy", lambda: Policy.parse(station.policy or ""))
    if station.sinks is not None and len(set(station.sinks)) < len(station.sinks):
        raise StationError(f"{name} names a result twice at `sinks`: name each kind once")
    return station


def job_of(station: Station, place: Path, folder: Path | None = None) -> Job:
    """The run that a station file describes.

    Args:
        station: What the file says.
        place: Folder that its paths are relative to.
        folder: Folder of the results instead of the file's own.

    Returns:
        The job for a `Session`.

    Raises:
        SourceError: A source is not there.
    """
    use = station.segment
    own = None if station.folder is None else place / station.folder
    words = [str(word) for word in station.sources]
    return Job(
        bundle=place / station.bundle,
        sources=find([_located(word, place) for word in words]),
        title=words[0] if len(words) == 1 else "",
        settings=Settings(Thresholds(use.conf, use.iou, use.max_det, use.masks, use.agnostic)),
        engine=use.engine,
        mode=use.mode,
        threads=use.threads,
        imgsz=None if use.imgsz is None else size_of(use.imgsz),
        policy=Policy.parse(station.policy) if station.policy else None,
        limit=station.limit,
        sinks=station.sinks,
        folder=folder or own,
    )


def _located(word: str, place: Path) -> str:
    """A source as `find` takes it: paths relative to the file, all else as it is."""
    path = str(place / word)
    if os.path.lexists(path):  # a folder may be called 2026
        return path
    if word.isdecimal() or "://" in word or re.match(r"synthetic(:|$)", word):
        return word
    return os.path.join(glob.escape(str(place)), word) if glob.has_magic(word) else path


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors: a few of them can stand for more text than any memory holds, and no station needs them."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not read here", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """As YAML 1.2 wants it: a key may stand only once."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _explained(message: str) -> str:
    """What msgspec found, with the place in the file and the values allowed there."""
    what, _, where = message.partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    field = re.split(r"[.\[]", where)[-1] if not where.endswith("]") else re.split(r"[.\[]", where)[0]
    choice = ALLOWED.get(field)
    allowed = f"; allowed: {', '.join(choice)}" if choice else ""
    if match := re.search(r"unknown field `(.*)`", what):
        known = StationSegment.__struct_fields__ if where == "segment" else Station.__struct_fields__
        what, allowed = f"has no use for `{match[1]}`", f"; known here: {', '.join(known)}"
        return f"{what}{f' in `{where}`' if where else ''}{allowed}"
    plain = what.replace("`array`", "a list").replace("`object`", "a mapping of names to values")
    return f"is wrong{f' at `{where}`' if where else ''}: {plain[:1].lower()}{plain[1:]}{allowed}"


def _checked(name: str, field: str, check: Callable[[], object]) -> None:
    """Runs a check of a field's text; its complaint gets the place in the file."""
    try:
        check()
    except ValueError as error:
        raise StationError(f"{name} is wrong at `{field}`: {error}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
