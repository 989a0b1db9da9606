"""Pictures that tiny bundles find something in, the bundles by their form, and what holds of a model of any engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.segmenter import Segmenter


def bundle_maker(factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function with the options of `tiny_bundle` that makes each bundle once."""
    made: dict[str, Path] = {}

    def get(kind: str = "levels", **options: object) -> Path:
        key = f"{kind} {options}"
        if key not in made:
            made[key] = tiny_bundle(factory.mktemp("b") / "tiny.bundle", kind, **options)  # type: ignore[arg-type]
        return made[key]

    return get


def scene(seed: int = 0, size: tuple[int, int] = (240, 320)) -> npt.NDArray[np.uint8]:
    """A dark picture with a bright rectangle."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
    y, x = rng.integers(0, max(1, size[0] // 2)), rng.integers(0, max(1, size[1] // 2))
    frame[y : y + 1 + size[0] // 3, x : x + 1 + size[1] // 3] = 250
    return frame


def results_stay(model: Segmenter) -> None:
    """A result is its owner's: later pictures do not change it."""
    first = model(scene(1))
    kept = (first.boxes.copy(), [mask.to_array() for mask in first.masks or ()])
    for seed in range(2, 8):
        model(scene(seed))
    np.testing.assert_array_equal(first.boxes, kept[0])
    assert kept[1] and all((mask.to_array() == was).all() for mask, was in zip(first.masks or (), kept[1], strict=True))
