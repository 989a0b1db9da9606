"""Examines an ONNX file or a bundle; neither torch nor ultralytics is imported for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor

from lineside.export.doctor.graph_view import LARGE, GraphView
from lineside.export.doctor.report import Report
from lineside.export.doctor.rule import Finding, Rule, apply
from lineside.export.doctor.subject import GraphSubject, ManifestSubject
from lineside.export.doctor.target import Target
from lineside.export.foreign import read_graph
from lineside.runtime.bundle import Bundle
from lineside.runtime.errors import ExportError, LinesideError, WeightsError
from lineside.runtime.manifest import Manifest

__all__ = ["examine_bundle", "examine_onnx", "look"]


def look(subject: GraphSubject, rules: Sequence[Rule]) -> list[Finding]:
    """Applies the rules about graphs; where it is none, those that would walk through it are left out."""
    runtime = subject.target.runtime
    return apply(rules, "structure", subject, runtime) or apply(rules, "graph", subject, runtime)


def examine_onnx(path: Path, target: Target, rules: Sequence[Rule]) -> Report:
    """Examines an ONNX file, as it is.

    Args:
        path: The file; of weights beside it only as much is read as tells shapes.
        target: What is to run it.
        rules: All rules.

    Raises:
        ExportError: It is no whole ONNX model.
    """
    model = read_graph(path)
    external = [(name, (path.parent / name).is_file()) for name in _external_files(model)]
    if all(there for _, there in external):
        _read_small(model, path)
    view = GraphView(model)
    found = look(GraphSubject(view, target, external=external), rules)
    return Report.of(str(path), "onnx", target.name, target.version, found, len(view.places))


def _outside(model: onnx.ModelProto) -> Iterator[tuple[TensorProto, ExternalDataInfo]]:
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor, ExternalDataInfo(tensor)


def _external_files(model: onnx.ModelProto) -> list[str]:
    """Files beside a model that hold weights of it, each once."""
    return list(dict.fromkeys(info.location for _, info in _outside(model) if info.location))


def _read_small(model: onnx.ModelProto, path: Path) -> None:
    """Reads the numbers that shapes may depend on, and sees to it that the others are there.

    Raises:
        ExportError: A file is too short, or is not beside the model.
    """
    folder = path.parent
    try:
        for tensor, info in _outside(model):
            kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
            size = info.length or int(np.prod(tensor.dims, dtype=np.int64)) * kind.itemsize
            if size <= LARGE:
                load_external_data_for_tensor(tensor, str(folder))
                tensor.data_location = TensorProto.DEFAULT
                del tensor.external_data[:]
                continue
            file = (folder / info.location).resolve()
            if not file.is_relative_to(folder.resolve()):
                raise ValueError(f"'{info.location}' leads out of the folder")
            if (info.offset or 0) + size > file.stat().st_size:
                raise ValueError(f"'{info.location}' is too short")
    except Exception as error:  # a file that is too short, or a way out of the folder
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"the weights of {path} beside it cannot be read ({reason}): copy them again") from error


def examine_bundle(bundle: Bundle, target: Target, rules: Sequence[Rule]) -> Report:
    """Examines a bundle: its manifest, its portable model, and every other graph in it.

    A variant for other engines is examined as well, but what this target cannot run of it or would run slowly is a note: it
    runs the portable model.

    Args:
        bundle: An opened bundle.
        target: What is to run it.
        rules: All rules.

    Raises:
        BundleDamaged: A file of it is missing.
        WeightsError: A file of it is no ONNX model.
    """
    manifest = bundle.manifest
    found = apply(rules, "manifest", ManifestSubject(manifest, target), target.runtime)
    graphs = list(dict.fromkeys((
        manifest.model, *(it.file for it in manifest.variants.values()), *(it for it in bundle.names() if it.endswith(".onnx"))
    )))  # fmt: skip
    nodes = 0
    for name in graphs:
        view, external = _graph_of(bundle, name)
        nodes = nodes or len(view.places)
        more = look(GraphSubject(view, target, external=external), rules)
        if not _is_for(manifest, name, target):
            more = [msgspec.structs.replace(it, severity="note") for it in more]
        if len(graphs) > 1:
            more = [msgspec.structs.replace(it, where=tuple(f"{name}: {where}" for where in it.where)) for it in more]
        found += more
    return Report.of(str(bundle.path), "bundle", target.name, target.version, found, nodes)


def _is_for(manifest: Manifest, name: str, target: Target) -> bool:
    """Whether a target may be given a graph of a bundle."""
    engines = [variant.engines for variant in manifest.variants.values() if variant.file == name]
    return name == manifest.model or any(target.runtime in names for names in engines)


def _graph_of(bundle: Bundle, name: str) -> tuple[GraphView, list[tuple[str, bool]]]:
    """One graph of a bundle, and the files with weights that it wants."""
    try:
        model = onnx.load_from_string(bundle.read(name))
        files = _external_files(model)
    except LinesideError:
        raise
    except Exception as error:  # protobuf raises what it likes
        raise WeightsError(f"{name} in {bundle.path} is no ONNX model: export the bundle again") from error
    folder, present = name.rpartition("/")[0], set(bundle.names())
    return GraphView(model), [(file, f"{folder}/{file}".lstrip("/") in present) for file in files]
