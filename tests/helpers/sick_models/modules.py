"""Torch modules that no export keeps as they are."""

from __future__ import annotations

from pathlib import Path

from helpers.sick_models.making import Sick, change, with_block


def tied_to_size(folder: Path, real: Path) -> Sick:
    return Sick("yolo11n-seg-rmt.yaml", options={"imgsz": (64, 64), "dynamic": True})


def map_too_large(folder: Path, real: Path) -> Sick:
    return Sick(change(folder, "replace:\n  6: [-1, 2, C2PSA_MaSA, [512]]\n"), options={"imgsz": (1280, 1280)})


def whole_mask(folder: Path, real: Path) -> Sick:
    row = "[-1, 1, C2PSA_MaSA, [512, {e: 0.25, heads: 8}]]"
    return Sick(change(folder, f"insert:\n  4: {row}\n"), options={"imgsz": (256, 256)})


def unrolled_loop(folder: Path, real: Path) -> Sick:
    body = "h = 0\nfor step in range(600):\n    h = 0.9 * h + x\nreturn x + h"
    return with_block(folder, body)


def huge_tensor(folder: Path, real: Path) -> Sick:
    body = "flat = x.flatten(2)\nreturn x + (flat.transpose(1, 2) @ flat).softmax(-1).mean(-1).view_as(x[:, :1])"
    return with_block(folder, body, layer=1, size=640)


def sizes_unknown(folder: Path, real: Path) -> Sick:
    return with_block(folder, "return x + torch.nonzero(x > 9).sum()")


def frozen_numbers(folder: Path, real: Path) -> Sick:
    return with_block(folder, "return x * 2 if x.mean() > 0 else x")
