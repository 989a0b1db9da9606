"""What to launch for a picture, and how: grids, blocks, shared memory and arguments of the kernels around the engine."""

from __future__ import annotations

from dataclasses import dataclass

from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda import kernels
from lineside.runtime.cuda.blocks import Layout
from lineside.runtime.cuda.staging import Form
from lineside.runtime.geometry import Letterbox
from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = [
    "MASK_ROWS",
    "SCAN_BLOCK",
    "Addresses",
    "decode_launches",
    "letterbox_launches",
    "row_bytes",
]

SCAN_BLOCK = 256
"""Anchors of a block of the scan: ``kScan`` of frame.cuh."""

MASK_ROWS = 64
"""Threads of a block that solves masks: ``kRows`` of masks.cu."""

MASK_BLOCKS = 512
"""Blocks that solve masks; each takes one item after the other."""

YUV_RULES = {
    ("bt601", "limited"): (16, 1220542, 1673527, -409993, -852492, 2116026),
    ("bt601", "full"): (0, 1048576, 1470104, -360853, -748826, 1858077),
    ("bt709", "limited"): (16, 1220945, 1879825, -223607, -558796, 2215014),
    ("bt709", "full"): (0, 1048576, 1651297, -196424, -490864, 1945738),
}
"""Black, luma, V in red, U and V in green, U in blue: see `lineside.runtime.yuv.Yuv`."""


@dataclass(frozen=True)
class Addresses:
    """Where the memory of one picture lies on the device.

    Attributes:
        parameters: `FrameSteps.parameter_bytes` bytes.
        tables: `FrameSteps.table_bytes` bytes, filled once with `FrameSteps.tables`.
        work: `FrameSteps.work_bytes` bytes, of any content.
        result: `FrameSteps.result_bytes` bytes, of any content.
        input: This picture's ``(3, h, w)`` float32 in the engine's input.
        outputs: This picture's part of each of the engine's outputs, float32, in the order of the head contract.
    """

    parameters: int
    tables: int
    work: int
    result: int
    input: int
    outputs: tuple[int, ...]


def row_bytes(head: HeadContract) -> int:
    """Bytes of a row of prototype values, in shared memory."""
    return 4 * head.protos_size[1]


def letterbox_launches(form: Form, box: Letterbox, tables: Layout, at: Addresses) -> list[Launch]:
    """What fills the engine's input, its padding too.

    Args:
        form: Kind and size of the picture.
        box: How it lies in the input.
        tables: Where the tables lie in their block.
        at: Where everything lies.
    """
    table = tables.at(at.tables)
    (content_h, content_w), (left, top), (input_h, input_w) = box.content_size, box.pad, box.input_size
    grid = (-(-input_w // 32), -(-input_h // 8), 1)
    arguments = (at.parameters, table["rows"], table["columns"], at.input)
    geometry = (content_h, content_w, left, top, input_h, input_w)
    if form.kind == "nv12":
        rule = YUV_RULES[form.matrix, form.range]
        return [Launch(kernels.LETTERBOX_YUV, grid, (32, 8, 1), 0, (*arguments, *geometry, *rule))]
    return [Launch(kernels.LETTERBOX_PACKED, grid, (32, 8, 1), 0, (*arguments, *geometry))]


def decode_launches(
    head: HeadContract, tables: Layout, work: Layout, at: Addresses, blocks: int, items: int, bands: int
) -> list[Launch]:
    """What makes the result of the engine's outputs, in order.

    Args:
        head: The head contract.
        tables: Where the tables lie in their block.
        work: Where the parts of the work memory lie in theirs.
        at: Where everything lies.
        blocks: Of `SCAN_BLOCK` anchors.
        items: Pieces of masks that blocks solve one by one, at most.
        bands: Of a mask that a block solves together.
    """
    names = {**tables.at(at.tables), **work.at(at.work), "parameters": at.parameters, "header": at.result}
    every = (blocks, 1, 1)
    found = [
        _launch(kernels.SCAN, names, every, SCAN_BLOCK),
        _launch(kernels.GATHER, names, every, SCAN_BLOCK),
        _launch(kernels.RANK, names, every, SCAN_BLOCK),
        _launch(kernels.SUPPRESS, names, (1, 1, 1), SCAN_BLOCK),
    ]
    if not head.coefficients:
        names["across"] = names["down"] = names["plan"]  # nothing reads them: there are no masks
    found.append(_launch(kernels.PLACE, names, (1, 1, 1), SCAN_BLOCK))
    if not head.coefficients:
        return found
    names["protos"] = at.outputs[head.output_names.index("protos")]
    shared, grid = (bands + 1) * row_bytes(head), (min(MASK_BLOCKS, items), 1, 1)
    return [
        *found,
        _launch(kernels.MASKS, names, grid, MASK_ROWS, shared, "count", write=0),
        _launch(kernels.OFFSETS, names, (1, 1, 1), SCAN_BLOCK),
        _launch(kernels.MASKS, names, grid, MASK_ROWS, shared, "write", write=1),
    ]


def _launch(
    kernel: Kernel,
    names: dict[str, int],
    grid: tuple[int, int, int],
    threads: int,
    shared: int = 0,
    purpose: str = "",
    **integers: int,
) -> Launch:
    """A launch whose arguments are found by the names of the kernel's parameters."""
    arguments = tuple({**names, **integers}[parameter.name] for parameter in kernel.parameters)
    return Launch(kernel, grid, (threads, 1, 1), shared, arguments, purpose)
