from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from helpers.real_bundle import SIZE, real_bundle
from lineside.export.cut import fused, rounded_to_fp16
from lineside.export.parity.reference import TorchReference
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import Picture, drawn_pictures
from lineside.export.settle import settle
from lineside.export.ultra import load_model
from lineside.runtime.bundle import Bundle, open_bundle


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Torch's threads spin while they wait, and a machine that runs tests has other work for its cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def real() -> Iterator[Path]:
    """A bundle of yolo11n-seg with random weights, 160x160, FP16-stored."""
    bundle = real_bundle()
    yield bundle
    shutil.rmtree(bundle.parent, ignore_errors=True)
    real_bundle.cache_clear()


@dataclass(frozen=True)
class Stage:
    """Both sides of a parity gate."""

    bundle: Bundle
    shipped: Shipped
    reference: TorchReference
    pictures: list[Picture]


@pytest.fixture(scope="session")
def stage(real: Path) -> Iterator[Stage]:
    """The bundle `real` and the very weights that it was made from."""
    pictures = drawn_pictures(())
    model = load_model("yolo11n-seg.yaml")
    settle(model, pictures)
    bundle = open_bundle(real)
    shipped = Shipped(bundle)
    small = drawn_pictures(
        (), [(120, 160), (160, 120), (90, 160), (160, 160), (150, 190), (201, 133), (100, 140), (64, 64)]
    )
    yield Stage(bundle, shipped, TorchReference(rounded_to_fp16(fused(model)), SIZE), small)
    shipped.close()
