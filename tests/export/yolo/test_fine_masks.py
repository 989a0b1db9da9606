"""Masks learned at points of the picture: the same loss as at every pixel, and the one that training uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")

from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.utils.loss import v8SegmentationLoss  # noqa: E402

from helpers.zoo import labelled_batch  # noqa: E402
from lineside.export.train import Progress, TrainOptions, train  # noqa: E402
from lineside.export.ultra import load_model  # noqa: E402
from lineside.export.yolo import fine_masks  # noqa: E402
from lineside.export.yolo.fine_masks import FineMaskLoss, learn_fine_masks, points_in_boxes  # noqa: E402

SIDE = 96
MASK = 1
"""Which item of the loss is that of the masks."""


def separate(batch: dict[str, Any]) -> dict[str, Any]:
    """The same batch with a mask per object in place of a map of numbers."""
    masks = [(batch["masks"][int(i)] == 1 + k % 2).float() for k, i in enumerate(batch["batch_idx"])]
    return {**batch, "masks": torch.stack(masks)}


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    made = load_model("yolo11n-seg.yaml")
    made.args = get_cfg(overrides={"task": "segment"})
    return made.train()


def with_small_objects(batch: dict[str, Any]) -> dict[str, Any]:
    """The same batch with objects of seven pixels and less, whose boxes end within pixels."""
    boxes = torch.tensor(
        [[30.3, 40.6, 7.4, 6.2], [60.8, 20.1, 5.3, 4.5], [21.7, 70.4, 6.6, 7.1], [77.2, 33.9, 3.2, 8.8]]
    )
    masks = torch.zeros_like(batch["masks"])
    for number, (x, y, width, height) in enumerate(boxes.tolist()):
        rows, columns = (
            slice(round(at - side / 2), round(at + side / 2) + 1) for at, side in ((y, height), (x, width))
        )
        masks[number // 2, rows, columns] = 1 + number % 2
    return {**batch, "bboxes": boxes / SIDE, "masks": masks}


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("overlap", [True, False])
def test_points_tell_what_all_pixels_tell(model: Any, overlap: bool, small: bool) -> None:
    model.args.overlap_mask = overlap
    batch = with_small_objects(labelled_batch(SIDE)) if small else labelled_batch(SIDE)
    batch = batch if overlap else separate(batch)
    outputs = model(batch["img"])
    leaves = [outputs["proto"], outputs["mask_coefficient"]]

    def answer(kind: Any) -> tuple[Any, Any]:
        loss, _ = kind(model)(outputs, batch)
        slopes = torch.autograd.grad(loss.sum(), leaves, retain_graph=True)
        return loss.detach(), torch.cat([slope.flatten() for slope in slopes])

    every, slope = answer(v8SegmentationLoss)
    draws = [answer(FineMaskLoss) for _ in range(40)]
    points, slopes = (torch.stack([draw[part] for draw in draws]).mean(0) for part in (0, 1))
    others = [0, 2, 3, 4]
    assert torch.equal(draws[0][0][others], every[others])
    assert float(points[MASK]) == pytest.approx(float(every[MASK]), rel=0.002)
    assert torch.nn.functional.cosine_similarity(slopes, slope, dim=0) > 0.9995
    assert float(slopes.norm()) == pytest.approx(float(slope.norm()), rel=0.01)


def test_a_step_without_objects_has_a_gradient_for_every_prototype(model: Any) -> None:
    batch = labelled_batch(SIDE)
    none = {name: batch[name][:0] for name in ("cls", "bboxes", "batch_idx")}
    loss, items = FineMaskLoss(model)(model(batch["img"]), {**batch, **none, "masks": batch["masks"] * 0})
    loss.sum().backward()
    assert items["seg_loss"] == 0 and torch.isfinite(loss).all()
    assert all(it.grad is not None for it in model.model[-1].proto.parameters())


def test_points_are_even_and_stay_in_their_boxes() -> None:
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.3], [0.0, 0.0, 1.0, 1.0]])
    points = points_in_boxes(boxes, 10)
    assert points.shape == (2, 100, 2)
    inside = (points - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])
    assert inside.min() >= 0 and inside.max() <= 1
    for axis in (0, 1):
        cells = (inside[..., axis] * 10).long().clamp(max=9)
        assert all(torch.bincount(row, minlength=10).tolist() == [10] * 10 for row in cells)
    assert not torch.equal(points, points_in_boxes(boxes, 10))


def test_only_labels_in_full_are_used_so(model: Any) -> None:
    class Trainer:
        args = get_cfg(overrides={"task": "segment", "mask_ratio": 4})
        ema = None

        def __init__(self, model: Any) -> None:
            self.model = model

    trainer = Trainer(model)
    learn_fine_masks(trainer)
    assert type(model.init_criterion()) is v8SegmentationLoss
    trainer.args.mask_ratio = 1
    learn_fine_masks(trainer)
    assert type(model.init_criterion()) is FineMaskLoss
    six = Trainer(load_model("yolo26n-seg.yaml"))
    six.args.mask_ratio = 1
    learn_fine_masks(six)
    assert not hasattr(six.model, fine_masks.FLAG)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lineside.export.synth.dataset import write_dataset

    folder = tmp_path_factory.mktemp("set") / "tube"
    write_dataset("tube", folder, 6, 2, 64, photos=False)
    return folder / "data.yaml"


@pytest.mark.parametrize(
    ("model", "extra", "fine", "ratio"),
    [
        ("yolo11n-seg.yaml", {}, True, 1),
        ("yolo11n-seg-focus.yaml", {}, True, 1),
        ("yolo11n-seg.yaml", {"mask_ratio": 4}, False, 4),
        ("yolo26n-seg.yaml", {}, False, 4),
    ],
)
def test_training_learns_them_unless_told_otherwise(
    model: str,
    extra: dict[str, Any],
    fine: bool,
    ratio: int,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[int, ...]] = []
    original = FineMaskLoss.loss

    def counted(self: Any, preds: Any, batch: Any) -> Any:
        calls.append(tuple(batch["masks"].shape[-2:]))
        return original(self, preds, batch)

    monkeypatch.setattr(FineMaskLoss, "loss", counted)
    seen: list[Progress] = []
    options = TrainOptions(epochs=1, imgsz=64, batch=3, device="cpu", extra=extra)
    best = train(model, dataset, tmp_path / "run", options, on_progress=seen.append)
    # Ultralytics validates at the size of its own choice.
    assert best.is_file() and calls[:1] == [(64, 64)] * fine and set(calls) <= {(64, 64), (96, 96)}
    assert f"mask_ratio: {ratio}\n" in (tmp_path / "run" / "work" / "args.yaml").read_text()
    assert all(0 <= value < 100 for it in seen for value in it.losses.values())


def test_mixed_precision_adds_up_in_float32(model: Any) -> None:
    batch = labelled_batch(SIDE)
    outputs = model(batch["img"])

    def slope(mixed: bool) -> Any:
        torch.manual_seed(1)
        kind = torch.bfloat16 if mixed else torch.float32
        leaves = {name: outputs[name].detach().to(kind).requires_grad_() for name in ("proto", "mask_coefficient")}
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss, _ = FineMaskLoss(model)({**outputs, **leaves}, batch)
        (found,) = torch.autograd.grad(loss[MASK], leaves["proto"], retain_graph=True)
        return found.float()

    whole, mixed = slope(False), slope(True)
    assert float((whole - mixed).norm()) < 0.01 * float(whole.norm())
