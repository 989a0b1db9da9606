"""A disk that is really full: a small file system of its own, with every sink of a station on it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest
from pycocotools.coco import COCO

from lineside.pipelines.sinks.ffmpeg import find_ffmpeg
from lineside.pipelines.sources.replay import Replay

STATION = """
import json, os, shutil, sys
from pathlib import Path
from helpers.inspected import inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.sinks import csv, film, gallery, journal, jsonl, record, sqlite
from lineside.runtime.errors import SinkError

disk, out = Path(sys.argv[1]), Path(sys.argv[2])
lasting = {"floor": "0B", "sync": "system"}
makers = {
    "jsonl": lambda place: jsonl.make(jsonl.JsonLinesFile(path="r.jsonl", **lasting), place),
    "csv": lambda place: csv.make(csv.CsvFile(path="r.csv", **lasting), place),
    "sqlite": lambda place: sqlite.make(sqlite.Database(path="r.sqlite", **lasting), place),
    "images": lambda place: gallery.make(gallery.GalleryFolder(path="images", **lasting), place),
    "record": lambda place: record.make(record.Session(path="session", **lasting), place),
    "xlsx": lambda place: journal.xlsx(journal.Workbooks(path="r.xlsx", rotate="", **lasting), place),
    "coco": lambda place: journal.coco(journal.CocoFiles(path="r.json", rotate="", **lasting), place),
    "film": lambda place: film.make(film.FilmFile(path="f.mp4", codec="mjpeg", fps=10, **lasting), place),
}
told = []
place = Place(disk)
place.bus.listen(lambda event: told.append([event.kind, event.message]))
report = {}
for name, make in makers.items():
    sink = make(place)
    sink.open(StreamInfo("top", "camera"))
    written, refused = [], []

    def put(number):
        try:
            sink.write(inspected(number, size=(64, 64)))
            written.append(number)
        except SinkError as error:
            refused.append([number, str(error)])

    for number in range(10):
        put(number)
    room = os.statvfs(disk)
    ballast = os.open(disk / "ballast", os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(ballast, 0, (room.f_bavail - 2) * room.f_frsize)
    number = 10
    while len(refused) < 5 and number < 2000:
        put(number)
        number += 1
    os.close(ballast)
    os.unlink(disk / "ballast")
    for later in range(3000, 3010):
        put(later)
    sink.close()
    report[name] = {"written": written, "refused": refused}
    shutil.copytree(disk, out / name)
    for it in disk.iterdir():
        shutil.rmtree(it) if it.is_dir() else it.unlink()
print(json.dumps({"sinks": report, "told": told}))
"""


def on_a_small_disk(folder: Path) -> dict:
    """Runs the station on a file system of 4 MB that nobody else sees."""
    disk, out = folder / "disk", folder / "out"
    disk.mkdir()
    out.mkdir()
    mount = f"mount -t tmpfs -o size=4m tmpfs {disk}"
    own = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*own, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system in a name space of its own")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [*own, "sh", "-c", f'{mount} && exec "$0" "$@"', sys.executable, "-c", STATION, str(disk), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(find_ffmpeg() is None, reason="needs the program ffmpeg with an H.264 encoder")
def test_on_a_full_disk_frames_are_refused_and_counted_and_when_there_is_room_it_goes_on(tmp_path: Path) -> None:
    done = on_a_small_disk(tmp_path)
    out, found = tmp_path / "out", {}
    with (out / "csv" / "r.csv").open(newline="") as file:
        found["csv"] = sorted({int(row["frame"]) for row in csv.DictReader(file, strict=True)})
    found["jsonl"] = [json.loads(line)["frame"] for line in (out / "jsonl" / "r.jsonl").open()]
    with sqlite3.connect(out / "sqlite" / "r.sqlite") as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found["sqlite"] = [it for (it,) in base.execute("SELECT sequence FROM frames ORDER BY id")]
    base.close()
    found["images"] = sorted(int(it.name[-10:-4]) for it in (out / "images").rglob("*.jpg"))
    found["record"] = [round(it.pts) for it in Replay(out / "record" / "session").frames()]
    sheet = openpyxl.load_workbook(out / "xlsx" / "r.xlsx")["Detections"]
    found["xlsx"] = sorted({row[0] for row in sheet.iter_rows(min_row=2, values_only=True)})
    file = COCO(str(out / "coco" / "r.json"))
    found["coco"] = [int(it["file_name"][3:-4]) for it in file.loadImgs(file.getImgIds())]
    for name, numbers in found.items():
        sink = done["sinks"][name]
        assert len(sink["refused"]) == 5 and sink["written"][-10:] == list(range(3000, 3010)), name
        assert numbers == sink["written"], name
        assert all("free some space" in reason for _, reason in sink["refused"]), sink["refused"][0]
        assert not list((out / name).rglob("*.part")), name
    assert len(done["sinks"]["film"]["refused"]) == 5
