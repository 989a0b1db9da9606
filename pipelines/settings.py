"""Settings that may change while the graph runs; they act at the next frame boundary."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lineside.runtime.errors import BadOption

if TYPE_CHECKING:
    from lineside.runtime.manifest import Thresholds as Own

__all__ = ["MaskMode", "Settings", "Thresholds", "in_force"]

MaskMode = Literal["native", "proto", "none"]


@dataclass(frozen=True)
class Thresholds:
    """What one frame is decided with; None means the bundle's own value.

    Attributes:
        conf: Lowest score that is kept, exclusive, in [0, 1).
        iou: Overlap above which the weaker of two boxes goes, in [0, 1].
        max_det: Most detections per frame, at least 1.
        masks: Resolution of the masks.
        agnostic: Suppress across classes.

    Raises:
        BadOption: A value lies outside its range.
    """

    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    masks: MaskMode = "native"
    agnostic: bool = False

    def __post_init__(self) -> None:
        if self.conf is not None and not 0 <= self.conf < 1:
            raise BadOption(f"conf={self.conf} is outside [0, 1): it is the lowest score that is kept")
        if self.iou is not None and not 0 <= self.iou <= 1:
            raise BadOption(f"iou={self.iou} is outside [0, 1]: it is an overlap of two boxes")
        if self.max_det is not None and self.max_det < 1:
            raise BadOption(f"max_det={self.max_det} must be at least 1")
        if self.masks not in ("native", "proto", "none"):
            raise BadOption(f"masks={self.masks!r} must be one of: native, proto, none")


class Settings:
    """The live settings of one graph: read at each frame boundary, changed from any thread."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self._thresholds = thresholds or Thresholds()
        self._lock = threading.Lock()
        self._version = 0
        self._switch: Callable[[Path], None] | None = None

    @property
    def thresholds(self) -> Thresholds:
        """The values in force, as one immutable object."""
        return self._thresholds

    @property
    def version(self) -> int:
        """Counts the changes, so that a page can tell whether it is up to date."""
        return self._version

    def update(self, **changes: object) -> Thresholds:
        """Changes some values, all or none.

        Args:
            **changes: Fields of `Thresholds`.

        Returns:
            The values now in force.

        Raises:
            BadOption: A value lies outside its range, or the name is not a setting.
        """
        unknown = sorted(set(changes) - set(Thresholds.__dataclass_fields__))
        if unknown:
            raise BadOption(
                f"unknown setting {', '.join(unknown)}; there are: {', '.join(Thresholds.__dataclass_fields__)}"
            )
        with self._lock:
            try:
                self._thresholds = replace(self._thresholds, **changes)  # type: ignore[arg-type]
            except TypeError as error:
                raise BadOption(f"a setting has a value of the wrong type: {error}") from error
            self._version += 1
            return self._thresholds

    def on_bundle(self, switch: Callable[[Path], None] | None) -> None:
        """Names the one who carries out a change of bundle (the segment transform)."""
        self._switch = switch

    def request_bundle(self, path: str | Path) -> None:
        """Asks for another bundle; returns at once.

        It is loaded beside the running one and takes over at a frame boundary. How that went is an event on the bus:
        ``bundle switched`` or ``bundle refused``.

        Raises:
            BadOption: Nothing in this graph can change its bundle.
        """
        if self._switch is None:
            raise BadOption("the bundle cannot be changed: no segment transform is running")
        self._switch(Path(path))


def in_force(thresholds: Thresholds, own: Own) -> dict[str, float]:
    """Confidence and IoU that frames are decided with, as ``conf`` and ``iou``.

    Args:
        thresholds: What is set.
        own: The bundle's own values, which hold where nothing is set.
    """
    return {
        "conf": own.conf if thresholds.conf is None else thresholds.conf,
        "iou": own.iou if thresholds.iou is None else thresholds.iou,
    }
