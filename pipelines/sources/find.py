"""From the words of a command line to what there is to read."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lineside.runtime.errors import SourceError

__all__ = ["PICTURES", "VIDEOS", "Found", "find"]

PICTURES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".pgm", ".ppm"))
VIDEOS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"))

_NETWORK = (
    '; for a network camera: lineside launch "rtsp url=ADDRESS ! segment bundle=BUNDLE ! tee name=t ! view  t. ! jsonl"'
)
_MOST_PIXELS = 200_000_000
_LAST_CAMERA = 2**31 - 1
"""Higher numbers do not fit into a C int, which OpenCV and the system take."""


@dataclass(frozen=True)
class Found:
    """One thing to read.

    Attributes:
        kind: Which source reads it.
        what: Path of the file, index of the camera, or size of the synthetic frames.
    """

    kind: Literal["picture", "video", "camera", "synthetic"]
    what: str


def find(words: Sequence[str]) -> list[Found]:
    """Looks up what each word stands for, in the order given; what a folder or pattern holds comes sorted.

    Args:
        words: Files, folders, glob patterns (``**`` goes into subfolders), camera numbers, ``synthetic`` or
            ``synthetic:WIDTHxHEIGHT``.

    Returns:
        At least one thing to read.

    Raises:
        SourceError: A word stands for nothing that can be read.
    """
    if not words:
        raise SourceError("no source given; name pictures, folders, videos or the number of a camera")
    return [found for word in words for found in _one(word)]


def _one(word: str) -> Iterable[Found]:
    path = Path(word)
    if path.is_symlink() and not path.exists():
        raise SourceError(f"{word} is a link to something that is not there")
    if path.is_dir():
        inside = _files(sorted(path.iterdir()))
        if not inside:
            raise SourceError(
                f"the folder {word} holds no picture and no video; for its subfolders write {word.rstrip('/')}/**/*.jpg"
            )
        return inside
    if path.exists():
        return [_file(path)]
    if word.isdecimal() and int(word) <= _LAST_CAMERA:
        return [Found("camera", str(int(word)))]
    if match := re.fullmatch(r"synthetic(?::([1-9][0-9]{0,4})x([1-9][0-9]{0,4}))?", word):
        if int(match[1] or 0) * int(match[2] or 0) > _MOST_PIXELS:
            raise SourceError(f"{word} has more than {_MOST_PIXELS} pixels; name a size that a camera has")
        return [Found("synthetic", f"{match[1] or 1920}x{match[2] or 1080}")]
    if "://" in word:
        scheme = word.split("://", 1)[0]
        raise SourceError(
            f"a {scheme} address is not read by this command; name files or the number of a camera"
            + (_NETWORK if scheme.lower().startswith("rtsp") else "")
        )
    if glob.has_magic(word):
        inside = _files(Path(name) for name in sorted(glob.glob(word, recursive=True)))
        if not inside:
            raise SourceError(f"the pattern {word!r} matches no picture and no video")
        return inside
    raise SourceError(f"there is no file, folder or camera {word!r}")


def _files(paths: Iterable[Path]) -> list[Found]:
    """Those of some paths that look like pictures or videos; hidden files are left out.

    What only has such a name (a folder, a pipe, a link to nothing) is among them: its reader says what it is, while
    left out it would be missed by nobody.
    """
    known = PICTURES | VIDEOS
    return [_file(path) for path in paths if path.suffix.lower() in known and not path.name.startswith(".")]


def _file(path: Path) -> Found:
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return Found("picture", str(path))
    if suffix in VIDEOS or path.is_char_device():
        return Found("video", str(path))
    raise SourceError(
        f"{path} is neither a picture nor a video by its name; "
        f"known endings: {' '.join(sorted(PICTURES))} {' '.join(sorted(VIDEOS))}"
    )
