"""What a training run leaves: weights as safetensors, curves, and files that appear whole."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from lineside.export.ultra import model_yaml

__all__ = ["best_row", "copy_whole", "draw_curves", "read_results", "write_safetensors"]


def write_safetensors(model: Any, checkpoint: Path, out: Path, imgsz: int) -> None:
    """Writes a model's weights as safetensors (float16, as ultralytics stores them), with its structure as metadata.

    Args:
        model: A model of `lineside.export.ultra.load_model`.
        checkpoint: The ``.pt`` it came from; its hash goes into the metadata.
        out: File to write.
        imgsz: Side of the input that it was trained at, px.
    """
    import torch
    from safetensors.torch import save_file

    tensors = {
        name: (value.half() if value.dtype == torch.float32 else value).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    metadata = {
        "format": "pt",
        "task": "segment",
        "names": json.dumps({str(index): name for index, name in model.names.items()}),
        "yaml": json.dumps(model_yaml(model)),
        "imgsz": str(imgsz),
        "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "license": "AGPL-3.0 (claimed by Ultralytics for weights trained with its software)",
    }
    scratch = out.with_name(f".{out.name}")
    save_file(tensors, str(scratch), metadata)
    os.replace(scratch, out)


def read_results(path: Path) -> list[dict[str, float]]:
    """Rows of ultralytics' ``results.csv``, one per epoch."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """The epoch whose weights ``best.pt`` holds.

    Ultralytics judges a segmentation model by the sum of its box and its mask mAP50-95, and keeps the later of equals.

    Args:
        rows: Rows of `read_results`.

    Returns:
        One of them; empty where there is none.
    """
    ranked = [(sum(row.get(f"metrics/mAP50-95({kind})", 0.0) for kind in "BM"), row["epoch"]) for row in rows]
    return rows[ranked.index(max(ranked))] if rows else {}


def draw_curves(rows: list[dict[str, float]], out: Path) -> None:
    """Draws losses and accuracy over the epochs into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name in ("box_loss", "seg_loss", "cls_loss", "dfl_loss", "focus_loss"):
        for split, style in (("train", "-"), ("val", "--")):
            if rows and f"{split}/{name}" in rows[0]:
                left.plot(epochs, [row[f"{split}/{name}"] for row in rows], style, label=f"{split} {name}")
    for name, label in (
        ("metrics/mAP50(M)", "mask mAP50"),
        ("metrics/mAP50-95(M)", "mask mAP50-95"),
        ("metrics/mAP50(B)", "box mAP50"),
        ("metrics/recall(F)", "FocusPixel recall"),
        ("metrics/precision(F)", "FocusPixel precision"),
    ):
        if name.endswith("(F)") and not any(name in row for row in rows):
            continue  # the model has no FocusPixel branch
        right.plot(epochs, [row.get(name, float("nan")) for row in rows], label=label)
    for axes, title in ((left, "losses"), (right, "accuracy on the validation pictures")):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize=8)
    right.set_ylim(0, 1.02)
    scratch = out.with_name(f".{out.name}")
    figure.savefig(scratch, format="png", dpi=110)
    os.replace(scratch, out)


def copy_whole(source: Path, target: Path) -> None:
    """Copies a file so that it appears whole or not at all."""
    scratch = target.with_name(f".{target.name}")
    shutil.copyfile(source, scratch)
    os.replace(scratch, target)
