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


def nan_on_both_sides(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["in.x"], tensors["out.y"] = (torch.full_like(tensors[name], float("nan")) for name in ("in.x", "out.y"))


FAULTS: Mapping[str, tuple[Change, str]] = {
    "a wrong number": (off_by(1.0001), ""),
    "a NaN in the answer": (nan_parameter, "not finite"),
    "a NaN expected": (off_by(float("nan")), "NaN is expected"),
    "a NaN on both sides": (nan_on_both_sides, "NaN is expected"),
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


def as_floats(value: Any) -> Any:
    """A value of a manifest by a writer that has no ints."""
    if isinstance(value, dict):
        return {name: as_floats(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return float(value) if type(value) is int else value


def numbers_as_floats(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    entry["hyper"] = as_floats(entry["hyper"])


def double_precision(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors.update({name: it.double() for name, it in tensors.items() if it.is_floating_point()})


def only_the_last_output(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    for name in sorted(name for name in tensors if name.startswith("out."))[:-1]:
        del tensors[name]


ONE_OF_EACH = {
    "autofocus": "chips_1_d3_t0.2_k8",
    "cgnet": "cgblock_down_1",
    "dyhead": "dyheadblock_1_flat_prefix",
    "fastkan": "conv2d_1",
    "freqfusion": "freqfusion_1_zero",
    "modulated_deform_conv": "dcnv2_1",
    "ms_deform_attn": "module_0",
    "rmt": "backbone_0",
    "selective_scan": "ss2d_v0",
    "unireplknet": "dilated_reparam_k7",
}


@pytest.mark.parametrize("change", [numbers_as_floats, double_precision, only_the_last_output])
def test_the_same_case_written_in_another_way_passes(
    change: Change, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for family, case in ONE_OF_EACH.items():
        one_case(tmp_path / family, change, family, case)
    code, result = checked(tmp_path, capsys)
    assert [outcome["fault"] for outcome in result["outcomes"] if not outcome["passed"]] == []
    assert (code, result["cases"]) == (0, len(HANDLERS))


@pytest.mark.parametrize(
    ("family", "case", "names"),
    [
        ("cgnet", "cgblock_0", ["dilation_rate", "bn_eps", "add"]),
        ("dyhead", "dyrelu_0", ["reduction", "lambda_a", "K2", "use_bias", "use_spatial"]),
        ("dyhead", "dyheadblock_0_crop", ["high_level_offset"]),
        ("fastkan", "conv2d_0", ["groups", "stride", "dilation", "grid_size", "grid_range", "norm"]),
        ("freqfusion", "freqfusion_0_zero", ["carafe_border", "semi_conv", "hr_residual", "lowpass_kernel"]),
        ("rmt", "masa_0_rot", ["rotary"]),
        ("selective_scan", "ss2d_v0", ["ssm_ratio", "dt_rank", "layout"]),
        ("unireplknet", "block_k13", ["ffn_factor"]),
        ("autofocus", "focus_labels_1", ["a", "b", "c", "stride", "overlap"]),
    ],
)
def test_a_value_that_is_null_or_missing_is_the_usual_one(
    family: str, case: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        entry["hyper"] = {name: value for name, value in entry["hyper"].items() if name not in names}

    def null(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        entry["hyper"] |= dict.fromkeys(names)

    one_case(tmp_path / "without", without, family, case)
    one_case(tmp_path / "null", null, family, case)
    code, result = checked(tmp_path, capsys)
    assert (code, result["passed"]) == (0, 2), result


def test_an_attention_that_does_not_say_which_it_is_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nameless(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        del entry["upstream"]

    def by_retention(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        del entry["upstream"]
        entry["hyper"]["retention"] = "chunk" if "_d_" in entry["case"] else "whole"

    for case in ("masa_0_rot", "masa_d_0_rot"):
        one_case(tmp_path / "nameless" / case, nameless, "rmt", case)
        one_case(tmp_path / "told" / case, by_retention, "rmt", case)
    _, result = checked(tmp_path, capsys)
    assert [outcome["passed"] for outcome in result["outcomes"]] == [False, False, True, True]
    assert "which attention" in result["outcomes"][0]["fault"]


def test_labels_have_the_cells_of_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shorter(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        tensors["out.labels"] = tensors["out.labels"][:-3].contiguous()

    one_case(tmp_path, shorter, "autofocus", "focus_labels_1")
    code, result = checked(tmp_path, capsys)
    assert code == 1 and "cells along the height" in result["outcomes"][0]["fault"]


def test_folders_behind_links_are_not_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_case(tmp_path / "elsewhere" / "cgnet")
    one_case(tmp_path / "given" / "cgnet")
    (tmp_path / "given" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "given" / "loop").symlink_to(tmp_path / "given", target_is_directory=True)
    code, result = checked(tmp_path / "given", capsys)
    assert (code, [outcome["folder"] for outcome in result["outcomes"]]) == (0, ["cgnet", "link/cgnet"])


def test_a_manifest_that_is_no_file_is_not_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_case(tmp_path / "good")
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "manifest.json").symlink_to(tmp_path / "nowhere")
    assert main([str(tmp_path)]) == 2
    assert "lost" in capsys.readouterr().err


def test_a_refusal_says_which_parameter_it_is_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def without(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        del tensors["param.bn_prelu.act.weight"]

    one_case(tmp_path, without)
    assert "bn_prelu.act.weight" in checked(tmp_path, capsys)[1]["outcomes"][0]["fault"]


@pytest.mark.parametrize(
    ("family", "case", "lost"),
    [
        ("autofocus", "chips_1_d3_t0.5_k4", "in.prob"),
        ("ms_deform_attn", "core_0", "in.value"),
        ("autofocus", "focus_stacking", "in.chips"),
        ("rmt", "masa_0_rot", "hyper num_heads"),
    ],
)
def test_a_case_that_lacks_something_says_what(
    family: str, case: str, lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(entry: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        if lost.startswith("hyper "):
            del entry["hyper"][lost[6:]]
        else:
            del tensors[lost]

    one_case(tmp_path, without, family, case)
    code, result = checked(tmp_path, capsys)
    fault = result["outcomes"][0]["fault"]
    said = (
        f"no hyper-parameter {lost[6:]}," if lost.startswith("hyper ") else f"case.safetensors holds no tensor {lost},"
    )
    assert (code, said in fault, "Error" in fault) == (1, True, False), fault
