"""The element ``segment``: a bundle that looks at the frames of one or several sources."""

from __future__ import annotations

from typing import Annotated

import msgspec

import lineside
from lineside.pipelines.catalog import Place
from lineside.pipelines.inlet import Order
from lineside.pipelines.segment import Segment
from lineside.pipelines.settings import Settings
from lineside.pipelines.units import parse_time
from lineside.pipelines.use import Count, Use

__all__ = ["Model", "make"]

Size = Annotated[str, msgspec.Meta(pattern="^[0-9]{2,4}(x[0-9]{2,4})?$")]


class Model(Use, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle that looks at frames, and how it is used.

    Attributes:
        bundle: The bundle.
        lanes: How many frames are worked on side by side.
        imgsz: Input in pixels, one number or HxW, for a dynamic bundle.
        order: Which of several sources is served next: each in turn, or the one of the highest priority.
        patience: How long a run waits for more frames where the model takes several at once.
    """

    bundle: Annotated[str, msgspec.Meta(min_length=1)]
    lanes: Count | None = None
    imgsz: Size | None = None
    order: Order = "turns"
    patience: str = "2ms"

    @property
    def patience_ns(self) -> int:
        """Patience in ns.

        Raises:
            BadOption: It is no time.
        """
        return parse_time(self.patience)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the input, where they are given."""
        if self.imgsz is None:
            return None
        sides = [int(side) for side in self.imgsz.split("x")]
        return sides[0], sides[-1]


def make(options: Model, place: Place, settings: Settings | None = None) -> Segment:
    """Loads the bundle.

    Args:
        options: How it is used.
        place: Where it stands.
        settings: Live settings, so that a page can change them; made of the options where there are none.

    Raises:
        BundleError: The bundle is not usable.
        EngineError: The model cannot be executed.
    """

    def load(path: object) -> lineside.Segmenter:
        return lineside.load(
            str(path), engine=options.engine, mode=options.mode, threads=options.threads, lanes=options.lanes,
            imgsz=options.size,
        )  # fmt: skip

    model = load(place.path(options.bundle))
    return Segment(model, settings or Settings(options.thresholds), bus=place.bus, load=load)
