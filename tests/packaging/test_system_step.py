"""The system step installs only what is missing, only where it may, and says what it could not do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = ("sh", "dirname", "env", "touch", "chmod", "mkdir", "make", "git", "true")
"""What the script itself needs, and what this test never takes away."""

APT_GET = """#!/bin/sh
file=
echo "$@" >> "$LOG"
[ "$1" = install ] || exit 0
for word in "$@"; do package=$word; done
[ "$package" != "$ABSENT" ] || exit 100
case $package in
g++-aarch64-linux-gnu) package=aarch64-linux-gnu-g++ ;;
qemu-user-static) package=qemu-aarch64-static ;;
opencv-doc) mkdir -p "$LINESIDE_SAMPLES" && touch "$LINESIDE_SAMPLES/vtest.avi" && exit ;;
gstreamer1.0-plugins-base) file=some-linux/gstreamer-1.0/libgstapp.so ;;
gstreamer1.0-plugins-good) file=some-linux/gstreamer-1.0/libgstrtsp.so ;;
gstreamer1.0-plugins-bad) file=some-linux/gstreamer-1.0/libgstvideoparsersbad.so ;;
gstreamer1.0-plugins-ugly) file=some-linux/gstreamer-1.0/libgstx264.so ;;
gstreamer1.0-libav) file=some-linux/gstreamer-1.0/libgstlibav.so ;;
gir1.2-gst-rtsp-server-1.0) file=some-linux/girepository-1.0/GstRtspServer-1.0.typelib ;;
python3-gi) file=python3/dist-packages/gi/__init__.py ;;
libaravis-0.8-0) file=some-linux/libaravis-0.8.so.0 ;;
esac
[ -z "$file" ] || { mkdir -p "$LINESIDE_LIBRARIES/${file%/*}" && touch "$LINESIDE_LIBRARIES/$file" && exit; }
printf '#!/bin/sh\\n' > "$BIN/$package" && chmod +x "$BIN/$package"
"""

MISSING = [
    "g++",
    "ffmpeg",
    "chromium",
    "g++-aarch64-linux-gnu",
    "qemu-user-static",
    "opencv-doc",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-ugly",
    "gstreamer1.0-libav",
    "gir1.2-gst-rtsp-server-1.0",
    "python3-gi",
    "libaravis-0.8-0",
]
"""Debian packages whose command or file the machine lacks."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of commands that stands for a whole machine; apt-get puts a command of the package's name into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name) or pytest.skip(f"no {name}"))
    script(folder / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script(folder / "apt-get", APT_GET)
    user(folder, 0)
    return folder


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def user(machine: Path, number: int) -> None:
    script(machine / "id", f"#!/bin/sh\necho {number}\n")


def step(
    repository: Path, machine: Path, for_what: str, **variables: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs the step with nothing but the machine's commands; also returns what apt-get was asked for."""
    log = machine.parent / "log"
    environment = {"PATH": str(machine), "LOG": str(log), "BIN": str(machine), "ABSENT": "", **variables}
    environment["LINESIDE_SAMPLES"] = str(machine.parent / "samples")
    environment["LINESIDE_LIBRARIES"] = str(machine.parent / "lib")
    command = [str(machine / "sh"), str(repository / "scripts/system.sh"), for_what]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return answer, log.read_text().splitlines() if log.exists() else []


def installed(asked: list[str]) -> list[str]:
    return [line.split()[-1] for line in asked if line.startswith("install ")]


def test_installs_what_is_missing_and_nothing_else(repository: Path, machine: Path) -> None:
    answer, asked = step(repository, machine, "test")
    assert answer.returncode == 0, answer.stderr
    assert installed(asked) == MISSING
    again, asked_again = step(repository, machine, "test")
    assert (again.returncode, again.stdout, asked_again) == (0, "", asked)


def test_the_demo_needs_a_compiler_only(repository: Path, machine: Path) -> None:
    answer, asked = step(repository, machine, "demo")
    assert answer.returncode == 0
    assert installed(asked) == ["g++"]


def test_asks_nobody_for_a_password(repository: Path, machine: Path) -> None:
    user(machine, 1000)
    script(machine / "sudo", '#!/bin/sh\n[ "$1" = -n ] || echo "password?" >> "$LOG"\nexit 1\n')
    answer, asked = step(repository, machine, "test")
    assert answer.returncode == 1
    assert asked == []
    assert "apt-get install g++" in answer.stderr
    assert "skipped: the tests of the page" in answer.stderr


def test_uses_sudo_that_asks_for_nothing(repository: Path, machine: Path) -> None:
    user(machine, 1000)
    script(machine / "sudo", '#!/bin/sh\nshift\nexec "$@"\n')
    answer, asked = step(repository, machine, "demo")
    assert answer.returncode == 0, answer.stderr
    assert installed(asked) == ["g++"]


def test_can_be_forbidden(repository: Path, machine: Path) -> None:
    answer, asked = step(repository, machine, "demo", LINESIDE_SYSTEM="no")
    assert answer.returncode == 1
    assert asked == []


def test_an_absent_package_holds_up_no_other(repository: Path, machine: Path) -> None:
    answer, asked = step(repository, machine, "test", ABSENT="ffmpeg")
    assert answer.returncode == 0, answer.stderr
    assert installed(asked) == MISSING
    assert "no ffmpeg" in answer.stderr


def test_without_python_it_names_the_packages(repository: Path, machine: Path) -> None:
    (machine / "python3").unlink()
    answer, _ = step(repository, machine, "demo", LINESIDE_SYSTEM="no")
    assert answer.returncode == 1
    assert "python3-venv" in answer.stderr
