"""Models with blocks that are made for one input size, or too large for one, at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lineside import cli
from lineside.export.block_limits import static_blocks
from lineside.export.ultra import load_model

BASE = "yolo11n-seg-rmt.yaml"


def whole_attention(folder: Path) -> Path:
    """A model yaml of a user's own whose attention at stride 8 sees the whole map."""
    row = {"dims": [128, 256, 384, 512], "depths": [1] * 4, "heads": [8, 8, 12, 16], "chunk": [True, False, True, True]}
    backbone = {"row": [-1, 1, "RMTBackbone", [row]], "taps": {4: 0, 6: 1, 8: 2}}
    path = folder / "yolo11n-seg-whole.yaml"
    path.write_text(yaml.safe_dump({"base": "yolo11-seg.yaml", "backbone": backbone}), "utf-8")
    return path


def refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What the command says as it refuses."""
    assert cli.main(["export", *map(str, words)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("error:") == 1 and "Traceback" not in said
    return said


def test_dynamic_is_refused_with_the_block_and_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, BASE, "--dynamic", "--imgsz", "96", "-o", tmp_path / "x.bundle")
    assert "model.10.m.0.block.retention (MaSAd)" in said
    assert "one input size only" in said and "Leave out --dynamic" in said
    assert not (tmp_path / "x.bundle").exists()


def test_blocks_for_one_size_are_known_by_their_paths() -> None:
    assert list(static_blocks(load_model(BASE))) == ["model.10.m.0.block.retention"]
    assert static_blocks(load_model("yolo11n-seg.yaml")) == {}


def test_attention_over_too_large_a_map_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, whole_attention(tmp_path), "--imgsz", "640", "-o", tmp_path / "x.bundle")
    assert "model.0.net.layers.1.blocks.0.retention (MaSA)" in said and "80x80 cells" in said and "328 MB" in said
    assert "chunk: true" in said and "--imgsz" in said
    assert not (tmp_path / "x.bundle").exists()
