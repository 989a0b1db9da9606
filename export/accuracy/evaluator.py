"""The one door to pycocotools: imported when it is asked for, and never heard on stdout.

pycocotools is the evaluator that COCO's own figures come from. Of the kept ones it is the smallest to install: numpy
and half a megabyte, with wheels for x86-64 and aarch64 from Python 3.9 on.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from lineside.runtime.errors import MissingPackage

__all__ = ["coco_index", "mask_tools", "quiet", "require_evaluator"]


def require_evaluator() -> None:
    """Raises MissingPackage where pycocotools is not installed."""
    _module("cocoeval")


def mask_tools() -> ModuleType:
    """The module ``pycocotools.mask``.

    Raises:
        MissingPackage: pycocotools is not installed.
    """
    return _module("mask")


def coco_index(images: list[dict[str, Any]], annotations: list[dict[str, Any]], classes: int) -> Any:
    """An indexed ``pycocotools.coco.COCO``.

    Args:
        images: Entries with ``id``, ``height`` and ``width``.
        annotations: Entries with ``id`` from 1, and all that COCO asks for.
        classes: Number of categories, counted from 0.

    Raises:
        MissingPackage: pycocotools is not installed.
    """
    coco = _module("coco").COCO()
    categories = [{"id": index, "name": str(index)} for index in range(classes)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with quiet():
        coco.createIndex()
    return coco


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps pycocotools' remarks off stdout, where results go."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"pycocotools.{name}")
    except ImportError as error:
        raise MissingPackage(
            f"accuracy is judged by pycocotools, and importing it failed ({error}). "
            "Install it with: pip install pycocotools (it also comes with 'lineside[export]')"
        ) from error
