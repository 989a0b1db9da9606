"""Selective scan over sequences and over maps: the state space model of Mamba, and VMamba's SS2D made of it.

The scan: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023. Its use on maps, by
reading them in four directions: Liu et al., "VMamba: Visual State Space Model", 2024.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lineside.export.ops.emit import call
from lineside.export.ops.scan_forms import recurrence_form
from lineside.export.ops.selective_scan import SelectiveScan, scan

__all__ = ["DEFAULT_FORM", "SS2D", "cross_merge", "cross_scan", "selective_scan"]

DEFAULT_FORM = "two-level"
"""The fastest of the safe forms, forwards and backwards; `lineside bench-scan` compares them."""

TIMES = (1e-3, 1e-1)
"""Range of dt that a new SS2D starts with (Mamba, 2023, §3.6), drawn evenly on a logarithmic scale."""

NUMBER_OF_SCANS = 4


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    form: str = DEFAULT_FORM,
) -> Any:
    """Runs the selective scan; computed in float32 (float64 stays), finite however strong the decay is.

    ``dt = softplus(delta + delta_bias)``; ``h_t = exp(dt_t a) * h_{t-1} + dt_t b_t u_t`` with ``h_{-1} = 0``;
    ``y_t = c_t . h_t + d * u_t``, times ``silu(z_t)`` (Mamba, 2023, algorithm 2).

    Args:
        u: What comes in (B, D, L).
        delta: Time between steps before bias and softplus (B, D, L).
        a: Decay (D, N), negative.
        b: How u enters the state: (D, N), the same at all steps; (B, N, L), for all channels; or (B, G, N, L), where
            group g serves the channels ``g * D / G`` and on.
        c: How the state is read, of the same three kinds; it need not be of the kind of b.
        d: How u is added to the result (D); not at all when None.
        z: The gate (B, D, L); none when None.
        delta_bias: Added to delta (D); nothing when None.
        delta_softplus: Whether the softplus is taken; otherwise delta has to be positive.
        return_last_state: Whether the state after the last step is returned too.
        form: How the recurrence is solved, a key of `lineside.export.ops.scan_forms.FORMS`. In a graph that we export
            it is always ONNX's Scan.

    Returns:
        y (B, D, L) of the type of u; with ``return_last_state`` also the last state (B, D, N), float32 or float64.

    Raises:
        ValueError: Shapes do not fit together, or there is no such form.
    """
    _check(u, delta, a, z)
    solver = recurrence_form(form)
    b, c = _same_groups(_grouped(b, u, a), _grouped(c, u, a))
    op = SelectiveScan(
        states=a.shape[1],
        softplus=delta_softplus,
        bias=delta_bias is not None,
        skip=d is not None,
        gate=z is not None,
        last=return_last_state,
    )
    tensors = (u, delta, a, b, c, *(tensor for tensor in (delta_bias, d, z) if tensor is not None))
    if form == DEFAULT_FORM or torch.onnx.is_in_onnx_export():
        return call(op, *tensors)
    y, last_state = scan(op, tensors, solver)
    return (y, last_state) if return_last_state else y


def _check(u: Tensor, delta: Tensor, a: Tensor, z: Tensor | None) -> None:
    """Refuses shapes that would be broadcast to something else than what was meant.

    Raises:
        ValueError: Shapes do not fit together.
    """
    for name, tensor in (("delta", delta), ("z", z)):
        if tensor is not None and tensor.shape != u.shape:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, u has {tuple(u.shape)}: they must be equal")
    if u.ndim != 3 or a.ndim != 2 or len(a) != u.shape[1]:
        raise ValueError(f"u {tuple(u.shape)} must be (B, D, L) and a {tuple(a.shape)} (D, N) with the same D")


def _grouped(values: Tensor, u: Tensor, a: Tensor) -> Tensor:
    """One of b and c as (B, G, N, L).

    Raises:
        ValueError: It is none of the three kinds.
    """
    (batch, channels, length), states = u.shape, a.shape[1]
    if values.ndim == 2:
        values = values.reshape(1, channels, states, 1).expand(batch, -1, -1, length)
    elif values.ndim == 3:
        values = values.unsqueeze(1)
    if values.ndim != 4 or (values.shape[0], *values.shape[2:]) != (batch, states, length):
        raise ValueError(
            f"b or c of shape {tuple(values.shape)} fits neither (D, N) nor (B, N, L) nor (B, G, N, L) "
            f"with B={batch}, D={channels}, N={states}, L={length}"
        )
    if channels % values.shape[1]:
        raise ValueError(f"{channels} channels do not divide into {values.shape[1]} groups")
    return values


def _same_groups(b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the number of groups that serves both."""
    groups = math.lcm(b.shape[1], c.shape[1])
    return _repeated(b, groups), _repeated(c, groups)


def _repeated(values: Tensor, groups: int) -> Tensor:
    """Every group so often, in its place, that there are that many."""
    times = groups // values.shape[1]
    return values.repeat_interleave(times, 1) if times > 1 else values


def _rotations(x: Tensor) -> Tensor:
    return torch.stack([torch.rot90(x, turns, (2, 3)).flatten(2) for turns in range(NUMBER_OF_SCANS)], 1)


def _rotations_back(y: Tensor, height: int, width: int) -> Tensor:
    sides = ((height, width), (width, height)) * 2
    maps = (torch.rot90(y[:, k].reshape(*y[:, k].shape[:2], *side), -k, (2, 3)) for k, side in enumerate(sides))
    return torch.stack(list(maps)).sum(0).flatten(2)


def cross_scan(x: Tensor, scans: int = 0) -> Tensor:
    """Reads a map as four sequences (VMamba, 2024, fig. 3).

    Args:
        x: The map (B, C, H, W).
        scans: 0: by rows, by columns, and both reversed; 1: by rows, four times; 2: by rows, twice, and both reversed;
            3: by rows of the map turned by 0, 90, 180 and 270 degrees.

    Returns:
        The sequences (B, 4, C, H * W).

    Raises:
        ValueError: There is no such way.
    """
    _check_scans(scans)
    if scans == 3:
        return _rotations(x)
    rows = x.flatten(2)
    if scans == 1:
        return torch.stack([rows] * NUMBER_OF_SCANS, 1)
    pair = torch.stack((rows, x.transpose(2, 3).flatten(2) if scans == 0 else rows), 1)
    return torch.cat((pair, pair.flip(-1)), 1)


def cross_merge(y: Tensor, height: int, width: int, scans: int = 0) -> Tensor:
    """Puts four sequences back to their places in the map, and adds them: the transpose of `cross_scan`.

    Args:
        y: The sequences (B, 4, C, H * W).
        height: H.
        width: W.
        scans: How they were read.

    Returns:
        The map, by rows (B, C, H * W).

    Raises:
        ValueError: There is no such way.
    """
    _check_scans(scans)
    if scans == 3:
        return _rotations_back(y, height, width)
    if scans == 1:
        return y.sum(1)
    pair = y[:, :2] + y[:, 2:].flip(-1)
    if scans == 2:
        return pair.sum(1)
    batch, _, channels, length = pair.shape
    columns = pair[:, 1].reshape(batch, channels, width, height).transpose(2, 3)
    return pair[:, 0] + columns.reshape(batch, channels, length)


def _check_scans(scans: int) -> None:
    if scans not in range(4):
        raise ValueError(f"there is no way {scans!r} to read a map as sequences, only 0 to 3")


class SS2D(nn.Module):
    """The 2-D selective scan of VMamba in its first form (2024, §4.2): gated, with four directions of reading.

    ``in_proj`` to x and z; depth-wise convolution and SiLU of x; `cross_scan`; for each direction b, c and (through a
    bottleneck) delta from what is read, then the scan; `cross_merge`; LayerNorm; times ``silu(z)``; ``out_proj``.

    Parameters have the names of VMamba's, so its weights load.

    Args:
        d_model: Channels in and out.
        d_state: States of a channel N.
        ssm_ratio: Inner channels over ``d_model``.
        dt_rank: Width of the bottleneck before delta; ``"auto"`` for ``ceil(d_model / 16)``.
        d_conv: Kernel of the depth-wise convolution, odd; none below 2.
        layout: Order of the sides of input and output: ``"NHWC"`` or ``"NCHW"``.
        scans: How maps are read, see `cross_scan`.
        form: How the recurrence is solved, see `selective_scan`.

    Raises:
        ValueError: There is no such layout, way of reading or form.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        ssm_ratio: float = 2.0,
        dt_rank: int | Literal["auto"] = "auto",
        d_conv: int = 3,
        layout: str = "NHWC",
        scans: int = 0,
        form: str = DEFAULT_FORM,
    ) -> None:
        super().__init__()
        if layout not in ("NHWC", "NCHW"):
            raise ValueError(f"the layout is NHWC or NCHW, not {layout!r}")
        _check_scans(scans)
        recurrence_form(form)
        inner, k = math.floor(ssm_ratio * d_model + 1e-6), NUMBER_OF_SCANS
        self.d_state, self.dt_rank = d_state, math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        self.layout, self.scans, self.form = layout, scans, form
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv2d = (
            nn.Conv2d(inner, inner, d_conv, padding=d_conv // 2, groups=inner) if d_conv > 1 else nn.Identity()
        )
        bound = inner**-0.5
        self.x_proj_weight = nn.Parameter(torch.empty(k, self.dt_rank + 2 * d_state, inner).uniform_(-bound, bound))
        bound = self.dt_rank**-0.5
        self.dt_projs_weight = nn.Parameter(torch.empty(k, inner, self.dt_rank).uniform_(-bound, bound))
        self.dt_projs_bias = nn.Parameter(_first_times(k, inner))
        self.A_logs = nn.Parameter(torch.arange(1, d_state + 1).float().log().repeat(k * inner, 1))
        self.Ds = nn.Parameter(torch.ones(k * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the layout to a map of the same shape."""
        if self.layout == "NCHW":
            x = x.permute(0, 2, 3, 1)
        x, z = self.in_proj(x).chunk(2, -1)
        read = self._scan(functional.silu(self.conv2d(x.permute(0, 3, 1, 2))))
        y: Tensor = self.out_proj(self.out_norm(read) * functional.silu(z))
        return y.permute(0, 3, 1, 2) if self.layout == "NCHW" else y

    def _scan(self, x: Tensor) -> Tensor:
        """(B, C, H, W) by way of the sequences to (B, H, W, C)."""
        batch, channels, height, width = x.shape
        sequences = cross_scan(x, self.scans)
        widths = [self.dt_rank, self.d_state, self.d_state]
        small, b, c = torch.split(self.x_proj_weight @ sequences, widths, 2)
        y = selective_scan(
            sequences.flatten(1, 2),
            (self.dt_projs_weight @ small).flatten(1, 2),
            -self.A_logs.to(torch.promote_types(self.A_logs.dtype, torch.float32)).exp(),
            b,
            c,
            self.Ds,
            delta_bias=self.dt_projs_bias.flatten(),
            delta_softplus=True,
            form=self.form,
        )
        y = y.reshape(batch, NUMBER_OF_SCANS, channels, height * width)
        return cross_merge(y, height, width, self.scans).transpose(1, 2).reshape(batch, height, width, channels)


def _first_times(*shape: int) -> Tensor:
    """The bias of delta whose softplus is a time in `TIMES`."""
    low, high = (math.log(time) for time in TIMES)
    times = torch.empty(shape).uniform_(low, high).exp()
    return times + torch.log(-torch.expm1(-times))
