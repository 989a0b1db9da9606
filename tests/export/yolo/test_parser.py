"""Structures built row by row: ultralytics' rows as ultralytics builds them, ours beside, the user's in between."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lineside.export.blocks import load_blocks
from lineside.export.ultra import load_model, prepare
from lineside.export.yolo import parser, table
from lineside.runtime.errors import WeightsError

prepare()
from ultralytics.nn import tasks  # noqa: E402

native = tasks.parse_model.__lineside_wraps__

OWN = """
import torch
from torch import nn


class Squeeze(nn.Module):
    lineside_args = ("c1", "c2")

    def __init__(self, c1, c2, factor=1.0):
        super().__init__()
        self.conv, self.factor = nn.Conv2d(c1, c2, 1), factor

    def forward(self, x):
        return self.conv(x) * self.factor


class Keep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x):
        return x * self.weight
"""


def structure(name: str) -> dict[str, Any]:
    found: dict[str, Any] = tasks.yaml_model_load(name)
    return found


def both(config: dict[str, Any]) -> tuple[Any, Any]:
    """What ultralytics' parser and ours make of a structure without our blocks; weights are not drawn."""
    with torch.device("meta"):
        return (
            native(copy.deepcopy(config), ch=3, verbose=False),
            parser.parse(copy.deepcopy(config), 3, False, native),
        )


class TestRowsOfUltralytics:
    @pytest.mark.parametrize(
        "name",
        [*(f"yolo11{scale}-seg.yaml" for scale in "nsmlx"), "yolov8n-seg.yaml", "yolo26n-seg.yaml", "yolo12s-seg.yaml",
         "yolov9c-seg.yaml", "yolov10n.yaml"],
    )  # fmt: skip
    def test_are_built_as_ultralytics_builds_them(self, name: str) -> None:
        (theirs, their_save), (ours, our_save) = both(structure(name))
        assert our_save == their_save
        for one, other in zip(theirs, ours, strict=True):
            assert (one.i, one.f, one.type, one.np) == (other.i, other.f, other.type, other.np)
            assert str(one) == str(other)
        assert {key: value.shape for key, value in theirs.state_dict().items()} == {
            key: value.shape for key, value in ours.state_dict().items()
        }
        assert getattr(theirs[-1], "reg_max", None) == getattr(ours[-1], "reg_max", None)

    def test_with_another_activation_that_does_not_stay_behind(self) -> None:
        from ultralytics.nn.modules.conv import Conv

        usual = Conv.default_act
        config = structure("yolo11n-seg.yaml") | {"activation": "nn.LeakyReLU(0.1)"}
        (theirs, _), (ours, _) = both(config)
        assert str(theirs) == str(ours) and isinstance(ours[0].act, nn.LeakyReLU)
        assert Conv.default_act is usual

    def test_the_head_keeps_the_form_of_the_base_when_every_block_that_tells_it_is_replaced(
        self, tmp_path: Path
    ) -> None:
        replaced = {2: 256, 4: 512, 6: 512, 8: 1024, 13: 512, 16: 256, 19: 512, 22: 1024}
        rows = "".join(f"  {layer}: [-1, 1, Conv, [{channels}, 1, 1]]\n" for layer, channels in replaced.items())
        (tmp_path / "yolo11n-seg-plain.yaml").write_text(f"base: yolo11-seg.yaml\nreplace:\n{rows}")
        plain, base = load_model(tmp_path / "yolo11n-seg-plain.yaml"), load_model("yolo11n-seg.yaml")
        assert plain.yaml["legacy"] is False
        shapes = [{key: value.shape for key, value in model.model[-1].state_dict().items()} for model in (plain, base)]
        assert shapes[0] == shapes[1]


class TestRowsOfOurs:
    @pytest.mark.parametrize("name", [*table.BLOCKS, *table.ALIASES])
    def test_every_name_leads_to_a_module_that_says_how_its_row_is_read(self, name: str) -> None:
        block = table.block_class(name)
        assert issubclass(block, nn.Module)
        assert issubclass(block, tasks.Segment) or set(block.lineside_args) <= {
            "c1", "c2", "n", "channels", "width", "depth", "scale"
        }  # fmt: skip
        assert block.__module__ == {**table.BLOCKS, **table.ALIASES}[name].partition(":")[0]

    def test_channels_repeats_and_keywords(self) -> None:
        config = {
            "nc": 2,
            "scales": {"s": [0.5, 0.5, 512]},
            "scale": "s",
            "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 4, "C3k2_UniRepLK", [1024, 7, 2.0, {"e": 0.25}]]],
            "head": [[-1, 1, "nn.Identity", []]],
        }
        layers, save = parser.parse(config, 3, False, native)
        assert len(layers[1].m) == 2  # repeats 4, depth 0.5
        assert layers[1](torch.zeros(1, 32, 16, 16)).shape == (1, 256, 16, 16)  # 1024 cut off at 512, width 0.5
        assert save == [] and layers[1].np == sum(weight.numel() for weight in layers[1].parameters())

    def test_names_of_the_community_stand_for_the_same_blocks(self, tmp_path: Path) -> None:
        text = (
            "base: yolo11{}-seg.yaml\nreplace:\n  3: [-1, 1, ContextGuidedBlock_Down, [256]]\n"
            "  4: [-1, 2, C3k2_ContextGuided, [512, False, 0.25]]\n"
            "  6: [-1, 2, C3k2_UniRepLKNetBlock, [512, False, 0.5]]\n"
        )
        (tmp_path / "m.yaml").write_text(text.format("n"))
        theirs = load_model(tmp_path / "m.yaml")
        (tmp_path / "ours.yaml").write_text(
            "base: yolo11n-seg.yaml\nreplace:\n  3: [-1, 1, CGDown, [256, 2, 16]]\n"
            "  4: [-1, 2, C3k2_CG, [512, 2, 16, 0.25]]\n  6: [-1, 2, C3k2_UniRepLK, [512, 7, 4.0, 0.5]]\n"
        )
        ours = load_model(tmp_path / "ours.yaml")
        ours.load_state_dict(theirs.state_dict(), strict=True)
        picture = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(ours(picture)[0][0], theirs(picture)[0][0])
        (tmp_path / "m.yaml").write_text(text.format("m"))
        with pytest.raises(WeightsError, match="Layer 4 .*C3k2_ContextGuided.* the community's block is another one"):
            load_model(tmp_path / "m.yaml")
        (tmp_path / "m.yaml").write_text("base: yolo11n-seg.yaml\nreplace: {8: [-1, 2, C3k2_DCNv2, [1024, True]]}\n")
        with pytest.raises(WeightsError, match="C3k2_DCNv2, cannot be built: .*True"):
            load_model(tmp_path / "m.yaml")

    @pytest.mark.parametrize(
        ("ours", "rows"),
        [
            ("dcn", {6: [-1, 2, "C3k2_DCNv2", [512]], 8: [-1, 2, "C3k2_DCNv2", [1024]]}),
            ("dyhead", {23: [[16, 19, 22], 1, "Segment_DyHead", ["nc", 32, 256, 64, 1]]}),
        ],
    )
    def test_names_that_both_have_mean_the_same_in_a_whole_yaml_of_other_people(
        self, ours: str, rows: dict[int, Any], tmp_path: Path
    ) -> None:
        config = structure("yolo11-seg.yaml")
        whole = [*config["backbone"], *config["head"]]
        for layer, row in rows.items():
            assert row[2] in table.BLOCKS
            whole[layer] = row
        cut = len(config["backbone"])
        changed = {"nc": 80, "scales": config["scales"], "backbone": whole[:cut], "head": whole[cut:]}
        (tmp_path / "yolo11n-theirs-seg.yaml").write_text(yaml.safe_dump(changed))
        theirs, mine = load_model(tmp_path / "yolo11n-theirs-seg.yaml"), load_model(f"yolo11n-seg-{ours}.yaml")
        assert [type(layer) for layer in theirs.model] == [type(layer) for layer in mine.model]
        mine.load_state_dict(theirs.state_dict(), strict=True)
        picture = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(mine.eval()(picture)[0][0], theirs.eval()(picture)[0][0])

    @pytest.mark.parametrize("name", ["Detect_DyHead_Prune", "C2PSA_CGA", "C3k2_KAN", "FreqFusion"])
    def test_names_of_other_blocks_are_refused(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "m.yaml").write_text(f"base: yolo11n-seg.yaml\nreplace: {{8: [-1, 2, {name}, [1024]]}}\n")
        with pytest.raises(WeightsError, match=f"the block {name} .layer 8., which"):
            load_model(tmp_path / "m.yaml")

    def test_a_map_out_of_several(self) -> None:
        model = load_model("yolo11n-seg-unireplk-a.yaml")
        taps = [layer for layer in model.model if type(layer).__name__ == "Tap"]
        assert [tap.out_channels for tap in taps] == sorted(tap.out_channels for tap in taps)
        assert model.model[0].out_channels[-1] == taps[-1].out_channels

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ([-1, 1, "Tap", [0]], "Layer 1 of the model, Tap, cannot be built: .* returns one map and no list"),
            ([-1, 2, "C3k2_CG", []], "its first argument is the number of channels"),
            ([-1, 2, "C3k2_CG", [64, {"no_such": 1}]], "C3k2_CG, cannot be built: .*no_such"),
            ([[-1, 0], 1, "CGDown", [64]], "it reads one layer, and its 'from' is"),
            ([5, 1, "CGDown", [64]], "reads layer 5, which does not come before it"),
            ([-1, 2, "C3k2_CG", [64, {"dilation": 0}]], "Layer 1 .*C3k2_CG, cannot be built: .*at least 1"),
            ([-1, 2, "C3k2_SS2D", [64, {"state": 0}]], "Layer 1 .*C3k2_SS2D, cannot be built: .*at least 1 state"),
            ([-1, 2, "C3k2_CG", [None]], "its first argument is the number of channels"),
            ([-1, 2, "C3k2_CG", [0]], "its first argument is the number of channels"),
            ([-1, 2, "C3k2_CG", [[64]]], "its first argument is the number of channels"),
            ([[0, 0], 1, "FreqFusionCat", [{"lp": 4}]], "Layer 1 .*FreqFusionCat, cannot be built: .*odd numbers"),
            ([0, 1, "Segment_DyHead", ["nc", 32, 256, 64, 1]], "a head reads a list of layers"),
            ([[0], 1, "Segment_DyHead", ["nc"]], r"its arguments are \[nc, mask coefficients, prototype channels"),
        ],
    )
    def test_a_row_that_cannot_be_built_is_named(self, row: list[Any], said: str) -> None:
        config = {"nc": 2, "scale": "n", "backbone": [[-1, 1, "Conv", [64, 3, 2]]], "head": [row]}
        with pytest.raises(WeightsError, match=said):
            parser.parse(config, 3, False, native)

    @pytest.mark.parametrize("scales", [{"q": [1, 1, 64]}, {"n": [0.5]}, {"n": 0.5}, ["n"]])
    def test_a_scale_that_is_not_there(self, scales: Any) -> None:
        config = {"nc": 2, "scale": "n", "scales": scales, "backbone": [[-1, 1, "CGDown", [64]]], "head": []}
        with pytest.raises(WeightsError, match="is to have the scale 'n', and 'scales' says"):
            parser.parse(config, 3, False, native)

    @pytest.mark.parametrize("which", ["x", 0.5, True])
    def test_a_tap_wants_a_number(self, which: Any) -> None:
        config = structure("yolo11n-seg-unireplk-a.yaml")
        config["backbone"][1] = [0, 1, "Tap", [which]]
        with pytest.raises(WeightsError, match="Layer 1 .*Tap, cannot be built: .* counts from 0"):
            parser.parse(config, 3, False, native)

    def test_a_layer_with_several_maps_is_not_read_as_one(self) -> None:
        config = structure("yolo11n-seg-unireplk-a.yaml")
        config["backbone"][1] = [0, 1, "Conv", [64, 3, 2]]
        with pytest.raises(WeightsError, match=r"layer that returns \d maps. Pick one with .*Tap"):
            parser.parse(config, 3, False, native)


class TestRowsOfTheUser:
    def test_stand_beside_ours(self, tmp_path: Path) -> None:
        (tmp_path / "blocks.py").write_text(OWN)
        (tmp_path / "yolo11n-seg-mixed.yaml").write_text(
            "base: yolo11-seg.yaml\n"
            "replace:\n  3: [-1, 1, Squeeze, [256, 2.0]]\n  8: [-1, 2, C3k2_CG, [1024, {dilation: 4}]]\n"
            "insert:\n  10: [-1, 1, Keep, [256]]\n"
        )
        blocks = load_blocks([str(tmp_path / "blocks.py")])
        model = load_model(tmp_path / "yolo11n-seg-mixed.yaml", blocks=blocks)
        squeeze, cg, keep = (model.model[index] for index in (3, 8, 11))
        assert (type(squeeze).__name__, squeeze.conv.in_channels, squeeze.conv.out_channels) == ("Squeeze", 64, 64)
        assert squeeze.factor == 2.0
        assert type(cg).__module__ == "lineside.export.yolo.cg" and type(keep).__name__ == "Keep"
        assert model.yaml["head"][-1][0] == [17, 20, 23]

    def test_come_before_ours_of_the_same_name(self, tmp_path: Path) -> None:
        (tmp_path / "blocks.py").write_text(OWN.replace("Squeeze", "CGDown"))
        (tmp_path / "m.yaml").write_text("base: yolo11n-seg.yaml\nreplace:\n  3: [-1, 1, CGDown, [256, 2.0]]\n")
        model = load_model(tmp_path / "m.yaml", blocks=load_blocks([str(tmp_path / "blocks.py")]))
        assert "blocks" in type(model.model[3]).__module__
        assert type(load_model("yolo11n-seg-cg.yaml").model[3]).__module__ == "lineside.export.yolo.cg"
