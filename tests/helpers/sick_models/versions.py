"""Files newer than their reader, and files that lie elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from helpers.sick_models.making import Sick, add_one, graph, saved


def opset_too_new(folder: Path, real: Path) -> Sick:
    return saved(folder, graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)}, opset=99, output=(2, 3)))


def file_format_too_new(folder: Path, real: Path) -> Sick:
    return saved(folder, graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)}, ir=99))


def bundle_too_new(folder: Path, real: Path) -> Sick:
    return changed_bundle(folder, real, min_onnxruntime="1.30")


def variant_of_others(folder: Path, real: Path) -> Sick:
    from lineside.runtime.manifest import Variant

    variant = Variant(file="variants/fp16.onnx", precision="fp16", engines=("tensorrt",))
    return changed_bundle(folder, real, variants={"fp16": variant})


def changed_bundle(folder: Path, real: Path, **fields: Any) -> Sick:
    import msgspec

    from lineside.runtime.bundle import open_bundle, write_manifest

    bundle = folder / "changed.bundle"
    shutil.copytree(real, bundle)
    manifest = open_bundle(bundle).manifest
    for variant in fields.get("variants", {}).values():
        (bundle / variant.file).parent.mkdir()
        shutil.copy(bundle / manifest.model, bundle / variant.file)
    write_manifest(bundle, msgspec.structs.replace(manifest, **fields))
    return Sick(str(bundle), "onnxruntime1.23")


def weights_lost(folder: Path, real: Path) -> Sick:
    found = external_data(folder, real)
    (folder / "weights.bin").unlink()
    return found


def external_data(folder: Path, real: Path) -> Sick:
    path = folder / "model.onnx"
    onnx.save(
        add_one(folder),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    return Sick(str(path))
