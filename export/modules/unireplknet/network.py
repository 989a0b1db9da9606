"""The whole UniRepLKNet: stem, four stages, and the features of each stage or the scores of a classifier."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
from torch import nn

from lineside.export.modules.unireplknet.block import LAYER_SCALE, UniRepLKNetBlock
from lineside.export.modules.unireplknet.parts import LayerNorm2d

__all__ = ["STRIDES", "VARIANTS", "Output", "UniRepLKNet", "Variant"]

Output = Literal["features", "logits"]

STRIDES = (4, 8, 16, 32)
"""Pixels of the input per pixel of each stage."""

STEM_KERNEL, SMALL, LARGE = 3, 3, 13
INIT_STD = 0.02


@dataclass(frozen=True)
class Variant:
    """Sizes of one published network.

    Attributes:
        dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks per stage.
        every: In the third stage one block out of so many has a kernel of 13, the others of 3.
    """

    dim: int
    depths: tuple[int, int, int, int]
    every: int = 1

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.dim << stage for stage in range(len(self.depths)))

    @property
    def kernels(self) -> tuple[tuple[int, ...], ...]:
        """Kernel side of each block, per stage."""
        first, second, third, fourth = self.depths
        mixed = tuple(SMALL if index % self.every else LARGE for index in range(third))
        return (SMALL,) * first, (LARGE,) * second, mixed, (LARGE,) * fourth


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "a": Variant(40, (2, 2, 6, 2)),
        "f": Variant(48, (2, 2, 6, 2)),
        "p": Variant(64, (2, 2, 6, 2)),
        "n": Variant(80, (2, 2, 8, 2)),
        "t": Variant(80, (3, 3, 18, 3), every=2),
        "s": Variant(96, (3, 3, 27, 3), every=3),
        "b": Variant(128, (3, 3, 27, 3), every=3),
        "l": Variant(192, (3, 3, 27, 3), every=3),
        "xl": Variant(256, (3, 3, 27, 3), every=3),
    }
)
"""The published networks by their letter."""


class UniRepLKNet(nn.Module):
    """UniRepLKNet (Ding et al. 2024, section 3.3).

    Args:
        depths: Blocks per stage, four numbers.
        dims: Channels per stage.
        kernels: Kernel side of each block, per stage; see `UniRepLKNetBlock`.
        output: ``features``: one normalised map per stage; ``logits``: the scores of a classifier.
        classes: Number of classes; for ``logits`` only.
        channels: Channels of the input.
        ffn_factor: Channels of the feed-forward parts as a multiple of those of the block.
        layer_scale: What ``gamma`` of the blocks starts with; None leaves it out.
        drop_path: Share of samples that skip the last block in training; it grows linearly from 0 at the first.
        levels: The stages whose maps are put out, from 0 and in rising order; for ``features`` only. Other stages have
            no norm.
        deploy: Build the deploy form (`deployed` fills it).

    Raises:
        ValueError: The lists do not fit each other, a kernel size is unknown, or a level is none.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        kernels: Sequence[Sequence[int]],
        output: Output = "features",
        classes: int = 1000,
        channels: int = 3,
        ffn_factor: float = 4.0,
        layer_scale: float | None = LAYER_SCALE,
        drop_path: float = 0.0,
        levels: Sequence[int] = (0, 1, 2, 3),
        deploy: bool = False,
    ) -> None:
        super().__init__()
        _check(depths, dims, kernels)
        if output == "features" and (not levels or list(levels) != sorted(set(levels) & set(range(len(STRIDES))))):
            raise ValueError(f"levels are stages from 0 to {len(STRIDES) - 1} in rising order, not {list(levels)}")
        self.depths, self.dims = tuple(depths), tuple(dims)
        self.kernels = tuple(tuple(stage) for stage in kernels)
        self.levels = tuple(levels)
        self.output, self.classes, self.channels, self.ffn_factor = output, classes, channels, ffn_factor
        self.downsample_layers = nn.ModuleList(
            [_stem(channels, dims[0]), *(_down(c, d) for c, d in itertools.pairwise(dims))]
        )
        blocks = sum(depths)
        numbers = iter(range(blocks))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    UniRepLKNetBlock(
                        dim,
                        kernel,
                        ffn_factor,
                        layer_scale,
                        drop_path=drop_path * next(numbers) / max(1, blocks - 1),
                        deploy=deploy,
                    )
                    for kernel in stage
                )
            )
            for dim, stage in zip(dims, kernels, strict=True)
        )
        if output == "logits":
            self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
            self.head = nn.Linear(dims[-1], classes)
        else:
            for index in self.levels:
                self.add_module(f"norm{index}", LayerNorm2d(dims[index]))
        self.apply(_initialise)

    @classmethod
    def of_variant(cls, letter: str, output: Output = "features", classes: int = 1000, **more: Any) -> UniRepLKNet:
        """A published network with random weights.

        Args:
            letter: One of `VARIANTS`.
            output: As in the class.
            classes: As in the class.
            **more: Other arguments of the class, such as ``drop_path``.

        Returns:
            The network, in training form.

        Raises:
            ValueError: There is no such variant.
        """
        if letter not in VARIANTS:
            raise ValueError(f"There is no UniRepLKNet '{letter}': take one of {', '.join(VARIANTS)}")
        variant = VARIANTS[letter]
        return cls(variant.depths, variant.dims, variant.kernels, output, classes, **more)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor] | torch.Tensor:
        """Features or scores of pictures.

        Args:
            x: ``(B, channels, H, W)``.

        Returns:
            ``features``: a map ``(B, dims[i], H / STRIDES[i], W / STRIDES[i])`` for each stage i of ``levels``, sides
            rounded up; ``logits``: ``(B, classes)``.
        """
        maps = []
        for index, (down, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = stage(down(x))
            if self.output == "features" and index in self.levels:
                maps.append(self.get_submodule(f"norm{index}")(x))
        if self.output == "features":
            return maps
        return cast(torch.Tensor, self.head(self.norm(x.mean((-2, -1)))))

    def deployed(self) -> UniRepLKNet:
        """The same function in deploy form, in eval mode; this network is left as it was."""
        twin = UniRepLKNet(
            self.depths,
            self.dims,
            self.kernels,
            self.output,
            self.classes,
            self.channels,
            self.ffn_factor,
            None,
            levels=self.levels,
            deploy=True,
        )
        twin.to(next(self.parameters()).device)
        for name, part in self.named_children():
            if name != "stages":
                twin.get_submodule(name).load_state_dict(part.state_dict())
        for mine, its in zip(self.stages, twin.stages, strict=True):
            for index, block in enumerate(cast(nn.Sequential, mine)):
                cast(nn.Sequential, its)[index] = cast(UniRepLKNetBlock, block).deployed()
        return twin.eval()


def _stem(channels: int, dim: int) -> nn.Sequential:
    """Two convolutions of stride 2 with a GELU between."""
    half = dim // 2
    return nn.Sequential(
        nn.Conv2d(channels, half, STEM_KERNEL, 2, 1), LayerNorm2d(half), nn.GELU(), *_down(half, dim).children()
    )


def _down(channels: int, dim: int) -> nn.Sequential:
    """Halves the resolution."""
    return nn.Sequential(nn.Conv2d(channels, dim, STEM_KERNEL, 2, 1), LayerNorm2d(dim))


def _initialise(module: nn.Module) -> None:
    """Random numbers as the published training starts with: normal, cut at two sigma, biases zero."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(depths: Sequence[int], dims: Sequence[int], kernels: Sequence[Sequence[int]]) -> None:
    """Raises unless there are as many numbers of each kind as there must be."""
    if not len(depths) == len(dims) == len(kernels) == len(STRIDES):
        raise ValueError(
            f"A UniRepLKNet has {len(STRIDES)} stages, and there are {len(depths)} depths, {len(dims)} dims and kernel "
            f"sizes for {len(kernels)} stages"
        )
    if tuple(map(len, kernels)) != tuple(depths):
        raise ValueError(f"Stages of {list(depths)} blocks need as many kernel sizes, not {list(map(len, kernels))}")
