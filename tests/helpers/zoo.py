"""The models of ``configs/models``: their names, a small batch with labels, and a few steps of training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "models"

MODELS = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""Names without scale, such as ``yolo11-seg-edge``."""


def scaled(name: str, scale: str) -> str:
    """What to call a model of the zoo at a scale: ``yolo11n-seg-edge.yaml``."""
    return name.replace("yolo11", f"yolo11{scale}", 1) + ".yaml"


def labelled_batch(side: int, pictures: int = 2, seed: int = 0) -> dict[str, Any]:
    """Grey noise with bright discs, and what ultralytics' loss wants to know of them.

    Args:
        side: Height and width, px.
        pictures: Pictures in the batch; two discs in each.
        seed: Seed of the noise.
    """
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    frames = rng.uniform(0.2, 0.4, (pictures, 3, side, side))
    masks = np.zeros((pictures, side, side))
    y, x = np.mgrid[:side, :side]
    boxes, index = [], []
    for picture in range(pictures):
        for number, (left, top, radius) in enumerate(((0.3, 0.35 + 0.1 * picture, 0.16), (0.7, 0.65, 0.12)), start=1):
            inside = (x / side - left) ** 2 + (y / side - top) ** 2 < radius**2
            frames[picture, :, inside] = 0.5 + 0.2 * number
            masks[picture][inside] = number  # discs do not touch: no order to mind
            boxes.append([left, top, 2 * radius, 2 * radius])
            index.append(picture)
    return {
        "img": torch.tensor(frames, dtype=torch.float32),
        "cls": torch.zeros(len(index), 1),
        "bboxes": torch.tensor(boxes, dtype=torch.float32),
        "batch_idx": torch.tensor(index, dtype=torch.float32),
        "masks": torch.tensor(masks, dtype=torch.float32),
        "sem_masks": torch.zeros(pictures, side, side),
        "im_file": [f"{picture}.png" for picture in range(pictures)],
    }


def trained_a_little(model: Any, batch: dict[str, Any], steps: int = 3, rate: float = 2e-4) -> list[float]:
    """Trains on one batch with the model's own loss.

    Args:
        model: A model of `lineside.export.ultra.load_model`.
        batch: A batch of `labelled_batch`.
        steps: Steps of AdamW.
        rate: Learning rate.

    Returns:
        The loss before the first step and after each.
    """
    import torch
    from ultralytics.cfg import get_cfg

    model.args = get_cfg(overrides={"task": "segment"})
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    losses = []
    for step in range(steps + 1):
        loss = model.loss(batch)[0].sum()
        losses.append(float(loss.detach()))
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
    model.criterion = None  # no part of a checkpoint
    model.eval()
    return losses


def checkpoint(model: Any, path: Path, imgsz: int) -> Path:
    """Writes what ultralytics' training writes: the pickled model with its settings."""
    import copy

    import torch

    torch.save({"epoch": -1, "model": None, "ema": copy.deepcopy(model).half(), "train_args": {"imgsz": imgsz}}, path)
    return path
