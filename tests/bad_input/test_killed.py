"""Runs that are ended from outside, at any moment: what is there is whole or clearly unfinished, and the next one works."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import openpyxl
import pytest

from helpers.media import pictures, video
from helpers.running import ALL, Ended, ended, records, run, small_disk, sound, words
from helpers.viewing import station
from lineside.cli.endings import tidy_endings
from lineside.cli.progress import progress
from lineside.export.staging import staged
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.session import Job, Session
from lineside.pipelines.sinks import FILES
from lineside.pipelines.sinks.jsonl import JsonLines
from lineside.pipelines.sources.find import find

COUNT = 12
HOOK = """
import os, signal, sys
event, name = os.environ["KILL_AT"].split(":", 1)
def kill(happens, args):
    if happens == event and any(isinstance(it, (str, os.PathLike)) and os.fspath(it).endswith(name) for it in args[:2]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "parts"
    pictures(folder, [(120, 160)] * COUNT)
    return folder


def killed_when(event: str, name: str, command: Sequence[str], cwd: Path) -> None:
    """Runs a command and kills it right before the first event of a kind on a file.

    Args:
        event: One of Python's audit events.
        name: How the file's name ends.
        command: A command that runs Python.
        cwd: Where.
    """
    hook = Path(tempfile.mkdtemp(dir=cwd.parent))
    (hook / "sitecustomize.py").write_text(HOOK)
    environment = {**os.environ, "PYTHONPATH": str(hook), "KILL_AT": f"{event}:{name}"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr


def killed_at(path: Path, calls: str, when: int, command: Sequence[str], cwd: Path) -> int:
    """Runs a command and kills it right before its ``when``-th system call of a kind on a file; waits for all of it."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace, to kill at a moment of our choice")
    trace = ["-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-P", str(path)]
    inject = ["-e", f"inject={calls}:signal=KILL:when={when}"]
    done = subprocess.run([strace, *trace, *inject, "--", *command], cwd=cwd, capture_output=True, check=False)
    if b"ptrace" in done.stderr.lower() or b"not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    return done.returncode


# -------------------------------------------------------------------------------------------------------- kill -9


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("results.jsonl.part", 8),
        ("results.csv.part", 6),
        ("coco.json.part", 5),
        ("coco.json.part", COUNT + 3),  # while it is joined
        ("results.xlsx.part", 5),
    ],
)
def test_a_kill_while_a_file_is_written(bundle: Path, parts: Path, tmp_path: Path, name: str, when: int) -> None:
    out = tmp_path / "out"
    command = words(bundle, parts, "--out", "out", *ALL)
    assert killed_at(out / name, "write", when, command, tmp_path) in (-9, 137), "the run was killed in the middle"
    if name == "results.jsonl.part":
        assert sound(out)[name] == list(range(when - 1)), "what was written before it is all there"
    after_a_kill(bundle, parts, tmp_path, out / name.removesuffix(".part"))


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("open", "results.csv.part"),
        ("os.rename", "_part7.jpg"),
        ("os.rename", "/results.jsonl"),
        ("os.rename", "/coco.json"),
        ("os.remove", "/coco.json.images.part"),
        ("os.rename", "/results.xlsx"),
        ("os.rename", "/images"),
        ("os.rename", "/overlay.mp4"),
    ],
)
def test_a_kill_between_the_files(bundle: Path, parts: Path, tmp_path: Path, event: str, name: str) -> None:
    out = tmp_path / "out"
    killed_when(event, name, words(bundle, parts, "--out", "out", *ALL), tmp_path)
    after_a_kill(bundle, parts, tmp_path, None if event == "os.remove" else out / name.removesuffix(".part").strip("/"))


def after_a_kill(bundle: Path, parts: Path, tmp_path: Path, unnamed: Path | None) -> None:
    """What must hold after a kill: files with their names are complete, and the next run works or says why not."""
    out = tmp_path / "out"
    assert unnamed is None or not unnamed.exists()
    done = []
    for file, numbers in sound(out).items():
        distinct = sorted(set(numbers))
        if file.endswith(".part"):
            assert set(distinct) <= set(range(COUNT))
        else:
            done.append(file)
            assert distinct == list(range(COUNT)), f"{file} has its name and is not complete"
    again = run(bundle, parts, "--out", "out", *ALL, cwd=tmp_path)
    if done:  # What is complete is never touched.
        assert again.code == 2 and len(again.errors) == 1 and all(file in again.errors[0] for file in done)
        return
    assert again.code == 0 and sorted(again.summary["files"]) == sorted(FILES)
    assert again.errors == ["out holds the start of a run that was cut off; it is now in out/unfinished-1"]
    assert set(sound(out)) == set(FILES.values())
    assert list((out / "unfinished-1").iterdir())


def test_an_encoder_that_is_killed_costs_its_video_only(bundle: Path, parts: Path, tmp_path: Path) -> None:
    command = words(bundle, parts, "--out", "out", *ALL)
    strace = shutil.which("strace")
    if strace is None or shutil.which("ffmpeg") is None:
        pytest.skip("needs strace and ffmpeg")
    part = tmp_path / "out" / "overlay.mp4.part"
    trace = ["-f", "-qq", "-o", os.devnull, "-e", "trace=write", "-P", str(part)]
    inject = ["-e", "inject=write:signal=KILL:when=1"]  # By ffmpeg: nobody else writes to it.
    done = subprocess.run([strace, *trace, *inject, "--", *command], cwd=tmp_path, capture_output=True, text=True)
    result = ended(done.returncode, done.stdout, done.stderr)
    (error,) = (line for line in result.errors if not line.startswith("inspecting: "))  # as a slow run says
    assert result.code == 1 and "cannot write the video" in error
    assert list(result.summary["incomplete"]) == ["video"] and not (tmp_path / "out" / "overlay.mp4").exists()
    found = sound(tmp_path / "out")
    assert all(sorted(set(found[FILES[name]])) == list(range(COUNT)) for name in FILES if name != "video")


# ------------------------------------------------------------------------------------------------- polite signals


@contextlib.contextmanager
def started(bundle: Path, tmp_path: Path, *more: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A run over a film that takes long, of which 40 frames are through."""
    video(tmp_path / "line.mp4", frames=60)
    command = words(bundle, *["line.mp4"] * 500, "--out", "out", *more)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:  # type: ignore[call-overload]
        try:
            reached(process, tmp_path / "out" / "results.jsonl.part", 40)
            yield process
        finally:
            process.kill()


def reached(process: subprocess.Popen[str], part: Path, count: int) -> None:
    """Returns when so many records are written."""
    while not (part.exists() and part.read_bytes().count(b"\n") > count):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
        assert process.poll() is None, "the run ended before its time"


def complete(result: Ended, tmp_path: Path, stop: str) -> None:
    """Checks that everything inspected until a signal is in every file."""
    assert result.code == 1 and result.summary["stopped"] == stop and result.summary["incomplete"] == {}
    found = sound(tmp_path / "out")
    assert set(found) == set(FILES.values())
    everything = list(range(result.counts["inspected"]))
    lines = records(tmp_path / "out" / "results.jsonl")
    seen = [line["frame"] for line in lines if line["detections"]]
    assert len(everything) > 40 and len(seen) > 20
    for file, numbers in found.items():
        assert sorted(set(numbers)) == (seen if file in ("results.csv", "results.xlsx") else everything), file


def test_a_terminal_that_goes_away_is_a_clean_stop(bundle: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    printed = tmp_path / "printed"

    def own_terminal() -> None:
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)

    with printed.open("w") as out:
        options = {"stdout": out, "stderr": slave, "start_new_session": True, "preexec_fn": own_terminal}
        with started(bundle, tmp_path, *ALL, **options) as process:
            os.close(slave)
            os.close(master)  # The window is closed.
            code = process.wait(300)
    complete(ended(code, printed.read_text(), ""), tmp_path, "SIGHUP")


def test_a_hangup_that_is_ignored_ends_nothing(bundle: Path, tmp_path: Path) -> None:
    def like_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with started(bundle, tmp_path, *ALL, preexec_fn=like_nohup) as process:
        process.send_signal(signal.SIGHUP)
        so_far = (tmp_path / "out" / "results.jsonl.part").read_bytes().count(b"\n")
        reached(process, tmp_path / "out" / "results.jsonl.part", so_far + 20)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
    complete(ended(process.returncode, out, errors), tmp_path, "SIGTERM")


def test_nobody_reads_what_is_said(bundle: Path, parts: Path, tmp_path: Path) -> None:
    """A run whose reader of stderr has left goes on to its end, and misses nothing."""
    (tmp_path / "parts").mkdir()
    for k, path in enumerate(sorted(parts.iterdir())):
        shutil.copy(path, tmp_path / "parts" / path.name) if k % 2 else (tmp_path / "parts" / path.name).touch()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        words(bundle, "parts", "--out", "out", *ALL), cwd=tmp_path, stdout=subprocess.PIPE, stderr=write, text=True
    )
    os.close(write)
    result = ended(done.returncode, done.stdout, "")
    assert (result.code, result.counts["inspected"], result.counts["failed"]) == (1, COUNT // 2, COUNT // 2)
    assert len(result.summary["problems"]) == COUNT // 2 and result.summary["incomplete"] == {}
    closed = words(bundle, "parts", "--out", "closed", "--save-jsonl")
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *closed], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert ended(done.returncode, done.stdout, "").counts == {**result.counts, "sinks": {"jsonl": records_of(COUNT)}}


def records_of(count: int) -> dict[str, int]:
    return {"given": count, "written": count, "dropped": 0, "failed": 0, "waiting": 0}


def test_nobody_reads_the_summary(bundle: Path, parts: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = words(bundle, parts, "--out", "out", *ALL)
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    assert set(sound(tmp_path / "out")) == set(FILES.values())


def test_an_encoder_that_hangs_cannot_keep_a_run_from_its_end(bundle: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ffmpeg"  # Takes nothing that is written to it.
    lists = 'case "$*" in *-encoders*) echo " V....D libx264 "; exit 0;; esac\n'
    program.write_text(f"#!/bin/sh\n{lists}read -r line < {tmp_path}/go\n")
    program.chmod(0o755)
    pictures(tmp_path / "parts", [(480, 640)] * 30)
    process = subprocess.Popen(
        words(bundle, "parts", "--out", "out", *ALL),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    with process, (tmp_path / "go").open("w"):  # Opens when the encoder has started.
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)  # Impatient.
        out, errors = process.communicate(timeout=60)
    result = ended(process.returncode, out, errors)
    assert result.code == 1 and "did not end in time: sink video" in errors
    assert "video" in result.summary["incomplete"] and not (tmp_path / "out" / "overlay.mp4").exists()
    for file, numbers in sound(tmp_path / "out").items():
        assert sorted(set(numbers)) == list(range(len(set(numbers)))), file
        if not file.endswith(".part"):
            assert len(set(numbers)) == result.counts["inspected"], "a file with its name has every inspected frame"


# ------------------------------------------------------------------------------------------- what others write


def test_a_bundle_whose_writer_is_killed(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.bundle"
    command = [sys.executable, "-c", WRITER, str(bundle), str(target)]
    killed_when("os.rename", "/new.bundle", command, tmp_path)
    assert not target.exists() and list(tmp_path.glob(".new.bundle.*.part"))
    with staged(target):  # Somebody else is at work on the same name just now.
        (at_work,) = (it for it in tmp_path.glob(".new.bundle.*.part") if not list(it.iterdir()))
        assert len(list(tmp_path.glob(".new.bundle.*"))) == 1, "what the killed one had left is gone"
        subprocess.run(command, check=True)
        assert at_work.is_dir(), "what belongs to a living one stays"
        shutil.rmtree(target)
    assert [it.name for it in tmp_path.iterdir()] == ["new.bundle"]


def test_a_bundle_that_was_about_to_be_replaced_comes_back(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.bundle"
    shutil.copytree(bundle, target)
    before = (target / "manifest.json").read_bytes()
    command = [sys.executable, "-c", WRITER, str(bundle), str(target), "force"]
    killed_when("os.rename", ".part", command, tmp_path)
    assert not target.exists(), "killed between the two renames"
    done = subprocess.run(command[:-1], capture_output=True, text=True)  # Without force: it must not replace it.
    assert done.returncode == 1 and "exists already" in done.stderr
    assert (target / "manifest.json").read_bytes() == before
    assert [it.name for it in tmp_path.iterdir()] == ["new.bundle"]


WRITER = """
import shutil, sys
from pathlib import Path
from lineside.export.staging import staged
with staged(Path(sys.argv[2]), force=len(sys.argv) > 3) as scratch:
    shutil.copytree(sys.argv[1], scratch, dirs_exist_ok=True)
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_drawing_that_is_ended_politely_leaves_nothing(tmp_path: Path, stop: signal.Signals) -> None:
    words = ["synth", "line", "line.mp4", "--seconds", "600", "--no-photos", "--width", "160", "--height", "96"]
    command = [sys.executable, "-m", "lineside", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in errors and list(tmp_path.iterdir()) == []


INTERRUPTED_IN_TEXT = """
import atexit, signal, sys
from lineside import cli
from lineside.__main__ import main
from lineside.cli.endings import tidy_endings
def interrupted(arguments=None):
    atexit.register(print, "tidied", end="")
    try:
        with tidy_endings():
            exec("signal.raise_signal(signal.SIGTERM)", {"signal": signal})
    except KeyboardInterrupt:
        return 130
cli.main = interrupted
sys.exit(main())
"""


def test_an_interrupt_in_the_making_of_a_class_ends_like_any_other(tmp_path: Path) -> None:
    """Dataclasses are made by executing text, and Python takes what passes through that for an interrupt not caught."""
    (tmp_path / "command.py").write_text(INTERRUPTED_IN_TEXT)
    done = subprocess.run([sys.executable, "-m", "command"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidied", "")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_interrupt_that_a_library_swallows_is_raised_again(
    stop: signal.Signals,
) -> None:
    """OpenCV loses one that comes while it reads its arguments."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    try:
        with tidy_endings(), progress("drawing") as update:
            update(0, 10)
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(stop)
            with pytest.raises(KeyboardInterrupt):
                update(1, 10)
        with tidy_endings(), progress("drawing") as update:
            update(2, 10)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_file_that_takes_long_to_finish_is_waited_for(
    bundle: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large workbook may take longer than queued frames may; after a signal it still gets its name."""
    shown = 0
    enough = threading.Event()

    class Slow(JsonLines):
        def write(self, frame: Frame) -> None:
            super().write(frame)
            if frame.sequence == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        def close(self, missing: int = 0) -> None:
            assert enough.wait(60)
            super().close(missing)

    def show(graph: Graph) -> None:
        nonlocal shown
        shown += bool(graph.finishing())
        if shown > 12:  # Long after the time for queued frames, which is three looks.
            enough.set()

    monkeypatch.setattr("lineside.pipelines.session.make_sink", lambda name, folder: Slow(folder / "results.jsonl"))
    job = Job(bundle, find([str(parts)]), sinks=["jsonl"], folder=tmp_path / "out")
    with Session(job, lambda message: None) as session:
        summary = session.run(show, drain=0.3, grace=0.1)
    assert summary.stopped == "SIGTERM" and list(summary.files) == ["jsonl"] and summary.incomplete == {}
    assert len(sound(tmp_path / "out")["results.jsonl"]) == summary.counts.inspected


def test_synth_that_is_killed(tmp_path: Path) -> None:
    words = ["synth", "line", str(tmp_path / "line.mp4"), "--seconds", "0.2", "--no-photos", "--width", "160"]
    command = [sys.executable, "-m", "lineside", *words, "--height", "96"]
    killed_when("os.rename", "/line.mp4", command, tmp_path)
    assert not (tmp_path / "line.mp4").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "line.mp4").exists() and sorted(it.suffix for it in tmp_path.iterdir()) == [".json", ".mp4"]


def test_a_half_written_model_in_the_cache_is_never_loaded(bundle: Path, parts: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    options = {"env": {**os.environ, "LINESIDE_CACHE": str(cache)}}

    def detections(out: str) -> object:
        assert run(bundle, parts, "--out", out, "--save-jsonl", cwd=tmp_path, **options).code == 0
        return [line["detections"] for line in records(tmp_path / out / "results.jsonl")]

    first = detections("first")
    (model,) = (it for it in cache.rglob("*") if it.is_file())
    data = model.read_bytes()
    for number, damaged in enumerate((data[: len(data) // 2], data[:-1] + b"\0")):
        model.write_bytes(damaged)
        assert detections(f"damaged{number}") == first
        made_again = model.read_bytes()
        assert made_again[:32] == hashlib.sha256(made_again[32:]).digest() and len(made_again) > len(data) // 2 + 1


def test_a_workbook_of_the_page_on_a_full_disk(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 32 * 4096, 4096) as disk, station([bundle]) as running, running.http() as http:
        assert running.graph.join(60)
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        answers = []
        for pages in range(1, 33):  # It runs full in the parts at first, then in the workbook that they become.
            (disk / "ballast").write_bytes(bytes((32 - pages) * 4096))
            answer = http.get("/api/results.xlsx")
            answers.append(answer.status_code)
            if answer.status_code == 507:
                assert "No space left on device" in answer.json()["error"]
            else:
                assert openpyxl.load_workbook(io.BytesIO(answer.content)).sheetnames == ["Detections", "Summary"]
        assert answers[0] == 507 and answers[-1] == httpx.codes.OK and set(answers) == {507, httpx.codes.OK}
        assert [it.name for it in disk.iterdir()] == ["ballast"]
    assert capfd.readouterr().err == ""
