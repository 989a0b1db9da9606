"""``lineside zoo`` and ``lineside doctor`` as commands."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from helpers.sick_models import making, operators
from lineside.cli import main
from lineside.export.zoo.build import short_names
from lineside.export.zoo.latency import interleaved, ratio

OPTIONS = ["--imgsz", "64", "--rounds", "3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training's figures in the form of benchmarks/zoo_train.py."""
    path = tmp_path_factory.mktemp("trained") / "zoo_train.json"
    entries = {"edge": {"seeds": [0, 1], "mask_map": {"mean": 0.5, "ci": [0.48, 0.52]}, "note": "made up for a test"}}
    budget = {"task": "bearing", "train": 288, "size": 256, "epochs": 40}
    path.write_text(json.dumps({"budget": budget, "pictures": 1000, "entries": entries}))
    return path


def test_json_has_every_figure(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--only", "edge", "--only", "dcn", "--json", "--trained", str(trained), *OPTIONS]) == 0
    zoo = json.loads(capsys.readouterr().out)
    assert (zoo["scale"], zoo["imgsz"], zoo["rounds"]) == ("n", [64, 64], 3)
    base, dcn, edge = zoo["entries"]
    assert [base["name"], dcn["name"], edge["name"]] == ["base", "dcn", "edge"]
    assert (base["model"], edge["model"]) == ("yolo11n-seg.yaml", "yolo11n-seg-edge.yaml")
    assert base["relative"] == 1 and edge["latency_ms"] > 0 and dcn["relative"] > 0
    assert (dcn["relative"], edge["relative"]) != (1, 1)
    # Published: 2.877 M with what fusing folds away; 9.80 GFLOPs at 640, a hundredth of the pixels here
    assert 2.86e6 < base["parameters"] < 2.88e6
    assert base["gflops"] == pytest.approx(0.098, abs=0.002)
    assert edge["parameters"] < base["parameters"] and edge["bytes"] < base["bytes"]
    assert dcn["custom_ops"] == ["ModDeformConv2d_k3_s1"] and base["custom_ops"] == edge["custom_ops"] == []
    assert edge["accuracy"] == {"mask_map": {"mean": 0.5, "ci": [0.48, 0.52]}} and base["accuracy"] is None
    assert zoo["training"] == {"task": "bearing", "pictures": 288, "size": 256, "epochs": 40, "fresh": 1000}


def test_table_shows_models_and_accuracy(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--only", "edge", "--trained", str(trained), *OPTIONS]) == 0
    shown = capsys.readouterr().out
    assert "YOLO11n-seg at 64x64" in shown and "mask_map" in shown
    assert "0.500" in shown and "0.480" in shown and "medians of 3 rounds" in shown
    assert "after 40 epochs on 288 drawn bearings of 256 px, on 1000 fresh ones" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "nobody"], "there is no such model"),
        (["--scale", "q"], "give n, s, m, l or x"),
        (["--imgsz", "100"], "multiples of 32"),
        (["--imgsz", "abc"], "--imgsz"),
        (["--trained", "nowhere.json"], "no result of benchmarks/zoo_train.py"),
    ],
)
def test_bad_options_are_sentences(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--only", "edge", "--rounds", "1", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_every_model_file_is_known() -> None:
    files = {path.stem for path in (Path(__file__).resolve().parents[2] / "configs" / "models").glob("*.yaml")}
    assert {f"yolo11-seg-{name}" for name in short_names()} == files


def test_doctor_exits_by_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sick = making.saved(tmp_path, operators.deform(4)).model
    assert main(["doctor", sick, "--target", "onnxruntime"]) == 0
    assert "runs it: nothing to say, 1 nodes" in capsys.readouterr().out
    assert main(["doctor", sick, "--target", "onnxruntime-1.23.2"]) == 1
    shown = capsys.readouterr().out
    assert "cannot-run" in shown and "does not run it: 1 cannot-run" in shown
    assert "--deform portable" in " ".join(shown.replace("│", " ").split())


def test_doctor_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sick = making.saved(tmp_path, operators.deform(4)).model
    assert main(["doctor", sick, "--target", "onnxruntime1.23", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["target"], report["version"], report["runs"]) == (
        "onnx", "onnxruntime1.23", "1.23.2", False,
    )  # fmt: skip
    (finding,) = report["findings"]
    assert (finding["rule"], finding["severity"], finding["where"]) == (
        "native-deform",
        "cannot-run",
        ["DeformConv #0"],
    )


@pytest.mark.parametrize(
    "name", ["nowhere.pt", "nowhere.onnx", "nowhere.bundle", "nowhere.yaml", "text.onnx", "text.pt"]
)
def test_doctor_on_bad_input(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("no model")
    assert main(["doctor", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ") and "Traceback" not in error


def test_doctor_warns_before_code_of_a_pickle_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    (tmp_path / "noisy_block.py").write_text("import sys\nprint('imported', file=sys.stderr)\n\n\nclass Noisy: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("noisy_block")
    torch.save({"ema": module.Noisy()}, tmp_path / "best.pt")
    monkeypatch.delitem(sys.modules, "noisy_block")
    capsys.readouterr()
    assert main(["doctor", str(tmp_path / "best.pt")]) == 2
    error = capsys.readouterr().err
    assert 0 <= error.index("warning: ") < error.index("imported")
    assert "noisy_block.Noisy" in error


def test_doctor_on_an_unknown_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "yolo11n-seg.yaml", "--target", "toaster"]) == 2
    assert "known are onnxruntime, onnxruntime1.23" in capsys.readouterr().err


def test_every_call_runs_once_a_round_in_changing_order() -> None:
    seen: list[str] = []
    calls = {name: (lambda name=name: seen.append(name)) for name in "abcd"}
    times = interleaved(calls, 6, lambda done, total: None)
    rounds = [seen[start : start + 4] for start in range(0, len(seen), 4)]
    assert all(sorted(turn) == list("abcd") for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 1
    assert {name: len(values) for name, values in times.items()} == dict.fromkeys("abcd", 6)


def test_ratio_is_taken_within_a_round() -> None:
    assert ratio({"a": [2.0, 30.0, 4.0], "base": [1.0, 10.0, 1.0]}, "a", "base") == 3.0
