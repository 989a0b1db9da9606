"""Places that cannot take the results: full, read-only, taken by another run, or under a name that nobody expects."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest

import lineside
from helpers.elements import Counting, Work
from helpers.media import picture, pictures, video
from helpers.running import ALL, ended, frames_of, records, run, small_disk, sound, words
from helpers.tiny_bundle import tiny_bundle
from lineside.export.staging import staged
from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.names import printable
from lineside.pipelines.segment import Segment
from lineside.pipelines.sinks import FILES, make_sink
from lineside.pipelines.sources.memory import Memory
from lineside.runtime.bundle import open_bundle
from lineside.runtime.errors import SinkError

COUNT = 40
PAGE = 4096


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "parts"
    pictures(folder, [(120, 160)] * COUNT)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk on which 16 kB are free: less than any kind of result of forty pictures takes."""
    with small_disk(tmp_path / "disk", 256 * PAGE, 4 * PAGE) as place:
        yield place


# ----------------------------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("name", FILES)
def test_a_disk_that_runs_full(bundle: Path, parts: Path, disk: Path, name: str) -> None:
    done = run(bundle, parts, "--out", "out", f"--save-{name}", cwd=disk)
    assert done.code == 1 and done.counts["inspected"] == COUNT
    assert len(done.errors) <= 2 and all("--out" in line or ".part" in line for line in done.errors), done.errors
    assert any("No space left on device" in line or "does not hold" in line for line in done.errors), done.errors
    out = disk / "out"
    assert not (out / FILES[name]).exists() and done.summary["files"] == {}
    assert list(done.summary["incomplete"]) == [name]
    left = done.summary["incomplete"][name]
    assert (disk / left).exists() if left else not list(out.iterdir())
    written = done.counts["sinks"][name]
    for frames in sound(out).values():
        assert len(set(frames)) <= written["written"] < COUNT
    if name in ("jsonl", "images"):
        assert sum(len(frames) for frames in sound(out).values()) == written["written"] > 0


def test_coco_whose_parts_cannot_be_joined_keeps_them(bundle: Path, tmp_path: Path) -> None:
    model = lineside.load(bundle)
    sink = make_sink("coco", tmp_path / "disk" / "out")
    with small_disk(tmp_path / "disk", 64 * PAGE, 60 * PAGE) as disk:
        sink.open(StreamInfo("test", "memory"))
        part = disk / "out" / "coco.json.part"
        number = -1
        while number < 120 or part.stat().st_size % PAGE > PAGE - 500:  # The first lines of the end will find a place.
            number += 1
            frame = Frame(picture((60, 60)), name="a" * 60)
            assert frame.pixels is not None
            frame.sequence, frame.detections = number, model(frame.pixels, masks="none", max_det=1)
            sink.write(frame)
        with pytest.raises(OSError, match="No space left"), (disk / "more").open("wb", buffering=0) as rest:
            while True:
                rest.write(bytes(PAGE))
        with pytest.raises(SinkError, match="No space left"):
            sink.close()
        notes, images = ((disk / "out" / f"coco.json{end}.part").read_text() for end in ("", ".images"))
        assert len(json.loads(notes + "]}")["annotations"]) == len(json.loads(f"[{images}]")) == number + 1
        assert "categories" not in notes and not (disk / "out" / "coco.json").exists()


@pytest.mark.parametrize("words", [["line", "new.mp4"], ["bearing", "new", "--train", "4", "--val", "2"]])
def test_drawing_onto_a_full_disk_leaves_nothing(cli, disk: Path, words: list[str]) -> None:
    done = cli("synth", *words, "--no-photos", *(["--seconds", "1"] if "line" in words else []), cwd=disk)
    error = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "No space left on device" in error and "Traceback" not in done.stderr
    assert [it.name for it in disk.iterdir()] == ["ballast"]


def test_a_bundle_onto_a_full_disk_leaves_nothing(bundle: Path, disk: Path) -> None:
    with pytest.raises(SinkError, match=r"No space left on device\): free some space"), staged(disk / "new") as scratch:
        (scratch / "model.onnx").write_bytes(bytes(100_000))
    assert [it.name for it in disk.iterdir()] == ["ballast"]


class Gated:
    """Another source, with a function called before each frame."""

    def __init__(self, source: Source, gate: Callable[[int], None]) -> None:
        self.open, self.stop, self.close = source.open, source.stop, source.close
        self._source, self._gate = source, gate

    def frames(self) -> Iterator[Frame]:
        for number, frame in enumerate(self._source.frames()):
            self._gate(number)
            yield frame


@pytest.mark.parametrize("name", ["jsonl", "csv", "coco", "images"])
def test_records_go_on_when_there_is_space_again(bundle: Path, disk: Path, name: str) -> None:
    """What was refused stays missing and is counted, so the file never gets its final name."""

    refused = threading.Event()
    bus = Bus()
    bus.listen(lambda event: refused.set() if event.kind == "sink failed" else None)

    def make_space(number: int) -> None:
        if number == COUNT - 8:
            assert refused.wait(60), "the disk never ran full"
            (disk / "ballast").unlink()

    frames = Memory([picture((120, 160), k) for k in range(COUNT)], COUNT)
    source = Gated(frames, make_space)
    graph = Graph(source, Segment(lineside.load(bundle)), [make_sink(name, disk / "out")], bus=bus)
    graph.run()
    counts = graph.flow.counters.snapshot().sinks[name]
    assert counts.failed > 0 and counts.written > 8 and counts.given == COUNT
    found = sound(disk / "out")
    if name == "coco":  # Joined, so that it can be read, although it has gaps.
        part = disk / "out" / "coco.json.part"
        found = {part.name: [it["id"] for it in json.loads(part.read_text())["images"]]}
    ((file, numbers),) = found.items()
    assert file == f"{FILES[name]}.part"
    assert len(set(numbers)) == counts.written and numbers[-1] == COUNT - 1


# ----------------------------------------------------------------------------------------------------------- read-only


def test_targets_that_cannot_be_written_to(bundle: Path, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with small_disk(tmp_path / "disk", 64 * PAGE, 32 * PAGE) as disk:
        (disk / "there").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for out in ("disk/new", "disk/there", "file", "file/below"):
            done = run(bundle, parts, "--out", out, *ALL, cwd=tmp_path)
            assert done.code == 2 and len(done.errors) == 1, done.errors
            assert done.errors[0].startswith("error: cannot write to") and "--out" in done.errors[0]
        default = run(bundle, parts, cwd=disk)
        assert default.code == 2 and "cannot make a folder in runs" in default.errors[0]
        assert not list((disk / "there").iterdir())
    assert (tmp_path / "file").read_text() == "mine"


def test_results_in_the_bundle_itself_would_damage_it(bundle: Path, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    for out in (bundle, bundle / "engines" / "new", tmp_path / "link" / "x"):
        done = run(bundle, parts, "--out", out, "--save-jsonl", cwd=tmp_path)
        assert done.code == 2 and len(done.errors) == 1 and "lies in the bundle" in done.errors[0]
    assert open_bundle(bundle).names() == ["manifest.json", "model.onnx"]


def test_one_sink_that_cannot_be_opened_leaves_nothing_of_the_others(bundle: Path, parts: Path, tmp_path: Path) -> None:
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "xlsxwriter.py").write_text("raise ImportError('not installed')")
    done = run(bundle, parts, *ALL, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(hide)})
    assert done.code == 2 and "XlsxWriter is not installed" in done.errors[0]
    assert not list(tmp_path.glob("runs/*"))


# ----------------------------------------------------------------------------------------------------------- odd names

BYTES = [b"gbk \xc8.png", b"gbk \\udcc8.png", b"back \\\xc8.png", b"two \\\\udcc8.png"]
TEXTS = [
    "line\nbreak.png",
    "'quote\" .png",
    "-dash.png",
    "\U0001f600 smile.png",
    "a" * 251 + ".png",
    "=1+1.png",
    "+1.png",
    "@SUM(A1).png",
    " space .png",
    "tab\tand\x01control.png",
    "co:lon.png",
    "per%03dcent.png",
    "_x0041_.png",
    "comma,semi;colon.png",
]


def test_pictures_of_any_name_are_written_down_so_that_they_can_be_told_apart(bundle: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path, [(60, 60)])[0].read_bytes()
    names = sorted([*TEXTS, *map(os.fsdecode, BYTES)])
    inside = tmp_path / "parts"
    inside.mkdir()
    for name in names:
        (inside / name).write_bytes(data)
    # From inside the folder, so that names come first in their cells and words.
    done = run(bundle, "--out", "../out", *ALL, "--", *names, cwd=inside)
    assert done.code == 0 and done.errors == []
    out = tmp_path / "out"
    assert list(done.summary["files"]) == list(FILES)
    written = [line["file"] for line in records(out / "results.jsonl")]
    assert written == [printable(name) for name in names] and len(set(written)) == len(names)
    assert [name for name in written if name in TEXTS] == [name for name in names if name in TEXTS]
    shown = dict(zip(written, names, strict=True))
    assert {shown[name] for name in written if name not in TEXTS} == set(map(os.fsdecode, BYTES))
    assert [it["file_name"] for it in json.loads((out / "coco.json").read_text())["images"]] == written
    assert len(sound(out)["images"]) == len(names) == frames_of(out / "overlay.mp4")
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        cells = {row["file"] for row in csv.DictReader(file)}
    assert {cell.removeprefix("'") if cell[1:2] in "=+-@" else cell for cell in cells} == set(written)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    rows = list(openpyxl.load_workbook(out / "results.xlsx")["Detections"].iter_rows(min_row=2))
    assert {row[1].data_type for row in rows} == {"s"}
    assert {_excel(str(row[1].value)) for row in rows} == {name.replace("\x01", "") for name in written}


def _excel(text: str) -> str:
    """A cell's text as Excel shows it: openpyxl leaves the escapes of the file format as they are."""
    return text.replace("_x0001_", "").replace("_x005F_", "_")


def test_names_that_are_written_alike_do_not_exist() -> None:
    pieces = ["\\", "\\\\", "udcc8", "\udcc8", "u", "x", "ø"]
    names = {a + b + c + d for a in pieces for b in pieces for c in pieces for d in pieces}
    assert len({printable(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name", ["-odd", "co:lon", "new\nline", "per%dcent", "\udcc8", " ", "'\"", "=1", "\U0001f600", "[a-z]*?", "a" * 255]
)
def test_folders_of_any_name(bundle: Path, tmp_path: Path, name: str) -> None:
    """The name of the results, of the bundle and of the film, all at once."""
    home = tmp_path / "home"
    home.mkdir()
    there = home / name
    there.mkdir()
    tiny_bundle(there / "b.bundle")
    video(tmp_path / "v.mp4", frames=6)
    os.rename(tmp_path / "v.mp4", home / f"{name[:200]}.mp4")
    done = run(
        f"./{name}/b.bundle", f"--out={name}/out", *ALL, "--", f"{name[:200]}.mp4", cwd=home, env=_plain_terminal()
    )
    assert done.code == 0 and done.errors == [], done.errors
    found = sound(there / "out")
    assert set(found) == set(FILES.values()) and len(found["overlay.mp4"]) == len(found["results.jsonl"]) == 6
    assert all(value.isprintable() or "\n" in value for value in done.summary["files"].values())
    facts = dict(openpyxl.load_workbook(there / "out" / "results.xlsx")["Summary"].values)
    assert facts["Bundle"] == printable(f"{name}/b.bundle")


def _plain_terminal() -> dict[str, str]:
    """An environment whose output knows only ASCII."""
    return {**os.environ, "PYTHONIOENCODING": "ascii"}


def test_a_table_on_a_terminal_that_knows_only_ascii(cli, bundle: Path, tmp_path: Path) -> None:
    name = "\U0001f600\udcc8"
    pictures(tmp_path / "parts", [(60, 60)])
    os.rename(tmp_path / "parts", tmp_path / name)
    done = cli("run", bundle, name, "--out", f"{name}/out", cwd=tmp_path, env_add={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == ""
    assert "\\udcc8/out" in done.stdout


def test_the_model_in_opencvs_own_video_of_any_name(bundle: Path, tmp_path: Path) -> None:
    """Where there is no ffmpeg, OpenCV writes, into the same kinds of names."""
    video(tmp_path / "v.mp4", frames=6)
    out = "co:lon \udcc8"
    done = run(bundle, "v.mp4", "--out", out, "--save-video", cwd=tmp_path, env={**os.environ, "PATH": ""})
    assert done.code == 0 and done.errors == []
    assert os.listdir(os.fsencode(tmp_path / out)) == [b"overlay.mp4"]


# ------------------------------------------------------------------------------------------------ two runs, one folder


def held_up(tmp_path: Path) -> Path:
    """A program ``ffmpeg`` that takes nothing until the file ``go`` is there: a run that writes a video waits for it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-encoders*) echo " V....D libx264 "; exit 0;; esac\n'
        f"read -r line < {tmp_path}/go\n"
        "exit 1\n"
    )
    program.chmod(0o755)
    os.mkfifo(tmp_path / "go")
    return folder


def test_two_runs_cannot_share_a_folder(bundle: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    (tmp_path / "parts").mkdir()
    for k in range(20):
        cv2.imwrite(str(tmp_path / "parts" / f"{k:02d}.png"), noise)
    path = f"{held_up(tmp_path)}:{os.environ['PATH']}"
    saves = ["--out", "out", "--save-jsonl", "--save-video"]
    first = subprocess.Popen(
        words(bundle, "parts", *saves),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": path},
    )
    with first, (tmp_path / "go").open("w") as go:  # Opens when the first run's ffmpeg reads: it is in the middle.
        before = (tmp_path / "out" / "results.jsonl.part").stat().st_ino
        second = run(bundle, "parts", "--out", "out", "--save-jsonl", "--save-csv", cwd=tmp_path)
        third = run(bundle, "parts", "--out", "out", "--save-csv", cwd=tmp_path)
        go.write("go\n")
        go.flush()
        out, errors = first.communicate(timeout=120)
    for other in (second, third):
        assert other.code == 2 and len(other.errors) == 1
        assert (
            other.errors[0].startswith("error: another run writes to out at this moment") and "--out" in other.errors[0]
        )
    done = ended(first.returncode, out, errors)  # Its own ffmpeg failed, which is another matter.
    assert done.counts["inspected"] == 20 and sound(tmp_path / "out")["results.jsonl"] == list(range(20))
    assert (tmp_path / "out" / "results.jsonl").stat().st_ino == before
    assert not (tmp_path / "out" / "results.csv").exists()


def test_a_folder_that_was_released_can_be_used(bundle: Path, parts: Path, tmp_path: Path) -> None:
    assert run(bundle, parts, "--out", "out", "--save-jsonl", cwd=tmp_path).code == 0
    again = run(bundle, parts, "--out", "out", "--save-jsonl", cwd=tmp_path)
    assert again.code == 2 and "already holds results.jsonl" in again.errors[0]
    assert run(bundle, parts, "--out", "out", "--save-csv", cwd=tmp_path).code == 0
    assert set(sound(tmp_path / "out")) == {"results.jsonl", "results.csv"}


def test_a_run_that_never_begins_moves_nothing(bundle: Path, parts: Path, tmp_path: Path) -> None:
    """What another run has left behind is put aside by one that writes, not by one with a wrong word in it."""
    left = tmp_path / "out" / "results.jsonl.part"
    left.parent.mkdir()
    left.write_text("{}\n")
    for wrong in (["none.bundle", parts], [bundle, parts, "--imgsz", "96"], [bundle, parts, "--threads", "0"]):
        done = run(*wrong, "--out", "out", "--save-jsonl", cwd=tmp_path)
        assert done.code == 2 and len(done.errors) == 1
        assert [it.name for it in left.parent.iterdir()] == [left.name] and left.read_text() == "{}\n"
    assert run(bundle, parts, "--out", "out", "--save-jsonl", cwd=tmp_path).code == 0
    assert (tmp_path / "out" / "unfinished-1" / left.name).read_text() == "{}\n"


def test_a_frame_is_what_a_sink_loses(tmp_path: Path) -> None:
    """A record that is refused for another reason than the disk keeps a file from its final name as well."""

    def spoil(frame: Frame) -> None:
        if frame.sequence == 3:
            frame.name = "\udcc8"  # Nobody makes such a frame; JSON cannot hold it.

    graph = Graph(Counting(6), Work(spoil), [make_sink("jsonl", tmp_path)])
    graph.run()
    assert [line["frame"] for line in records(tmp_path / "results.jsonl.part")] == [0, 1, 2, 4, 5]
    assert not (tmp_path / "results.jsonl").exists()
