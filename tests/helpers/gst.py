"""What the tests of GStreamer share: what is installed, videos, a camera on the network, and waiting for a condition."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.gst.library import have
from lineside.pipelines.gst.recipes import Recipe
from lineside.pipelines.gst.source import GstSource
from lineside.runtime.errors import MissingPackage

PATIENCE = 120.0
"""Seconds that anything may take on a machine with much else to do."""
DEBIANS_PYTHON = "/usr/bin/python3"
HELPERS = Path(__file__).parent


def needs(*elements: str) -> None:
    """Skips the test where GStreamer, or an element of it, is not there."""
    try:
        missing = [name for name in elements if not have(name)]
    except MissingPackage as error:
        pytest.skip(str(error))
    if missing:
        pytest.skip(f"GStreamer has no {', '.join(missing)} here (sh scripts/system.sh test)")


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Waits until something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true"
        time.sleep(0.01)


@contextmanager
def opened(pipeline: str | Recipe, *, live: bool = False, **options: object) -> Iterator[GstSource]:
    """A source, open, and closed again."""
    source = GstSource(pipeline, live=live, timeout=PATIENCE, patience=PATIENCE, **options)  # type: ignore[arg-type]
    try:
        source.open()
        yield source
    finally:
        source.close()


def everything(pipeline: str | Recipe, **options: object) -> list[Frame]:
    """All frames of a source that ends."""
    with opened(pipeline, **options) as source:
        return list(source.frames())


def listening(events: list[Event]) -> Bus:
    """A bus whose events go to a list."""
    bus = Bus()
    bus.listen(events.append)
    return bus


def encoded(
    path: Path,
    *,
    size: str = "64x48",
    seconds: float = 1.0,
    codec: str = "mpeg4",
    sound: bool = False,
    options: tuple[str, ...] = (),
) -> Path:
    """A video of a moving test picture at 25 frames per second, made by ffmpeg."""
    words = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate=25:duration={seconds}"]
    words += ["-f", "lavfi", "-i", f"sine=duration={seconds}"] if sound else []
    words += ["-pix_fmt", "yuv420p", "-c:v", codec, *options, "-movflags", "+faststart", str(path)]
    try:
        subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True, timeout=PATIENCE)
    except FileNotFoundError:
        pytest.skip("no ffmpeg (sh scripts/system.sh test)")
    return path


@contextmanager
def camera(kind: str, user: str = "", password: str = "", port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A network camera in a process of its own, and ``host:port/path`` of it."""
    needs("rtspsrc", "videotestsrc")
    command = [DEBIANS_PYTHON, str(HELPERS / "rtsp_server.py"), kind, user, password, str(port)]
    if not os.path.exists(DEBIANS_PYTHON):
        pytest.skip(f"no {DEBIANS_PYTHON}, which GStreamer's RTSP server runs in")
    pipes = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipes, stdout=pipes, stderr=pipes, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        bound = process.stdout.readline().strip()
        if not bound:
            reason = process.stderr.read()
            process.wait()
            assert "gi" in reason or "GstRtspServer" in reason, reason
            pytest.skip("Debian's python3-gi and gir1.2-gst-rtsp-server-1.0 are not there (sh scripts/system.sh test)")
        yield process, f"127.0.0.1:{bound}/line"
    finally:
        process.kill()
        process.communicate()


def run_script(folder: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own; it says why where it fails."""
    script = folder / "script.py"
    script.write_text(text)
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=5 * PATIENCE, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
