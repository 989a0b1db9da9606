"""TensorRT-RTX on the CPU: the ONNX parser and the builder of TensorRT's family, in a process of their own.

They come as wheels and need no GPU. They stand in for TensorRT, whose libraries do not: a graph that they take is typed
as TensorRT wants it, has operators that its parser knows, and can be built from native layers. What they cannot show is
speed, tactics, plugins (a parser that meets a real one ends its process), and TensorRT's own DeformConv.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "tensorrt_rtx"


def require() -> None:
    """Skips the test where TensorRT-RTX is not installed: it has wheels for x86-64 alone."""
    pytest.importorskip(PACKAGE, reason="tensorrt-rtx-cu13 is not installed: it is part of the extra dev on x86-64")


@dataclass(frozen=True)
class Made:
    """What became of one file.

    Attributes:
        errors: What the parser complained of; empty where it took the graph.
        layers: Layers of the network.
        types: Names of their kinds, with how many there are of each.
        kinds: Element types of the convolutions' outputs, with how many there are of each.
        nbytes: Size of the built engine; 0 where it could not be built, or was not to be.
        said: What the builder complained of.
    """

    errors: tuple[str, ...]
    layers: int
    types: Mapping[str, int]
    kinds: Mapping[str, int]
    nbytes: int
    said: tuple[str, ...]

    def check(self) -> None:
        """Fails where the graph was refused or could not be built."""
        assert not self.errors, "\n".join(self.errors)
        assert self.nbytes > 0, "\n".join(self.said) or "the builder gave nothing"


@dataclass(frozen=True)
class Creator:
    """Who is asked for a plugin.

    Attributes:
        name: Name of the plugin.
        namespace: Where it is registered.
        version: Its version.
        fields: Attributes that it knows, with their types: INT32, FLOAT32 or CHAR.
    """

    name: str
    namespace: str
    version: str = "1"
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One creation of a plugin that the parser asked for.

    Attributes:
        name: Name of the plugin.
        namespace: Of the creator that was asked.
        version: Of the same.
        fields: Type and values of each field; text is a string, without the zero behind it.
    """

    name: str
    namespace: str
    version: str
    fields: Mapping[str, tuple[str, Any]]


@dataclass(frozen=True)
class Parsed:
    """What a parser made of one file, with creators that write down what they are asked for.

    Attributes:
        asked: Plugins that were asked for, in order.
        errors: What the parser complained of.
        layers: Layers of the network.
    """

    asked: tuple[Asked, ...]
    errors: tuple[str, ...]
    layers: int


def build(files: Iterable[Path], only_parse: bool = False) -> list[Made]:
    """Parses and builds files, one after the other in one process.

    Args:
        files: ONNX files.
        only_parse: Leave the building out.

    Returns:
        What became of each.
    """
    answers = _ask({"build": [str(path) for path in files], "only_parse": only_parse})
    return [Made(**{key: tuple(it) if isinstance(it, list) else it for key, it in one.items()}) for one in answers]


def parse(tasks: Iterable[tuple[Path, Sequence[Creator]]], override: bool = False) -> list[Parsed]:
    """Parses files with creators that note what they are asked for and make nothing.

    Args:
        tasks: Each file, and the creators that are registered meanwhile.
        override: Let plugins of no namespace go before functions.

    Returns:
        What became of each file; a plugin that was asked for is an error there, since nothing was made.
    """
    plain = [{"file": str(path), "creators": [asdict(one) for one in creators]} for path, creators in tasks]
    found = []
    for one in _ask({"parse": plain, "override": override}):
        asked = tuple(
            Asked(
                it["name"], it["namespace"], it["version"], {key: tuple(field) for key, field in it["fields"].items()}
            )
            for it in one["asked"]
        )
        found.append(Parsed(asked, tuple(one["errors"]), one["layers"]))
    return found


def _ask(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Runs this file as a program and reads its answers."""
    require()
    words = [sys.executable, str(Path(__file__).with_name("rtx_process.py"))]
    done = subprocess.run(words, input=json.dumps(task), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"TensorRT-RTX ended with {done.returncode}: {done.stderr[-3000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]
