"""A bundle in a folder of its own, with another graph in the place of its model: how a precision is looked at."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx

from lineside.runtime.bundle import write_manifest
from lineside.runtime.manifest import Manifest

__all__ = ["stand_in"]


def stand_in(folder: Path, manifest: Manifest, graph: onnx.ModelProto) -> Path:
    """Writes a bundle that holds a graph and nothing else.

    Args:
        folder: An empty folder.
        manifest: That of the bundle whose contracts the graph keeps.
        graph: The graph.

    Returns:
        The folder.
    """
    (folder / manifest.model).write_bytes(graph.SerializeToString())
    write_manifest(folder, msgspec.structs.replace(manifest, variants={}))
    return folder
