"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", 2021, eq. 3) as one operator.

    out[q, m] = sum over levels l and points p of  weight[q, m, l, p] * value_l[m](location[q, m, l, p])

``value_l[m]`` at a fractional place is bilinear, and a corner outside of its map counts as zero. A location goes from
(0, 0) at the outer edge of the first pixel to (1, 1) at that of the last one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from lineside.runtime.kernels.kernel import Kernel, Launch
from lineside.runtime.ops.declare import kernel_of
from lineside.runtime.ops.op import DeviceOp, Shape

__all__ = ["DeviceMSDeformAttn"]

_Own = TypeVar("_Own", bound="DeviceMSDeformAttn")

_NAME = re.compile(r"MSDeformAttn_l(?P<levels>\d+)")

_THREADS = 256


@dataclass(frozen=True)
class DeviceMSDeformAttn(DeviceOp):
    """The operator for a number of levels; its name is ``MSDeformAttn_l<levels>``.

    Inputs and output are those of TensorRT's plugin ``MultiscaleDeformableAttnPlugin_TRT``, which has no attributes:

    - ``value`` (n, s, m, d): the pixels of all levels behind each other, row by row; m heads with d channels.
    - ``spatial_shapes`` (levels, 2) int32: height and width of each level.
    - ``level_start_index`` (levels,) int32: the first pixel of each level among the s.
    - ``sampling_locations`` (n, q, m, levels, points, 2): x and y.
    - ``attention_weights`` (n, q, m, levels, points): as they multiply.
    - ``output`` (n, q, m, d).

    Attributes:
        levels: Number of maps.
    """

    base: ClassVar[str] = "MSDeformAttn"
    inputs: ClassVar[tuple[str, ...]] = (
        "value",
        "spatial_shapes",
        "level_start_index",
        "sampling_locations",
        "attention_weights",
    )
    outputs: ClassVar[tuple[str, ...]] = ("output",)
    integers: ClassVar[frozenset[str]] = frozenset({"spatial_shapes", "level_start_index"})
    floating: ClassVar[frozenset[str]] = frozenset({"value", "attention_weights", "output"})

    levels: int = 3

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError("there is no attention over less than one level")

    @property
    def name(self) -> str:
        """See the class."""
        return f"{self.base}_l{self.levels}"

    @classmethod
    def parse(cls: type[_Own], name: str) -> _Own | None:
        """The operator of that name, or None."""
        match = _NAME.fullmatch(name)
        if match is None or int(match["levels"]) < 1:
            return None
        op = cls(int(match["levels"]))
        return op if op.name == name else None

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Shape of the output."""
        n, _, m, d = inputs[0]
        return ((n, inputs[3][1], m, d),)

    def device_kernel(self, half: bool) -> Kernel:
        """See `DeviceOp.device_kernel`."""
        sizes = ("batch", "pixels", "heads", "channels", "queries", "points")
        return kernel_of(self, "ms_deform_attn", sizes, {"LEVELS": self.levels}, half)

    def launch(self, shapes: Sequence[Shape], addresses: Sequence[int], half: bool) -> Launch:
        """A thread for each number of the output: those of a head, beside each other, share places and weights."""
        n, s, m, d = shapes[0]
        q, points = shapes[3][1], shapes[3][4]
        *given, output = addresses
        grid = (-(-n * q * m * d // _THREADS), 1, 1)
        return Launch(self.device_kernel(half), grid, (_THREADS, 1, 1), 0, (*given, n, s, m, d, q, points, output))
