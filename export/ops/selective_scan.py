"""The selective scan (Gu and Dao, "Mamba", 2023, eq. 2 and algorithm 2) as one operator.

    dt = softplus(delta + bias)
    h_t = exp(dt_t A) * h_{t-1} + dt_t * B_t * u_t,    h_{-1} = 0
    y_t = C_t . h_t + D * u_t,                         then y * silu(z)

``A``, ``B`` and ``C`` have N entries for each channel, ``B`` and ``C`` change from step to step and are shared by the
channels of a group. All of it is computed in float32 (float64 stays), whatever goes in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import helper
from torch.nn import functional

from lineside.export.ops.body import Body
from lineside.export.ops.op import CustomOp
from lineside.export.ops.scan_forms import Form, plain, two_level
from lineside.runtime.ops.selective_scan import DeviceSelectiveScan

__all__ = ["SelectiveScan", "scan"]

FLOAT = onnx.TensorProto.FLOAT

WIDE = 4
"""From that many states a channel on, factors and inputs of the recurrence are made inside the loop of the body: they are
that many times as large as what they are made of, and filling memory with them costs more than small nodes do."""


def scan(
    op: SelectiveScan, tensors: tuple[torch.Tensor, ...], form: Form = two_level
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes the scan in torch, differentiable.

    Args:
        op: Which inputs there are.
        tensors: The inputs of the operator, see `SelectiveScan`.
        form: How the recurrence is solved, one of `lineside.export.ops.scan_forms.FORMS`.

    Returns:
        y (B, D, L) of the type of u, and the last state (B, D, N) in float32 or, where u has it, float64.
    """
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    with torch.autocast(tensors[0].device.type, enabled=False):
        given = dict(zip(op.inputs, (tensor.to(dtype) for tensor in tensors), strict=True))
        u, delta, a, b, c = (given[name] for name in ("u", "delta", "A", "B", "C"))
        groups = b.shape[1]
        if "delta_bias" in given:
            delta = delta + given["delta_bias"].unsqueeze(1)
        dt = functional.softplus(delta) if op.softplus else delta
        # Time first, since the steps of the recurrence are then slices of contiguous memory.
        dt, x = (_grouped(value.permute(2, 0, 1), groups) for value in (dt, dt * u))
        b, c = (value.permute(3, 0, 1, 2).unsqueeze(3).contiguous() for value in (b, c))
        states = form(torch.exp(dt * a.reshape(groups, -1, op.states)), x * b)
        y = (states * c).squeeze(-1) if op.states == 1 else states.matmul(c.transpose(3, 4)).squeeze(-1)
        y = y.flatten(2).permute(1, 2, 0)
        if "D" in given:
            y = y + given["D"].unsqueeze(1) * u
        if "z" in given:
            y = y * functional.silu(given["z"])
    return y.to(tensors[0].dtype), states[-1].flatten(1, 2)


def _grouped(values: torch.Tensor, groups: int) -> torch.Tensor:
    """(L, B, D) as (L, B, G, D / G, 1)."""
    return values.reshape(*values.shape[:2], groups, -1, 1).contiguous()


@dataclass(frozen=True)
class SelectiveScan(DeviceSelectiveScan, CustomOp):
    """The operator of `lineside.runtime.ops.selective_scan`, with its torch form and its body."""

    def torch(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The two-level form: of those that are safe, the fastest to train with.

        It writes into tensors that it has made, which an exporter that leaves no node of ours (see
        `lineside.export.ops.emit`) would lose; that one gets the plain recurrence, step after step.
        """
        y, last_state = scan(self, tensors, plain if torch.onnx.is_in_onnx_export() else two_level)
        return (y, last_state) if self.last else y

    def body(self) -> onnx.FunctionProto:
        """One Scan over the steps; the sides are read from the inputs, and engines fold what is static."""
        body = Body(self)
        u, delta, a, b, c = (body.node("Cast", name, to=FLOAT) for name in self.inputs[:5])
        groups = body.sides("B", 1, 2)
        if self.bias:
            delta = body.node("Add", delta, self._column(body, "delta_bias"))
        dt = _softplus(body, delta) if self.softplus else delta
        split = body.node("Concat", body.ints(0, 0), groups, body.ints(1, -1), axis=0)
        dt, x = (
            body.node("Reshape", body.node("Transpose", value, perm=[2, 0, 1]), split)
            for value in (dt, body.node("Mul", dt, u))
        )
        a = body.node("Reshape", a, body.node("Concat", groups, body.ints(-1, self.states), axis=0))
        a = body.node("Transpose", a, perm=[0, 2, 1])
        b, c = (
            body.node("Unsqueeze", body.node("Transpose", value, perm=[3, 0, 1, 2]), body.ints(4)) for value in (b, c)
        )
        sides = body.node("Concat", body.sides(dt, 1, 3), body.ints(self.states), body.sides(dt, 4, 5), axis=0)
        start = body.node("ConstantOfShape", sides)
        last_state, y = self._loop(body, start, dt, x, a, b, c)
        self._end(body, u, y, last_state)
        return body.function()

    def _loop(self, body: Body, start: str, dt: str, x: str, a: str, b: str, c: str) -> tuple[str, str]:
        """The last state (B, G, N, D/G) and the results of all steps (L, B, G, [1,] D/G)."""
        node, inside = helper.make_node, []
        given: dict[str, str]
        if self.states < WIDE:
            factors, values = body.node("Exp", body.node("Mul", dt, a)), body.node("Mul", x, b)
            given = {"factor": factors, "value": values, "c": c}
        else:
            given = {"dt": dt, "x": x, "b": b, "c": c}
            inside += [
                node("Mul", ["dt", a], ["exponent"]),
                node("Exp", ["exponent"], ["factor"]),
                node("Mul", ["x", "b"], ["value"]),
            ]
        inside += [
            node("Mul", ["factor", "state"], ["kept"]),
            node("Add", ["kept", "value"], ["next"]),
        ]
        if self.states > 1:
            inside += [
                node("Mul", ["next", "c"], ["products"]),
                node("Constant", [], ["axis"], value_ints=[2]),
                node("ReduceSum", ["products", "axis"], ["result"], keepdims=0),
            ]
        else:
            inside.append(node("Mul", ["next", "c"], ["result"]))
        sent, returned = (
            [helper.make_tensor_value_info(name, FLOAT, None) for name in several]
            for several in (("state", *given), ("next", "result"))
        )
        step = helper.make_graph(inside, "step", sent, returned)
        last_state, y = body.nodes("Scan", start, *given.values(), outputs=2, body=step, num_scan_inputs=len(given))
        return last_state, y

    def _end(self, body: Body, u: str, y: str, last_state: str) -> None:
        """What follows the recurrence."""
        y = body.node("Reshape", y, body.ints(0, 0, -1))
        y = body.node("Transpose", y, perm=[1, 2, 0])
        if self.skip:
            y = body.node("Add", y, body.node("Mul", u, self._column(body, "D")))
        if self.gate:
            z = body.node("Cast", "z", to=FLOAT)
            y = body.node("Mul", y, body.node("Mul", z, body.node("Sigmoid", z)))
        body.node("CastLike", y, "u", output="y")
        if self.last:
            last_state = body.node("Transpose", last_state, perm=[0, 1, 3, 2])
            body.node("Reshape", last_state, body.ints(0, -1, self.states), output="last_state")

    def _column(self, body: Body, name: str) -> str:
        """A value per channel, to go with (B, D, L)."""
        return body.node("Unsqueeze", body.node("Cast", name, to=FLOAT), body.ints(1))


def _softplus(body: Body, x: str) -> str:
    """``max(x, 0) + log(1 + e)`` with ``e = exp(-|x|)``, in operators that engines run vectorised, unlike Softplus.

    ``1 + e`` loses the last digits of a small e, which is all there is of a small dt. What it lost is known,
    ``e - ((1 + e) - 1)``, and to the first order it adds itself over ``1 + e`` to the logarithm.
    """
    one = body.constant(1, np.float32)
    e = body.node("Exp", body.node("Neg", body.node("Abs", x)))
    whole = body.node("Add", e, one)
    lost = body.node("Sub", e, body.node("Sub", whole, one))
    log = body.node("Add", body.node("Log", whole), body.node("Div", lost, whole))
    return body.node("Add", body.node("Relu", x), log)
