"""Selective scans written down in a way that is slow or overflows."""

from __future__ import annotations

import itertools
from pathlib import Path

from onnx import helper

from helpers.sick_models.making import Sick, graph, saved, traced


def unrolled_scan(folder: Path, real: Path) -> Sick:
    import torch
    from torch import nn

    class Scan(nn.Module):
        """A recurrence over the columns, step by step."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state, states = torch.zeros_like(x[..., 0]), []
            for step in range(x.shape[-1]):
                state = torch.sigmoid(x[..., step]) * state + x[..., step]
                states.append(state)
            return torch.stack(states, -1)

    return traced(folder, Scan(), (1, 4, 80))


def overflowing_scan(folder: Path, real: Path) -> Sick:
    import torch
    from torch import nn

    class Scan(nn.Module):
        """The same recurrence by running sums; right as long as exp(-S) is finite."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = torch.cumsum(-40 * torch.nn.functional.softplus(x), -1)
            return torch.exp(total) * torch.cumsum(x * torch.exp(-total), -1)

    return traced(folder, Scan(), (1, 4, 64))


def many_nodes(folder: Path, real: Path) -> Sick:
    names = ["x", *(f"t{index}" for index in range(4500)), "y"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    return saved(folder, graph(nodes, {"x": (2, 3)}))
