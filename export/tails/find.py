"""Decides whether a foreign graph goes into its bundle with or without its decode tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import onnx

from lineside.export.foreign import Foreign
from lineside.export.pictures import Picture
from lineside.export.tails.compare import TailFigures, compare_tail
from lineside.export.tails.cut import CutGraph, cut_graph
from lineside.export.tails.linear import UnknownTail
from lineside.runtime.errors import EngineFailed, NonFiniteOutput

__all__ = ["Tail", "TailRecord", "find_tail"]

ON_REQUEST = "the tail was to stay"
FINAL_ROWS = "the graph ends in rows that are detections already, and what picked them is part of the model"


class TailRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the decode tail, for people.

    Attributes:
        cut: It was cut off.
        reason: Why it was not; empty where it was.
        removed: Nodes less than before.
        figures: How the two graphs compare, over every anchor; None where nothing was compared.
    """

    cut: bool
    reason: str = ""
    removed: int = 0
    figures: TailFigures | None = None


@dataclass(frozen=True)
class Tail:
    """The answer.

    Attributes:
        graph: The cut graph; None where the tail stays.
        record: What became of the tail.
    """

    graph: CutGraph | None
    record: TailRecord


def find_tail(
    given: bytes, graph: onnx.ModelProto, foreign: Foreign, pictures: Sequence[Picture], keep: bool = False
) -> Tail:
    """Looks for the decode tail, proves what it computes, and compares the graph with it and without.

    Args:
        given: The graph as it was given, which both sides must agree with.
        graph: The graph to cut: the same, or a simplified form of it.
        foreign: What was recognised.
        pictures: Pictures to compare on.
        keep: The tail stays whatever it is.

    Returns:
        The cut graph, or the reason why there is none.
    """
    if keep or foreign.head.kind != "flat":
        return Tail(None, TailRecord(cut=False, reason=ON_REQUEST if keep else FINAL_ROWS))
    try:
        found = cut_graph(graph, foreign.head, foreign.input)
        data: bytes = found.model.SerializeToString()
        figures = compare_tail(given, data, foreign.head, found.head, foreign.input.batch, pictures, found.half)
    except (UnknownTail, EngineFailed, NonFiniteOutput) as error:
        return Tail(None, TailRecord(cut=False, reason=str(error)))
    return Tail(found, TailRecord(cut=True, removed=found.removed, figures=figures))
