"""A station file: what one station inspects, with what, and where its results go, as YAML.

::

    station: 1                      # version of this form
    bundle: bearing.bundle
    sources: [parts/]               # as for `lineside run`
    segment: {conf: 0.3}
    sinks: [jsonl, csv]
    folder: results

Paths are relative to the file, so that a folder with a station in it can be moved. A file with ``elements`` and ``links``
says more, see `lineside.pipelines.plan.file`.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from lineside.pipelines.link import Policy
from lineside.pipelines.plan.changes import changed
from lineside.pipelines.plan.file import StationGraph, plan_of
from lineside.pipelines.plan.text import read_text, tree_of
from lineside.pipelines.session import Job
from lineside.pipelines.settings import Settings
from lineside.pipelines.sources.find import find
from lineside.pipelines.typed import converted
from lineside.pipelines.use import Count, Use
from lineside.runtime.errors import StationError
from lineside.runtime.sizing import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SinkKind", "Station", "StationSegment", "job_of", "parse_station", "read_station"]

SinkKind = Literal["jsonl", "csv", "xlsx", "coco", "images", "video"]
"""Kinds of results that a station file may name."""

Sides = Annotated[list[Count], msgspec.Meta(min_length=2, max_length=2)]  # msgspec 0.22 dies of int | tuple with limits
Name = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\x00]*$")]
Camera = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class StationSegment(Use, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model is used; what is not given is the bundle's own value.

    Attributes:
        imgsz: Input in pixels, one number or [height, width], for a dynamic bundle.
    """

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


def read_station(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Station | StationGraph:
    """Reads a station file.

    Args:
        path: The file.
        changes: See `parse_station`.

    Returns:
        What it says.

    Raises:
        StationError: There is no such file, or it is no station file; the message names the place in the file.
    """
    return parse_station(read_text(path), str(path), Path(path).parent, changes)


def parse_station(data: bytes, name: str, folder: Path = Path(), changes: Sequence[str] = ()) -> Station | StationGraph:
    """Reads the text of a station file.

    Args:
        data: The text, UTF-8.
        name: What the text is called in messages.
        folder: What paths in it are relative to.
        changes: Options of its elements in place of its own, see `lineside.pipelines.plan.changes`.

    Returns:
        What it says.

    Raises:
        StationError: It is no station file, or cannot be changed like that.
    """
    tree = tree_of(data, name)
    if isinstance(tree, dict) and ("elements" in tree or "links" in tree):
        graph = changed(converted(tree, StationGraph, name), changes, folder)
        plan_of(graph, name, folder)  # says what is wrong with it
        return graph
    if changes:
        raise StationError(f"{name} names no elements whose options --set could change; it is for files that do")
    station = converted(tree, Station, name)
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
        settings=Settings(use.thresholds),
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


def _checked(name: str, field: str, check: Callable[[], object]) -> None:
    """Runs a check of a field's text; its complaint gets the place in the file."""
    try:
        check()
    except ValueError as error:
        raise StationError(f"{name} is wrong at `{field}`: {error}") from None
