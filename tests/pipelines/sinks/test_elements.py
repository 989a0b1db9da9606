"""Sinks of a station as a launch string makes them: by their names, from words."""

from __future__ import annotations

import inspect
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from helpers.inspected import inspected
from lineside.pipelines.catalog import ELEMENTS, Place, make, options_of
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.runtime import _native
from lineside.runtime.errors import SinkError, StationError

WORDS = {
    "jsonl": {"path": "r.jsonl", "rotate": "1h", "sync": "each"},
    "csv": {"path": "r.csv", "rotate_size": "1MB", "keep_size": "1GB"},
    "sqlite": {"path": "r.sqlite", "masks": "true", "keep": "30d"},
    "xlsx": {"path": "r.xlsx", "bundle": "bearing"},
    "coco": {"path": "r.json"},
    "images": {"path": "pictures", "only": "found", "nth": "2", "per_minute": "10", "draw": "false"},
    "video": {"path": "f.mp4", "codec": "mjpeg", "fps": "12.5"},
    "record": {"path": "session", "compression": "3", "rotate": "10m"},
}


@pytest.mark.parametrize("name", WORDS)
def test_a_sink_made_of_words_leaves_its_results_in_the_folder_of_the_station(tmp_path: Path, name: str) -> None:
    options = options_of(name, {**WORDS[name], "floor": "0B"}, "the launch string", text=True)
    sink = make(name, options, Place(tmp_path / "station", "here"))
    assert sink.name == "here"
    sink.open(StreamInfo("top", "camera", live=True, fps=10.0))
    for number in range(3):
        sink.write(inspected(number))
    sink.close()
    left = [it for it in (tmp_path / "station").rglob("*") if it.is_file()]
    stem = WORDS[name]["path"].partition(".")[0]
    assert left and all(stem in str(it.relative_to(tmp_path / "station")) for it in left)
    assert not [it for it in left if it.suffix in (".part", ".journal")]


@pytest.mark.parametrize("name", WORDS)
def test_a_sink_that_never_began_can_be_closed(tmp_path: Path, name: str) -> None:
    sink = make(name, options_of(name, WORDS[name], "the launch string", text=True), Place(tmp_path / "station"))
    sink.close(1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WORDS)
def test_a_place_that_cannot_be_written_to_is_said_at_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    sink = make(name, options_of(name, WORDS[name], "the launch string", text=True), Place(tmp_path / "file" / "below"))
    with pytest.raises(SinkError, match="cannot write"):
        sink.open(StreamInfo("top", "camera"))
    sink.close(1)


def test_run_lengths_of_a_mask_are_computed_once_however_many_sinks_write_them(
    tmp_path: Path, looked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, computed, compute = looked(0), [], _native.spans_rle
    monkeypatch.setattr(_native, "spans_rle", lambda *spans: computed.append(compute(*spans)) or computed[-1])
    for name, more in {"jsonl": {}, "sqlite": {"masks": "true"}, "coco": {"rotate": ""}}.items():
        words = {"path": WORDS[name]["path"], "floor": "0B", **more}
        options = options_of(name, words, "the launch string", text=True)
        sink = make(name, options, Place(tmp_path, name))
        sink.open(StreamInfo("top", "camera", live=True, fps=10.0))
        sink.write(frame)
        sink.close()
    assert computed and computed == [mask.rle()["counts"] for mask in frame.detections.masks]
    (line,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    base = sqlite3.connect(tmp_path / "r.sqlite")
    in_base = [json.loads(mask) for (mask,) in base.execute("SELECT mask FROM detections")]
    base.close()
    in_coco = [it["segmentation"] for it in json.loads((tmp_path / "r.json").read_text())["annotations"]]
    assert [it["mask"] for it in line["detections"]] == in_base == in_coco
    assert [it["counts"] for it in in_coco] == computed


def took(sink: Any, frame: Frame) -> bool:
    """Whether a sink has written a frame."""
    try:
        sink.write(frame)
    except SinkError:
        return False
    return True


@pytest.mark.parametrize("name", WORDS)
def test_when_somebody_removes_the_folder_the_sink_says_so_and_goes_on(tmp_path: Path, name: str) -> None:
    """What is written to a removed file would be counted as written, and be nowhere."""
    bus, kinds = Bus(), list[str]()
    bus.listen(lambda event: kinds.append(event.kind))
    folder = tmp_path / "station"
    words = {**WORDS[name], "floor": "0B"} | ({"nth": "1"} if name == "images" else {})
    sink = make(name, options_of(name, words, "the launch string", text=True), Place(folder, "", bus))
    sink.open(StreamInfo("top", "camera", fps=10.0))
    for number in range(3):
        sink.write(inspected(number))
    shutil.rmtree(folder)
    refused = sum(not took(sink, inspected(number)) for number in range(3, 9))
    sink.close()
    assert refused <= 1 and (refused or {"file gone", "sync failed"} & set(kinds)), "nobody was told"
    left = [it for it in folder.rglob("*") if it.is_file() and it.stat().st_size]
    assert left and not [it for it in left if it.suffix in (".part", ".journal")]
    if name in ("jsonl", "csv"):
        assert f"a,b{8}.png" in left[0].read_text()


@pytest.mark.parametrize("name", WORDS)
def test_every_option_is_described(name: str) -> None:
    module, _, struct = ELEMENTS[name].options.partition(":")
    kind = type(options_of(name, {}, "nothing"))
    assert (module, struct) == (kind.__module__, kind.__name__)
    said = "".join(inspect.getdoc(it) or "" for it in kind.__mro__)
    assert [field for field in kind.__struct_fields__ if f"{field}:" not in said] == []


def test_what_a_sink_cannot_be_told_is_refused_with_the_reason() -> None:
    with pytest.raises(StationError, match="launch string.*sync=often"):
        options_of("jsonl", {"sync": "often"}, "the launch string", text=True)
    with pytest.raises(StationError, match="only.*allowed: all, found"):
        options_of("images", {"only": "some"}, "the launch string", text=True)
    with pytest.raises(StationError, match="rotate_size"):
        options_of("jsonl", {"size": "1MB"}, "the launch string", text=True)
