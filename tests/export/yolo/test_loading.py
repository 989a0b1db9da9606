"""Models with blocks of ours on every road into Lineside: yaml, checkpoint, safetensors copy, training, export."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import lineside
from helpers.own_blocks import checkpoint as own_checkpoint
from helpers.zoo import checkpoint
from lineside import cli
from lineside.export import gate_pictures
from lineside.export.blocks import NO_BLOCKS
from lineside.export.bundle import export_bundle
from lineside.export.checkpoint import pickle_warning, safe_copy
from lineside.export.outdated import require_current
from lineside.export.pictures import drawn_pictures
from lineside.export.results import write_safetensors
from lineside.export.synth.dataset import write_dataset
from lineside.export.ultra import load_model
from lineside.runtime.bundle import open_bundle
from lineside.runtime.errors import WeightsError

NAME = "yolo11n-seg-cg.yaml"


class Hostile:
    """Unpickling it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def state(model: object) -> dict[str, torch.Tensor]:
    return {key: value.half() for key, value in model.state_dict().items()}  # type: ignore[attr-defined]


def same(one: object, other: object) -> bool:
    a, b = state(one), state(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint with its safetensors copy."""
    best = checkpoint(load_model(NAME), tmp_path / "best.pt", 64)
    write_safetensors(load_model(best), best, tmp_path / "best.safetensors", 64)
    return best


def test_every_road_leads_to_the_same_model(trained: Path) -> None:
    built = load_model(NAME)
    assert same(load_model(trained), built)
    assert same(load_model(trained.with_suffix(".safetensors")), built)
    assert same(load_model(trained, safe=True), built)
    assert "beside ultralytics' own classes" not in (pickle_warning(trained) or "")


def test_safe_without_a_copy_admits_our_own_blocks(trained: Path) -> None:
    trained.with_suffix(".safetensors").unlink()
    assert same(load_model(trained, safe=True), load_model(NAME))


def test_safe_unpickles_nothing_where_the_copy_belongs_to_the_checkpoint(trained: Path, tmp_path: Path) -> None:
    mark, bad = tmp_path / "mark", tmp_path / "bad.pt"
    torch.save({"model": Hostile(mark)}, bad)
    write_safetensors(load_model(NAME), bad, tmp_path / "bad.safetensors", 64)
    assert safe_copy(bad) == tmp_path / "bad.safetensors"
    assert same(load_model(bad, safe=True), load_model(NAME))
    assert not mark.exists()


def test_a_copy_of_another_checkpoint_does_not_count(trained: Path, tmp_path: Path) -> None:
    mark, bad = tmp_path / "mark", tmp_path / "bad.pt"
    torch.save({"model": Hostile(mark)}, bad)
    trained.with_suffix(".safetensors").rename(tmp_path / "bad.safetensors")
    assert safe_copy(bad) is None
    with pytest.raises(WeightsError, match="refused by --safe"):
        load_model(bad, safe=True)
    assert not mark.exists()


def test_a_copy_that_is_damaged_does_not_count(trained: Path) -> None:
    trained.with_suffix(".safetensors").write_bytes(b"nothing of the kind")
    assert safe_copy(trained) is None
    assert same(load_model(trained, safe=True), load_model(NAME))


def test_a_pickle_that_names_a_program_of_ours_runs_nothing_under_safe(tmp_path: Path) -> None:
    """Our packages hold more than blocks; only classes count."""
    bad = tmp_path / "bad.pt"
    with zipfile.ZipFile(bad, "w") as archive:
        body = b"\x80\x02clineside.export.modules.check.__main__\nmain\n)R."
        archive.writestr("bad/data.pkl", body)
        archive.writestr("bad/version", "3\n")
        archive.writestr("bad/byteorder", "little")
    with pytest.raises(WeightsError, match="refused by --safe"):
        load_model(bad, safe=True)


class TestStructures:
    def test_one_in_a_safetensors_file_is_still_looked_at(self, trained: Path, tmp_path: Path) -> None:
        from safetensors import safe_open
        from safetensors.torch import save_file

        copy = trained.with_suffix(".safetensors")
        with safe_open(str(copy), framework="pt") as file:
            metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        structure = json.loads(metadata["yaml"])
        assert structure["backbone"][3][2] == "CGDown" and "base" not in structure
        structure["backbone"][3][2] = "attempt_load_weights"
        structure["activation"] = "__import__('os').system('true')"
        save_file(tensors, str(tmp_path / "bad.safetensors"), metadata | {"yaml": json.dumps(structure)})
        with pytest.raises(WeightsError, match="activation that is no torch module"):
            load_model(tmp_path / "bad.safetensors")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("base: no-such.yaml\n", "names the base 'no-such.yaml', which ultralytics does not have"),
            (
                "base: yolo11-seg-edge.yaml\n",
                "names the base 'yolo11-seg-edge.yaml', which is itself a change of another",
            ),
            ("base: mine.yaml\n", "names the base 'mine.yaml', which is itself a change of another"),
            ("base: yolo11-seg.yaml\nreplace: {40: [-1, 1, CGDown, [64]]}\n", "the base has the layers 0 to 23"),
            ("base: yolo11-seg.yaml\nreplace: {3: [-1, 1, CGDwn, [64]]}\n", "CGDwn .layer 3., which"),
            ("base: yolo11-seg.yaml\nreplace: {3: [-1, 1, CGDown, [64, 1, 2, 3, 4, 5, 6, 7]]}\n", "Layer 3 .* CGDown"),
            ("base: yolo11-seg.yaml\nreplace: {3: [-1, 1, CGDown, [64]]}\nactivation: open('x')\n", "no torch module"),
            ("base: yolo11-seg.yaml\nreplace: {3: [-1, 1, yaml_model_load, [x]]}\n", "no torch module that a row may"),
            (
                "base: yolo11-seg.yaml\nreplace:\n  3: [-1, 1, CGDown, [256]]\n  3: [-1, 1, CGDown, [64]]\n",
                "wrong in line 4, column 3: the key 3 stands there a second time, after line 3",
            ),
            ("base: yolo11-seg.yaml\nbase: yolo11-seg.yaml\n", "line 2, column 1: the key 'base' stands"),
            ("base: yolo11-seg.yaml\nreplace: {3: [-1, 1, CGDown, [64]}\n", "line 2, column 34: expected ',' or ']'"),
            ("", "holds nothing"),
            ("- 1\n", "holds a list and no mapping"),
            ("replace: {3: [-1, 1, CGDown, [256]]}\n", "has 'replace' and no 'base'"),
            ("base:\n", "has the base None, and a base is the name"),
            ("base: [yolo11-seg.yaml]\n", "has the base .'yolo11-seg.yaml'., and a base is the name"),
            (
                "base: /nowhere/yolo11-seg.yaml\n",
                "names the base '/nowhere/yolo11-seg.yaml', which ultralytics does not",
            ),
            ("base: yolo11-seg.yaml\nscale: q\n", "has the scale 'q', and its base has n, s, m, l, x"),
            ("base: yolo11-seg.yaml\nchannels: 1\n", "has the key 'channels', which means nothing"),
            ("base: yolo11-seg.yaml\nnc: 0\n", "has nc: 0, and it is a whole number"),
            ("base: yolo11-seg.yaml\nscales: {}\n", "are no mapping"),
            ("base: yolo11-seg.yaml\nscales: {n: [0.5, -1, 9]}\n", "has the scale 'n' as .0.5, -1, 9."),
            ("base: yolo11-seg.yaml\nreplace: {8: [-1, 2, C3k2_CG, [0.5]]}\n", "Layer 8 .* full width, a whole number"),
            ("base: yolo11-seg.yaml\nreplace: {8: [[6, 7], 2, C3k2_CG, [64]]}\n", "Layer 8 .* reads one layer"),
            ("base: yolo11-seg.yaml\nreplace: {8: [-1, 2, C3k2_CGG, [64]]}\n", "the block C3k2_CGG .layer 8., which"),
            ("base: yolo11-seg.yaml\nreplace: {5: [-1, 6, CGDown, [256]]}\n", "at layer 5, CGDown: RuntimeError"),
            (
                "base: yolo11-seg.yaml\nreplace: {8: [-1, 2, C3k2_CG, [64]], 5: [-1, 1, Conv, [x]]}\n",
                "Layer 5 .* Conv, cannot",
            ),
            ("base: yolo11-seg.yaml\nreplace: {5: [-1, 1, Conv, [x]]}\n", "at layer 5, Conv: "),
            ("base: yolo11-seg.yaml\nhead: [[16, 19, 22], 1, Segment_DyHead, [nc, 32, -1]]\n", "80, 32, -1., no whole"),
            (
                "base: yolo11-seg.yaml\nhead: [[16, 19, 22], 1, Segment_DyHead, [nc, 32, 64, {x: 1}]]\n",
                "keyword .* 'x'",
            ),
            ("base: yolo11-seg.yaml\nreplace: {8: [[4, 6], 1, Segment_DyHead, [nc, 32, 64]]}\n", "a head is the last"),
        ],
    )
    def test_a_yaml_that_is_wrong_gets_one_sentence(self, text: str, said: str, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(WeightsError, match=said):
            load_model(tmp_path / "mine.yaml")

    def test_a_base_of_the_users_own_lies_beside(self, tmp_path: Path) -> None:
        import ultralytics

        theirs = Path(ultralytics.__file__).parent / "cfg" / "models" / "11" / "yolo11-seg.yaml"
        (tmp_path / "my-base.yaml").write_text(theirs.read_text().replace("nc: 80", "nc: 7"))
        (tmp_path / "yolo11s-mine.yaml").write_text("base: my-base.yaml\nreplace: {8: [-1, 2, C3k2_CG, [1024]]}\n")
        model = load_model(tmp_path / "yolo11s-mine.yaml")
        assert model.yaml["nc"] == 7 and model.yaml["scale"] == "s"

    def test_a_name_that_nobody_has(self) -> None:
        with pytest.raises(WeightsError, match="There is no model yaml 'yolo11n-seg-nosuch.yaml'"):
            load_model("yolo11n-seg-nosuch.yaml")
        with pytest.raises(
            WeightsError, match=r"yolo11n-seg-NAME.yaml, with NAME one of cg, dcn, .*edge.* n, s, m, l or x"
        ):
            load_model("yolo11q-seg-edge.yaml")

    def test_scales_come_from_the_name_or_from_the_base(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("base: yolo11s-seg.yaml\nreplace: {8: [-1, 2, C3k2_CG, [1024]]}\n")
        assert load_model(tmp_path / "mine.yaml").yaml["scale"] == "s"
        assert load_model("yolo11m-seg-cg.yaml").yaml["scale"] == "m"

    def test_a_scale_in_the_file_counts_where_its_name_has_none(self, tmp_path: Path) -> None:
        text = "base: yolo11-seg.yaml\nscale: s\nreplace: {8: [-1, 2, C3k2_CG, [1024]]}\n"
        (tmp_path / "mine.yaml").write_text(text)
        model = load_model(tmp_path / "mine.yaml")
        assert model.yaml["scale"] == "s" and model.model[8].cv2.conv.out_channels == 512
        (tmp_path / "yolo11n-mine.yaml").write_text(text)
        with pytest.raises(WeightsError, match="has the scale 'n' in its name and 's' under 'scale'"):
            load_model(tmp_path / "yolo11n-mine.yaml")

    @pytest.mark.parametrize("whole", [True, False])
    def test_keys_are_unique_in_whole_models_and_in_bases_too(self, whole: bool, tmp_path: Path) -> None:
        import ultralytics

        theirs = Path(ultralytics.__file__).parent / "cfg" / "models" / "11" / "yolo11-seg.yaml"
        (tmp_path / "yolo11-own.yaml").write_text(theirs.read_text() + "nc: 3\n")
        (tmp_path / "mine.yaml").write_text("base: yolo11-own.yaml\n")
        with pytest.raises(WeightsError, match="the key 'nc' stands there a second time, after line 8"):
            load_model(tmp_path / ("yolo11n-own.yaml" if whole else "mine.yaml"))

    def test_merged_keys_of_yaml_are_no_repetition(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(
            "base: yolo11-seg.yaml\nreplace:\n  8: [-1, 2, C3k2_CG, [1024, &more {dilation: 2}]]\n"
            "  6: [-1, 2, C3k2_CG, [512, {<<: *more, dilation: 3}]]\n"
        )
        layers = load_model(tmp_path / "mine.yaml").model
        assert [layers[index].m[0].F_sur.conv.dilation[0] for index in (8, 6)] == [2, 3]


@pytest.mark.slow
def test_train_export_verify_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr(gate_pictures, "photographs", dict)
    monkeypatch.setattr(gate_pictures, "drawn_pictures", lambda names: drawn_pictures(names, [(64, 64)] * 8))
    data = write_dataset("tube", tmp_path / "tube", 8, 4, 64, seed=1)
    words = ["--epochs", "1", "--imgsz", "64", "--batch", "4", "--threads", "1", "--device", "cpu"]
    assert cli.main(["train", "yolo11n-seg-edge.yaml", str(data), "--out", str(tmp_path / "run"), *words]) == 0
    best = tmp_path / "run" / "best.pt"
    assert safe_copy(best) == tmp_path / "run" / "best.safetensors"
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("nothing is unpickled"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("nothing is unpickled"))
    bundle = tmp_path / "edge.bundle"
    code = cli.main(["export", str(best), "-o", str(bundle), "--safe"])
    assert code == 0, capsys.readouterr().err
    assert open_bundle(bundle).manifest.provenance.model == "yolo11n-seg-edge"
    assert cli.main(["verify", str(bundle)]) == 0
    found = lineside.load(bundle, engine="onnxruntime")(drawn_pictures((), [(80, 100)])[0].frame)
    assert found.image_size == (80, 100) and found.names == ("capp",)


class TestBlocksOfOthers:
    @pytest.mark.parametrize(
        ("module", "name", "said"),
        [
            ("ultralytics.nn.extra_modules", "ContextGuidedBlock_Down", "but a pickle wants the very code that it was"),
            ("lineside.export.yolo.tomorrow", "C3k2_New", "install that version, or one that is newer"),
        ],
    )
    def test_a_checkpoint_with_code_that_is_not_here(self, module: str, name: str, said: str, tmp_path: Path) -> None:
        source = "from torch import nn\n\n\nclass EMAttn(nn.Module):\n    pass\n".replace("EMAttn", name)
        bad = own_checkpoint(tmp_path / "bad.pt", module, name, source)
        with pytest.raises(WeightsError, match=f"needs blocks that are not here: {module}.{name}.*{said}"):
            load_model(bad)

    @pytest.mark.parametrize(
        ("layer", "name"), [("model.3.F_glo", "fc"), ("model.4.m.0", "residual"), ("model.4.m.0.F_sur", "conv")]
    )
    def test_a_checkpoint_of_an_older_block(self, layer: str, name: str, tmp_path: Path) -> None:
        model = load_model(NAME)
        delattr(model.get_submodule(layer), name)
        old = checkpoint(model, tmp_path / "old.pt", 64)
        with pytest.raises(WeightsError, match=f"another version of Lineside: {layer}, .* has no '{name}', .* train"):
            export_bundle(old, tmp_path / "x.bundle")
        assert not (tmp_path / "x.bundle").exists()

    def test_a_checkpoint_of_this_version_is_current(self, tmp_path: Path) -> None:
        best = checkpoint(load_model(NAME), tmp_path / "best.pt", 64)
        model: Any = load_model(best)
        require_current(model, best, NO_BLOCKS)
        model.yaml = {}  # nothing to compare with
        require_current(model, best, NO_BLOCKS)
