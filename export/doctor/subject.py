"""What the rules look at: a weights file, a torch model, a graph, a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lineside.export.class_paths import ClassPath
from lineside.export.doctor.graph_view import GraphView, Place
from lineside.export.doctor.target import Target
from lineside.runtime.manifest import Manifest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["GraphSubject", "ManifestSubject", "ModuleSubject", "Pass", "WeightsSubject"]


@dataclass(frozen=True)
class WeightsSubject:
    """A weights file before anything of it is loaded.

    Attributes:
        path: The file or the name of a model yaml.
        safe: It is to be loaded restricted.
        foreign: Classes that it names beside those of torch and ultralytics.
        missing: Those of them, or block names of a yaml, that are nowhere here.
        given: What ``--modules`` brought, in words.
        head: Class of the head, where a yaml names it; empty otherwise.
        heads: Classes of heads that export knows.
        hostile: What the pickle names that no model needs.
    """

    path: Path
    safe: bool
    foreign: tuple[ClassPath, ...] = ()
    missing: tuple[str, ...] = ()
    given: str = ""
    head: str = ""
    heads: tuple[str, ...] = ()
    hostile: tuple[ClassPath, ...] = ()


@dataclass(frozen=True)
class Pass:
    """One forward pass without numbers.

    Attributes:
        inputs: Shape of the first input of each module, by module path.
        calls: Operations that each module ran itself, children not counted.
        largest: Bytes of the largest tensor that each module made.
        failure: Why there was none; empty where there was.
        frozen: Paths of modules that take numbers out of what they compute from the picture.
    """

    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    failure: str = ""
    frozen: Sequence[str] = ()


@dataclass(frozen=True)
class ModuleSubject:
    """A torch model.

    Attributes:
        model: The model as loaded.
        size: Height and width of the input in pixels.
        dynamic: Input sizes are to stay free.
        end2end: The one-to-one part of the head is asked for.
        seen: A forward pass of it without numbers.
    """

    model: nn.Module
    size: tuple[int, int]
    dynamic: bool
    end2end: bool
    seen: Pass


@dataclass(frozen=True)
class GraphSubject:
    """A graph.

    Attributes:
        view: The graph.
        target: What is to run it.
        traced: It was traced from a torch model; operators without an ONNX form stand in it under their torch names.
        external: Files beside that hold weights, and whether each is there.
    """

    view: GraphView
    target: Target
    traced: bool = False
    external: Sequence[tuple[str, bool]] = ()

    def opset(self, place: Place) -> int:
        """Opset that the target reads a node in; for a node of a function not always that which it is written in."""
        own = self.view.opset(place)
        inlined = place.function is not None and not self.target.function_opsets
        return self.view.opsets.get(place.domain, own) if inlined else own


@dataclass(frozen=True)
class ManifestSubject:
    """The manifest of a bundle.

    Attributes:
        manifest: The manifest.
        target: What is to run it.
    """

    manifest: Manifest
    target: Target
