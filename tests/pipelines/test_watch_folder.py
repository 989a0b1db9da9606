"""Pictures as they arrive in a folder: each once, when it is whole."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.frame import Frame
from lineside.runtime.errors import SourceError


class Watching:
    """Reads the source in a thread."""

    def __init__(self, folder: Path, **values: object) -> None:
        self.source = make(
            "watch", options_of("watch", {"path": str(folder), "look": "5ms", **values}, "test"), Place()
        )
        self.stream = self.source.open()
        self.frames: queue.Queue[Frame] = queue.Queue()
        self.thread = threading.Thread(target=lambda: [self.frames.put(it) for it in self.source.frames()], daemon=True)
        self.thread.start()

    def next(self) -> Frame:
        return self.frames.get(timeout=60)

    def stop(self) -> None:
        self.source.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


def picture(value: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((20, 30, 3), value, np.uint8))[1])


def rename(folder: Path, name: str, value: int) -> None:
    (folder / f".{name}").write_bytes(picture(value))
    (folder / f".{name}").rename(folder / name)


@pytest.fixture
def watching(tmp_path: Path) -> Callable[..., Watching]:
    made: list[Watching] = []

    def start(**values: object) -> Watching:
        made.append(Watching(tmp_path / "in", settle="20ms", **values))
        return made[-1]

    yield start  # type: ignore[misc]
    for it in made:
        it.stop()


def test_each_picture_comes_once_and_whole(watching: Callable[..., Watching], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rename(tmp_path / "in", "a.png", 10)
    watch = watching()
    assert watch.stream.live is False
    assert watch.next().bgr()[0, 0, 0] == 10
    data = picture(20)
    with (tmp_path / "in" / "b.png").open("wb") as slow:  # Written in two halves, by a program that takes its time.
        slow.write(data[:40])
        slow.flush()
        rename(tmp_path / "in", "c.png", 30)
        while watch.next().name != str(tmp_path / "in" / "c.png"):
            pass  # Half a picture is a failed frame where the pause was longer than ``settle``.
        slow.write(data[40:])
    while (second := watch.next()).error is not None:
        pass
    assert second.name == str(tmp_path / "in" / "b.png") and second.bgr()[0, 0, 0] == 20
    rename(tmp_path / "in", "a.png", 40)  # The same name anew is another picture.
    assert watch.next().bgr()[0, 0, 0] == 40
    assert watch.frames.empty()


def test_a_folder_that_comes_later(watching: Callable[..., Watching], tmp_path: Path) -> None:
    watch = watching()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    rename(tmp_path / "in", "a.png", 7)
    assert watch.next().bgr()[0, 0, 0] == 7


def test_what_lies_there_already_may_be_left_alone(watching: Callable[..., Watching], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rename(tmp_path / "in", "old.png", 1)
    watch = watching(first=False)
    rename(tmp_path / "in", "new.png", 2)
    assert watch.next().bgr()[0, 0, 0] == 2 and watch.frames.empty()


def test_a_file_that_is_no_picture_is_a_failed_frame_and_the_rest_goes_on(
    watching: Callable[..., Watching], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no picture at all")
    watch = watching()
    assert "a.png" in (watch.next().error or "")
    rename(tmp_path / "in", "b.png", 5)
    assert watch.next().bgr()[0, 0, 0] == 5


@pytest.mark.parametrize(
    ("after", "left", "done"), [("move", [], ["a.png", "b.png"]), ("delete", [], []), ("keep", ["a.png", "b.png"], [])]
)
def test_what_becomes_of_pictures_that_were_read(
    after: str, left: list[str], done: list[str], watching: Callable[..., Watching], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rename(folder, "a.png", 1)
    rename(folder, "b.png", 2)
    watch = watching(after=after)
    watch.next()
    watch.next()
    watch.stop()
    assert sorted(it.name for it in folder.glob("*.png")) == left
    assert sorted(it.name for it in folder.glob("done/*")) == done


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("")
    with pytest.raises(SourceError, match="give the path of a folder"):
        Watching(tmp_path / "in")
