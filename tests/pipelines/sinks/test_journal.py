"""Workbooks and COCO files of a station: whole files, made of journals that outlive a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pycocotools.coco import COCO

from helpers.inspected import inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import STATION_COLUMNS
from lineside.pipelines.sinks import journal

STREAM = StreamInfo("top", "camera", live=True, fps=25.0)
NONE: dict[str, Any] = {"floor": "0B", "rotate": ""}


def xlsx(folder: Path, **more: Any) -> journal.Journaled:
    return journal.xlsx(journal.Workbooks(path="r.xlsx", **{**NONE, **more}), Place(folder))


def coco(folder: Path, **more: Any) -> journal.Journaled:
    return journal.coco(journal.CocoFiles(path="r.json", **{**NONE, **more}), Place(folder))


def frames_in(path: Path) -> list[int]:
    """Numbers of the frames with detections in a workbook or COCO file."""
    if path.suffix == ".json":
        return [int(it["file_name"][3:-4]) for it in COCO(str(path)).loadImgs(COCO(str(path)).getImgIds())]
    book = openpyxl.load_workbook(path)
    facts = {line[0]: line[1] for line in book["Summary"].iter_rows(values_only=True)}
    rows = list(book["Detections"].iter_rows(min_row=2, values_only=True))
    assert facts["Detections"] == len(rows) and facts["Frames inspected"] == len({row[0] for row in rows})
    assert all(len(row) == len(STATION_COLUMNS) for row in rows)
    return sorted({row[0] for row in rows})


KINDS = [pytest.param(xlsx, ".xlsx", id="xlsx"), pytest.param(coco, ".json", id="coco")]


@pytest.mark.parametrize(("make", "ending"), KINDS)
def test_each_segment_becomes_a_file(tmp_path: Path, make: Any, ending: str) -> None:
    sink = make(tmp_path, rotate_size="1kB")
    sink.open(STREAM)
    for number in range(12):
        sink.write(inspected(number))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2 and all(it.name.startswith("r-2") and it.suffix == ending for it in files)
    assert sorted(number for it in files for number in frames_in(it)) == list(range(12))


@pytest.mark.parametrize(("make", "ending"), KINDS)
def test_a_journal_that_was_left_behind_becomes_a_file(tmp_path: Path, make: Any, ending: str) -> None:
    sink = make(tmp_path)
    sink.open(STREAM)
    for number in range(5):
        sink.write(inspected(number))
    left = tmp_path / f"r{ending}.journal.part"
    data = left.read_bytes()
    sink.close()
    assert [it.name for it in tmp_path.iterdir()] == [f"r{ending}"]
    # Two that were killed: one in the middle of a record, one in the middle of making the file.
    left.write_bytes(data[:-20])
    (tmp_path / f"r{ending}-20270101T000000Z.journal").write_bytes(data)
    (tmp_path / f"r-20270101T000000Z{ending}.part").write_bytes(b"half")
    (tmp_path / f"r-20270101T000000Z{ending}.x1.part").mkdir()
    sink = make(tmp_path)
    sink.open(STREAM)
    sink.write(inspected(7))
    sink.close()
    found = {it.name: frames_in(it) for it in tmp_path.iterdir()}
    assert found.pop(f"r{ending}") == [7]
    assert found.pop(f"r-20270101T000000Z{ending}") == [0, 1, 2, 3, 4]
    assert sorted(found.values()) == [[0, 1, 2, 3], [0, 1, 2, 3, 4]], (
        "an earlier file keeps its content, and the journal"
    )


def test_what_cannot_be_made_is_told_and_the_journal_stays(tmp_path: Path) -> None:
    bus, events = Bus(), list[Event]()
    bus.listen(events.append)
    broken = tmp_path / "r.json-20270101T000000Z.journal"
    broken.write_text('{"other": 1}\n')
    sink = journal.coco(journal.CocoFiles(path="r.json", **NONE), Place(tmp_path, "", bus))
    sink.open(STREAM)
    sink.write(inspected(1))
    sink.close()
    assert [it.kind for it in events] == ["not made"] and broken.exists()
    assert frames_in(tmp_path / "r.json") == [1]


def test_a_workbook_counts_failed_frames_and_says_when(tmp_path: Path) -> None:
    sink = xlsx(tmp_path)
    sink.open(STREAM)
    sink.write(inspected(0))
    failed = Frame(None, source="top", error="cannot read it")
    failed.wall = inspected(60).wall
    sink.write(failed)
    sink.close()
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    facts = {line[0]: line[1] for line in book["Summary"].iter_rows(values_only=True)}
    assert (facts["Frames inspected"], facts["Frames failed"], facts["Source"]) == (1, 1, "top")
    assert facts["Started"].startswith("2027-01-15") and facts["Finished"] > facts["Started"]


def test_numbers_of_pictures_are_unique_although_two_cameras_count_alike(tmp_path: Path) -> None:
    sink = coco(tmp_path)
    sink.open(STREAM)
    for source in ("left", "right"):
        for number in range(3):
            frame = inspected(number)
            frame.source, frame.name = source, ""
            sink.write(frame)
    sink.close()
    found = json.loads((tmp_path / "r.json").read_text())
    assert len({it["id"] for it in found["images"]}) == 6 == len({it["file_name"] for it in found["images"]})
    assert {it["image_id"] for it in found["annotations"]} == {it["id"] for it in found["images"]}
