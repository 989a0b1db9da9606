"""Which nodes keep FP32 in a half-precision graph, and why.

- Normalisation, softmax, sums and powers: their sums outgrow FP16, or their small terms vanish in it.
- Places that are sampled at: at 16 to 32 pixels FP16 knows them to a 64th of a pixel, at 512 to half a pixel. So a grid
  keeps FP32 back to, and including, the convolution that makes nothing else than offsets.
- What follows the last convolution in front of an output: it may be a decoder, whose boxes are such places.
- The convolutions that make the outputs themselves, see `OUTPUTS`.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from lineside.export.graph.inside import reads
from lineside.export.ops.op import DOMAIN
from lineside.export.ops.table import find_op

__all__ = ["FULL_OPERATORS", "OUTPUTS", "Makers", "half_inputs", "half_outputs", "kept_full"]

OUTPUTS = True
"""Whether the convolutions that make distance bins, class scores, mask coefficients and prototypes keep FP32."""

FULL_OPERATORS = frozenset(
    [
        "Softmax",
        "LogSoftmax",
        "Softplus",
        "LayerNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "BatchNormalization",
        "RMSNormalization",
        "LpNormalization",
        "MeanVarianceNormalization",
        "LRN",
        "ReduceMean",
        "ReduceSum",
        "ReduceSumSquare",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceProd",
        "GlobalAveragePool",
        "Exp",
        "Log",
        "Pow",
        "Sqrt",
        "Reciprocal",
        "Div",
        "CumSum",
        "Sin",
        "Cos",
        "Tan",
        "Atan",
        "GridSample",
        "DeformConv",
        "RoiAlign",
        "NonMaxSuppression",
        "TopK",
        "STFT",
        "DFT",
        "Scan",
        "Loop",
        "If",
    ]
)
"""Operators that keep FP32 wherever they are."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"})
"""Where the way back from a place or an output ends."""

GRIDS = {"GridSample": (1,), "DeformConv": (2,), "RoiAlign": (1,)}
"""Inputs of standard operators that are places."""

BETWEEN = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Neg",
        "Abs",
        "Max",
        "Min",
        "Clip",
        "Where",
        "Relu",
        "Sigmoid",
        "Tanh",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Split",
        "Concat",
        "Gather",
        "GatherElements",
        "GatherND",
        "Expand",
        "Tile",
        "Flatten",
        "Identity",
        "Pad",
        "DepthToSpace",
        "SpaceToDepth",
    ]
)
"""Cheap operators that join their neighbours where those keep FP32."""

KEPT_OPS = frozenset({"ModDeformConv2d"})
"""Operators of ours that keep FP32 as a whole: TensorRT's own plugin takes places in no other type than pictures."""


def half_inputs(node: onnx.NodeProto) -> frozenset[int] | None:
    """Which inputs of a node of ours take FP16; none of them for one that keeps FP32, None for any other node."""
    op = find_op(node.op_type) if node.domain == DOMAIN else None
    if op is None:
        return None
    names = frozenset[str]() if op.base in KEPT_OPS else op.floating
    return frozenset(index for index, name in enumerate(op.inputs[: len(node.input)]) if name in names)


def half_outputs(node: onnx.NodeProto) -> frozenset[int]:
    """Which outputs of a node of ours are FP16 where its inputs are."""
    op = find_op(node.op_type)
    assert op is not None
    return frozenset(index for index, name in enumerate(op.outputs[: len(node.output)]) if name in op.floating)


class Makers:
    """Who makes and who uses the tensors of a graph, nodes told apart by their place in it.

    Args:
        graph: The graph, its nodes in an order that can be executed.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.maker = {name: at for at, node in enumerate(self.nodes) for name in node.output if name}
        self.users: dict[str, set[int]] = {}
        for at, node in enumerate(self.nodes):
            for name in reads(node):
                self.users.setdefault(name, set()).add(at)
        self.outputs = {value.name for value in graph.output}

    def back(self, names: Iterable[str]) -> tuple[set[int], set[int]]:
        """Goes back from tensors to the nearest nodes with weights.

        Returns:
            The nodes on the way, and those with weights (or of ours) where it ends.
        """
        way: set[int] = set()
        ends: set[int] = set()
        todo = [self.maker[name] for name in names if name in self.maker]
        while todo:
            at = todo.pop()
            if at in way or at in ends:
                continue
            node = self.nodes[at]
            if node.op_type in WEIGHTED or node.domain:
                ends.add(at)
                continue
            way.add(at)
            todo += [self.maker[name] for name in node.input if name in self.maker]
        return way, ends

    def serves_only(self, at: int, others: set[int], across: frozenset[str] = frozenset()) -> bool:
        """Whether nobody but some nodes uses what a node makes, be it by way of cheap operators.

        Args:
            at: The node.
            others: The nodes that may use it.
            across: Operators that may stand in between.
        """
        for name in filter(None, self.nodes[at].output):
            if name in self.outputs:
                return False
            for user in self.users.get(name, set()) - others:
                if self.nodes[user].op_type not in across or not self.serves_only(user, others, across):
                    return False
        return True


def kept_full(graph: onnx.GraphProto, outputs: bool = OUTPUTS) -> set[int]:
    """Places, in the order of the graph, of the nodes that keep FP32.

    Args:
        graph: The main graph, float32.
        outputs: Whether the convolutions in front of the outputs do.
    """
    makers = Makers(graph)
    full = {at for at, node in enumerate(makers.nodes) if node.op_type in FULL_OPERATORS and not node.domain}
    full |= {at for at, node in enumerate(makers.nodes) if node.domain and not half_inputs(node)}
    places, ends = makers.back(_places(makers.nodes))
    full |= places | {at for at in ends if makers.serves_only(at, places | full, BETWEEN)}
    last, ends = makers.back(makers.outputs)
    full |= last
    if outputs:
        full |= {at for at in ends if not makers.nodes[at].domain}
    return _joined(makers, full)


def _places(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Names of the tensors that say where to sample."""
    found: set[str] = set()
    for node in nodes:
        op = find_op(node.op_type) if node.domain == DOMAIN else None
        if op is not None:
            found |= {
                tensor
                for name, tensor in zip(op.inputs, node.input, strict=False)
                if name in ("sampling_locations", "offset")
            }
        found |= {node.input[at] for at in GRIDS.get(node.op_type, ()) if at < len(node.input)}
    return found


def _joined(makers: Makers, full: set[int]) -> set[int]:
    """Adds cheap nodes that stand between nodes that keep FP32: all their users do, and one of those they use."""
    grown = True
    while grown:
        grown = False
        for at, node in enumerate(makers.nodes):
            if at in full or node.op_type not in BETWEEN or not makers.serves_only(at, full, BETWEEN):
                continue
            if any(makers.maker.get(name) in full for name in node.input if name in makers.maker):
                full.add(at)
                grown = True
    return full
