"""Where weights come from, as far as the checkpoint tells."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from lineside.export.blocks import NO_BLOCKS, UserBlocks
from lineside.export.checkpoint import read_checkpoint, safe_copy
from lineside.export.ultra import is_structure, model_yaml, prepare
from lineside.runtime.manifest import Provenance

__all__ = ["CheckpointFacts", "checkpoint_facts", "provenance_of", "tool_versions"]

TOOLS = {
    "lineside": ("lineside",),
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxslim": ("onnxslim",),
    "opencv": ("opencv-python-headless", "opencv-python"),
    "torch": ("torch",),
    "ultralytics": ("ultralytics", "ultralytics-opencv-headless"),
}
"""Programs whose version matters, and the distributions that bring them."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says about its training.

    Attributes:
        dataset: File name of the data set's description; empty where unknown.
        licence: Licence that ultralytics claims for the weights; empty where unknown.
        imgsz: Side of the training pictures, in pixels; None where unknown.
    """

    dataset: str = ""
    licence: str = ""
    imgsz: int | None = None


def checkpoint_facts(weights: str | Path, safe: bool = False, blocks: UserBlocks = NO_BLOCKS) -> CheckpointFacts:
    """Reads what a checkpoint says about its training.

    Args:
        weights: What `lineside.export.ultra.load_model` loaded; a model yaml has no facts.
        safe: Read it without running foreign code.
        blocks: The user's own blocks.
    """
    path = Path(weights)
    path = (safe_copy(path) if safe else None) or path
    if is_structure(path):
        return CheckpointFacts()
    if path.suffix.lower() == ".safetensors":
        return _safetensors_facts(path)
    prepare()
    checkpoint = read_checkpoint(path, safe, blocks)
    arguments = checkpoint.get("train_args")
    settings: Mapping[str, Any] = arguments if isinstance(arguments, Mapping) else {}
    size = settings.get("imgsz")
    return CheckpointFacts(
        dataset=Path(str(settings.get("data") or "")).name,
        licence=_claimed(str(checkpoint.get("license") or "")),
        imgsz=size if isinstance(size, int) and size > 0 else None,
    )


def _safetensors_facts(path: Path) -> CheckpointFacts:
    """What `lineside train` wrote beside the numbers."""
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        metadata = file.metadata() or {}
    size = metadata.get("imgsz", "")
    return CheckpointFacts(
        licence=_claimed(metadata.get("license", "")), imgsz=int(size) if size.isdecimal() and int(size) else None
    )


def _claimed(licence: str) -> str:
    return f"{licence.split()[0]} (ultralytics' claim)" if licence.split() else ""


def provenance_of(
    weights: str | Path, model: nn.Module, facts: CheckpointFacts, blocks: UserBlocks = NO_BLOCKS
) -> Provenance:
    """Everything that a manifest says about the origin of its model.

    Args:
        weights: The weights file, or the name of a model yaml.
        model: What was loaded from it.
        facts: What the checkpoint says about itself.
        blocks: The user's own blocks, named with their hashes.
    """
    path = Path(weights)
    trained = not is_structure(path)
    return Provenance(
        model=Path(str(model_yaml(model).get("yaml_file", ""))).stem or (path.stem if not trained else ""),
        weights=path.name if trained else f"{path.name} (random weights, not trained)",
        weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest() if trained else "",
        dataset=facts.dataset,
        licence=facts.licence,
        modules=blocks.provenance(),
        tools=tool_versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def tool_versions() -> dict[str, str]:
    """Versions of the programs that make bundles."""
    found = {}
    for tool, distributions in TOOLS.items():
        for distribution in distributions:
            try:
                found[tool] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return found
