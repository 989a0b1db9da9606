"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lineside.runtime.whole_file import write_whole

WRITE = "import os, sys; from pathlib import Path; from lineside.runtime.whole_file import write_whole; "


def test_what_was_there_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for durable in (False, True):
        write_whole(tmp_path / "report.json", b"old", durable)
        write_whole(tmp_path / "report.json", b"new", durable)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("report.json", b"new")]


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_where_it_fails_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    target = tmp_path / "report.json"
    target.write_bytes(b"old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    if fails == "write":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        opened = Path.open

        def small(path: Path, mode: str) -> object:
            opened(path, mode).close()
            return opened(Path("/dev/full"), "wb")

        monkeypatch.setattr(Path, "open", small)
    else:
        monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(target, b"new" * 100_000)
    monkeypatch.undo()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("report.json", b"old")]


@pytest.mark.skipif(os.name != "posix", reason="rights of files are those of POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_it_is_as_the_user_has_set_it(tmp_path: Path, mask: int, mode: int) -> None:
    code = f"os.umask({mask}); write_whole(Path(sys.argv[1]), b'data')"
    subprocess.run([sys.executable, "-c", WRITE + code, str(tmp_path / "file")], check=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
