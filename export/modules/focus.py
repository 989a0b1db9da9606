"""FocusPixel branch of AutoFocus: which cells of a coarse map hold an object worth a second look.

Najibi, Singh, Davis: AutoFocus, ICCV 2019, section 3.1. The geometry is numpy, in `lineside.runtime.focus` and
`lineside.runtime.chips`, because the runtime uses it too; here are the branch, its targets, loss and figures.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lineside.runtime.focus import FOCUS, IGNORED, NOTHING, STRIDE, FocusSizes, focus_labels

__all__ = ["FocusCounts", "FocusPixel", "count_focus", "focus_loss", "focus_targets"]

PRIOR = 0.05
"""Share of cells that an untrained branch takes for FocusPixels: most of a picture holds nothing, and a branch that
begins with one half everywhere spends its first steps on learning that."""

THRESHOLD = 0.5
"""Probability from which on a cell counts as found."""


class FocusPixel(nn.Module):
    """conv 3x3, ReLU, conv 1x1, ReLU, conv 1x1 to two logits per cell: nothing and focus (softmax over the two).

    Args:
        channels: Channels of the feature map.
        hidden: Channels within; half as many when None, at least 16.

    Shapes:
        Input ``(B, channels, h, w)``, output ``(B, 2, h, w)`` logits; of the deployed form ``(B, 1, h, w)``, the
        difference of the two, whose sigmoid is the softmax of focus.
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or max(16, channels // 2)
        self.context = nn.Conv2d(channels, hidden, 3, padding=1)
        self.mix = nn.Conv2d(hidden, hidden, 1)
        self.score = nn.Conv2d(hidden, 2, 1)
        for layer in (self.context, self.mix):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.score.weight, std=0.01)
        self.score.bias = nn.Parameter(torch.tensor([0.0, math.log(PRIOR / (1 - PRIOR))]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of every cell."""
        logits: torch.Tensor = self.score(functional.relu(self.mix(functional.relu(self.context(x)))))
        return logits

    def deployed(self) -> nn.Sequential:
        """The same with one output, the logit of focus against nothing: ``sigmoid(l1 - l0) = softmax(l0, l1)[1]``."""
        state = self.score.state_dict()
        weight, bias = state["weight"], state["bias"]
        folded = nn.Conv2d(self.score.in_channels, 1, 1).to(weight)
        folded.load_state_dict({"weight": weight[1:] - weight[:1], "bias": bias[1:] - bias[:1]})
        parts = (copy.deepcopy(self.context), nn.ReLU(), copy.deepcopy(self.mix), nn.ReLU(), folded)
        return nn.Sequential(*parts).train(self.training)


def focus_targets(
    boxes: torch.Tensor,
    picture: torch.Tensor,
    pictures: int,
    grid: tuple[int, int],
    sizes: FocusSizes,
    stride: int = STRIDE,
) -> torch.Tensor:
    """What each cell of a batch is taught; see `lineside.runtime.focus.focus_labels`.

    Args:
        boxes: ``(N, 4)`` xyxy of all objects of the batch, in pixels of the network's input.
        picture: ``(N,)``: in which picture of the batch each one is.
        pictures: Number of pictures.
        grid: Rows and columns of the map.
        sizes: Which objects count.
        stride: Pixels per cell.

    Returns:
        ``(pictures, rows, columns)`` int64 of 1 (focus), 0 (nothing) and -1 (ignored), on the device of the boxes.
    """
    table = boxes.detach().float().cpu().numpy()
    owner = picture.detach().cpu().numpy().astype(np.int64).reshape(-1)
    labels = np.stack([focus_labels(table[owner == index], grid, sizes, stride) for index in range(pictures)])
    return torch.from_numpy(labels.astype(np.int64)).to(boxes.device)


def focus_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the cells that are not ignored; 0 where all are.

    Args:
        logits: ``(B, 2, h, w)``.
        targets: ``(B, h, w)`` int64, see `focus_targets`.

    Returns:
        A scalar, float32.
    """
    total = functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return total / (targets != IGNORED).sum().clamp(min=1)


@dataclass
class FocusCounts:
    """Cells that are not ignored, counted over pictures.

    Attributes:
        hits: FocusPixels that were found.
        missed: FocusPixels that were not.
        false: Cells without a small object that were taken for FocusPixels.
    """

    hits: int = 0
    missed: int = 0
    false: int = 0

    @property
    def recall(self) -> float:
        """Share of the FocusPixels that were found; 0 where there are none."""
        return self.hits / max(1, self.hits + self.missed)

    @property
    def precision(self) -> float:
        """Share of what was found that is a FocusPixel; 0 where nothing was found."""
        return self.hits / max(1, self.hits + self.false)

    def add(self, other: FocusCounts) -> None:
        """Takes the cells of other pictures in."""
        self.hits += other.hits
        self.missed += other.missed
        self.false += other.false


def count_focus(logits: torch.Tensor, targets: torch.Tensor, threshold: float = THRESHOLD) -> FocusCounts:
    """Counts what a branch found.

    Args:
        logits: ``(B, 2, h, w)``, or ``(B, 1, h, w)`` of the deployed form.
        targets: ``(B, h, w)``, see `focus_targets`.
        threshold: Probability from which on a cell counts as found.
    """
    level = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
    found = level.float().sigmoid() >= threshold
    return FocusCounts(
        hits=int((found & (targets == FOCUS)).sum()),
        missed=int((~found & (targets == FOCUS)).sum()),
        false=int((found & (targets == NOTHING)).sum()),
    )
