"""Every model in the precisions that a GPU trains and validates in: mixed, and half throughout."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch

from helpers.zoo import MODELS, labelled_batch, scaled
from lineside.export.ultra import load_model

SIDE = 64


@cache
def built(name: str) -> Any:
    return load_model(scaled(name, "n"))


def tensors(found: Any) -> Iterator[torch.Tensor]:
    """All tensors of an output of any form."""
    if isinstance(found, torch.Tensor):
        yield found
    else:
        for part in found.values() if isinstance(found, dict) else found:
            yield from tensors(part)


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_gives_what_single_gives(name: str) -> None:
    model = copy.deepcopy(built(name)).eval()
    picture = labelled_batch(SIDE, pictures=1)["img"]
    with torch.no_grad():
        wanted = list(tensors(model(picture)[-1]))
        found = list(tensors(model.half()(picture.half())[-1]))
    assert len(found) == len(wanted) > 3
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == torch.half
        assert float((got.float() - want).abs().max()) < 0.02 * max(1.0, float(want.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision_trains(name: str) -> None:
    model = copy.deepcopy(built(name)).train().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = list(tensors(model(labelled_batch(SIDE)["img"])))
    sum(part.float().square().mean() for part in found).backward()
    gradients = {part: value.grad for part, value in model.named_parameters() if ".dfl." not in part}
    assert [part for part, value in gradients.items() if value is None or not bool(torch.isfinite(value).all())] == []
