"""What a graph pass is, and how a list of them runs.

The idea of passes with stated pre- and postconditions is that of onnx/ir-py; here a pass is three plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from lineside.runtime.errors import ExportError

__all__ = ["GraphPass", "PassRecord", "nothing", "run_passes"]

Condition = Callable[[onnx.ModelProto], str | None]
"""Looks at a model and returns None where it is fit, else a clause that says what is wrong with it."""


def nothing(model: onnx.ModelProto) -> str | None:
    """The condition that every model meets."""
    return None


@dataclass(frozen=True)
class GraphPass:
    """One change to a graph.

    Attributes:
        name: What it does, in a word or two.
        apply: Takes a model and returns the changed model; it may be the same object.
        requires: Must hold before.
        ensures: Must hold after.
    """

    name: str
    apply: Callable[[onnx.ModelProto], onnx.ModelProto]
    requires: Condition = nothing
    ensures: Condition = nothing


@dataclass(frozen=True)
class PassRecord:
    """What one pass did.

    Attributes:
        name: Name of the pass.
        nodes_before: Number of nodes before.
        nodes_after: Number of nodes after.
    """

    name: str
    nodes_before: int
    nodes_after: int


def run_passes(model: onnx.ModelProto, passes: Sequence[GraphPass]) -> tuple[onnx.ModelProto, list[PassRecord]]:
    """Runs passes one after the other.

    Args:
        model: The graph; a pass may change it in place.
        passes: What to do, in order.

    Returns:
        The changed model, and a record of each pass.

    Raises:
        ExportError: A condition of a pass does not hold, or a pass failed.
    """
    records = []
    for step in passes:
        _hold(step.requires, model, f"the graph is not fit for the pass '{step.name}'")
        before = len(model.graph.node)
        try:
            model = step.apply(model)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(
                f"the graph pass '{step.name}' failed ({error}): this is a fault of Lineside or of a block that it "
                "does not know; report it with the model's yaml"
            ) from error
        _hold(step.ensures, model, f"the graph pass '{step.name}' did not keep its promise")
        records.append(PassRecord(step.name, before, len(model.graph.node)))
    return model, records


def _hold(condition: Condition, model: onnx.ModelProto, what: str) -> None:
    """Raises unless the condition holds."""
    reason = condition(model)
    if reason:
        raise ExportError(f"{what}: {reason}")
