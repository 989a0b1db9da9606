"""FastKAN convolutions: a plain convolution of SiLU(x) beside one of Gaussian bumps of the normalised input.

A Kolmogorov-Arnold network has trained functions where others have weights. FastKAN (Li, "Kolmogorov-Arnold Networks
are Radial Basis Function Networks", arXiv 2405.06721) writes them as sums of radial basis functions on a fixed grid::

    phi(x) = sum over i of  w_i exp(-((x - g_i) / h) ** 2),    h the distance of two points g_i

and in a convolution (Drokin, "Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies", arXiv
2407.01092) the bumps of a channel become channels of an ordinary one, beside the residual ``w SiLU(x)`` of the first
such networks (Liu et al., "KAN: Kolmogorov-Arnold Networks", arXiv 2404.19756). There is no form to merge the two into
one kernel: the bumps are not linear. A layer costs ``1 + grid_size`` convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lineside.export.modules.shared import shared

__all__ = ["FastKANConv", "FastKANConv1d", "FastKANConv2d", "FastKANConv3d", "RadialBasisFunction"]

Norm = Literal["instance", "batch"]

_CONVS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: dict[str, tuple[type[nn.Module], type[nn.Module], type[nn.Module]]] = {
    "instance": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    "batch": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
}
_DROPOUTS: dict[int, type[nn.Module]] = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}


class RadialBasisFunction(nn.Module):
    """Gaussian bumps ``exp(-((x - g_i) / denominator) ** 2)`` around the points of an even grid.

    The grid follows from the arguments, so it is neither trained nor stored: half precision, in which checkpoints keep
    what they store, would move it. A state_dict that brings it (``grid``) is checked against the arguments.

    Args:
        grid_min: First point.
        grid_max: Last point.
        num_grids: Points, at least 2 unless `denominator` is given.
        denominator: Width of a bump; the distance of two points when None.

    Raises:
        ValueError: The grid has no two points, or no width.
    """

    def __init__(
        self, grid_min: float = -2.0, grid_max: float = 2.0, num_grids: int = 8, denominator: float | None = None
    ) -> None:
        super().__init__()
        if num_grids < 1 or (denominator is None and (num_grids < 2 or grid_max <= grid_min)):
            raise ValueError(
                f"a grid of {num_grids} points from {grid_min} to {grid_max} has no distance of two points"
            )
        if denominator is not None and not denominator > 0:
            raise ValueError(f"bumps of width {denominator} are none")
        self.grid_min, self.grid_max, self.num_grids = float(grid_min), float(grid_max), int(num_grids)
        self.denominator = float(denominator or (grid_max - grid_min) / (num_grids - 1))

    @property
    def grid(self) -> torch.Tensor:
        """The points, ``(num_grids,)`` float32."""
        return torch.linspace(self.grid_min, self.grid_max, self.num_grids)

    def forward(self, x: torch.Tensor, dim: int = -1) -> torch.Tensor:
        """Bumps of every number.

        Args:
            x: Any shape.
            dim: Where the new axis goes, of `num_grids` bumps; the last by default.

        Returns:
            The shape of `x` with the new axis.
        """
        rank = x.dim() + 1
        axis = dim % rank
        grid = shared(_points, self.grid_min, self.grid_max, self.num_grids, self.denominator, like=x)
        apart = (x / self.denominator).unsqueeze(axis) - grid.view([-1 if each == axis else 1 for each in range(rank)])
        return torch.exp(-(apart * apart))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Takes ``grid`` of a checkpoint for what it is: a check of the arguments."""
        unexpected, errors = rest[3], rest[4]
        super()._load_from_state_dict(state_dict, prefix, *rest)
        key = prefix + "grid"
        if key not in state_dict:
            return
        if key in unexpected:
            unexpected.remove(key)
        given = state_dict[key].detach().float().cpu()
        near = 2e-3 * max(abs(self.grid_min), abs(self.grid_max))
        if given.shape != self.grid.shape or not torch.allclose(given, self.grid, rtol=0, atol=near):
            errors.append(f"{key} is {given.tolist()}, and the arguments give {self.grid.tolist()}")

    def extra_repr(self) -> str:
        """Arguments, for print(model)."""
        return f"{self.grid_min:g}..{self.grid_max:g}, points={self.num_grids}, width={self.denominator:g}"


class FastKANConv(nn.Module):
    """FastKAN convolution: per group ``base_conv(SiLU(x)) + spline_conv(bumps(norm(x)))``, groups concatenated.

    The channels of the bumps are ordered ``channel * grid_size + point``. Neither convolution has a bias.

    Args:
        ndim: Sides of the map: 1, 2 or 3.
        input_dim: Channels in.
        output_dim: Channels out.
        kernel_size: Side of the kernel, or one per axis.
        groups: Groups of channels, each with convolutions and a normalisation of its own.
        padding: Zeros around the map, for both convolutions.
        stride: Stride.
        dilation: Distance of the taps of the kernel.
        grid_size: Points of the grid.
        grid_range: First and last point.
        dropout: Chance that training drops a map of bumps; the plain convolution sees everything.
        norm: ``instance`` (per picture and channel, no factors) or ``batch``; over the ``input_dim // groups`` channels
            that go in. Bumps reach no further than the grid, so a plain input without either would miss them.

    Raises:
        ValueError: The channels cannot be shared among the groups, or an argument is out of range.
    """

    def __init__(
        self,
        ndim: int,
        input_dim: int,
        output_dim: int,
        kernel_size: int | Sequence[int],
        groups: int = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        grid_size: int = 8,
        grid_range: Sequence[float] = (-2, 2),
        dropout: float = 0.0,
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        if groups < 1 or input_dim % groups or output_dim % groups:
            raise ValueError(f"{input_dim} to {output_dim} channels cannot be shared among {groups} groups")
        if norm not in _NORMS or ndim not in _CONVS:
            raise ValueError(f"norm is one of {', '.join(_NORMS)} and ndim 1, 2 or 3, not {norm!r} and {ndim}")
        self.groups, self.grid_size = groups, grid_size
        c1, c2, conv = input_dim // groups, output_dim // groups, _CONVS[ndim]
        shape: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "bias": False}
        sides: Any = kernel_size if isinstance(kernel_size, int) else tuple(kernel_size)
        self.base_activation = nn.SiLU()
        self.rbf = RadialBasisFunction(grid_range[0], grid_range[1], grid_size)
        self.base_conv = nn.ModuleList(conv(c1, c2, sides, **shape) for _ in range(groups))
        self.spline_conv = nn.ModuleList(conv(c1 * grid_size, c2, sides, **shape) for _ in range(groups))
        self.layer_norm = nn.ModuleList(_NORMS[norm][ndim - 1](c1) for _ in range(groups))
        self.dropout = _DROPOUTS[ndim](dropout) if dropout > 0 else nn.Identity()
        for layer in (*self.base_conv, *self.spline_conv):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, input_dim, ...)`` to ``(batch, output_dim, ...)``, sides as those of a convolution."""
        return torch.cat([self._group(part, at) for at, part in enumerate(x.chunk(self.groups, dim=1))], dim=1)

    def _group(self, x: torch.Tensor, at: int) -> torch.Tensor:
        """One group."""
        bumps = self.rbf(self.layer_norm[at](x), dim=2).flatten(1, 2)
        y: torch.Tensor = self.base_conv[at](self.base_activation(x)) + self.spline_conv[at](self.dropout(bumps))
        return y


class FastKANConv1d(FastKANConv):
    """`FastKANConv` of ``(batch, C, L)``; arguments as there, without ``ndim``."""

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int | Sequence[int], **more: Any) -> None:
        super().__init__(1, input_dim, output_dim, kernel_size, **more)


class FastKANConv2d(FastKANConv):
    """`FastKANConv` of ``(batch, C, H, W)``; arguments as there, without ``ndim``."""

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int | Sequence[int], **more: Any) -> None:
        super().__init__(2, input_dim, output_dim, kernel_size, **more)


class FastKANConv3d(FastKANConv):
    """`FastKANConv` of ``(batch, C, D, H, W)``; arguments as there, without ``ndim``."""

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int | Sequence[int], **more: Any) -> None:
        super().__init__(3, input_dim, output_dim, kernel_size, **more)


def _points(first: float, last: float, count: int, width: float) -> NDArray[np.float32]:
    """The grid in widths of a bump, ``(count,)``."""
    return (np.linspace(first, last, count) / width).astype(np.float32)
