"""``--engine host`` on a machine without a C++ compiler: one sentence, before any picture is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineside import cli
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.kernels import host_build

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("command", ["run", "selftest"])
def test_one_sentence_and_nothing_is_left(
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(HostDevice, "load", lambda device, kernel: host_build.compiler())  # nothing is in its cache
    pictures = [str(repository / "demo/pictures/bearing")] if command == "run" else []
    bundle, out = str(repository / "demo/bearing.bundle"), tmp_path / "out"
    assert cli.main([command, bundle, *pictures, "--engine", "host", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("there is no C++ compiler: install g++") == said.count("\n") == 1
    assert not out.exists()
