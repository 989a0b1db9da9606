"""Masks learned in the picture's own pixels, at a few hundred points of each object instead of all.

Ultralytics teaches masks at a quarter of the input's resolution: of a defect of eight pixels, four cells are left, and a
model that follows them exactly still misses its outline. The runtime interpolates the prototypes bilinearly before it
decides, so that is what has to be taught: the interpolated logit, against the label of that pixel. Doing it for every
pixel costs more than the network (the prototypes are enlarged to the size of the input), and sampling points costs next
to nothing. The estimate is unbiased: points are drawn evenly over the box of each object, anew in every step, and over
those pixels only that the runtime cuts a mask to. Half a pixel there is a lot for a small object, whose pixels are mostly
border.

The idea of points is that of PointRend (Kirillov et al., 2020), without its search for uncertain ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from ultralytics.nn.modules.head import Segment, Segment26
from ultralytics.utils.loss import E2ELoss, v8SegmentationLoss
from ultralytics.utils.torch_utils import unwrap_model

__all__ = [
    "FLAG",
    "FineMaskLoss",
    "can_learn_fine_masks",
    "learn_fine_masks",
    "points_in_boxes",
    "segmentation_loss",
]

FLAG = "lineside_fine_masks"
"""Attribute of a model whose masks are learned so."""

SIDE = 20
"""Points along each side of a box; 400 in all, one to a pixel or closer for what is small."""


def can_learn_fine_masks(model: Any) -> bool:
    """Whether this loss is that of the model's head; YOLO26 has one of its own, with a semantic map at the coarse scale.

    Args:
        model: The model, not wrapped for several GPUs.
    """
    head = model.model[-1]
    return isinstance(head, Segment) and not isinstance(head, Segment26)


def learn_fine_masks(trainer: Any) -> None:
    """Callback for ``on_pretrain_routine_end``: where labels come in the input's own pixels, has them used so.

    Args:
        trainer: A trainer of ultralytics, on any rank; with ``mask_ratio`` other than 1 nothing happens.
    """
    if int(trainer.args.mask_ratio) != 1:
        return
    for model in (trainer.model, getattr(trainer.ema, "ema", None)):
        if model is not None and can_learn_fine_masks(unwrap_model(model)):
            setattr(unwrap_model(model), FLAG, True)


def segmentation_loss(model: Any) -> Any:
    """The loss of a model with ultralytics' ``Segment`` head or one derived from it.

    Args:
        model: The model, not wrapped for several GPUs.
    """
    kind = FineMaskLoss if getattr(model, FLAG, False) else v8SegmentationLoss
    both = getattr(model.model[-1], "one2one_cv2", None) is not None
    return E2ELoss(model, kind) if both else kind(model)


class FineMaskLoss(v8SegmentationLoss):
    """The segmentation loss with its mask item taken at points; all other items are ultralytics'."""

    def loss(
        self, preds: dict[str, Any], batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The items (box, mask, class, distribution, semantic), times the number of pictures; and each by its name.

        Args:
            preds: ``proto`` ``(B, M, h, w)`` and ``mask_coefficient`` ``(B, M, A)`` beside what the boxes need.
            batch: ``masks`` in any resolution beside what the boxes need.
        """
        # In float32 even under autocast: hundreds of points add up in each cell's gradient.
        prototypes, coefficients = preds["proto"].float(), preds["mask_coefficient"].permute(0, 2, 1).float()
        (chosen, objects, boxes, _, _), found, _ = self.get_assigned_targets_and_loss(preds, batch)
        height, width = (float(side * self.stride[0]) for side in preds["feats"][0].shape[2:])
        total = prototypes.sum() * 0 + coefficients.sum() * 0  # every rank has a gradient for them, objects or none
        numbers = batch["batch_idx"].view(-1)
        for picture in torch.nonzero(chosen.any(1)).flatten().tolist():
            here = chosen[picture]
            labels = batch["masks"][picture] if self.overlap else batch["masks"][numbers == picture]
            corners = boxes[picture][here] / boxes.new_tensor([width, height, width, height])
            with torch.autocast(self.device.type, enabled=False):
                total = total + _at_points(
                    prototypes[picture],
                    coefficients[picture][here],
                    labels.to(self.device),
                    objects[picture][here],
                    corners.float(),
                )
        mask = total / chosen.sum().clamp(min=1) * self.hyp.box
        items = torch.stack([found[0], mask, found[1], found[2], mask.detach() * 0])
        return items * len(prototypes), dict(zip(self.loss_names, items.detach(), strict=True))


def _at_points(
    prototypes: torch.Tensor,
    coefficients: torch.Tensor,
    labels: torch.Tensor,
    objects: torch.Tensor,
    boxes: torch.Tensor,
) -> torch.Tensor:
    """Sum over the objects of one picture of their cross entropy per pixel of the box.

    Args:
        prototypes: ``(M, h, w)``.
        coefficients: ``(N, M)``.
        labels: ``(H, W)`` with the numbers of objects from 1, or ``(K, H, W)`` with a mask per object.
        objects: ``(N,)`` number of each prediction's object, from 0.
        boxes: ``(N, 4)`` corners of its box, 0 to 1.
    """
    height, width = labels.shape[-2:]
    size = boxes.new_tensor([width, height])
    corners = boxes * size.repeat(2)
    whole = torch.minimum(corners.ceil().clamp(min=0), size.repeat(2))  # first pixels inside, first ones beyond
    pixels = points_in_boxes(whole, SIDE).long()
    columns, rows = pixels[..., 0].clamp(0, width - 1), pixels[..., 1].clamp(0, height - 1)
    # At the middle of each pixel, where the runtime decides about it.
    places = (torch.stack([columns, rows], -1) + 0.5) / size
    sampled = F.grid_sample(
        prototypes[None], 2 * places[None] - 1, mode="bilinear", padding_mode="border", align_corners=False
    )[0]
    logits = torch.einsum("nm,mnp->np", coefficients, sampled)
    if labels.ndim == 2:
        wanted = labels[rows, columns] == objects[:, None] + 1
    else:
        wanted = labels[objects[:, None], rows, columns] > 0
    # The sum over the pixels inside, by the area of the box: an object that its box holds no pixel of counts nothing.
    share = (whole[:, 2:] - whole[:, :2]).prod(1) / (corners[:, 2:] - corners[:, :2]).prod(1).clamp(min=1e-9)
    losses = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="none")
    return (losses.mean(1) * share).sum()


def points_in_boxes(boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Random points, one in each cell of a grid over each box: even, and elsewhere each time.

    Args:
        boxes: ``(N, 4)`` corners x1, y1, x2, y2.
        side: Cells along each side.

    Returns:
        ``(N, side * side, 2)`` points x, y in the units of the boxes.
    """
    cells = torch.stack(torch.meshgrid(*[torch.arange(side, device=boxes.device)] * 2, indexing="xy"), -1).view(-1, 2)
    inside = (cells + torch.rand(len(boxes), side * side, 2, device=boxes.device)) / side
    return boxes[:, None, :2] + inside.to(boxes.dtype) * (boxes[:, None, 2:] - boxes[:, None, :2])
