"""What a station shows while it runs: a table on a terminal, plain lines elsewhere; nobody waits for a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.documents import ROOT
from lineside.cli.board import Rates
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.looks import BranchName

PATIENCE = 180.0
OFF = '''
from lineside.runtime.errors import SourceError

class Off:
    """A camera that is off."""
    live = True
    def open(self):
        raise SourceError("nobody has switched it on")
    def frames(self):
        return iter(())

def broken(frame):
    raise ValueError("this one is broken")
'''
LINE = (
    "synthetic name=top path={pictures} fps=20 ! segment name=m bundle={bundle} ! jsonl name=lines path=lines.jsonl  "
    "own.py:Off name=side ! m.  synthetic name=raw size=16x16 fps=5 ! own.py:broken ! csv name=plain path=plain.csv"
)
BUNDLE, PICTURES = ROOT / "demo" / "bearing.bundle", ROOT / "demo" / "pictures" / "bearing"


class Terminal:
    """A terminal that a process has for its standard error output."""

    def __init__(self, columns: int = 150) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._news = threading.Condition()
        self._text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.ours, 65536)
            except OSError:
                return
            with self._news:
                self._text += data.decode(errors="replace")
                self._news.notify_all()

    @property
    def raw(self) -> str:
        with self._news:
            return self._text

    @property
    def text(self) -> str:
        """What was written, without what only moves and colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    def until(self, *patterns: str, moved: str = "") -> None:
        """Waits until all of that stands there, and until it was moved and coloured so."""
        end = time.monotonic() + PATIENCE
        while not (all(re.search(pattern, self.text) for pattern in patterns) and re.search(moved, self.raw)):
            with self._news:
                assert self._news.wait(end - time.monotonic()), self._text[-3000:]


@contextmanager
def launched(
    folder: Path, *more: str, err: int = subprocess.PIPE, line: str = LINE
) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "own.py").write_text(OFF)
    words = ["launch", line.format(pictures=PICTURES, bundle=BUNDLE), "--json", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "lineside", *words], cwd=folder, stdout=subprocess.PIPE, stderr=err, stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def report(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """What a run says at its end, once it was asked for that; nothing else stands on its standard output."""
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    said: dict[str, object] = json.loads(out)
    return said


def test_a_table_lives_on_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal()
    with launched(tmp_path, err=terminal.theirs) as process:
        terminal.until(
            r"source\s+state\s+fps\s+entered\s+inspected\s+late\s+dropped\s+incomplete\s+never inspected\s+failed\s+in flight",
            r"top > m\s+RUNNING\s+[0-9.]+\s+\d+\s+[1-9]\d*",
            r"side > m\s+BACKOFF\s+0\.0\s+0\s+0",
            r"from\s+sink\s+written\s+dropped\s+failed\s+waiting",
            r"top > m\s+lines\s+[1-9]\d*\s+\d+\s+0",
            r"raw\s+plain\s+0\s+\d+\s+[1-9]",
            r"last said: .*nobody has switched it on",
            moved=r"\x1b\[\d*A",  # It is drawn over, not scrolled.
        )
        assert re.search(r"^side: CONNECTING -> BACKOFF \(nobody has switched it on", terminal.text, re.MULTILINE)
        found = report(process)
    assert found["stopped"] == "SIGINT" and found["problems"]
    assert terminal.raw.count("\x1b[?25l") == terminal.raw.count("\x1b[?25h") == 1, "the cursor is back"


def test_plain_lines_elsewhere(tmp_path: Path) -> None:
    line = "synthetic name=top path={pictures} fps=5 ! segment name=m bundle={bundle} ! jsonl path=lines.jsonl"
    with launched(tmp_path, line=line) as process:
        assert process.stderr is not None
        said = process.stderr.readline().decode()
        assert re.fullmatch(r"top > m: [A-Z]+, entered \d+.*\n", said) and "\x1b" not in said
        assert report(process)["stopped"] == "SIGINT"


@pytest.mark.skipif(not hasattr(termios, "TCOOFF"), reason="this system's terminals cannot be held")
def test_a_terminal_that_is_held_holds_nobody_up(tmp_path: Path) -> None:
    """Ctrl-S: whoever writes to it waits. The station inspects, says its errors to nobody, and ends when it is asked to."""
    terminal = Terminal(80)
    with launched(tmp_path, err=terminal.theirs) as process:
        terminal.until(
            r"fps\s+entered\s+inspected\s+(dropped\s+)?in flight", r"top > m\s+RUNNING\s+[0-9.]+\s+\d+\s+[1-9]\d*"
        )
        termios.tcflow(terminal.theirs, termios.TCOOFF)
        before = (tmp_path / "lines.jsonl.part").read_bytes().count(b"\n")
        end = time.monotonic() + PATIENCE
        while (tmp_path / "lines.jsonl.part").read_bytes().count(b"\n") < before + 20:
            assert time.monotonic() < end, "the inspection stands still"
            time.sleep(0.05)
        found = report(process)
        assert found["stopped"] == "SIGINT" and not found["hanging"]


def test_rates_are_those_of_the_last_seconds() -> None:
    now, name = 0.0, BranchName("top", "m")
    rates = Rates(5.0, lambda: now)
    seen = []
    for moment, decided in [(0, 0), (1, 10), (2, 30), (6, 110), (10, 110), (12, 110)]:
        now = float(moment)
        seen.append(rates(name, Snapshot(inspected=decided - decided // 10, late=decided // 10)))
    # From the newest count that is at least five seconds old.
    assert seen == [0.0, 10.0, 15.0, 20.0, pytest.approx(80 / 8), 0.0]
