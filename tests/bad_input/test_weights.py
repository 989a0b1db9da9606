"""Weights that cannot be exported, each at the command line: exit code 2, one sentence, nothing written, nothing run."""

from __future__ import annotations

import collections
import importlib
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.own_blocks import ATTENTION, checkpoint
from lineside import cli
from lineside.export import gate_pictures
from lineside.export.pictures import drawn_pictures
from lineside.export.ultra import load_model, prepare
from lineside.runtime.bundle import open_bundle
from lineside.runtime.errors import WeightsError


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without anything strange in it."""
    tasks = importlib.import_module("ultralytics.nn.tasks") if prepare() else None
    assert tasks
    path = tmp_path_factory.mktemp("good") / "best.pt"
    torch.save({"ema": None, "model": tasks.SegmentationModel("yolo11n-seg.yaml", verbose=False).half()}, path)
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a block of the user's own."""
    where = tmp_path_factory.mktemp("own") / "best.pt"
    return checkpoint(where, "ultralytics.nn.extra_modules", "EMAttn", ATTENTION, 128)


def refused(
    capsys: pytest.CaptureFixture[str], weights: Path | str, folder: Path, *words: str | Path, command: str = "export"
) -> str:
    """The sentence with which an export ends."""
    target = folder / "x.bundle"
    before = sorted(path.name for path in folder.iterdir())
    assert cli.main([command, str(weights), "-o", str(target), *map(str, words)]) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in printed.err, printed.err
    assert "internal error" not in printed.err and printed.out == ""
    assert sorted(path.name for path in folder.iterdir()) == before, "something was left behind"
    return lines[0]


class TestDamaged:
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
    def test_truncated(self, share: float, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = good.read_bytes()
        (tmp_path / "best.pt").write_bytes(data[: int(len(data) * share)])
        for words in ((), ("--safe",)):
            assert "truncated, damaged or no checkpoint" in refused(capsys, tmp_path / "best.pt", tmp_path, *words)

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("empty.pt", b"", "is empty"),
            ("picture.pt", b"\x89PNG\r\n\x1a\n" + bytes(100), "no checkpoint at all"),
            ("text.pt", b"hello there\n" * 9, "no checkpoint at all"),
            ("page.pt", b"<!DOCTYPE html><html>404</html>", "no checkpoint at all"),
            ("zip.pt", b"PK\x05\x06" + bytes(18), "no checkpoint at all"),
            ("empty.safetensors", b"", "no safetensors file"),
            ("text.safetensors", b"hello there\n" * 9, "no safetensors file"),
            ("best.onnx", b"", "no .pt checkpoint"),
            ("best", b"", "no .pt checkpoint"),
        ],
    )
    def test_no_checkpoint(
        self, name: str, content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / name).write_bytes(content)
        assert says in refused(capsys, tmp_path / name, tmp_path)

    @pytest.mark.parametrize("name", ["best.pt", "best.safetensors", "best-seg.yaml"])
    def test_a_folder_or_nothing(self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "There is no" in refused(capsys, tmp_path / name, tmp_path)
        (tmp_path / name).mkdir()
        assert name in refused(capsys, tmp_path / name, tmp_path)

    @pytest.mark.parametrize(
        ("made", "says"),
        [
            (lambda: torch.nn.Conv2d(3, 8, 3).state_dict(), "is a state_dict, 2 tensors without the model"),
            (lambda: {"model": {"0.weight": torch.zeros(3)}}, "is a state_dict, 1 tensors"),
            (lambda: {"epoch": 3, "note": "nothing"}, "holds no model, only epoch, note"),
            (dict, "holds no model"),
            (lambda: [1, 2, 3], "best.pt"),
            (lambda: torch.zeros(3), "best.pt"),
            (lambda: {"model": torch.nn.Conv2d(3, 8, 3)}, "needs one for segment"),
            (lambda: {"model": torch.nn.Identity(), "modelopt": {"a": 1}}, "quantisation inside"),
        ],
    )
    def test_other_things_in_a_checkpoint(
        self, made: Callable[[], Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.save(made(), tmp_path / "best.pt")
        error = refused(capsys, tmp_path / "best.pt", tmp_path)
        assert says in error or "list of layers" in error

    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:'torch.load' received a zip file:UserWarning")
    def test_a_torchscript_archive(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8)), tmp_path / "best.pt")
        for words in ((), ("--safe",)):
            assert "TorchScript archive" in refused(capsys, tmp_path / "best.pt", tmp_path, *words)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("nc: 80\nnames: [a]\ntrain: images\n", "no list of rows"),
            ("- 1\n- 2\n", "holds a list and no mapping"),
            ("", "holds nothing"),
            ("a: [1, 2\n", "is wrong in line 2, column 1"),
            ("backbone: 3\nhead: [[1]]\n", "no list of rows"),
            ("backbone: []\nhead: [[-1, 1, nn.Upsampler, [2]], [-1, 1, Segment, [80]]]\n", "nn.Upsampler"),
        ],
    )
    def test_a_yaml_that_is_no_model(
        self, text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "data-seg.yaml").write_text(text)
        assert says in refused(capsys, tmp_path / "data-seg.yaml", tmp_path)


class TestHeads:
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("yolo11n-obb.yaml", "'obb'"),
            ("yolo11n-pose.yaml", "'pose'"),
            ("yolo11n-cls.yaml", "'classify'"),
            ("yolo26n-sem.yaml", "'semantic'"),
            ("yolo26n-depth.yaml", "'depth'"),
            ("yoloe-11s-seg.yaml", "YOLOESegment"),
            ("yoloe-26s-seg.yaml", "YOLOESegment26"),
            ("yolov8s-world.yaml", "WorldDetect"),
            ("rtdetr-l.yaml", "RTDETRDecoder"),
        ],
    )
    def test_a_structure_with_another_head(
        self, name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert says in refused(capsys, name, tmp_path)

    @pytest.mark.parametrize(("kind", "says"), [("obb", "OBBModel"), ("pose", "PoseModel")])
    def test_a_checkpoint_with_another_head(
        self, kind: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        prepare()
        tasks = importlib.import_module("ultralytics.nn.tasks")
        torch.save({"model": getattr(tasks, says)(f"yolo11n-{kind}.yaml", verbose=False)}, tmp_path / "best.pt")
        assert f"'{kind}'" in refused(capsys, tmp_path / "best.pt", tmp_path)


class TestPickles:
    def test_loading_one_is_warned_of_in_one_line(
        self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["export", str(own), "-o", str(tmp_path / "x.bundle")]) == 2
        warning, error = capsys.readouterr().err.splitlines()
        assert warning.startswith(f"warning: {own} is a pickle: loading it runs whatever code its author put in")
        assert "names ultralytics.nn.extra_modules.EMAttn beside ultralytics' own" in warning and "--safe" in warning
        assert error.startswith("error: ")

    def test_no_warning_where_nothing_can_happen(
        self, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for words in ((good, "--safe", "--imgsz", "100"), ("yolo11n-seg.yaml", "--imgsz", "100")):
            assert cli.main(["export", *map(str, words), "-o", str(tmp_path / "x.bundle")]) == 2
            assert "multiples of 32" in (printed := capsys.readouterr().err) and "warning" not in printed

    def test_unknown_blocks(self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        error = refused(capsys, own, tmp_path)
        assert "needs blocks that are not here: ultralytics.nn.extra_modules.EMAttn" in error and "--modules" in error

    def test_safe_refuses_classes_of_others(
        self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = refused(capsys, own, tmp_path, "--safe")
        assert "refused by --safe, nothing of it was run" in error and "extra_modules.EMAttn" in error

    def test_safe_admits_the_blocks_that_the_user_vouches_for(
        self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gate_pictures, "photographs", dict)
        monkeypatch.setattr(gate_pictures, "drawn_pictures", lambda names: drawn_pictures(names, [(64, 64)] * 8))
        (tmp_path / "blocks.py").write_text(ATTENTION)
        words = ["--safe", "--modules", str(tmp_path / "blocks.py"), "--imgsz", "64"]
        assert cli.main(["export", str(own), "-o", str(tmp_path / "x.bundle"), *words]) == 0, capsys.readouterr().err
        assert "warning" not in capsys.readouterr().err
        assert set(open_bundle(tmp_path / "x.bundle").manifest.provenance.modules) == {"blocks.py"}
        # What was admitted for one load is not admitted for the next.
        assert "refused by --safe" in refused(capsys, own, tmp_path, "--safe", "--force")

    def test_safe_with_the_wrong_blocks(self, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "other.py").write_text(ATTENTION.replace("EMAttn", "Other"))
        error = refused(capsys, own, tmp_path, "--safe", "--modules", tmp_path / "other.py")
        assert "refused by --safe" in error and "other.py offers EMADown, Other" in error


class Attack:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def attacks(mark: Path) -> dict[str, Any]:
    """Objects whose unpickling makes a file, each by another way."""
    import os
    import subprocess

    return {
        "os.system": Attack(os.system, f"touch {mark}"),
        "subprocess": Attack(subprocess.call, ["touch", str(mark)]),
        "eval": Attack(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Attack(exec, f"open({str(mark)!r}, 'w')"),
        "getattr": Attack(getattr, Attack(importlib.import_module, "os"), "system"),
        "open": Attack(open, str(mark), "w"),
        "hub": Attack(torch.hub.load, str(mark.parent), "x", "local"),
        "torch.load": Attack(torch.load, str(mark.parent / "inner.pt"), None, None),
    }


@pytest.mark.parametrize("kind", ["os.system", "subprocess", "eval", "exec", "getattr", "open", "hub", "torch.load"])
@pytest.mark.parametrize("form", ["zip", "old"])
def test_a_hostile_pickle_runs_nothing_under_safe(
    kind: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "hubconf.py").write_text(f"open({str(mark)!r}, 'w')\n")
    hostile = {"model": attacks(mark)[kind], "ema": None}
    path = tmp_path / "best.pt"
    torch.save(hostile, path, _use_new_zipfile_serialization=form == "zip")
    (tmp_path / "blocks.py").write_text(ATTENTION)
    for words in (("--safe",), ("--safe", "--modules", tmp_path / "blocks.py")):
        refused(capsys, path, tmp_path, *words)
        assert not mark.exists()
    error = refused(capsys, path, tmp_path)  # without --safe: what it names is known to be hostile
    assert "which no model needs" in error and not mark.exists()
    if kind == "eval":  # the same file does run where it is loaded: the test above is not about a blunt weapon
        torch.load(path, weights_only=False)
        assert mark.exists()


class Fetching:
    """Pickled as a call of ultralytics' module that downloads weights when it is made."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        from ultralytics.nn.modules.block import TorchVision

        return TorchVision, ("resnet18", "DEFAULT")


def test_no_class_that_downloads_is_made_under_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare()  # before pickling imports ultralytics, which speaks on stdout unless told not to
    torch.save({"model": Fetching()}, tmp_path / "best.pt")
    error = refused(capsys, tmp_path / "best.pt", tmp_path, "--safe")
    assert "TorchVision, which fetches weights from the network" in error


def test_a_class_of_the_users_cannot_be_turned_against_him_under_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions and plain classes of the named files stay out of reach: only torch modules are admitted."""
    mark = tmp_path / "mark"
    source = f"from torch import nn\n\n\ndef clean(path):\n    open({str(mark)!r}, 'w')\n\n\nclass Own(nn.Module):\n    pass\n"
    (tmp_path / "tools_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    tools = importlib.import_module("tools_of_mine")
    torch.save({"model": Attack(tools.clean, "x")}, tmp_path / "best.pt")
    try:
        error = refused(capsys, tmp_path / "best.pt", tmp_path, "--safe", "--modules", tmp_path / "tools_of_mine.py")
    finally:
        del sys.modules["tools_of_mine"]
    assert "tools_of_mine.clean" in error and not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "__import__('pathlib').Path('MARK').touch()"},
        {"activation": "nn.SiLU(__import__('pathlib').Path('MARK').touch())"},
        {"backbone": [[-1, 1, "Path", ["MARK"]]]},
        {"backbone": [[-1, 1, "torch_load", ["inner.pt"]]]},
        {"backbone": [[-1, 1, "nn.init.ones_", [3]]]},
        {"backbone": [[-1, 1, 7, [3]]]},
        {"backbone": [[-1, 1, "DetectionModel", [{"activation": "open('MARK', 'w')", "backbone": [], "head": []}]]]},
        {"backbone": [[-1, 1, "TorchVision", [64, "resnet18", "DEFAULT"]]]},
    ],
)
def test_a_hostile_structure_runs_nothing(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ultralytics' parser evaluates text of a model yaml; one comes inside every safetensors file."""
    from safetensors.torch import save_file

    prepare()
    monkeypatch.chdir(tmp_path)
    shipped = dict(importlib.import_module("ultralytics.nn.tasks").yaml_model_load("yolo11n-seg.yaml"))
    metadata = {"yaml": json.dumps({**shipped, **change}), "names": json.dumps({"0": "a"})}
    save_file({"weight": torch.zeros(1)}, tmp_path / "best.safetensors", metadata)
    torch.save(Attack(open, "MARK", "w"), tmp_path / "inner.pt")
    error = refused(capsys, tmp_path / "best.safetensors", tmp_path)
    assert "no torch module" in error and not (tmp_path / "MARK").exists()


@pytest.mark.parametrize("structure", ["[]", '"text"', "7", "null"])
def test_a_structure_that_is_none(structure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1)}, tmp_path / "best.safetensors", {"yaml": structure, "names": '{"0": "a"}'})
    assert "no mapping" in refused(capsys, tmp_path / "best.safetensors", tmp_path)


def test_a_structure_that_cannot_be_built_leaves_no_activation_behind(tmp_path: Path) -> None:
    """The parser keeps a yaml's activation in a class, for all models of the process."""
    prepare()
    broken = dict(importlib.import_module("ultralytics.nn.tasks").yaml_model_load("yolo11n-seg.yaml"))
    broken |= {"activation": "nn.ReLU()", "backbone": [[-1, 1, "nn.Identity", [1]], [7, 1, "Conv", [8]]]}
    (tmp_path / "broken-seg.yaml").write_text(json.dumps(broken))
    with pytest.raises(WeightsError, match="cannot be built"):
        load_model(tmp_path / "broken-seg.yaml")
    assert isinstance(load_model("yolo11n-seg.yaml").model[0].act, torch.nn.SiLU)


def test_old_checkpoints_name_their_classes_too(tmp_path: Path) -> None:
    """Both forms of ``torch.save`` and newer pickle protocols are read for messages."""
    from lineside.export.class_paths import class_paths

    for number, options in enumerate(
        ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": pickle.HIGHEST_PROTOCOL})
    ):
        path = tmp_path / f"{number}.pt"
        torch.save({"a": collections.Counter("abc"), "b": collections.Counter()}, path, **options)  # type: ignore[arg-type]
        assert "collections.Counter" in {str(found) for found in class_paths(path)}
