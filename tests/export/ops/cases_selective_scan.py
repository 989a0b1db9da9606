"""Configurations of the selective scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from helpers.op_case import Array, OpCase
from lineside.export.ops.selective_scan import SelectiveScan
from oracle.op_selective_scan import scan_op


def _inputs(
    op: SelectiveScan, length: int, channels: int, groups: int, batch: int, strength: float, shift: float
) -> Callable[[np.random.Generator], Sequence[Array]]:
    """Random inputs; ``strength`` scales the decay, ``shift`` is added to delta."""
    sequence, states = (batch, channels, length), (batch, groups, op.states, length)

    def make(rng: np.random.Generator) -> list[Array]:
        arrays = {name: rng.standard_normal(sequence) for name in ("u", "delta", "z")}
        arrays |= {name: rng.standard_normal(states) for name in "BC"}
        arrays |= {name: rng.standard_normal(channels) for name in ("delta_bias", "D")}
        arrays["A"] = -strength * np.exp(rng.standard_normal((channels, op.states)) / 2)
        arrays["delta"] += shift
        if not op.softplus:
            arrays["delta"] = np.abs(arrays["delta"])
            arrays["delta_bias"] = np.abs(arrays["delta_bias"])
        return [arrays[name].astype(np.float32) for name in op.inputs]

    return make


def _case(
    length: int,
    states: int = 1,
    channels: int = 8,
    groups: int = 4,
    batch: int = 1,
    strength: float = 1.0,
    shift: float = 0.0,
    label: str = "",
    **flags: Any,
) -> OpCase:
    op = SelectiveScan(states, **flags)
    return OpCase(
        op, _inputs(op, length, channels, groups, batch, strength, shift), scan_op, tolerance=1e-5, label=label
    )


CASES = [
    _case(20),
    _case(23, batch=2, gate=True, last=True),
    _case(1, label="one step", last=True),
    _case(17, states=4, groups=2, batch=2, last=True),
    _case(12, states=16, channels=6, groups=1, gate=True),
    _case(9, channels=3, groups=3, softplus=False, bias=False, skip=False),
    _case(9, states=3, channels=4, groups=4, softplus=False, skip=False),
    _case(16, states=2, channels=2, groups=1, bias=False, gate=True),
    _case(300, channels=4, groups=1, strength=12.0, label="strong decay", last=True),
    _case(300, states=4, channels=4, groups=1, strength=12.0, label="strong decay"),
    _case(50, shift=-10.0, skip=False, label="short times"),
    _case(50, shift=95.0, skip=False, label="long times"),
]
