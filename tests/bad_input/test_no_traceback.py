"""No traceback reaches a user unless ``--debug``: hostile words for every command, and faults thrown into each of them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from helpers.refusals import lineside, snapshot
from lineside import cli

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = str(ROOT / "demo/bearing.bundle")
PICTURES = str(ROOT / "demo/pictures/bearing")

HOSTILE = (
    "",
    "-",
    "--",
    "\udcff\udcfe",
    "no\nsuch\x1b[31m",
    "/dev/null",
    "/",
    "x" * 5000,
    "-1",
    "NaN",
    "${HOME}",
    "..",
    "*",
)
"""Words that no command can do anything with, wherever they stand."""

WORDS: dict[str, list[list[str]]] = {
    "demo": [["--demo", "/dev/null"], ["--demo", ""], ["--demo", "x" * 5000], ["extra"], ["--out", "/dev/null/x"]],
    "run": [
        [],
        [BUNDLE],
        ["/dev/zero", PICTURES],
        [BUNDLE, "/nowhere/*.png"],
        [BUNDLE, "\udcff"],
        [BUNDLE, "rtsp://"],
        [BUNDLE, "-1"],
        [BUNDLE, "99999999999999999999"],
        [BUNDLE, PICTURES, "--port", "-5", "--view"],
        [BUNDLE, PICTURES, "--out", "/dev/null/x"],
        [BUNDLE, PICTURES, "--out", "/proc/nothing"],
        [BUNDLE, PICTURES, "--limit", "99999999999999999999999999x"],
    ],
    "station": [[], ["/nowhere.yaml"], ["/dev/zero"], ["/"], [f"{BUNDLE}/model.onnx"], [f"{BUNDLE}/manifest.json"]],
    "launch": [
        [],
        ["synthetic"],
        ["synthetic ! jsonl ! csv"],
        ["synthetic size=0x0 ! jsonl"],
        ["synthetic fps=nan ! jsonl"],
        ["synthetic fps=-1 ! jsonl"],
        ["tee name=t t. ! t."],
        ["queue policy=every:0 ! jsonl"],
        ["\x00.py:x ! jsonl"],
        ["/dev/zero:x ! jsonl"],
        ["/proc/self/mem.py:x ! jsonl"],
        ["os:system ! jsonl"],
        ["pictures path=/nowhere ! jsonl"],
        [f"pictures path={PICTURES} ! segment bundle=/nowhere ! jsonl"],
        [f"pictures path={PICTURES} ! segment bundle={BUNDLE} ! jsonl path=/dev/null/x"],
        [f"pictures path={PICTURES} ! segment bundle={BUNDLE} ! jsonl", "--deadline", "-1ms"],
        [f"pictures path={PICTURES} ! segment bundle={BUNDLE} ! jsonl", "--late", "never"],
        [f"pictures path={PICTURES} ! segment bundle={BUNDLE} ! jsonl", "--duration", "soon"],
    ],
    "profile": [
        [],
        [BUNDLE],
        [BUNDLE, "synthetic:0x0", "--duration", "1s"],
        [BUNDLE, "synthetic:-1x5", "--duration", "1s"],
        [BUNDLE, "synthetic:99999999x99999999", "--duration", "1s"],
        [BUNDLE, PICTURES, "--takt", "-1ms"],
        [BUNDLE, PICTURES, "--takt", "nan"],
        [BUNDLE, PICTURES, "--takt", "1e400s"],
        [BUNDLE, PICTURES, "--max-miss", "2"],
        [BUNDLE, PICTURES, "--duration", "0s"],
    ],
    "elements": [
        ["jsonll"],
        ["jsonl", "more"],
        ["nowhere.py:x"],
        ["os:nothing"],
        ["/dev/zero:x"],
        ["--nope"],
        [""],
        ["/"],
        ["*"],
        ["no\nsuch\x1b[31m"],
        ["\udcff"],
        ["x" * 5000],
    ],
    "inspect": [[], ["/"], ["/dev/full"], [BUNDLE, "more"], [f"{BUNDLE}/manifest.json"], [f"{BUNDLE}/model.onnx"]],
    "verify": [[], ["/"], [BUNDLE, "--engine", ""], [BUNDLE, "--engine", ":"], [BUNDLE, "--nope"], ["a", "b", "c"]],
    "build": [
        [],
        ["/"],
        ["/dev/zero"],
        [BUNDLE],
        [BUNDLE, "more"],
        [BUNDLE, "--precision", "int3"],
        [BUNDLE, "--workspace", "-1"],
        [BUNDLE, "--imgsz", "0x0"],
        [BUNDLE, "--least", "nan"],
        [f"{BUNDLE}/model.onnx"],
    ],
    "selftest": [
        [],
        ["/"],
        ["/dev/zero"],
        [BUNDLE],
        [BUNDLE, "more"],
        [BUNDLE, "--engine", "toaster"],
        [BUNDLE, "--engine", "host", "--only", "nothing"],
        [BUNDLE, "--engine", "host", "--frames", "0"],
        [BUNDLE, "--engine", "host", "--out", "/dev/null/x"],
    ],
    "synth": [
        [],
        ["bearing"],
        ["gearbox", "out"],
        ["bearing", "/dev/null/x"],
        ["bearing", "out", "--train", "0"],
        ["bearing", "out", "--size", "-3"],
        ["bearing", "out", "--seed", "1.5"],
        ["line", "out.txt"],
        ["line", "out.mp4", "--fps", "0"],
        ["line", "out.mp4", "--seconds", "nan"],
        ["line", "out.mp4", "--seconds", "inf"],
        ["line", "out.mp4", "--width", "-1"],
        ["line", "/proc/nowhere/all.mp4"],
    ],
    "train": [[], ["yolo11n-seg.yaml"], ["x", "y"], ["yolo11n-seg.yaml", "/"], ["yolo11n-seg.yaml", "t", "--set", "x"]],
    "export": [
        [],
        ["nope.pt"],
        ["nope.pt", "-o", "x.bundle"],
        ["/dev/zero", "-o", "x.bundle"],
        ["/", "-o", "x.bundle"],
        ["yolo11n-seg.yaml", "-o", "x.bundle", "--imgsz", "0x0"],
        ["yolo11n-seg.yaml", "-o", "x.bundle", "--imgsz", "9" * 5000],
        ["yolo11n-seg.yaml", "-o", "x.bundle", "--batch", "0"],
        ["yolo11n-seg.yaml", "-o", "x.bundle", "--images", "/nowhere"],
    ],
    "doctor": [
        [],
        ["/"],
        ["/dev/zero"],
        [BUNDLE, "more"],
        [BUNDLE, "--target", "toaster"],
        [BUNDLE, "--target", "../onnxruntime"],
        [f"{BUNDLE}/manifest.json"],
        ["yolo11n-seg.yaml", "--imgsz", "0x0"],
    ],
    "zoo": [["extra"], ["--only", "nothing"], ["--imgsz", "0"], ["--imgsz", "33"], ["--rounds", "0"], ["--scale", "q"]],
    "bench-scan": [
        ["extra"],
        ["--shapes", ""],
        ["--shapes", "0x0x0x0"],
        ["--shapes", "1x2"],
        ["--shapes", "\udcff"],
        ["--modes", "nothing"],
        ["--repeats", "0"],
        ["--threads", "-1"],
    ],
    "import": [[], ["x.onnx"], ["x.onnx", "-o", "y.bundle"], ["/dev/zero", "-o", "y.bundle"], ["/", "-o", "y.bundle"]],
}
"""For every command, what nobody can mean."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_is_in_the_table() -> None:
    assert set(WORDS) == set(cli.COMMANDS)


@pytest.mark.parametrize("name", WORDS)
def test_hostile_words_are_refused_with_a_sentence(name: str, desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if name in ("train", "export", "import", "doctor", "zoo", "bench-scan"):
        pytest.importorskip("ultralytics")
    takes = name not in ("demo", "elements", "zoo", "bench-scan")  # without words they run
    for words in (*WORDS[name], *([word] for word in HOSTILE if takes), *([f"--{word}"] for word in HOSTILE[3:])):
        code = cli.main([name, *words])
        out, errors = capfd.readouterr()
        place = f"lineside {name} {words}"[:300]
        assert code == 2, (place, code, errors)
        assert "Traceback" not in errors + out and "internal error" not in errors, (place, errors)
        last = errors[errors.rindex("error: ") :] if "error: " in errors else ""  # what was begun may be told before
        assert len(last.strip()) > 20, (place, errors)
        assert all(c.isprintable() or c == "\n" for c in errors), place
        assert snapshot(desk) == {}, place


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("debug", [False, True])
def test_a_fault_of_the_program_is_a_sentence_too(
    name: str, debug: bool, desk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    faults: list[BaseException] = [
        ZeroDivisionError("division by zero"),
        KeyError("missing"),
        RuntimeError("line\nof\ntext"),
        RecursionError("too deep"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        AssertionError(),
        OSError("without a number"),
        StopIteration(),
    ]
    for fault in faults:

        def command(error: BaseException = fault) -> NoReturn:
            raise error

        monkeypatch.setitem(cli.COMMANDS, name, "helpers.injected:command")
        monkeypatch.setitem(sys.modules, "helpers.injected", _module(command))
        assert cli.main([name, "--debug"] if debug else [name]) == 1
        out, errors = capfd.readouterr()
        assert f"internal error: {type(fault).__name__}" in errors and "--debug" in errors and out == ""
        assert ("Traceback" in errors) == debug


def _module(command: Any) -> Any:
    import types

    module = types.ModuleType("helpers.injected")
    module.__dict__["command"] = command
    return module


@pytest.mark.parametrize("name", WORDS)
def test_an_interrupt_and_a_closed_pipe(
    name: str, desk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for error, code, says in ((KeyboardInterrupt(), 130, "interrupted\n"), (BrokenPipeError(), 141, "")):

        def command(error: BaseException = error) -> NoReturn:
            raise error

        monkeypatch.setattr(cli, "_forget_output", lambda: None)  # the output is that of the test runner
        monkeypatch.setitem(cli.COMMANDS, name, "helpers.injected:command")
        monkeypatch.setitem(sys.modules, "helpers.injected", _module(command))
        assert cli.main([name]) == code
        assert capfd.readouterr() == ("", says)


@pytest.mark.parametrize("name", WORDS)
def test_a_command_whose_module_is_broken(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = cli.COMMANDS[name].split(":")[0]
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main([name, "words"]) == 2
    assert f"`lineside {name}` does not work here" in (errors := capfd.readouterr().err) and "Traceback" not in errors
    monkeypatch.delitem(sys.modules, module)
    assert importlib.import_module(module)


# The process itself

EARLY = """
import runpy, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
runpy.run_module("lineside", run_name="__main__")
"""


def test_an_interrupt_while_the_program_is_still_being_imported() -> None:
    answer = subprocess.run([sys.executable, "-c", EARLY, "--help"], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "", "interrupted\n")


def test_a_full_disk_under_stdout() -> None:
    for words in (["--help"], ["inspect", BUNDLE], ["inspect", BUNDLE, "--json"]):
        with open("/dev/full", "w") as full:
            answer = subprocess.run(
                [sys.executable, "-m", "lineside", *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
            )
        assert (answer.returncode, answer.stderr) == (2, "error: No space left on device\n"), words


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    for words, code in (("--version", 0), ("inspect nothing", 2)):
        shell = f"exec {sys.executable} -m lineside {words} {closed}"
        answer = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert answer.returncode == code and "Traceback" not in answer.stderr + answer.stdout


def test_a_reader_that_leaves_early() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        answer = subprocess.run(
            [sys.executable, "-m", "lineside", "inspect", BUNDLE], stdout=pipe, stderr=subprocess.PIPE, timeout=60
        )
    assert (answer.returncode, answer.stderr) == (141, b"")


def test_a_terminal_that_knows_ascii_only(tmp_path: Path) -> None:
    odd = tmp_path / "größe ✓.bundle"
    odd.symlink_to(BUNDLE)
    for words in (("inspect", odd), ("inspect", tmp_path / "größe ✗"), ("inspect", odd, "--json")):
        answer = lineside(tmp_path, *words, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
        assert "Traceback" not in answer.stderr and "internal error" not in answer.stderr, answer.stderr
        assert answer.returncode in (0, 2)
