"""One scan to be timed: its shape, its inputs, and what must come out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import torch
from torch import Tensor

from lineside.export.modules.selective_scan import selective_scan
from lineside.export.ops.selective_scan import SelectiveScan
from lineside.runtime.errors import BadOption

__all__ = ["INPUTS", "Problem", "ScanShape", "parse_shapes"]

INPUTS = ("u", "delta", "A", "B", "C", "delta_bias", "D")
"""Inputs of every scan that is timed; the gate is left out, since not every package has it."""

MOST = 1 << 27
"""Most values that the states of a scan may have: 0.5 GB."""

_SHAPE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})x([0-9]{1,9})x([0-9]{1,9})(?:x([0-9]{1,9}))?")


class ScanShape(msgspec.Struct, frozen=True):
    """Size of a scan.

    Attributes:
        batch: B.
        channels: D; of a map that is read in four directions, four times those of the map.
        states: N, of each channel.
        length: L, steps.
        groups: G, each with B and C of its own.
    """

    batch: int
    channels: int
    states: int
    length: int
    groups: int

    def __str__(self) -> str:
        return "x".join(map(str, (self.batch, self.channels, self.states, self.length, self.groups)))


def parse_shapes(text: str) -> list[ScanShape]:
    """Reads shapes such as ``1x512x1x400,1x256x16x400x2``: B x D x N x L, and G.

    Args:
        text: The shapes, separated by commas; without a G there are 4 groups, or 1 where 4 does not divide D.

    Raises:
        BadOption: It is not that, or too large.
    """
    return [_shape(part.strip()) for part in text.split(",")]


def _shape(text: str) -> ScanShape:
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise BadOption(
            f"{text[:60]!r} is no shape of a scan: write batch x channels x states x steps, such as 1x512x1x400"
        )
    batch, channels, states, length = (int(side) for side in match.groups()[:4])
    groups = int(match[5] or (1 if channels % 4 else 4))
    if 0 in (batch, channels, states, length, groups) or channels % groups:
        raise BadOption(f"the scan {text} has no size: every side is at least 1, and the groups divide the channels")
    if batch * channels * states * length > MOST:
        raise BadOption(f"the scan {text} has more than {MOST} states to keep: take fewer steps, channels or states")
    return ScanShape(batch, channels, states, length, groups)


@dataclass(frozen=True)
class Problem:
    """A scan with ordinary random inputs: A as S4D-real starts, dt between 0.001 and a few tenths.

    Attributes:
        shape: Its size.
        device: Where its tensors lie, as torch names it.
    """

    shape: ScanShape
    device: str = "cpu"

    @property
    def op(self) -> SelectiveScan:
        """The operator that computes it."""
        return SelectiveScan(self.shape.states, softplus=True, bias=True, skip=True)

    @cached_property
    def inputs(self) -> Mapping[str, Tensor]:
        """Inputs by name, float32; each takes a gradient."""
        shape, source = self.shape, torch.Generator().manual_seed(0)

        def normal(*sides: int) -> Tensor:
            return torch.randn(sides, generator=source)

        sequence = (shape.batch, shape.channels, shape.length)
        states = (shape.batch, shape.groups, shape.states, shape.length)
        values = {
            "u": normal(*sequence),
            "delta": normal(*sequence),
            "A": -torch.arange(1.0, shape.states + 1).repeat(shape.channels, 1),
            "B": normal(*states),
            "C": normal(*states),
            "delta_bias": normal(shape.channels) - 4.0,
            "D": torch.ones(shape.channels),
        }
        return {name: values[name].to(self.device).requires_grad_() for name in INPUTS}

    def fresh(self) -> list[Tensor]:
        """The inputs without gradients so far, in the order of `INPUTS`."""
        for tensor in self.inputs.values():
            tensor.grad = None
        return [self.inputs[name] for name in INPUTS]

    @cached_property
    def wanted(self) -> tuple[Tensor, Sequence[Tensor]]:
        """The result, and the gradients of its sum, by the plain recurrence in float64."""
        exact = [self.inputs[name].detach().double().requires_grad_() for name in INPUTS]
        u, delta, a, b, c, bias, skip = exact
        y = selective_scan(u, delta, a, b, c, skip, delta_bias=bias, delta_softplus=True, form="ref")
        torch.autograd.backward(y.sum())
        return y.detach(), [tensor.grad for tensor in exact if tensor.grad is not None]
