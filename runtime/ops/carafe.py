"""Content-aware reassembly of features (Wang et al., "CARAFE", 2019, eq. 2) as one operator.

    y[c, p] = sum over taps t of  mask[t, p] * x[c, p // up + t - kernel // 2]

Each pixel of the result is a weighted sum of the pixels around its place in ``x``, with weights of its own that all
channels share. Taps are row-major.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar, get_args

from lineside.runtime.kernels.kernel import Kernel, Launch
from lineside.runtime.ops.declare import kernel_of
from lineside.runtime.ops.op import DeviceOp, Shape

__all__ = ["Border", "DeviceCarafe"]

Border = Literal["zero", "reflect"]
"""What lies beyond the border of x: nothing, or its mirror image without the outermost pixels twice."""

_Own = TypeVar("_Own", bound="DeviceCarafe")

_NAME = re.compile(r"Carafe_k(?P<kernel>\d+)_up(?P<up>\d+)(?:_g(?P<groups>\d+))?(?:_(?P<border>reflect))?")

_BLOCK = (32, 8, 1)
_CHANNELS = 8
"""Channels that a thread computes, so that each weight is read once for all of them."""


@dataclass(frozen=True)
class DeviceCarafe(DeviceOp):
    """The operator in one configuration.

    Its name is ``Carafe_k<kernel>_up<up>``, followed by ``_g<groups>`` for more than one group and by ``_reflect`` for
    that border.

    Inputs: ``x`` (n, c, h, w) and ``mask`` (n, groups * kernel * kernel, up * h, up * w) as it multiplies, of one
    floating point type. Output ``y`` (n, c, up * h, up * w). Channels ``c / groups * g`` and on belong to group ``g``.

    Attributes:
        kernel: Taps along each axis.
        up: How often each side of x goes into that of y.
        groups: Groups of channels with masks of their own.
        border: What taps beyond the border see.
    """

    base: ClassVar[str] = "Carafe"
    inputs: ClassVar[tuple[str, ...]] = ("x", "mask")
    outputs: ClassVar[tuple[str, ...]] = ("y",)
    floating: ClassVar[frozenset[str]] = frozenset({"x", "mask", "y"})

    kernel: int = 5
    up: int = 2
    groups: int = 1
    border: Border = "zero"

    def __post_init__(self) -> None:
        if min(self.kernel, self.up, self.groups) < 1 or self.border not in get_args(Border):
            raise ValueError(f"there is no Carafe with {self}")

    @property
    def name(self) -> str:
        """See the class."""
        groups = f"_g{self.groups}" if self.groups > 1 else ""
        return f"{self.base}_k{self.kernel}_up{self.up}{groups}{'' if self.border == 'zero' else '_reflect'}"

    @classmethod
    def parse(cls: type[_Own], name: str) -> _Own | None:
        """The operator of that name, or None."""
        match = _NAME.fullmatch(name)
        if match is None or not all(int(match[key] or 1) for key in ("kernel", "up", "groups")):
            return None
        border: Border = "reflect" if match["border"] else "zero"
        op = cls(int(match["kernel"]), int(match["up"]), int(match["groups"] or 1), border)
        return op if op.name == name else None

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Shape of y."""
        n, c, h, w = inputs[0]
        return ((n, c, h * self.up, w * self.up),)

    def device_kernel(self, half: bool) -> Kernel:
        """See `DeviceOp.device_kernel`."""
        defines = {
            "TAPS": self.kernel,
            "UP": self.up,
            "GROUPS": self.groups,
            "REFLECT": int(self.border == "reflect"),
            "CHANNELS": _CHANNELS,
        }
        return kernel_of(self, "carafe", ("channels", "height", "width"), defines, half)

    def launch(self, shapes: Sequence[Shape], addresses: Sequence[int], half: bool) -> Launch:
        """A thread for each pixel of y and a few channels of one group; blocks of pixels beside each other.

        Pictures and slices of channels lie along x, the one axis of a grid that has room for any number of them.
        """
        n, c, h, w = shapes[0]
        x, mask, y = addresses
        slices = self.groups * _parts(c // self.groups, _CHANNELS)
        grid = (n * slices, _parts(h * self.up, _BLOCK[1]), _parts(w * self.up, _BLOCK[0]))
        return Launch(self.device_kernel(half), grid, _BLOCK, 0, (x, mask, c, h, w, y))


def _parts(whole: int, part: int) -> int:
    """How many parts a whole has, the last one smaller."""
    return -(-whole // part)
