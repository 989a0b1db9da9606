"""H.264 in fragments is there after the power went, at whichever moment and however much was lost: up to the last sync."""

from __future__ import annotations

import io
import itertools
import random
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.inspected import BEGAN
from helpers.power import Names, Op, RecordingDisk, Wreck, moments
from lineside.pipelines.sinks.boxes import fragments, whole_fragments
from lineside.pipelines.sinks.ffmpeg import find_ffmpeg
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.naming import PART
from lineside.pipelines.sinks.reels import Fragments
from lineside.pipelines.sinks.world import World

FFMPEG = find_ffmpeg()
FPS, FRAMES = 10, 220
BEHIND = 80
"""Frames that may be on their way through the encoder."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FFMPEG is None, reason="needs the program ffmpeg with an H.264 encoder"),
]


def reel(folder: Path, disk: RecordingDisk) -> Fragments:
    assert FFMPEG is not None
    clock = itertools.count()
    world = World(disk=disk, now=lambda: BEGAN + next(clock))
    made = Fragments(folder / "r.mp4", Rules(rotate_bytes=9000), FFMPEG, world)
    made.open(FPS)
    return made


def picture(number: int) -> np.ndarray:
    """Its grey value says its number; the noise, always the same, fills several blocks of a disk with each second."""
    noise = np.random.default_rng(0).integers(-20, 21, (48, 64, 3))
    return (4 * (number % 45) + 30 + noise).astype(np.uint8)


def pieces(trace: list[Op]) -> list[bytes]:
    """The fragments that were written."""
    return [op.more for op in trace if op.kind == "write" and op.more[4:8] == b"moof"]


def filmed(folder: Path, disk: RecordingDisk) -> None:
    """Makes a film; each mark says how many fragments lie on the disk itself from then on."""
    made = reel(folder, disk)
    for number in range(FRAMES):
        made.write(picture(number), 1)
        if number % 40 == 39 and number > BEHIND:
            end = time.monotonic() + 120
            while len(pieces(disk.trace)) < (number - BEHIND) // FPS:
                assert time.monotonic() < end, "the encoder stands still"
                time.sleep(0.01)
            out = len(pieces(disk.trace))
            made.sync()
            disk.mark("synced", out)
    made.finish(0)
    disk.mark("synced", len(pieces(disk.trace)))


def found(folder: Path) -> list[bytes]:
    """The fragments of all files; what has its name is whole, so that any player will do."""
    every: list[bytes] = []
    for path in folder.glob("r*.mp4*"):
        data, whole = path.read_bytes(), whole_fragments(path)
        assert path.suffix == PART or whole == len(data), path
        parts = list(fragments(io.BytesIO(data[:whole])))
        assert b"".join(piece for _, piece in parts) == data[:whole]
        assert [first for first, _ in parts] == [True, *[False] * (len(parts) - 1)] if whole else not parts
        every += [piece for first, piece in parts if not first]
    return every


def played(path: Path) -> list[int]:
    """Numbers of the frames that a player shows, from 0 to 44 and round."""
    capture, shown = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        shown.append(round((got[1].mean() - 30) / 4) % 45)
    capture.release()
    return shown


@pytest.mark.parametrize("names", ["ordered", "any"])
def test_after_a_loss_of_power_a_film_plays_up_to_the_last_sync(tmp_path: Path, names: Names) -> None:
    folder, disk, rng = tmp_path / "station", RecordingDisk(), random.Random(6)
    filmed(folder, disk)
    written = pieces(disk.trace)
    assert len(written) == len(set(written)) == FRAMES // FPS and sorted(found(folder)) == sorted(written)
    assert len(list(folder.iterdir())) > 3, "there are several segments"

    lost = 0
    for number, moment in enumerate(moments(disk.trace, rng, 80)):
        done = disk.trace[:moment]
        safe = max((op.what for op in done if op.kind == "synced"), default=0)
        place, again = tmp_path / f"wreck{number}", tmp_path / f"wreck{number}-again"
        for each in (place, again):
            each.mkdir()
        Wreck(done).build(rng, names, folder, place)
        lost += check(place, written, safe, len(pieces(done)))

        # The next start puts it in order, also where the power goes again in that.
        mending = RecordingDisk(place)
        began = len(mending.trace)
        reel(place, mending).finish(0)
        assert not list(place.rglob(f"*{PART}"))
        check(place, written, safe, len(pieces(done)))
        Wreck(mending.trace[: rng.randint(began, len(mending.trace))]).build(rng, names, place, again)
        check(again, written, safe, len(pieces(done)))
        for path in place.glob("r*.mp4"):
            shown = played(path)
            assert len(shown) == FPS * len([it for it in fragments(io.BytesIO(path.read_bytes())) if not it[0]])
            assert shown == [(shown[0] + k) % 45 for k in range(len(shown))], path
    assert lost > 10, "the wrecks are no wrecks"


def check(place: Path, written: list[bytes], safe: int, begun: int) -> bool:
    """The first fragments are there, and of the rest only what was written, each once. Gives whether some is lost."""
    have = found(place)
    assert len(have) == len(set(have)), "a fragment is there twice"
    assert set(written[:safe]) <= set(have), "a fragment is lost although it was synced"
    assert set(have) <= set(written[:begun]), "a fragment was read that nobody wrote so"
    return set(have) != set(written[:begun])
