"""What the sinks write is read back with other people's readers."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from helpers.media import picture
from lineside.pipelines.elements import Sink, StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import COLUMNS
from lineside.pipelines.sinks import FILES, SINKS, make_sink
from lineside.pipelines.sinks.ffmpeg import find_ffmpeg
from lineside.pipelines.sinks.part import PartFile, replace_bytes
from lineside.runtime.errors import SinkError

STREAM = StreamInfo("test", "pictures", fps=25.0)
FORMULA = '=HYPERLINK("http://x","y")'


def write(name: str, folder: Path, frames: list[Frame], **options: Any) -> Path:
    """Sends frames through a sink and gives what it wrote."""
    sink = make_sink(name, folder, **options)
    sink.open(STREAM)
    for frame in frames:
        sink.write(frame)
    sink.close()
    return folder / FILES[name]


def failed(sequence: int) -> Frame:
    frame = Frame(None, name="bad.png", error="cannot read bad.png", captured=1)
    frame.sequence, frame.outcome = sequence, "failed"
    return frame


def renamed(frame: Frame, *names: str) -> Frame:
    """The same frame with other class names."""
    assert frame.detections is not None
    frame.detections = replace(frame.detections, names=names)
    return frame


def test_jsonl_has_a_line_per_frame_with_everything(tmp_path: Path, looked) -> None:
    frames = [looked(0, name="a/b.png"), failed(1), looked(2, seed=2, masks="none"), looked(3, size=(64, 64))]
    clock = frames[0].clock
    clock["wait"], clock["infer"] = clock["preprocess"] + 2_000_000, clock["preprocess"] + 5_000_000
    path = write("jsonl", tmp_path, frames)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    first, bad, bare, _ = lines
    assert first["file"] == "a/b.png" and first["size"] == [120, 160] and first["outcome"] == "inspected"
    assert bad["error"] == "cannot read bad.png" and "detections" not in bad
    found = frames[0].detections
    assert found is not None and len(first["detections"]) == len(found)
    for i, item in enumerate(first["detections"]):
        np.testing.assert_allclose(item["box"], found.boxes[i], atol=0.005)
        assert item["score"] == pytest.approx(float(found.scores[i]), abs=5e-5)
        assert item["name"] == found.names[found.classes[i]]
        np.testing.assert_array_equal(coco_mask.decode(item["mask"]).astype(bool), found.masks[i].to_array())
        assert item["area"] == found.masks[i].area
    assert all("mask" not in item for item in bare["detections"])
    assert set(first["ms"]) >= {"read", "queue", "preprocess", "infer", "postprocess", "age"}
    assert (first["ms"]["wait"], first["ms"]["infer"]) == (2, 3), "as in the table at the end of a run"


def test_csv_has_a_row_per_detection(tmp_path: Path, looked) -> None:
    frames = [looked(0, name="a.png"), looked(7, seed=3, masks="none")]
    path = write("csv", tmp_path, [renamed(frames[0], 'cap, "left"', "Ølprøve"), frames[1]])
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == sum(len(frame.detections) for frame in frames)
    assert {row["name"] for row in table if row["frame"] == "0"} <= {'cap, "left"', "Ølprøve"}
    one = frames[0].detections
    np.testing.assert_allclose([float(table[0][side]) for side in ("x0", "y0", "x1", "y1")], one.boxes[0], atol=0.005)
    assert int(table[0]["mask_area"]) == one.masks[0].area and table[-1]["mask_area"] == ""


@pytest.mark.parametrize("name", [FORMULA, "+1", "-1", "@SUM(A1)"])
def test_no_cell_is_a_formula(tmp_path: Path, looked, name: str) -> None:
    frame = renamed(looked(0, name=f"{name}.png"), name, name)
    with write("csv", tmp_path, [frame]).open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    sheet = openpyxl.load_workbook(write("xlsx", tmp_path, [frame], bundle=name))["Detections"]
    cell = sheet.cell(2, COLUMNS.index("name") + 1)
    assert (cell.data_type, cell.value, cell.quotePrefix) == ("s", name, True)
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)


def test_xlsx_has_numbers_and_a_summary(tmp_path: Path, looked) -> None:
    frames = [looked(0, name="a.png"), failed(1), looked(2, seed=4)]
    path = write("xlsx", tmp_path, frames, bundle="bearing.bundle")
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Summary", "Detections"]
    sheet = book["Detections"]
    total = sum(len(frame.detections) for frame in frames if frame.detections is not None)
    assert sheet.max_row == 1 + total
    row = dict(zip(COLUMNS, (cell.value for cell in sheet[2]), strict=True))
    assert row["frame"] == 0 and row["file"] == "a.png" and isinstance(row["score"], float)
    assert row["x1"] == pytest.approx(float(frames[0].detections.boxes[0][2]), abs=0.005)
    facts = {line[0]: line[1] for line in book["Summary"].iter_rows(values_only=True)}
    assert facts["Bundle"] == "bearing.bundle" and facts["Frames inspected"] == 2 and facts["Frames failed"] == 1
    assert facts["Detections"] == total
    assert not list(tmp_path.glob("*.part")) and [it.name for it in tmp_path.iterdir()] == ["results.xlsx"]


def test_a_full_sheet_is_followed_by_another(tmp_path: Path, looked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineside.pipelines.sinks.xlsx._LAST_ROW", 4)
    frames = [looked(k, seed=k) for k in range(3)]
    total = sum(len(frame.detections) for frame in frames)
    book = openpyxl.load_workbook(write("xlsx", tmp_path, frames))
    sheets = [name for name in book.sheetnames if name.startswith("Detections")]
    assert len(sheets) == -(-total // 3) > 1
    assert sum(book[name].max_row - 1 for name in sheets) == total


@pytest.mark.parametrize("masks", ["native", "none"])
def test_coco_opens_in_pycocotools(tmp_path: Path, looked, masks: str) -> None:
    frames = [looked(0, name="a.png", masks=masks), looked(3, seed=3, size=(90, 200), masks=masks)]
    coco = COCO(str(write("coco", tmp_path, frames)))
    assert coco.getImgIds() == [0, 3] and coco.loadImgs(3)[0]["width"] == 200
    assert coco.loadImgs(0)[0]["file_name"] == "a.png"
    assert {it["name"] for it in coco.loadCats(coco.getCatIds())} == {"part0", "part1"}
    notes = coco.loadAnns(coco.getAnnIds())
    assert len({it["id"] for it in notes}) == len(notes) == sum(len(frame.detections) for frame in frames)
    again = coco.loadRes([dict(it) for it in notes])
    assert len(again.getAnnIds()) == len(notes)
    if masks == "native":
        np.testing.assert_array_equal(coco.annToMask(notes[0]).astype(bool), frames[0].detections.masks[0].to_array())


def test_files_of_a_run_without_frames_are_whole(tmp_path: Path) -> None:
    assert write("jsonl", tmp_path, []).read_bytes() == b""
    assert write("csv", tmp_path, []).read_text().strip() == ",".join(COLUMNS)
    assert json.loads(write("coco", tmp_path, []).read_text())["images"] == []
    assert openpyxl.load_workbook(write("xlsx", tmp_path, []))["Detections"].max_row == 1
    assert not write("video", tmp_path, []).exists()


def test_images_are_named_after_frame_and_file(tmp_path: Path, looked) -> None:
    folder = write("images", tmp_path, [looked(0, name="x/left.png"), looked(12, size=(50, 70))])
    assert sorted(path.name for path in folder.iterdir()) == ["000000_left.jpg", "000012.jpg"]
    drawn = cv2.imread(str(folder / "000012.jpg"))
    assert drawn.shape == (50, 70, 3)
    assert np.abs(drawn.astype(int) - picture((50, 70))).max() > 60, "something was drawn"


def encoders() -> list[Any]:
    missing = pytest.mark.skipif(find_ffmpeg() is None, reason="needs the program ffmpeg with an H.264 encoder")
    return [pytest.param("ffmpeg", marks=missing), "opencv"]


@pytest.mark.parametrize("encoder", encoders())
@pytest.mark.parametrize("size", [(120, 160), (75, 101)])
def test_a_video_of_the_overlays(tmp_path: Path, looked, monkeypatch: pytest.MonkeyPatch, encoder: str, size) -> None:
    if encoder == "opencv":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    sizes = [size] * 6 + [(200, 120)] * 2
    path = write("video", tmp_path, [looked(k, seed=k, size=it) for k, it in enumerate(sizes)])
    capture = cv2.VideoCapture(str(path))
    shapes = []
    while (got := capture.read())[0]:
        shapes.append(got[1].shape[:2])
    assert len(shapes) == 8
    assert all(side - side % 2 <= shape <= side + side % 2 for side, shape in zip(size, shapes[0], strict=True))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    codec = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    assert codec.lower() in (("avc1", "h264") if encoder == "ffmpeg" else ("mp4v", "fmp4"))
    assert [it.name for it in tmp_path.iterdir()] == ["overlay.mp4"]


def test_an_encoder_that_dies_is_an_error(tmp_path: Path, looked, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tmp_path / "ffmpeg"
    lists = 'case "$*" in *-encoders*) echo " V....D libx264 "; exit 0;; esac\n'
    encoder.write_text(f"#!/bin/sh\n{lists}echo 'No space left on device' >&2\nexit 1\n")
    encoder.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sink = make_sink("video", tmp_path)
    sink.open(STREAM)
    with pytest.raises(SinkError, match="No space left"):
        for k in range(50):
            sink.write(looked(k))
        sink.close()
    assert not (tmp_path / "overlay.mp4").exists()


@pytest.mark.parametrize("name", SINKS)
def test_a_place_that_cannot_be_written_to(tmp_path: Path, looked, name: str) -> None:
    (tmp_path / "file").touch()
    sink = make_sink(name, tmp_path / "file" / "below")
    with pytest.raises(SinkError, match="--out"):
        sink.open(STREAM)


def test_a_read_only_folder_is_said_before_the_first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # Root may write anywhere but to a read-only disk.
    with pytest.raises(SinkError, match="read-only"):
        make_sink("video", tmp_path).open(STREAM)


def test_a_record_that_was_refused_leaves_no_trace_in_coco(
    tmp_path: Path, looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: PartFile, data: bytes) -> None:
        raise SinkError("no space left")

    sink = make_sink("coco", tmp_path)
    sink.open(STREAM)
    with monkeypatch.context() as full, pytest.raises(SinkError):
        full.setattr(PartFile, "write", refuse)
        sink.write(looked(0))
    second = looked(1)
    sink.write(second)
    sink.close()
    written = json.loads((tmp_path / "coco.json").read_text())
    assert [it["id"] for it in written["annotations"]] == list(range(1, len(second.detections) + 1))
    assert [it["id"] for it in written["images"]] == [1]


def test_what_cannot_be_finished_leaves_no_scraps(tmp_path: Path, looked) -> None:
    (tmp_path / "x" / "inside").mkdir(parents=True)
    with pytest.raises(SinkError):
        replace_bytes(tmp_path / "x", b"a file cannot replace a folder that holds something")
    assert [it.name for it in tmp_path.iterdir()] == ["x"]
    (tmp_path / "book" / "results.xlsx.part").mkdir(parents=True)
    with pytest.raises(SinkError, match=r"results\.xlsx"):
        write("xlsx", tmp_path / "book", [looked(0)])
    assert [it.name for it in (tmp_path / "book").iterdir()] == ["results.xlsx.part"]


def test_a_video_on_a_full_disk_does_not_get_its_name(tmp_path: Path) -> None:
    code = """
import resource, shutil, signal, sys
from pathlib import Path
import numpy as np
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.sinks import make_sink
from lineside.runtime.errors import SinkError
shutil.which = lambda name: None
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
sink = make_sink("video", Path(sys.argv[1]))
sink.open(StreamInfo("test", "memory", fps=25.0))
noise = np.random.default_rng(0)
for k in range(30):
    sink.write(Frame(noise.integers(0, 256, (96, 160, 3), np.uint8)))
try:
    sink.close()
except SinkError as error:
    print(error)
"""
    for state in ("free", "full"):
        path = tmp_path / state / "overlay.mp4"
        command = [sys.executable, "-c", code, str(path.parent), state]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert path.exists() == (state == "free")
        assert ("does not hold the 30 frames" in done.stdout) == (state == "full")


def test_half_a_record_is_taken_back_when_the_disk_is_full(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from lineside.pipelines.sinks.part import PartFile
from lineside.runtime.errors import SinkError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # The file system refuses to let a file grow beyond this.
file = PartFile(Path(sys.argv[1]))
refused = 0
for k in range(20):
    try:
        file.write(b"%090d\\n" % k)
    except SinkError:
        refused += 1
file.commit()
print(refused)
"""
    path = tmp_path / "r.jsonl"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    lines = path.read_bytes().splitlines()
    assert [int(line) for line in lines] == list(range(10)) and int(done.stdout) == 10


def test_a_file_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.csv"
    file = PartFile(path)
    file.write(b"one\n")
    assert not path.exists() and path.with_name("r.csv.part").read_bytes() == b"one\n"
    file.commit()
    assert path.read_bytes() == b"one\n" and len(list(path.parent.iterdir())) == 1


KILLED = """
import sys
from pathlib import Path
import numpy as np
import lineside
from helpers.media import picture
from lineside.pipelines.frame import DECIDED, TAKEN, Frame
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.sinks import make_sink

model = lineside.load(sys.argv[1])
sinks = [make_sink(name, Path(sys.argv[2])) for name in ("jsonl", "csv")]
for sink in sinks:
    sink.open(StreamInfo("test", "memory"))
number = 0
while True:
    frame = Frame(picture((120, 160), number % 5), captured=1)
    frame.sequence = number
    frame.stamp(TAKEN)
    frame.detections = model(frame.pixels)
    frame.stamp(DECIDED)
    for sink in sinks:
        sink.write(frame)
    print(number, flush=True)
    number += 1
"""


def test_what_was_written_is_readable_after_a_kill(tmp_path: Path, bundle: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", KILLED, str(bundle), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 40:
                break
        process.send_signal(signal.SIGKILL)
    lines = (tmp_path / "results.jsonl.part").read_text().splitlines()
    frames = [json.loads(line)["frame"] for line in lines]
    assert len(frames) > 40 and frames == list(range(len(frames)))
    with (tmp_path / "results.csv.part").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert max(int(row["frame"]) for row in rows) >= 40
    assert all(None not in row.values() and len(row) == len(COLUMNS) for row in rows)
    assert not (tmp_path / "results.jsonl").exists()


def test_the_table_of_sinks_is_complete(tmp_path: Path) -> None:
    assert set(SINKS) == set(FILES)
    for name in SINKS:
        sink: Sink = make_sink(name, tmp_path)
        assert sink.name == name
