"""The check of the modules against reference vectors: what passes, and that nothing else does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lineside.export.modules.check.__main__ import main
from lineside.export.modules.check.compare import compare, relative_error
from lineside.export.modules.check.table import HANDLERS

VECTORS = Path(__file__).resolve().parents[2] / "data" / "vectors"

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


def checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of the command."""
    code = main([str(folder), "--json"])
    return code, json.loads(capsys.readouterr().out)


def one_case(folder: Path, change: Change | None = None, family: str = "cgnet", case: str = "cgblock_0") -> Path:
    """A folder with one case of the reference vectors, changed."""
    manifest = json.loads((VECTORS / family / "manifest.json").read_text())
    entry = next(it for it in manifest["entries"] if it["case"] == case)
    tensors = load_file(VECTORS / family / entry["file"])
    del entry["bytes"], entry["tensors"]
    if change is not None:
        change(entry, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "case.safetensors")
    entry["file"] = entry.get("wanted_file", "case.safetensors")
    (folder / "manifest.json").write_text(json.dumps({**manifest, "entries": [entry]}))
    return folder


def test_all_reference_vectors_pass(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = checked(VECTORS, capsys)
    assert [outcome for outcome in result["outcomes"] if not outcome["passed"]] == []
    assert (code, result["cases"], result["passed"]) == (0, 81, 81)
    assert {outcome["module"] for outcome in result["outcomes"]} == set(HANDLERS)
    assert {outcome["tolerance"] for outcome in result["outcomes"]} <= {1e-5, 5e-5}


def test_as_a_command(tmp_path: Path) -> None:
    folder = one_case(tmp_path / "a" / "deep" / "place")
    command = [sys.executable, "-m", "lineside.export.modules.check", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    first, last = answer.stdout.splitlines()
    assert first.startswith("ok ") and "a/deep/place/cgnet/cgblock_0" in first and "<= 1e-05" in first
    assert last.startswith("1 of 1 cases passed")
    assert folder.is_dir()


def test_a_folder_whose_name_ends_like_the_family_keeps_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_case(tmp_path / "mycgnet")
    one_case(tmp_path / "cgnet")
    main([str(tmp_path)])
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert names == ["cgnet/cgblock_0", "mycgnet/cgnet/cgblock_0"]


def test_several_folders_and_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def renamed(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        entry["case"] = "seed-7"

    one_case(tmp_path / "one", renamed)
    one_case(tmp_path / "two", renamed, "unireplknet", "grn")
    assert checked(tmp_path, capsys)[0] == 0


def off_by(factor: float) -> Change:
    def change(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        tensors["out.y"] = tensors["out.y"] * factor

    return change


def nan_parameter(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["param.conv1x1.conv.weight"][0, 0, 0, 0] = float("nan")


def other_shape(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["out.y"] = tensors["out.y"][:1].contiguous()


def no_such_family(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    entry["module"] = "nobody"


def no_such_case(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    entry["upstream"]["file"] = "somewhere.py:Nobody"
    entry["case"], entry["hyper"] = "nobody", {}
    for name in [name for name in tensors if not name.startswith("out.")]:
        del tensors[name]
    tensors["in.nothing"] = torch.zeros(1)


def no_file(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    entry["wanted_file"] = "other.safetensors"


def no_output(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    del tensors["out.y"]


def one_more_output(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["out.z"] = torch.zeros(2)


def wrong_hash(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    entry["sha256"] = hashlib.sha256(b"another file").hexdigest()


def wrong_size(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    entry["bytes"] = 7


def not_as_announced(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    entry["tensors"] = {name: ["float32", [1]] for name in tensors}


FAULTS: Mapping[str, tuple[Change, str]] = {
    "a wrong number": (off_by(1.0001), ""),
    "a NaN in the answer": (nan_parameter, "not finite"),
    "a NaN expected": (off_by(float("nan")), "not finite"),
    "another shape": (other_shape, "shape"),
    "no such family": (no_such_family, "no handler"),
    "no such case": (no_such_case, ""),
    "no file": (no_file, "missing"),
    "nothing expected": (no_output, "nothing to compare"),
    "an output that nobody gives": (one_more_output, "z "),
    "another file": (wrong_hash, "SHA-256"),
    "a longer file": (wrong_size, "bytes"),
    "other tensors": (not_as_announced, "manifest says"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_else_passes(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, word = FAULTS[fault]
    one_case(tmp_path / "bad", change)
    one_case(tmp_path / "good")
    code, result = checked(tmp_path, capsys)
    bad, good = result["outcomes"]
    assert code == 1 and not bad["passed"] and good["passed"]
    assert word in bad["fault"]
    assert "Traceback" not in bad["fault"] and "\n" not in bad["fault"]


def test_a_right_hash_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = one_case(tmp_path)
    content = json.loads((folder / "manifest.json").read_text())
    content["entries"][0]["sha256"] = hashlib.sha256((folder / "case.safetensors").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(content))
    assert checked(tmp_path, capsys)[0] == 0


def test_a_damaged_file_fails_its_case_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = one_case(tmp_path)
    data = (folder / "case.safetensors").read_bytes()
    (folder / "case.safetensors").write_bytes(data[: len(data) // 2])
    code, result = checked(tmp_path, capsys)
    assert code == 1 and "damaged" in result["outcomes"][0]["fault"]


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '{"entries": 1}', '{"entries": []}', '{"entries": [{}]}']
)
def test_no_vectors_is_bad_input(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ") and str(tmp_path) in said


def test_no_folder_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_infinities_must_be_the_same() -> None:
    mask = torch.tensor([0.0, float("-inf"), 2.0])
    assert relative_error(mask.clone(), mask) == 0
    assert relative_error(torch.tensor([0.0, float("inf"), 2.0]), mask) == float("inf")
    assert relative_error(torch.tensor([0.0, -1e30, 2.0]), mask) == float("inf")
    assert relative_error(torch.zeros(0, 4), torch.zeros(0, 4)) == 0
    assert relative_error(torch.full((2,), 1e-6), torch.zeros(2)) == pytest.approx(1e-6)


def test_the_worst_output_counts() -> None:
    got = {"a": torch.ones(2), "b": torch.tensor([1.0, 1.1]), "unasked": torch.zeros(1)}
    found = compare(got, {"a": torch.ones(2), "b": torch.ones(2)})
    assert (found.output, found.error) == ("b", pytest.approx(0.1))


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8), st.floats(1e-3, 1.0))
def test_relative_error_is_that_of_the_definition(values: list[float], error: float) -> None:
    expected = torch.tensor(values, dtype=torch.float64)
    scale = max(abs(value) for value in values) or 1.0
    got = expected.clone()
    got[0] += error * scale
    assert relative_error(got, expected) == pytest.approx(error, rel=1e-6)
