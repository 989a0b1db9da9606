"""The FocusPixel branch by itself: shapes, deploy form, targets, loss, figures; and cases with other hyper-parameters."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lineside.export.modules.check.__main__ import main
from lineside.export.modules.focus import FocusCounts, FocusPixel, count_focus, focus_loss, focus_targets
from lineside.runtime.focus import FocusSizes
from oracle import focus as oracle


def branch(channels: int = 24) -> FocusPixel:
    """A branch whose layers all matter."""
    torch.manual_seed(3)
    made = FocusPixel(channels)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.3)
    return made


class TestBranch:
    def test_it_is_three_convolutions_with_relus_between(self) -> None:
        made, x = branch(), torch.randn(2, 24, 5, 7)
        state = made.state_dict()
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1)).double()
        kernel = state["context.weight"].double()
        hidden = sum(
            torch.einsum("oc,bchw->bohw", kernel[:, :, i, j], padded[:, :, i : i + 5, j : j + 7])
            for i in range(3)
            for j in range(3)
        )
        hidden = (hidden + state["context.bias"].double()[:, None, None]).clamp(min=0)
        for name in ("mix", "score"):
            weight, bias = state[f"{name}.weight"].double()[:, :, 0, 0], state[f"{name}.bias"].double()
            hidden = torch.einsum("oc,bchw->bohw", weight, hidden) + bias[:, None, None]
            hidden = hidden.clamp(min=0) if name == "mix" else hidden
        assert made(x).shape == (2, 2, 5, 7)
        assert torch.allclose(made(x).double(), hidden, atol=1e-5)

    def test_the_deploy_form_gives_the_same_probabilities_with_one_output(self) -> None:
        made, x = branch().eval(), torch.randn(1, 24, 6, 4)
        deployed = made.deployed()
        assert deployed(x).shape == (1, 1, 6, 4)
        assert torch.allclose(deployed(x)[:, 0].sigmoid(), made(x).softmax(1)[:, 1], atol=1e-6)
        assert not deployed.training and branch().train().deployed().training
        deployed[0].weight.data.zero_()
        assert float(made.context.weight.detach().abs().max()) > 0

    def test_it_can_be_copied_and_pickled_and_begins_with_little_in_focus(self) -> None:
        made = FocusPixel(64)
        x = torch.randn(1, 64, 8, 8)
        for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert torch.equal(twin(x), made(x))
        assert 0.02 < float(made(x).softmax(1)[:, 1].detach().mean()) < 0.12
        assert made.mix.out_channels == 32 and FocusPixel(8).mix.out_channels == 16

    def test_gradients_reach_every_parameter_and_the_input(self) -> None:
        made, x = branch(), torch.randn(2, 24, 5, 5, requires_grad=True)
        focus_loss(made(x), torch.randint(-1, 2, (2, 5, 5))).backward()
        for tensor in (x, *made.parameters()):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0


class TestLoss:
    def test_it_is_the_mean_over_cells_that_are_not_ignored(self) -> None:
        logits = torch.randn(2, 2, 3, 4, dtype=torch.float64).float()
        targets = torch.randint(-1, 2, (2, 3, 4))
        terms = [
            -float(torch.log_softmax(logits[b, :, y, x].double(), 0)[targets[b, y, x]])
            for b in range(2)
            for y in range(3)
            for x in range(4)
            if targets[b, y, x] >= 0
        ]
        assert focus_loss(logits, targets).item() == pytest.approx(np.mean(terms), rel=1e-5)

    def test_a_picture_of_which_all_is_ignored_teaches_nothing(self) -> None:
        logits = torch.randn(1, 2, 3, 3, requires_grad=True)
        loss = focus_loss(logits, torch.full((1, 3, 3), -1))
        loss.backward()
        assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


class TestTargets:
    def test_boxes_go_to_their_own_picture(self) -> None:
        boxes = torch.tensor([[10.0, 20, 40, 50], [100, 20, 180, 100], [30, 90, 60, 120]])
        got = focus_targets(boxes, torch.tensor([2.0, 0, 2]), 3, (10, 12), FocusSizes())
        assert got.dtype == torch.int64 and got.shape == (3, 10, 12)
        for picture, mine in enumerate(([1], [], [0, 2])):
            want = oracle.labels(boxes.numpy()[mine].astype(float), (10, 12), 5, 64, 90, 16, False)
            assert np.array_equal(got[picture].numpy(), want)


class TestFigures:
    @pytest.mark.parametrize("channels", [1, 2])
    def test_recall_and_precision_of_a_map_drawn_by_hand(self, channels: int) -> None:
        targets = torch.tensor([[[1, 1, 1, 0], [0, 0, -1, -1], [1, 0, 0, 0]]])
        found = torch.tensor([[[1, 1, 0, 1], [0, 0, 1, 0], [1, 0, 1, 1]]])  # one missed, three false, one on ignored
        level = (found * 2.0 - 1)[:, None]
        logits = level if channels == 1 else torch.cat([torch.full_like(level, 3.0), level + 3.0], 1)
        counts = count_focus(logits, targets)
        assert counts == FocusCounts(hits=3, missed=1, false=3)
        assert (counts.recall, counts.precision) == (0.75, 0.5)
        counts.add(FocusCounts(hits=1, missed=3, false=1))
        assert (counts.recall, counts.precision) == (0.5, 0.5)
        assert count_focus(logits, targets, threshold=0.9) == FocusCounts(0, 4, 0)

    def test_without_focus_pixels_both_are_zero(self) -> None:
        assert (FocusCounts().recall, FocusCounts().precision) == (0.0, 0.0)


CHIPS = [
    {"threshold": 0.97, "dilation": 1, "min_chip_feat": 3, "stride": 8, "cscale": 0.5},
    {"threshold": 0.95, "dilation": 2, "min_chip_feat": 6, "cscale": 0.32},
    {"threshold": 0.99, "dilation": 5, "min_chip_px": 320, "cscale": 1.7},
    {"threshold": 0.02, "dilation": 3, "min_chip_feat": 16, "stride": 32},
    {"threshold": 0.985, "min_chip_feat": 20, "min_chip_px": 320, "order": "lexicographic"},
    {"threshold": 1.5, "dilation": 3, "min_chip_feat": 4},
    {"threshold": 0.985, "dilation": 3, "min_chip_feat": 3, "order": "raster"},
]
LABELS = [
    {"a": 8, "b": 48, "c": 120, "stride": 8},
    {"a": 0, "b": 100, "c": 100, "stride": 32},
    {"overlap": "positive wins"},
    {},
]


@pytest.fixture
def other_cases(tmp_path: Path) -> Path:
    """A folder of vectors as the plain implementation in ``tests/oracle`` answers them."""
    entries: list[dict[str, Any]] = []

    def add(case: str, hyper: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        save_file(tensors, str(tmp_path / f"{case}.safetensors"))
        entries.append({"module": "autofocus", "case": case, "file": f"{case}.safetensors", "hyper": hyper})

    generator = np.random.default_rng(8)
    for number, hyper in enumerate(CHIPS):
        scores = generator.random((21, 33)).astype(np.float32)
        stride = hyper.get("stride", 16)
        size = (21 * stride - 3, 33 * stride)
        least = hyper.get("min_chip_feat") or hyper["min_chip_px"] // stride
        chips = oracle.chips(
            scores, hyper["threshold"], hyper.get("dilation", 3), least, stride, size, hyper.get("cscale", 1.0)
        )
        if hyper.get("order") == "raster":  # from row to row, and not from column to column
            assert sorted(chips, key=lambda chip: (chip[1], chip[0])) != sorted(chips)
            chips = sorted(chips, key=lambda chip: (chip[1], chip[0], chip[3], chip[2]))
        full = {**hyper, "im_height": size[0], "im_width": size[1]}
        add(f"c{number}", full, {"in.prob": scores, "out.chips": np.array(chips, np.float32).reshape(-1, 4)})
    for number, hyper in enumerate(LABELS):
        corner = generator.uniform(-20, 380, (25, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(1, 160, (25, 2))], 1).astype(np.float32)
        stride, grid = hyper.get("stride", 16), (320 // hyper.get("stride", 16), 384 // hyper.get("stride", 16))
        sizes = [hyper.get(name, usual) for name, usual in (("a", 5), ("b", 64), ("c", 90))]
        labels = oracle.labels(boxes.astype(float), grid, *sizes, stride, "positive" not in hyper.get("overlap", ""))
        full = {**hyper, "width": 384, "height": 320}
        add(f"l{number}", full, {"in.boxes": boxes, "out.labels": labels.astype(np.float32)})
    for delta in (3, 10, 40):
        chips = np.array([[0, 0, 300, 200], [120, 90, 500, 400], [0, 100, 500, 400]], np.float32)
        corner = generator.uniform(0, 300, (80, 2))
        dets = np.concatenate([corner, corner + generator.uniform(5, 200, (80, 2))], 1).astype(np.float32)
        index = generator.integers(0, 3, 80)
        keep = [
            oracle.keeps(d.tolist(), chips[i].tolist(), (400, 500), delta) for d, i in zip(dets, index, strict=True)
        ]
        hyper = {"im_width": 500, "im_height": 400, "delta": delta}
        tensors = {"in.dets": dets, "in.chip_index": index, "in.chips": chips, "out.keep": np.array(keep, np.uint8)}
        add(f"k{delta}", hyper, tensors)
    (tmp_path / "manifest.json").write_text(json.dumps({"module": "autofocus", "entries": entries}))
    return tmp_path


class TestOtherHyperParameters:
    def test_every_case_is_answered(self, other_cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([str(other_cases)]) == 0, capsys.readouterr().out
        assert "14 of 14 cases passed" in capsys.readouterr().out

    def test_a_case_with_other_outputs_or_in_an_unknown_order_is_not(
        self, other_cases: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        manifest = json.loads((other_cases / "manifest.json").read_text())
        manifest["entries"][0]["hyper"]["order"] = "by size"
        save_file({"in.x": np.zeros(1), "out.chip": np.zeros(1)}, str(other_cases / "c1.safetensors"))
        (other_cases / "manifest.json").write_text(json.dumps(manifest))
        assert main([str(other_cases)]) == 1
        out = capsys.readouterr().out
        assert "12 of 14" in out and "by size" in out and "no case with outputs chip" in out
