"""Examines weights, a model yaml, an ONNX or a bundle, and says what a target makes of it; no pictures, little time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lineside.export.doctor.files import examine_bundle, examine_onnx
from lineside.export.doctor.report import Report
from lineside.export.doctor.rules.table import all_rules
from lineside.export.doctor.target import find_target
from lineside.runtime.bundle import open_bundle

__all__ = ["examine"]


def examine(
    model: str,
    target: str = "onnxruntime",
    *,
    imgsz: tuple[int, int] | None = None,
    dynamic: bool = False,
    end2end: bool = False,
    deform: Literal["portable", "native"] = "portable",
    modules: Sequence[str] = (),
    safe: bool = False,
) -> Report:
    """Examines a model.

    Args:
        model: A ``.pt`` checkpoint, its ``.safetensors`` copy, a model yaml, an ``.onnx`` file, or a bundle.
        target: Name of what is to run it; see `lineside.export.doctor.target.find_target`.
        imgsz: Height and width of the input in pixels, for weights; as trained (else 640, square) when None.
        dynamic: Input sizes are to stay free, for weights.
        end2end: The one-to-one part of the head is to be exported, for weights.
        deform: Form of deformable convolutions, for weights.
        modules: Files and packages with blocks of the user's own.
        safe: Load a checkpoint without running foreign code.

    Returns:
        What was found. Weights are traced, and nothing else is run.

    Raises:
        BadOption: There is no such target.
        WeightsError: The file is missing, or holds no model.
        ExportError: The file is no whole ONNX model.
        BundleError: The bundle cannot be opened.
    """
    chosen, rules = find_target(target), all_rules()
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        return examine_onnx(path, chosen, rules)
    if path.is_dir() or path.suffix.lower() in {".zip", ".bundle"}:
        return examine_bundle(open_bundle(path), chosen, rules)
    from lineside.export.doctor.weights import Ask, examine_weights  # torch and ultralytics, for nothing else

    return examine_weights(model, Ask(imgsz, dynamic, end2end, deform, modules, safe), chosen, rules)
