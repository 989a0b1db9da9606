"""What is usual for a stream, and what several streams have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lineside.pipelines.elements import Fitting, SourceKind, StreamInfo, Transform
from lineside.pipelines.link import Policy
from lineside.pipelines.names import printable
from lineside.runtime.errors import BadOption, StationError

__all__ = ["common", "fitted", "inspection_policy", "limited", "usual_policy"]

_FILE_DEPTH = 4
_LIVE_DEPTH = 64


def inspection_policy(stream: StreamInfo, lanes: int) -> Policy:
    """Policy of the queue in front of a model where none is given: the newest frame of what is live, every one of files.

    Args:
        stream: The source's stream.
        lanes: Frames that the model works on at once.
    """
    return Policy("latest") if stream.live else Policy("every", max(_FILE_DEPTH, lanes))


def limited(stream: StreamInfo, limit: int | None, name: str) -> StreamInfo:
    """A stream of which no more than so many frames are taken, under a name that can be written down.

    Args:
        stream: What the source said.
        limit: Stop after so many frames.
        name: Name for a stream without one.
    """
    stream = replace(stream, name=printable(stream.name or name))
    if limit is None:
        return stream
    return replace(stream, frames=limit if stream.frames is None else min(limit, stream.frames))


def fitted(stream: StreamInfo, transforms: Sequence[Transform], source: str) -> StreamInfo:
    """What a stream is behind some transforms.

    Args:
        stream: The stream.
        transforms: Those on its way, in order.
        source: Name of its source, for messages.

    Raises:
        StationError: One of them does not fit.
    """
    for transform in transforms:
        if isinstance(transform, Fitting):
            try:
                stream = transform.fit(stream)
            except BadOption as error:
                raise StationError(f"the frames of '{source}' do not fit: {error}") from error
    return stream


def common(streams: Sequence[StreamInfo]) -> StreamInfo:
    """What can be said of several streams together."""
    streams = list({id(stream): stream for stream in streams}.values())
    if not streams:
        return StreamInfo("nothing", "mixed")
    if len(streams) == 1:
        return streams[0]
    sizes, rates = {it.size for it in streams}, {it.fps for it in streams}
    kinds: set[SourceKind] = {it.kind for it in streams}
    formats = {it.format for it in streams}
    frames = [it.frames for it in streams]
    return StreamInfo(
        ", ".join(it.name for it in streams),
        kinds.pop() if len(kinds) == 1 else "mixed",
        live=any(it.live for it in streams),
        frames=None if None in frames else sum(count or 0 for count in frames),
        size=sizes.pop() if len(sizes) == 1 else None,
        fps=rates.pop() if len(rates) == 1 else None,
        format=formats.pop() if len(formats) == 1 else None,
    )


def usual_policy(stream: StreamInfo) -> Policy:
    """Policy of a sink's queue where none is given."""
    return Policy("drop-oldest", _LIVE_DEPTH) if stream.live else Policy("every", _FILE_DEPTH)
