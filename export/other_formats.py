"""Recognises model files that are no ONNX and says what to do with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lineside.export.plans import MARKS, explain_engine
from lineside.runtime.errors import ExportError

__all__ = ["refuse_other_formats"]

SOURCE = "import the .onnx of the same model, or export its best.pt with `lineside export`"

SUFFIXES: Mapping[str, str] = {
    ".pt": "is a torch checkpoint or TorchScript file: turn a checkpoint into a bundle with `lineside export`",
    ".pth": "is a torch checkpoint: turn it into a bundle with `lineside export`",
    ".safetensors": "holds weights without a graph: turn it into a bundle with `lineside export`",
    ".torchscript": f"is a TorchScript file, which runs only in torch: {SOURCE}",
    ".tflite": f"is a TensorFlow Lite model: {SOURCE}",
    ".pb": f"is a TensorFlow graph: {SOURCE}",
    ".keras": f"is a Keras model: {SOURCE}",
    ".h5": f"is a Keras model: {SOURCE}",
    ".mlmodel": f"is a Core ML model: {SOURCE}",
    ".mlpackage": f"is a Core ML model: {SOURCE}",
    ".mnn": f"is an MNN model: {SOURCE}",
    ".rknn": f"is a model built for a Rockchip NPU: {SOURCE}",
    ".imx": f"is a model built for a Sony IMX500: {SOURCE}",
    ".hef": f"is a model built for a Hailo accelerator: {SOURCE}",
    ".xml": f"is part of an OpenVINO model: {SOURCE}",
    ".param": f"is part of an ncnn model: {SOURCE}",
    ".pdmodel": f"is part of a PaddlePaddle model: {SOURCE}",
    ".pte": f"is an ExecuTorch model: {SOURCE}",
    ".ort": f"is an onnxruntime model that was optimised for one machine: {SOURCE}",
    ".yaml": "describes the structure of a model without weights: train it with `lineside train`, then `lineside export`",
    ".yml": "describes the structure of a model without weights: train it with `lineside train`, then `lineside export`",
    ".zip": "is a .zip: a bundle in a .zip runs as it is, and anything else must be unpacked first",
}
"""What a file of that name is, and what to do."""

FOLDERS: Mapping[str, str] = {
    "*.xml": f"holds an OpenVINO model: {SOURCE}",
    "*.param": f"holds an ncnn model: {SOURCE}",
    "saved_model.pb": f"holds a TensorFlow SavedModel: {SOURCE}",
    "*.tflite": f"holds TensorFlow Lite models: {SOURCE}",
    "*.pdmodel": f"holds a PaddlePaddle model: {SOURCE}",
    "*.pdiparams": f"holds a PaddlePaddle model: {SOURCE}",
    "*.mlmodel": f"holds a Core ML model: {SOURCE}",
    "*.rpk": f"holds a model built for a Sony IMX500: {SOURCE}",
    "*.rknn": f"holds a model built for a Rockchip NPU: {SOURCE}",
    "*.pte": f"holds an ExecuTorch model: {SOURCE}",
    "*.onnx": "is a folder: give the .onnx file inside it",
}
"""What a folder with such a file in it is, and what to do; the first that fits counts."""

CONTENTS: tuple[tuple[bytes, int, str], ...] = (
    (b"PK\x03\x04", 0, "is a .zip or torch file under another name: export a checkpoint with `lineside export`"),
    (b"\x89HDF", 0, f"is a Keras model under another name: {SOURCE}"),
    (b"TFL3", 4, f"is a TensorFlow Lite model under another name: {SOURCE}"),
    (b"ORTM", 4, f"is an onnxruntime model that was optimised for one machine: {SOURCE}"),
    (b"version https://git-lfs", 0, "is a pointer of Git LFS, not the model itself: fetch it with `git lfs pull`"),
    (b"<!DOCTYPE", 0, "is a web page, not a model: download the file itself"),
    (b"<html", 0, "is a web page, not a model: download the file itself"),
)
"""First bytes, where they stand, and what the file is."""

ENGINES = frozenset({".engine", ".plan", ".trt"})


def refuse_other_formats(path: Path) -> None:
    """Checks that a path may be an ONNX file, whatever its name.

    Args:
        path: What the user gave.

    Raises:
        ExportError: It is known to be something else; the sentence says what, and what to do.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        raise ExportError(f"{path} {_folder(path, suffix)}")
    if not path.exists():
        raise ExportError(f"there is no file {path}: give an .onnx file")
    if not path.is_file():
        raise ExportError(f"{path} is not a file: give an .onnx file")
    if path.stat().st_size == 0:
        raise ExportError(f"{path} is empty (0 bytes): export or copy it again")
    if suffix in ENGINES:
        raise explain_engine(path)
    if suffix in SUFFIXES:
        raise ExportError(f"{path} {SUFFIXES[suffix]}")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}): give an .onnx file") from error
    if start[:4] in MARKS:
        raise explain_engine(path)
    for mark, offset, what in CONTENTS:
        if start[offset : offset + len(mark)] == mark:
            raise ExportError(f"{path} {what}")


def _folder(path: Path, suffix: str) -> str:
    """What a folder is, and what to do."""
    if (path / "manifest.json").is_file():
        return "is a bundle already: load it, or look at it with `lineside inspect`"
    if suffix == ".mlpackage":
        return SUFFIXES[suffix]
    for pattern, what in FOLDERS.items():
        if any(path.glob(pattern)):
            return what
    return "is a folder: give an .onnx file"
