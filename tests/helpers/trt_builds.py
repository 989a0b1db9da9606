"""Builds with the double in TensorRT's place, and bundles to build from."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.engines.tensorrt.building import BuildOptions, BuildReport, build_engine
from lineside.runtime.manifest import Manifest, Variant, decode_manifest

__all__ = ["build", "dynamic_bundle", "manifest_of", "plans", "quiet", "with_fp16"]


def quiet(share: float, note: str) -> None:
    """Is told of the progress and says nothing."""


def build(path: Path, **options: object) -> BuildReport:
    """Builds a bundle's engine; options as in `BuildOptions`."""
    return build_engine(open_bundle(path), BuildOptions(**options), quiet)  # type: ignore[arg-type]


def plans(path: Path) -> list[str]:
    """Names of the files in a bundle's ``engines/``."""
    return sorted(file.name for file in (path / "engines").iterdir())


def manifest_of(path: Path) -> Manifest:
    """A bundle's manifest, whose hashes need not be right."""
    return decode_manifest((path / "manifest.json").read_bytes(), str(path))


def with_fp16(path: Path, engines: tuple[str, ...] = ("tensorrt",)) -> Path:
    """The bundle with a variant that says it is in fp16, whose content does not matter to the double."""
    (path / "variants").mkdir()
    shutil.copy(path / "model.onnx", path / "variants/fp16.onnx")
    variant = Variant(file="variants/fp16.onnx", precision="fp16", engines=engines)
    write_manifest(path, msgspec.structs.replace(manifest_of(path), variants={"fp16": variant}))
    return path


def dynamic_bundle(path: Path, batch: int = 4) -> Path:
    """A tiny bundle that takes several input sizes, and up to a batch of pictures."""
    import onnx

    from helpers.tiny_bundle import tiny_bundle

    folder = tiny_bundle(path, batch=batch)
    model = onnx.load(folder / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        sides = value.type.tensor_type.shape.dim
        for axis in (0, 2, 3):
            sides[axis].dim_param = f"free{axis}"
    onnx.save(model, folder / "model.onnx")
    manifest = manifest_of(folder)
    write_manifest(
        folder, msgspec.structs.replace(manifest, input=msgspec.structs.replace(manifest.input, dynamic=True))
    )
    return folder
