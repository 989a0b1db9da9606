"""Which classes a checkpoint names, and making those of the user's own blocks findable under exactly these names.

A ``.pt`` file is a pickle: it names each class of the model by module and name, and whoever loads it must find the class
there. Blocks that were trained as ``ultralytics.nn.extra_modules.EMA`` or ``__main__.EMA`` are nowhere to be found on
another machine, though the user has the file that defines them. Nothing that is there already is ever replaced.
"""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

from lineside.export.blocks import UserBlocks
from lineside.export.pickle_names import pickled_names

__all__ = ["FAMILIAR", "OURS", "ClassPath", "class_paths", "foreign", "installed", "missing", "resolve"]

FAMILIAR = frozenset(
    {"__torch__", "_codecs", "collections", "copyreg", "numpy", "pathlib", "torch", "torchvision", "ultralytics"}
)
"""Packages whose classes any checkpoint of ultralytics may name."""

BUILTINS = frozenset(
    {
        "bytearray",
        "complex",
        "dict",
        "float",
        "frozenset",
        "getattr",
        "int",
        "list",
        "object",
        "range",
        "set",
        "slice",
        "tuple",
    }
)
"""Built-in names that any checkpoint may name."""

OURS = ("lineside.export.modules.", "lineside.export.ops.", "lineside.export.yolo.")
"""Packages whose classes any checkpoint of a model with blocks of Lineside may name."""

LEGACY = frozenset({"Silence", "YOLOv10DetectionModel", "v10DetectLoss", "WindowsPath", "PosixPath"})
"""Names that ultralytics itself gives a new home while it loads an old checkpoint."""


class ClassPath(NamedTuple):
    """Where a pickle looks for something.

    Attributes:
        module: Dotted name of the module.
        name: Name in the module; with dots for a class inside a class.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def class_paths(path: str | Path) -> tuple[ClassPath, ...]:
    """Reads which classes and functions a checkpoint names; runs nothing of it.

    Good for messages, for finding blocks and for finding what is known to be hostile
    (`lineside.export.hostile_names`). No proof of safety: what a class does when it is made is not told by its name.

    Args:
        path: A file that ``torch.save`` wrote, of today's zip form or the older one.

    Returns:
        Each path once, in the order of the file; none where the file is no pickle.
    """
    found: dict[ClassPath, None] = {}
    if not Path(path).is_file():  # a device could be read for ever
        return ()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
                for name in names:
                    _scan(io.BytesIO(archive.read(name)), found)
        else:
            with Path(path).open("rb") as file:
                for _ in range(
                    5
                ):  # magic number, protocol, facts about the machine, the checkpoint, keys of its numbers
                    _scan(file, found)
    except Exception:  # damaged in any way: whoever loads it says so
        pass
    return tuple(found)


def _scan(stream: IO[bytes], found: dict[ClassPath, None]) -> None:
    """Adds what one pickle names."""
    for module, name in pickled_names(stream):
        found[ClassPath(module, name)] = None


def foreign(paths: Iterable[ClassPath]) -> tuple[ClassPath, ...]:
    """Those of some class paths that are neither torch's, ultralytics' nor Lineside's; imports nothing but these."""
    return tuple(
        path
        for path in paths
        if not (path.module == "builtins" and path.name in BUILTINS)
        and not (_is_ours(path) and resolve(path) is not None)
        and (
            path.module.partition(".")[0] not in FAMILIAR
            or (path.module.startswith("ultralytics.") and not _is_ultralytics(path))
        )
    )


def missing(paths: Iterable[ClassPath]) -> tuple[ClassPath, ...]:
    """Those of some class paths that lead nowhere here; imports the modules that they name."""
    return tuple(path for path in foreign(paths) if resolve(path) is None)


@contextmanager
def installed(blocks: UserBlocks, paths: Iterable[ClassPath], safe: bool) -> Iterator[None]:
    """Makes the user's blocks findable where a checkpoint looks for them, for as long as the block runs.

    Args:
        blocks: The user's blocks.
        paths: What the checkpoint names.
        safe: No other module is imported because a checkpoint names it, and the blocks that it names join the
            classes that torch's restricted loading admits, as do Lineside's own.

    Raises:
        WeightsError: Two blocks of the user have the name that the checkpoint asks for.
    """
    with ExitStack() as undo:
        admitted: list[tuple[Any, str]] = []
        own = {name for source in blocks.sources for name in source.modules}
        for path in (path for path in paths if safe and _is_ours(path)):
            found = resolve(path)
            if isinstance(found, type) and found.__module__ == path.module:
                admitted.append((found, str(path)))
        for path in (path for path in paths if path.module in own or foreign([path])) if own else ():
            block = blocks.find(path.module, path.name)
            if block is None:
                continue
            if safe:
                admitted.append((block, str(path)))
            elif resolve(path) is None:
                _place(path, block, undo)
        if admitted:
            import torch

            modules = [
                (found, name)
                for found, name in admitted
                if isinstance(found, type) and (name.startswith(OURS) or issubclass(found, torch.nn.Module))
            ]
            undo.enter_context(torch.serialization.safe_globals(modules))  # type: ignore[arg-type]
        yield


def _is_ours(path: ClassPath) -> bool:
    """Whether a path leads into the packages where Lineside's blocks are."""
    return path.module.startswith(OURS) and not path.module.endswith(".__main__")


def _is_ultralytics(path: ClassPath) -> bool:
    """Whether ultralytics has this, or knows what became of it."""
    if path.name in LEGACY or path.module.startswith("ultralytics.yolo."):
        return True
    return resolve(path) is not None


def resolve(path: ClassPath) -> Any:
    """What a class path leads to; None for nothing."""
    if path.name in LEGACY:
        return path
    try:
        found: Any = importlib.import_module(path.module)
        for part in path.name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    except Exception:  # a module that breaks when it is imported is as good as none
        return None
    return found


def _place(path: ClassPath, block: Any, undo: ExitStack) -> None:
    """Puts a block where a class path leads; modules on the way are made up where they are missing."""
    parts = path.module.split(".")
    parent: ModuleType | None = None
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        try:
            module = importlib.import_module(name)
        except Exception:  # not there, or broken
            module = ModuleType(name)
            module.__path__ = []  # so that the next part may lie in it
            sys.modules[name] = module
            undo.callback(sys.modules.pop, name, None)
            if parent is not None and not hasattr(parent, parts[end - 1]):
                setattr(parent, parts[end - 1], module)
                undo.callback(delattr, parent, parts[end - 1])
        parent = module
    if "." not in path.name and parent is not None:
        setattr(parent, path.name, block)
        undo.callback(delattr, parent, path.name)
