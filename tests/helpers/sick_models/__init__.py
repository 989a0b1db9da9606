"""One model for each rule of ``lineside doctor``, with the fault that the rule is there for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from helpers.sick_models import forms, modules, operators, precision, scans, structure, tensorrt, versions, weights
from helpers.sick_models.making import Sick

KINDS = (weights, modules, structure, versions, operators, scans, precision, forms, tensorrt)

SICK: dict[str, Callable[[Path, Path], Sick]] = {
    name.replace("_", "-"): function
    for kind in KINDS
    for name, function in vars(kind).items()
    if list(getattr(function, "__annotations__", {}).items()) == [("folder", "Path"), ("real", "Path"), ("return", "Sick")]
}  # fmt: skip
"""A model for each rule, by its id; gets a folder to write into and the path of a real bundle."""
