"""Which input sizes an engine takes."""

from __future__ import annotations

import msgspec

from lineside.runtime.errors import BadOption
from lineside.runtime.manifest import Manifest

__all__ = ["Profile", "profile_for"]

Shape = tuple[int, int, int, int]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes of the input, ``(batch, 3, h, w)``; all three are one where the engine is static.

    Attributes:
        least: The smallest.
        best: What it is tuned for.
        most: The greatest.
    """

    least: Shape
    best: Shape
    most: Shape

    @property
    def static(self) -> bool:
        """Whether there is one shape only."""
        return self.least == self.most

    def takes(self, shape: Shape) -> bool:
        """Whether a shape is among them."""
        return all(low <= side <= high for low, side, high in zip(self.least, shape, self.most, strict=True))

    def covers(self, other: Profile) -> bool:
        """Whether every shape of another profile is among them."""
        return self.takes(other.least) and self.takes(other.most)

    def __str__(self) -> str:
        shown = ["x".join(map(str, shape)) for shape in (self.least, self.best, self.most)]
        return shown[1] if self.static else f"{shown[0]} to {shown[2]}, best {shown[1]}"


def profile_for(
    manifest: Manifest, smallest: tuple[int, int] | None = None, largest: tuple[int, int] | None = None
) -> Profile:
    """The shapes for a bundle: the one of its contract, or a range of a dynamic bundle.

    A dynamic bundle keeps its batch free, from one picture to that of its contract, and its sides too where limits are
    given.

    Args:
        manifest: The bundle, at the size that the engine is tuned for.
        smallest: Least height and width.
        largest: Greatest height and width.

    Raises:
        BadOption: Limits for a static bundle, around another size than the best, or no multiples of the stride.
    """
    batch, _, height, width = best = manifest.input.shape
    if not manifest.input.dynamic:
        if smallest or largest:
            raise BadOption(
                "this bundle has one input size, so there is no range to build for: leave --from and --to out, or export "
                "it again with --dynamic"
            )
        return Profile(least=best, best=best, most=best)
    low, high = smallest or (height, width), largest or (height, width)
    stride = manifest.head.strides[-1]
    if any(side % stride or side < stride for side in (*low, *high)):
        raise BadOption(f"the limits of the input size must be multiples of {stride}, this model's greatest stride")
    if not (low[0] <= height <= high[0] and low[1] <= width <= high[1]):
        raise BadOption(
            f"the input size {height}x{width} (HxW) that the engine is tuned for is not between {low[0]}x{low[1]} and "
            f"{high[0]}x{high[1]}: choose it with --imgsz"
        )
    return Profile(least=(1, 3, *low), best=best, most=(batch, 3, *high))
