"""Runs a function as soon as a module is imported, now or later; so that nothing has to be imported for it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["install"]

WATCHED = "ultralytics.nn.tasks"


class _Loader(importlib.abc.Loader):
    """Loads a module as its own loader does, and calls `lineside.export.yolo.register.apply` with it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leaves it to the loader of the module."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, and then what waited for it."""
        self._loader.exec_module(module)
        _apply(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the watched module where the others find it, and gives it another loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answers for `WATCHED` only."""
        if fullname != WATCHED:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _Finder) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


def install() -> None:
    """Has ultralytics changed when it is imported, or now where it is imported already; once per process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    module = sys.modules.get(WATCHED)
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        _apply(module)


def _apply(module: ModuleType) -> None:
    """Makes the change."""
    from lineside.export.yolo.register import apply

    apply(module)
