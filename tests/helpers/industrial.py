"""What the tests of industrial cameras share: simulated cameras, programs that hold one, and reading with a deadline."""

from __future__ import annotations

import fcntl
import itertools
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lineside.pipelines.aravis.camera import Settings
from lineside.pipelines.aravis.library import library
from lineside.pipelines.aravis.source import AravisSource
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import Frame
from lineside.runtime.errors import MissingPackage

PATIENCE = 120.0
"""Seconds that anything may take on a machine with much else to do."""
HERE = "127.0.0.1"
SMALL = Settings(width=64, height=48, fps=25.0, format="Mono8")
"""Few packets, so that a busy machine loses none of them."""

DEVICE = """
import sys
from lineside.pipelines.aravis.simulated import simulated
with simulated(*sys.argv[1:], []) as camera:
    print(camera.name, flush=True)
    for line in sys.stdin:
        camera.lose(float(line))
        print("done", flush=True)
"""

HOLDER = """
import sys
from lineside.pipelines.aravis.source import AravisSource
source = AravisSource(sys.argv[1])
source.open()
print("held", flush=True)
sys.stdin.read()
source.close()
"""


@contextmanager
def alone() -> Iterator[None]:
    """Waits until no other test on this machine simulates cameras: there is one port for all of them."""
    try:
        library()
    except MissingPackage as error:
        pytest.skip(f"{error} (sh scripts/system.sh test)")
    with (Path(tempfile.gettempdir()) / "lineside-tests-cameras.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Device:
    """A simulated camera in a process of its own."""

    def __init__(self, address: str, serial: str) -> None:
        self.address = address
        command = [sys.executable, "-c", DEVICE, address, serial]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = self._says()
        assert self.name == f"Aravis-Fake-{serial}"

    def _says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def lose(self, part: float) -> None:
        """Loses that part of its packets from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{part}\n")
        self.process.stdin.flush()
        assert self._says() == "done"

    def die(self) -> None:
        """Is switched off."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def device(address: str = HERE, serial: str = "GV01") -> Iterator[Device]:
    """A camera, and switched off again."""
    made = Device(address, serial)
    try:
        yield made
    finally:
        made.die()


@contextmanager
def holder(wanted: str = HERE) -> Iterator[subprocess.Popen[str]]:
    """Another program that holds a camera."""
    command = [sys.executable, "-c", HOLDER, wanted]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline().strip() == "held"
        yield process
    finally:
        process.kill()
        process.communicate()


def other_address() -> str:
    """An address of this machine on a real network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # Nothing is sent; the system chooses an interface.
            found: str = probe.getsockname()[0]
        except OSError:
            found = HERE
    if found.startswith("127."):
        pytest.skip("this machine has no second network address for a second camera")
    return found


@contextmanager
def opened(settings: Settings = SMALL, wanted: str = HERE, **options: object) -> Iterator[AravisSource]:
    """A source, open, and closed again. Its frames end after a long time, whatever happens."""
    source = AravisSource(wanted, settings, patience=PATIENCE, **options)  # type: ignore[arg-type]
    watchdog = threading.Timer(PATIENCE, source.stop)
    watchdog.daemon = True
    watchdog.start()
    try:
        source.open()
        yield source
    finally:
        watchdog.cancel()
        source.close()


def some(source: AravisSource, count: int) -> list[Frame]:
    """So many frames of it."""
    found = list(itertools.islice(source.frames(), count))
    assert len(found) == count, "frames stopped coming"
    return found


def whole(source: AravisSource, count: int) -> list[Frame]:
    """So many whole frames of it. Where a machine with much else to do damages one, it is told as such and passed over."""
    found: list[Frame] = []
    for frame in source.frames():
        if frame.damage is None:
            found.append(frame)
        else:
            assert frame.pixels is None, "nobody shall look at what is incomplete"
            frame.release()
        if len(found) == count:
            return found
    raise AssertionError("frames stopped coming")


def until(condition: Callable[[], object], what: str) -> None:
    """Waits until something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: did not come true"
        time.sleep(0.01)


def listening(events: list[Event]) -> Bus:
    """A bus whose events go to a list."""
    bus = Bus()
    bus.listen(events.append)
    return bus
