"""The process that `helpers.rtx` starts: a task as JSON on stdin, an answer as a line of JSON for each file on stdout.

Beside the standard library it imports nothing but TensorRT-RTX and numpy. Creators return None always: a parser that is
given a plugin ends the process.
"""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_rtx as trt


class Log(trt.ILogger):  # type: ignore[misc]
    """Keeps what parser and builder complain of."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        if severity <= trt.ILogger.Severity.ERROR:
            self.lines.append(message)


class Recorder(trt.IPluginCreatorV3One):  # type: ignore[misc]
    """A creator that writes down what it is asked for, and makes nothing."""

    def __init__(self, asked: list[Any], name: str, namespace: str, version: str, fields: dict[str, str]) -> None:
        trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_namespace, self.plugin_version = name, namespace, version
        self.field_names = trt.PluginFieldCollection(
            [trt.PluginField(key, np.array([]), getattr(trt.PluginFieldType, kind)) for key, kind in fields.items()]
        )
        self.asked = asked

    def create_plugin(self, name: str, fields: Any, phase: Any) -> None:
        told = {field.name: (str(field.type).rpartition(".")[2], _value(field)) for field in fields}
        self.asked.append(
            {
                "name": self.name,
                "namespace": self.plugin_namespace,
                "version": self.plugin_version,
                "fields": told,
            }
        )


def _value(field: Any) -> Any:
    values = np.array(field.data)
    if field.type == trt.PluginFieldType.CHAR:
        return values.astype(np.uint8).tobytes().rstrip(b"\0").decode()
    return values.tolist()


def _parser(log: Log, builder: Any) -> tuple[Any, Any]:
    network = builder.create_network(0)
    return network, trt.OnnxParser(network, log)


def _errors(parser: Any) -> list[str]:
    found = (parser.get_error(index) for index in range(parser.num_errors))
    return [f"{error.node_name()}: {error.desc()}" for error in found]


def _build(path: str, wanted: bool) -> dict[str, Any]:
    log = Log()
    builder = trt.Builder(log)
    network, parser = _parser(log, builder)
    parsed = parser.parse(Path(path).read_bytes(), path)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    nbytes = 0
    if parsed and wanted:
        engine = builder.build_serialized_network(network, builder.create_builder_config())
        nbytes = 0 if engine is None else engine.nbytes
    return {
        "errors": _errors(parser) or ([] if parsed else ["refused without a word"]),
        "layers": len(layers),
        "types": dict(collections.Counter(layer.type.name for layer in layers)),
        "kinds": dict(collections.Counter(layer.get_output(0).dtype.name for layer in convolutions)),
        "nbytes": nbytes,
        "said": log.lines,
    }


def _parse(path: str, asked: list[Any], override: bool) -> dict[str, Any]:
    log = Log()
    builder = trt.Builder(log)
    network, parser = _parser(log, builder)
    if override:
        parser.set_flag(trt.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)
    parsed = parser.parse(Path(path).read_bytes(), path)
    errors = _errors(parser) or ([] if parsed else ["refused without a word"])
    return {"asked": asked, "errors": errors, "layers": network.num_layers}


def main() -> None:
    task = json.load(sys.stdin)
    for path in task.get("build", ()):
        print(json.dumps(_build(path, not task["only_parse"])), flush=True)
    registry = trt.get_plugin_registry()
    for one in task.get("parse", ()):
        asked: list[Any] = []
        creators = [Recorder(asked, **fields) for fields in one["creators"]]  # the registry keeps their addresses alone
        for creator in creators:
            if not registry.register_creator(creator, creator.plugin_namespace):
                sys.exit(f"{creator.name} was not registered")
        print(json.dumps(_parse(one["file"], asked, task["override"])), flush=True)
        for creator in creators:
            registry.deregister_creator(creator)


if __name__ == "__main__":
    main()
