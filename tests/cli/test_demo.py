"""``lineside demo`` on the demo folder of the repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_the_demo_shows_the_main_job(cli: Any, repository: Path, tmp_path: Path) -> None:
    answer = cli("demo", "--out", tmp_path / "out", cwd=repository, env_add={"COLUMNS": "100"})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for name in ("bearing", "tube", "line"):
        folder = tmp_path / "out" / name
        lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        assert lines
        assert sum(len(line["detections"]) for line in lines) > 0
        assert (folder / "results.xlsx").stat().st_size > 0
        assert f"workbook {folder / 'results.xlsx'}" in answer.stdout
    assert (tmp_path / "out/line/overlay.mp4").stat().st_size > 10_000
    assert len(list((tmp_path / "out/tube/images").iterdir())) == len(
        list((repository / "demo/pictures/tube").glob("*.jpg"))
    )
    assert "golden pictures give torch's answers" in answer.stdout
    assert "--view" in answer.stdout


def test_a_folder_that_is_not_the_demo_is_named(cli: Any, tmp_path: Path) -> None:
    answer = cli("demo", "--demo", tmp_path)
    assert answer.returncode == 2
    assert "bearing.bundle" in answer.stderr
    assert "--demo" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_demo_bundle_that_was_changed_is_refused(cli: Any, repository: Path, tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    shutil.copytree(repository / "demo", demo)
    manifest = demo / "bearing.bundle" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"conf": 0.25', '"conf": 2.5'))
    answer = cli("demo", "--demo", demo, "--out", tmp_path / "out")
    assert answer.returncode == 2
    assert "bearing.bundle" in answer.stderr
    assert not (tmp_path / "out").exists()
