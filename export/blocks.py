"""A user's own blocks: Python files and packages given with ``--modules``, imported once, found by class name.

Importing them runs them, as Python does; whoever names a file on the command line vouches for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import itertools
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from lineside.export.import_faults import advice, why_not_imported
from lineside.runtime.errors import BadOption, WeightsError

__all__ = ["NO_BLOCKS", "Source", "UserBlocks", "load_blocks"]

FINGERPRINT = "__lineside_sha256__"
"""Where a module of blocks keeps the hash of what it was imported from."""


@dataclass(frozen=True)
class Source:
    """A file or package of blocks.

    Attributes:
        name: Name of the file or folder, without the folders above.
        sha256: Hash of the file; of a package, over the names and hashes of its Python files.
        modules: Names of the modules that were imported from it.
        broken: Modules of a package that could not be imported, and why.
    """

    name: str
    sha256: str
    modules: tuple[str, ...]
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class UserBlocks:
    """Everything that ``--modules`` brought.

    Attributes:
        sources: The files and packages, in the order given.
        offered: Classes and functions that they define, by name.
    """

    sources: tuple[Source, ...] = ()
    offered: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def find(self, module: str, name: str) -> Any:
        """The class or function for a path that a checkpoint asks for; None where there is none of that name.

        Args:
            module: Module that the checkpoint names; of several blocks of that name the one whose module has the
                longest common end with it is taken.
            name: Name that the checkpoint names.

        Raises:
            WeightsError: Several blocks of that name, and the module does not tell them apart.
        """
        found = self.offered.get(name, ())
        if len(found) < 2:
            return found[0] if found else None
        ranked = sorted(found, key=lambda block: _common_end(block.__module__, module), reverse=True)
        best, second = (_common_end(block.__module__, module) for block in ranked[:2])
        if best == second:
            places = " and ".join(block.__module__ for block in ranked[:2])
            raise WeightsError(
                f"The checkpoint asks for {module}.{name}, and --modules has that name twice, in {places}. "
                "Give only the file that the model was trained with."
            )
        return ranked[0]

    def modules(self) -> dict[str, type]:
        """Blocks that a model yaml may name: torch modules whose name stands for one class only."""
        import torch

        return {
            name: found[0]
            for name, found in self.offered.items()
            if len(found) == 1 and isinstance(found[0], type) and issubclass(found[0], torch.nn.Module)
        }

    def described(self) -> str:
        """One clause for messages: what was given, what it offers, what of it is broken."""
        if not self.sources:
            return "no --modules were given"
        names = sorted(self.modules())
        offer = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        broken = [text for source in self.sources for text in source.broken]
        return f"--modules {', '.join(source.name for source in self.sources)} offers {offer or 'no torch module'}" + (
            f"; could not be imported: {'; '.join(broken[:3])}" if broken else ""
        )

    def provenance(self) -> dict[str, str]:
        """Name and sha256 of each source, for a manifest; another one of a name that is taken gets a number."""
        named: dict[str, str] = {}
        for source in self.sources:
            names = itertools.chain([source.name], (f"{source.name} ({number})" for number in itertools.count(2)))
            named[next(name for name in names if named.get(name, source.sha256) == source.sha256)] = source.sha256
        return named


NO_BLOCKS = UserBlocks()
"""What there is without ``--modules``."""


def load_blocks(given: Sequence[str], wanted: Iterable[str] = ()) -> UserBlocks:
    """Imports files and packages of blocks; what has changed since it was imported is imported again.

    A file or folder inside a package is imported as part of it, so that its relative imports work. Where its name is
    taken, as for a changed copy of ultralytics' own ``block.py``, it gets another one and shadows nothing.

    Args:
        given: Python files, package folders or names of importable packages.
        wanted: Modules that a checkpoint names: a folder ``extra_modules`` is imported as
            ``ultralytics.nn.extra_modules`` where the checkpoint calls it so.

    Returns:
        What they define.

    Raises:
        BadOption: One is missing or cannot be imported; the message names file and line.
    """
    sources: list[Source] = []
    offered: dict[str, list[Any]] = {}
    asked = tuple(wanted)
    for text in given:
        source = _load(text, asked)
        sources.append(source)
        for name in source.modules:
            for key, value in vars(sys.modules[name]).items():
                if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ in source.modules:
                    known = offered.setdefault(key, [])
                    if not any(value is other for other in known):
                        known.append(value)
    return UserBlocks(tuple(sources), {name: tuple(found) for name, found in offered.items()})


def _load(text: str, wanted: Sequence[str]) -> Source:
    """Imports one of them."""
    path = Path(text)
    if not path.exists():
        path = _importable(text)
    if path.is_file() and path.suffix != ".py":
        raise BadOption(f"--modules {text}: this is no Python file: give a .py file or a package")
    path = path.absolute()
    names, root = _dotted(path, wanted)
    sha256 = _sha256(path)
    with _quiet(root):
        name = _import(text, path, names, sha256)
        module = sys.modules[name]
        broken = tuple(_walk(module)) if path.is_dir() else ()
    modules = tuple(key for key in sys.modules if key == name or (path.is_dir() and key.startswith(f"{name}.")))
    modules = tuple(key for key in modules if _lies_in(sys.modules[key], path))
    return Source(path.name, sha256, modules, broken)


def _importable(text: str) -> Path:
    """Where the package of that name lies."""
    try:
        spec = importlib.util.find_spec(text) if text.replace(".", "").isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is not None and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin)
    raise BadOption(f"--modules {text}: there is no such file, and no package of that name: give its path")


def _dotted(path: Path, wanted: Sequence[str]) -> tuple[list[str], Path]:
    """The name that the place of a file gives it, as parts, and the folder that imports start from."""
    names, folder = [path.stem if path.is_file() else path.name], path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    if len(names) == 1:
        for module in wanted:
            parts = module.split(".")
            if parts[0] == "ultralytics" and names[0] in parts[1:]:
                return parts[: parts.index(names[0]) + 1], folder
    return names, folder


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Files beside may be imported as a script may import them, and what a module prints is no result of ours."""
    sys.path.append(str(folder))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(str(folder))


def _import(text: str, path: Path, names: Sequence[str], sha256: str) -> str:
    """Imports a file or folder under a name, or under one beside it where that name is taken; returns the name."""
    parent = ".".join(names[:-1])
    name = ".".join(names)
    if name in sys.modules and _lies_in(sys.modules[name], path):
        if vars(sys.modules[name]).get(FINGERPRINT, sha256) == sha256:
            return name
        for old in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[old]
    try:
        if parent:
            importlib.import_module(parent)
        if importlib.util.find_spec(name) is not None and not _is_at(name, path):
            name = _unused(".".join([*names[:-1], f"lineside_user_{names[-1]}"]))
        file = path if path.is_file() else path / "__init__.py"
        folders = [str(path)] if path.is_dir() else None
        spec = (
            importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
            if file.is_file()
            else importlib.machinery.ModuleSpec(name, None, is_package=True)
        )
        if spec is None:
            raise BadOption(f"--modules {text}: this is no Python file: give a .py file or a package")
        if not file.is_file():
            spec.submodule_search_locations = folders
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        if spec.loader is not None and file.is_file():
            spec.loader.exec_module(module)
        if parent:
            setattr(sys.modules[parent], name.rpartition(".")[2], module)
        setattr(module, FINGERPRINT, sha256)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        if isinstance(error, BadOption):
            raise
        raise BadOption(
            f"--modules {text} cannot be imported: {why_not_imported(error, path)}. {advice(error)}"
        ) from error
    return name


def _unused(name: str) -> str:
    """That name, or with a number the first that no module has."""
    candidates = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if candidate not in sys.modules)


def _walk(package: ModuleType) -> Iterator[str]:
    """Imports every module of a package; yields what is wrong with those that cannot be."""
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda name: None):
        if info.name.rpartition(".")[2] == "__main__" or info.name in sys.modules:
            continue
        try:
            importlib.import_module(info.name)
        except (Exception, SystemExit) as error:
            yield f"{info.name} ({why_not_imported(error, Path(package.__path__[0]))})"


def _is_at(name: str, path: Path) -> bool:
    """Whether the importable module of that name is this file or folder."""
    spec = importlib.util.find_spec(name)
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    return any(place and Path(place).absolute() == path for place in places)


def _lies_in(module: ModuleType, path: Path) -> bool:
    """Whether a module comes from a file, or from a folder."""
    places = [getattr(module, "__file__", None) or "", *(getattr(module, "__path__", None) or ())]
    return any(place and Path(place).absolute().is_relative_to(path) for place in places)


def _sha256(path: Path) -> str:
    """Hash of a file, or of all Python files of a folder with their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for file in sorted(path.rglob("*.py")):
        total.update(f"{file.relative_to(path).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _common_end(one: str, other: str) -> int:
    """Parts that two dotted names have in common at their ends."""
    count = 0
    for a, b in zip(reversed(one.split(".")), reversed(other.split(".")), strict=False):
        if a != b:
            break
        count += 1
    return count
