"""The sources of a station that come from files and the system's own cameras: what they are told, and who makes them."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Annotated

import msgspec

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import Source
from lineside.pipelines.sources import make_source
from lineside.pipelines.sources.find import find
from lineside.pipelines.sources.live import Live
from lineside.runtime.errors import SourceError

__all__ = ["CameraNumber", "Files", "VideoFile", "camera", "pictures", "video"]

Text = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\x00]*$")]


class Files(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pictures and videos, each inspected, without loss.

    Attributes:
        path: A file, a folder or a pattern; or several.
    """

    path: Text | list[Text]


class VideoFile(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A video file.

    Attributes:
        path: The file.
        pace: Whether its frames come at the video's own speed, as those of a camera would, or as fast as they are wanted.
    """

    path: Text
    pace: bool = False


class CameraNumber(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera of the operating system, through OpenCV.

    Attributes:
        index: Its number, from 0.
    """

    index: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


def pictures(options: Files, place: Place) -> Source:
    """Makes the source of files.

    Raises:
        SourceError: There is nothing to read.
    """
    words = [options.path] if isinstance(options.path, str) else options.path
    return make_source(find([located(word, place.folder) for word in words]), place.name)


def video(options: VideoFile, place: Place) -> Source:
    """Makes the source of one video.

    Raises:
        SourceError: There is no such file.
    """
    from lineside.pipelines.sources.paced import Playback
    from lineside.pipelines.sources.video import Video

    path = place.path(options.path)
    if not path.is_file():
        raise SourceError(f"there is no video {path}; give the path of a file")
    source = Video(str(path))
    return Playback(source) if options.pace else source


def camera(options: CameraNumber, place: Place) -> Source:
    """Makes the source of a camera."""
    from lineside.pipelines.sources.camera import Camera

    return Camera(options.index)


def located(word: str, folder: Path) -> str:
    """A path or pattern as `find` takes it, relative to a folder whose own name is no pattern."""
    path = os.path.expanduser(word)
    if os.path.isabs(path) or os.path.lexists(folder / path) or not glob.has_magic(path):
        return str(folder / path)
    return os.path.join(glob.escape(str(folder)), path)
