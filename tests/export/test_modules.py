"""``--modules``: checkpoints and yamls with blocks of the user's own, through the same gate."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

from helpers.own_blocks import ATTENTION, NO_ONNX, OTHER_CONV, PARITY_BREAKER, checkpoint
from lineside import cli
from lineside.export import gate_pictures
from lineside.export.blocks import load_blocks
from lineside.export.cut import fused
from lineside.export.pictures import drawn_pictures
from lineside.export.ultra import load_model
from lineside.runtime.bundle import open_bundle
from lineside.runtime.errors import BadOption, WeightsError


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is not what is tested here: pictures of 64 px."""
    monkeypatch.setattr(gate_pictures, "photographs", dict)
    monkeypatch.setattr(gate_pictures, "drawn_pictures", lambda names: drawn_pictures(names, [(64, 64)] * 8))


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    file = tmp_path / "blocks.py"
    file.write_text(ATTENTION)
    return file


def export(*words: str | Path) -> int:
    return cli.main(["export", *map(str, words), "--imgsz", "64"])


class TestCheckpoints:
    @pytest.mark.parametrize(
        "where",
        ["ultralytics.nn.extra_modules", "ultralytics.nn.extra_modules.attention.ema", "ultralytics.nn.modules.block",
         "myblocks", "__main__"],
    )  # fmt: skip
    def test_a_block_is_found_wherever_the_pickle_looks_for_it(self, where: str, tmp_path: Path, blocks: Path) -> None:
        best = checkpoint(tmp_path / "best.pt", where, "EMAttn", ATTENTION, 64 * 2)
        before = set(sys.modules)
        loaded = load_model(best, blocks=load_blocks([str(blocks)]))
        assert type(loaded.model[4][1]).__name__ == "EMAttn"
        assert {name for name in set(sys.modules) - before if "extra_modules" in name or name == "myblocks"} == set()
        assert not hasattr(sys.modules["__main__"], "EMAttn")
        assert not hasattr(sys.modules["ultralytics.nn.modules.block"], "EMAttn")

    def test_export_and_verify(self, tmp_path: Path, blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
        best = checkpoint(tmp_path / "best.pt", "ultralytics.nn.extra_modules", "EMAttn", ATTENTION, 64 * 2)
        assert export(best, "-o", tmp_path / "own.bundle", "--modules", blocks) == 0, capsys.readouterr().err
        warned = capsys.readouterr().err
        assert "is a pickle" in warned and "ultralytics.nn.extra_modules.EMAttn" in warned
        manifest = open_bundle(tmp_path / "own.bundle").manifest
        assert manifest.provenance.modules == {"blocks.py": hashlib.sha256(blocks.read_bytes()).hexdigest()}
        assert cli.main(["verify", str(tmp_path / "own.bundle")]) == 0

    def test_a_package_folder_with_relative_imports_under_the_name_it_had(self, tmp_path: Path) -> None:
        package = tmp_path / "extra_modules"
        package.mkdir()
        (package / "__init__.py").write_text("from .ema import *\n")
        (package / "ema.py").write_text("from ..modules.conv import Conv\n" + ATTENTION)
        (package / "cuda.py").write_text("import a_package_that_needs_a_compiler\n")
        best = checkpoint(tmp_path / "best.pt", "ultralytics.nn.extra_modules.ema", "EMAttn", ATTENTION, 128)
        wanted = ["ultralytics.nn.extra_modules.ema"]
        found = load_blocks([str(package)], wanted)
        try:
            assert type(load_model(best, blocks=found).model[4][1]).__module__ == wanted[0]
            assert "a_package_that_needs_a_compiler" in found.described()
            assert len(found.provenance()["extra_modules"]) == 64
        finally:
            for name in [name for name in sys.modules if name.startswith("ultralytics.nn.extra_modules")]:
                del sys.modules[name]
            del sys.modules["ultralytics.nn"].extra_modules  # type: ignore[attr-defined]

    def test_a_changed_copy_of_a_file_of_ultralytics_shadows_nothing(self, tmp_path: Path) -> None:
        import ultralytics.nn.modules.block as theirs

        folder = tmp_path / "ultralytics" / "nn" / "modules"
        folder.mkdir(parents=True)
        for part in (folder, folder.parent, folder.parent.parent):
            (part / "__init__.py").write_text("")
        (folder / "block.py").write_text(
            f"from .conv import Conv\n{ATTENTION}\n\nclass C3k2(nn.Module):\n    pass\n\n\nclass C3k2_EMA(EMAttn):\n    pass\n"
        )
        best = checkpoint(tmp_path / "best.pt", "ultralytics.nn.modules.block", "EMAttn", ATTENTION, 128)
        loaded = load_model(best, blocks=load_blocks([str(folder / "block.py")]))
        assert type(loaded.model[2]) is theirs.C3k2
        assert type(loaded.model[4][1]).__name__ == "EMAttn"
        assert sys.modules["ultralytics.nn.modules.block"] is theirs

    def test_an_importable_package_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "installed_blocks").mkdir()
        (tmp_path / "installed_blocks" / "__init__.py").write_text("")
        (tmp_path / "installed_blocks" / "deep.py").write_text(ATTENTION)
        monkeypatch.syspath_prepend(tmp_path)
        found = load_blocks(["installed_blocks"])
        assert set(found.modules()) == {"EMAttn", "EMADown"}

    def test_two_blocks_of_one_name(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / f"{name}.py").write_text(ATTENTION)
        found = load_blocks([str(tmp_path / "one.py"), str(tmp_path / "two.py")])
        assert found.find("two", "EMAttn").__module__ == "two"
        with pytest.raises(WeightsError, match="twice, in one and two"):
            found.find("three", "EMAttn")

    def test_a_block_that_inherits_from_conv_keeps_its_own_computation(self, tmp_path: Path) -> None:
        """Where weights are stored as FP16, the gate's reference is folded as well and could not see the difference."""
        (tmp_path / "blocks.py").write_text(OTHER_CONV)
        best = checkpoint(tmp_path / "best.pt", "blocks", "Doubled", OTHER_CONV, 128, 128)
        model = load_model(best, blocks=load_blocks([str(tmp_path / "blocks.py")]))
        picture = torch.rand(1, 128, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            want, got = model.model[4][1](picture), fused(model).model[4][1](picture)
            assert torch.allclose(want, got, atol=1e-5)
            assert not torch.allclose(want, model.model[4][1].forward_fuse(picture), atol=1e-2)
        assert not hasattr(fused(model).model[0], "bn"), "ultralytics' own are folded"
        words = ("-o", tmp_path / "x.bundle", "--modules", tmp_path / "blocks.py", "--weights", "fp16")
        assert export(best, *words) == 0


class TestYamls:
    def yaml(self, folder: Path, row: str, place: str = "[-1, 2, C3k2, [512, False, 0.25]]") -> Path:
        """yolo11n-seg.yaml with one row of its backbone replaced."""
        import ultralytics

        shipped = Path(ultralytics.__file__).parent / "cfg" / "models" / "11" / "yolo11-seg.yaml"
        text = shipped.read_text()
        assert place in text
        file = folder / "yolo11n-own-seg.yaml"
        file.write_text(text.replace(place, row, 1))
        return file

    def test_a_block_that_keeps_channels(self, tmp_path: Path, blocks: Path) -> None:
        model = load_model(self.yaml(tmp_path, "[-1, 1, EMAttn, [64]]"), blocks=load_blocks([str(blocks)]))
        assert type(model.model[4]).__name__ == "EMAttn"
        assert not hasattr(sys.modules["ultralytics.nn.tasks"], "EMAttn")

    def test_a_block_that_declares_its_channels(self, tmp_path: Path, blocks: Path) -> None:
        yaml = self.yaml(tmp_path, "[-1, 1, EMADown, [256, 5]]", "[-1, 1, Conv, [256, 3, 2]]")
        block = load_model(yaml, blocks=load_blocks([str(blocks)])).model[3]
        assert (block.conv.in_channels, block.conv.out_channels) == (64, 64), "256 scaled by the width of n"
        assert block.conv.kernel_size == (5, 5)

    def test_a_block_that_repeats(self, tmp_path: Path, blocks: Path) -> None:
        blocks.write_text(ATTENTION + (
            "\n\nclass Stack(nn.Module):\n    lineside_args = ('c1', 'c2', 'n')\n"
            "    def __init__(self, c1, c2, n, e):\n        super().__init__()\n"
            "        self.n, self.e = n, e\n        self.conv = nn.Conv2d(c1, c2, 1)\n"
            "    def forward(self, x):\n        return self.conv(x)\n"
        ))  # fmt: skip
        model = load_model(self.yaml(tmp_path, "[-1, 4, Stack, [512, 0.5]]"), blocks=load_blocks([str(blocks)]))
        assert (model.model[4].n, model.model[4].e, model.model[4].conv.out_channels) == (2, 0.5, 128)

    def test_a_block_that_changes_channels_and_does_not_say_so(self, tmp_path: Path, blocks: Path) -> None:
        blocks.write_text(ATTENTION.replace('lineside_args = ("c1", "c2")', ""))
        yaml = self.yaml(tmp_path, "[-1, 1, EMADown, [64, 128]]", "[-1, 1, Conv, [256, 3, 2]]")
        with pytest.raises(WeightsError, match="EMADown.*must declare lineside_args"):
            load_model(yaml, blocks=load_blocks([str(blocks)]))

    def test_a_declaration_that_the_parser_cannot_follow(self, tmp_path: Path, blocks: Path) -> None:
        blocks.write_text(ATTENTION.replace('("c1", "c2")', '("c2",)'))
        with pytest.raises(BadOption, match=r"EMADown\.lineside_args.*\('c1', 'c2'\)"):
            load_model("yolo11n-seg.yaml", blocks=load_blocks([str(blocks)]))

    def test_a_name_that_nobody_has(self, tmp_path: Path, blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
        yaml = self.yaml(tmp_path, "[-1, 1, EMAttention, [64]]")
        assert export(yaml, "-o", tmp_path / "x.bundle", "--modules", blocks) == 2
        assert "names the block EMAttention" in (error := capsys.readouterr().err) and "offers EMADown, EMAttn" in error
        assert export(yaml, "-o", tmp_path / "x.bundle") == 2
        assert "no --modules were given" in capsys.readouterr().err

    @pytest.mark.slow
    def test_training_with_a_block(self, cli, tmp_path: Path, blocks: Path) -> None:  # type: ignore[no-untyped-def]
        from lineside.export.synth.dataset import write_dataset

        data = write_dataset("tube", tmp_path / "tube", 8, 4, 64, seed=1)
        yaml = self.yaml(tmp_path, "[-1, 1, EMAttn, [64]]")
        out, bundle = tmp_path / "run", tmp_path / "own.bundle"
        trained = cli(
            "train", yaml, data, "--modules", blocks, "--epochs", 1, "--imgsz", 64, "--batch", 4, "--threads", 1,
            "--device", "cpu", "--out", out, "--json",
        )  # fmt: skip
        assert trained.returncode == 0, trained.stderr
        assert json.loads((out / "settings.json").read_text())["modules"] == {
            "blocks.py": hashlib.sha256(blocks.read_bytes()).hexdigest()
        }
        refused = cli("export", out / "best.pt", "-o", bundle)
        assert refused.returncode == 2
        assert "blocks.EMAttn" in refused.stderr and "--modules" in refused.stderr and not bundle.exists()
        for weights in ("best.pt", "best.safetensors"):
            assert type(load_model(out / weights, blocks=load_blocks([str(blocks)])).model[4]).__name__ == "EMAttn"


class TestRefused:
    def test_an_operator_without_an_onnx_form(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "blocks.py").write_text(NO_ONNX)
        best = checkpoint(tmp_path / "best.pt", "blocks", "Spectral", NO_ONNX)
        assert export(best, "-o", tmp_path / "x.bundle", "--modules", tmp_path / "blocks.py") == 2
        out, error = capfd.readouterr()
        assert out == ""  # torch would print the graph there, from C++
        assert "bessel_j0" in error and "ONNX" in error and "Traceback" not in error
        assert not (tmp_path / "x.bundle").exists()

    def test_a_block_whose_graph_sees_something_else(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "blocks.py").write_text(PARITY_BREAKER)
        best = checkpoint(tmp_path / "best.pt", "blocks", "Moody", PARITY_BREAKER, layer=0)
        assert export(best, "-o", tmp_path / "x.bundle", "--modules", tmp_path / "blocks.py") == 1
        assert "does not see what its reference sees, level 'raw'" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.glob("x*")) == ["x.bundle.parity.json"]

    def test_what_is_still_missing_is_named(
        self, tmp_path: Path, blocks: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = ATTENTION.replace("EMAttn", "Elsewhere")
        best = checkpoint(tmp_path / "best.pt", "ultralytics.nn.extra_modules", "Elsewhere", other, 128)
        assert export(best, "-o", tmp_path / "x.bundle", "--modules", blocks) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "needs blocks that are not here: ultralytics.nn.extra_modules.Elsewhere" in error
        assert "--modules blocks.py offers EMADown, EMAttn" in error

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, ("there is no such file",)),
            ("class Broken(:\n", ("SyntaxError", "mine.py, line 1")),
            ("x = 1\nraise RuntimeError('not on\\nthis machine')\n", ("RuntimeError: not on (mine.py, line 2)",)),
            ("import sys\nsys.exit(3)\n", ("SystemExit: 3 (mine.py, line 2)",)),
            ("import no_such_package_here\n", ("no_such_package_here", "mine.py, line 1", "Install")),
            ("from .conv import Conv\n", ("relative import", "folder of that package")),
        ],
    )
    def test_files_that_cannot_be_imported(
        self, content: str | None, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "mine.py"
        if content is not None:
            file.write_text(content)
        assert export("yolo11n-seg.yaml", "-o", tmp_path / "x.bundle", "--modules", file) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: --modules ") and error.count("\n") == 1 and "Traceback" not in error
        for word in words:
            assert word in error
        assert "mine" not in sys.modules and not (tmp_path / "x.bundle").exists()

    def test_what_a_file_prints_is_no_result(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "chatty.py").write_text("print('hello')\n")
        load_blocks([str(tmp_path / "chatty.py")])
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("", "hello\n")


def test_torch_blocks_of_others_are_not_offered(tmp_path: Path) -> None:
    file = tmp_path / "mixed.py"
    file.write_text("from torch import nn\nfrom ultralytics.nn.modules import Conv\nclass Own(nn.Module):\n    pass\n")
    assert set(load_blocks([str(file)]).modules()) == {"Own"}
    assert issubclass(load_blocks([str(file)]).modules()["Own"], torch.nn.Module)


def test_a_file_that_has_changed_is_imported_again(tmp_path: Path) -> None:
    """What the manifest names is what ran, in a process that exports twice as well."""
    package = tmp_path / "changing_blocks"
    package.mkdir()
    (package / "__init__.py").write_text("from .own import Own\n")
    for body in ("pass", "changed = True"):
        (package / "own.py").write_text(f"from torch import nn\nclass Own(nn.Module):\n    {body}\n")
        found = load_blocks([str(package)])
        again = load_blocks([str(package)])
        assert hasattr(found.modules()["Own"], "changed") is (body != "pass")
        assert again.modules()["Own"] is found.modules()["Own"] and again.provenance() == found.provenance()


def test_files_of_one_name_are_all_named_in_the_manifest(tmp_path: Path) -> None:
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "same_blocks.py")
        files[-1].write_text(f"from torch import nn\nclass Of_{folder}(nn.Module):\n    pass\n")
    found = load_blocks([str(files[0]), str(files[1]), str(files[0])])
    assert set(found.modules()) == {"Of_a", "Of_b"}
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert found.provenance() == {"same_blocks.py": hashes[0], "same_blocks.py (2)": hashes[1]}
