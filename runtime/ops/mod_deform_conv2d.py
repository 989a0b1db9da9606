"""Modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", 2019, eq. 2) as one operator.

    y(p) = sum over taps t of  w_t * m_t(p) * x(p * stride - padding + dilation * t + offset_t(p))

``x`` at a fractional place is bilinear, and a corner outside of the picture counts as zero. Channels of ``offset`` are,
for each deform group, for each tap (row-major), first dy, then dx.

There is no kernel of ours: engines that have the standard operator ``DeformConv`` get that one in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from lineside.runtime.ops.op import DeviceOp, Shape

__all__ = ["STANDARD", "STANDARD_OPSET", "DeviceModDeformConv2d", "Pair"]

Pair = tuple[int, int]

STANDARD = "DeformConv"
"""The standard operator that computes the same."""

STANDARD_OPSET = 19
"""First opset with it."""

_Own = TypeVar("_Own", bound="DeviceModDeformConv2d")

_NAME = re.compile(
    r"ModDeformConv2d_k(?P<kernel>\d+(?:x\d+)?)_s(?P<stride>\d+(?:x\d+)?)(?:_p(?P<padding>\d+(?:x\d+)?))?"
    r"(?:_d(?P<dilation>\d+(?:x\d+)?))?(?:_g(?P<groups>\d+))?(?:_dg(?P<deform_groups>\d+))?"
)


def _pair(text: str) -> Pair:
    """Height and width out of ``3`` or ``3x5``."""
    first, _, second = text.partition("x")
    return int(first), int(second or first)


def _text(pair: Pair) -> str:
    """``3`` or ``3x5``."""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


@dataclass(frozen=True)
class DeviceModDeformConv2d(DeviceOp):
    """The operator in one configuration; every pair is (height, width).

    Its name is ``ModDeformConv2d_k<kernel>_s<stride>``, followed by those of ``_p<padding>``, ``_d<dilation>``,
    ``_g<groups>`` and ``_dg<deform_groups>`` that are not as usual: a padding that keeps the resolution at stride 1,
    and 1 for the others. A pair with two values is written ``3x5``.

    Inputs, in the order of TensorRT's plugin: ``x`` (n, c, h, w), ``offset`` (n, 2 * deform_groups * taps, oh, ow) in
    pixels of x, ``mask`` (n, deform_groups * taps, oh, ow) as it multiplies, ``weight`` (o, c / groups, kh, kw) and,
    where there is one, ``bias`` (o). Output ``y`` (n, o, oh, ow). All floating point of one type; a graph of FP16 keeps
    float32 for all of them, because places need it and TensorRT's plugin takes pictures in no other type than places.

    Attributes:
        kernel: Taps.
        stride: Step of the taps' centre.
        padding: How far the first tap's centre starts outside; None for the usual one.
        dilation: Distance between taps.
        groups: Groups of the convolution.
        deform_groups: Groups of input channels with offsets and masks of their own.
    """

    base: ClassVar[str] = "ModDeformConv2d"
    inputs: ClassVar[tuple[str, ...]] = ("x", "offset", "mask", "weight", "bias")
    optional: ClassVar[int] = 1
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: int = 1
    deform_groups: int = 1

    def __post_init__(self) -> None:
        if (
            min(*self.kernel, *self.stride, *self.dilation, self.groups, self.deform_groups) < 1
            or min(self.padding) < 0
        ):
            raise ValueError(f"there is no ModDeformConv2d with {self}")

    @property
    def taps(self) -> int:
        """Number of taps of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def name(self) -> str:
        """See the class."""
        usual = (_usual_padding(self.kernel, self.dilation), (1, 1), 1, 1)
        parts = [f"{self.base}_k{_text(self.kernel)}_s{_text(self.stride)}"]
        if self.padding != usual[0]:
            parts.append(f"p{_text(self.padding)}")
        if self.dilation != usual[1]:
            parts.append(f"d{_text(self.dilation)}")
        if self.groups != usual[2]:
            parts.append(f"g{self.groups}")
        if self.deform_groups != usual[3]:
            parts.append(f"dg{self.deform_groups}")
        return "_".join(parts)

    @classmethod
    def parse(cls: type[_Own], name: str) -> _Own | None:
        """The operator of that name, or None."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        kernel, dilation = _pair(match["kernel"]), _pair(match["dilation"] or "1")
        padding = _pair(match["padding"]) if match["padding"] else _usual_padding(kernel, dilation)
        groups, deform_groups = int(match["groups"] or 1), int(match["deform_groups"] or 1)
        stride = _pair(match["stride"])
        if min(*kernel, *stride, *dilation, groups, deform_groups) < 1:
            return None
        op = cls(kernel, stride, padding, dilation, groups, deform_groups)
        return op if op.name == name else None

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Shape of y."""
        x, weight = inputs[0], inputs[3]
        sides = zip(x[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return ((x[0], weight[0], *((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in sides)),)

    @property
    def standard_attributes(self) -> dict[str, Any]:
        """Attributes of the standard operator that computes the same: ints and tuples of ints."""
        return {
            "kernel_shape": self.kernel,
            "strides": self.stride,
            "pads": self.padding * 2,
            "dilations": self.dilation,
            "group": self.groups,
            "offset_group": self.deform_groups,
        }

    @staticmethod
    def standard_inputs(names: Sequence[str]) -> list[str]:
        """Inputs of a node of ours in the standard operator's order: x, weight, offset, bias (empty for none), mask."""
        x, offset, mask, weight, *bias = names
        return [x, weight, offset, bias[0] if bias else "", mask]


def _usual_padding(kernel: Pair, dilation: Pair) -> Pair:
    """What keeps the resolution at stride 1."""
    return kernel[0] // 2 * dilation[0], kernel[1] // 2 * dilation[1]
