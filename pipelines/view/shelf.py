"""The bundles that the page offers: those given, and those that lie beside them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Shelf"]


class Shelf:
    """A list of bundles that only grows, so that an id stays valid as long as a page is open.

    Pages choose by id: no path ever comes from a page.

    Args:
        bundles: Bundles given by the user, the running one first.
    """

    def __init__(self, bundles: Sequence[Path]) -> None:
        self._lock = threading.Lock()
        self._paths: list[Path] = []
        for bundle in bundles:
            self._add(bundle)
        self._folders = list(dict.fromkeys(path.parent for path in self._paths))
        self.look()

    def look(self) -> None:
        """Looks again for bundles beside the known ones."""
        for folder in self._folders:
            try:
                beside = sorted(folder.glob("*.bundle*"))
            except OSError:
                continue
            for path in beside:
                if (path / "manifest.json").is_file() or (path.suffix == ".zip" and path.is_file()):
                    self._add(path)

    def _add(self, path: Path) -> None:
        path = path.resolve()
        with self._lock:
            if path not in self._paths:
                self._paths.append(path)

    def path(self, key: str) -> Path | None:
        """The bundle with that id, None where there is none."""
        with self._lock:
            known = key.isascii() and key.isdigit() and int(key) < len(self._paths)
            return self._paths[int(key)] if known else None

    def key(self, path: Path) -> str:
        """The id of a bundle, which is added if it is new."""
        self._add(path)
        with self._lock:
            return str(self._paths.index(path.resolve()))

    def listed(self) -> list[dict[str, str]]:
        """Id and name of every bundle; the folder goes along where names repeat."""
        with self._lock:
            paths = list(self._paths)
        names = [title(path) for path in paths]
        return [
            {"id": str(index), "name": name if names.count(name) == 1 else f"{name} ({path.parent})"}
            for index, (path, name) in enumerate(zip(paths, names, strict=True))
        ]


def title(path: Path) -> str:
    """The name of a bundle as people say it: ``bearing`` for ``bearing.bundle`` or ``bearing.bundle.zip``."""
    return path.name.removesuffix(".zip").removesuffix(".bundle")
