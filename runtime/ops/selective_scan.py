"""The selective scan (Gu and Dao, "Mamba", 2023, eq. 2 and algorithm 2) as one operator.

    dt = softplus(delta + bias)
    h_t = exp(dt_t A) * h_{t-1} + dt_t * B_t * u_t,    h_{-1} = 0
    y_t = C_t . h_t + D * u_t,                         then y * silu(z)

``A``, ``B`` and ``C`` have N entries for each channel, ``B`` and ``C`` change from step to step and are shared by the
channels of a group. All of it is computed in float32 at least, whatever goes in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from lineside.runtime.kernels.kernel import Kernel, Launch
from lineside.runtime.ops.declare import kernel_of
from lineside.runtime.ops.op import DeviceOp, Shape

__all__ = ["DeviceSelectiveScan"]

_Own = TypeVar("_Own", bound="DeviceSelectiveScan")

_NAME = re.compile(
    r"SelectiveScan_n(?P<states>[1-9]\d*)(?P<softplus>_softplus)?(?P<bias>_bias)?(?P<skip>_skip)?(?P<gate>_gate)?"
    r"(?P<last>_last)?"
)

_THREADS = 128
"""Steps that a block solves at once."""


@dataclass(frozen=True)
class DeviceSelectiveScan(DeviceOp):
    """The operator in one configuration.

    Its name is ``SelectiveScan_n<states>``, followed by those of ``_softplus``, ``_bias``, ``_skip``, ``_gate`` and
    ``_last`` that it has. Inputs: ``u`` and ``delta`` (B, D, L), ``A`` (D, N), ``B`` and ``C`` (B, G, N, L), where group
    g serves the channels ``g * D / G`` and on; then, where the name has them, ``delta_bias`` (D), ``D`` (D, the skip) and
    ``z`` (B, D, L, the gate). Outputs: ``y`` (B, D, L) of the type of u and, with ``last``, ``last_state`` (B, D, N)
    float32.

    Attributes:
        states: N.
        softplus: Whether dt is the softplus of delta; it has to be, unless delta is positive.
        bias: Whether ``delta_bias`` is added to delta.
        skip: Whether ``D * u`` is added.
        gate: Whether the result is multiplied with ``silu(z)``.
        last: Whether the state after the last step is a second output.
    """

    base: ClassVar[str] = "SelectiveScan"
    floating: ClassVar[frozenset[str]] = frozenset({"u", "delta", "B", "C", "z", "y"})

    states: int
    softplus: bool = True
    bias: bool = True
    skip: bool = True
    gate: bool = False
    last: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the inputs that this configuration has."""
        more = (("delta_bias", self.bias), ("D", self.skip), ("z", self.gate))
        return ("u", "delta", "A", "B", "C", *(name for name, there in more if there))

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the outputs that this configuration has."""
        return ("y", "last_state") if self.last else ("y",)

    @property
    def name(self) -> str:
        """See the class."""
        flags = ("softplus", "bias", "skip", "gate", "last")
        return "_".join((f"{self.base}_n{self.states}", *(flag for flag in flags if getattr(self, flag))))

    @classmethod
    def parse(cls: type[_Own], name: str) -> _Own | None:
        """The operator of that name, or None."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        flags = {flag: bool(match[flag]) for flag in ("softplus", "bias", "skip", "gate", "last")}
        op = cls(int(match["states"]), **flags)
        return op if op.name == name else None

    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Shapes of y and of the last state."""
        return (inputs[0], (*inputs[0][:2], self.states))[: len(self.outputs)]

    def device_kernel(self, half: bool) -> Kernel:
        """See `DeviceOp.device_kernel`."""
        flags = {flag.upper(): int(getattr(self, flag)) for flag in ("softplus", "bias", "skip", "gate", "last")}
        defines = {**flags, "STATES": self.states, "THREADS": _THREADS}
        return kernel_of(self, "selective_scan", ("channels", "groups", "length"), defines, half)

    def launch(self, shapes: Sequence[Shape], addresses: Sequence[int], half: bool) -> Launch:
        """A block for each channel of each picture."""
        batch, channels, length = shapes[0]
        groups = shapes[3][1]
        given, made = addresses[: len(self.inputs)], addresses[len(self.inputs) :]
        arguments = (*given, channels, groups, length, *made)
        return Launch(self.device_kernel(half), (batch * channels, 1, 1), (_THREADS, 1, 1), 0, arguments)
