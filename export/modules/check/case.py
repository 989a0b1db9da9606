"""Reads reference vectors: a manifest and the safetensors files beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lineside.runtime.errors import DatasetError

if TYPE_CHECKING:
    import torch

__all__ = ["EXACT", "MANIFEST", "SAMPLED", "Case", "Entry", "NoHandler", "find_entries", "read_case"]

MANIFEST = "manifest.json"
"""Name of the file that lists the cases of a folder."""

EXACT = 1e-5
"""Relative error allowed to a module in float32."""

SAMPLED = 5e-5
"""Relative error allowed where values are sampled between pixels: a rounding of the place moves the value."""

PREFIXES = ("in.", "param.", "out.")


class NoHandler(Exception):
    """Nothing here answers this case; a handler raises it for a case of its family that it does not know."""


@dataclass(frozen=True)
class Entry:
    """One case as the manifest announces it.

    Attributes:
        folder: Where the manifest lies.
        module: Family, the key of `lineside.export.modules.check.table.HANDLERS`.
        case: Name of the case, unique in its folder.
        file: The safetensors file, relative to the folder.
        hyper: Hyper-parameters; one that is missing or null has its usual value; whole numbers are ints.
        tensors: dtype and shape announced for each tensor; may be empty.
        sha256: Hash of the file; None where the manifest gives none.
        bytes: Size of the file; None where the manifest gives none.
        upstream: Where the expected outputs come from: ``repo``, ``file`` (with the name of the class), ``commit``.
        note: Anything else.
    """

    folder: Path
    module: str
    case: str
    file: str
    hyper: Mapping[str, Any]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    sha256: str | None
    bytes: int | None
    upstream: Mapping[str, Any]
    note: str


class Held(dict[str, Any]):
    """What a case holds of a kind; a handler that asks for something else gets told what the case lacks.

    Args:
        values: The values by name.
        lacks: What to say of a name that is missing, with a place for it.
    """

    def __init__(self, values: Mapping[str, Any], lacks: str) -> None:
        super().__init__(values)
        self._lacks = lacks

    def __missing__(self, name: str) -> NoReturn:
        """Raises DatasetError."""
        raise DatasetError(self._lacks.format(name))


@dataclass(frozen=True)
class Case:
    """One case with its tensors; their names have lost the prefix ``in.``, ``param.`` or ``out.``.

    Attributes:
        module: Family.
        case: Name; says nothing about what to compute, which follows from the other attributes.
        hyper: Hyper-parameters; one that is missing has its usual value.
        inputs: What goes in; floating point numbers are in float32.
        params: Parameters under their upstream names, likewise.
        expected: What must come out.
        note: Anything else.
        upstream: ``repo``, ``file`` (ends in ``:ClassName``) and ``commit`` of the original.
    """

    module: str
    case: str
    hyper: Mapping[str, Any]
    inputs: Mapping[str, torch.Tensor]
    params: Mapping[str, torch.Tensor]
    expected: Mapping[str, torch.Tensor]
    note: str
    upstream: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Class or function that the expected outputs come from, as the manifest names it behind the colon."""
        return str(self.upstream.get("file", "")).rpartition(":")[2]


def find_entries(folder: Path) -> list[Entry]:
    """All cases of all manifests below a folder, in the order of the paths.

    Args:
        folder: A folder with a ``manifest.json``, or with folders that have one.

    Returns:
        The cases, at least one.

    Raises:
        DatasetError: There is no such folder, no manifest below it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder '{folder}': give one that holds reference vectors")
    manifests = _manifests(folder)
    if not manifests:
        raise DatasetError(f"'{folder}' holds no {MANIFEST}, nor do the folders below it: give a folder of vectors")
    return [entry for path in manifests for entry in _entries(path)]


def _manifests(folder: Path) -> list[Path]:
    """All manifests below a folder, sorted; folders behind links count, each once.

    Raises:
        DatasetError: A folder cannot be read: its cases would be left out without a word.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"'{error.filename}' cannot be read ({error.strerror}): its cases cannot be run") from error

    found, seen = [], set()
    for place, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        below.sort()
        real = os.path.realpath(place)
        if real in seen:  # a link back to a folder above, or to one beside
            below.clear()
        elif MANIFEST in names or MANIFEST in below:
            found.append(Path(place, MANIFEST))
        seen.add(real)
    return sorted(found)


def _entries(path: Path) -> list[Entry]:
    """The cases of one manifest."""
    try:
        content = json.loads(path.read_text("utf-8"))
        listed = content["entries"]
        entries = [_entry(path.parent, entry, content.get("module")) for entry in listed]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = (str(error).splitlines() or [""])[0]
        raise DatasetError(
            f"'{path}' is no manifest of reference vectors, or it is damaged ({type(error).__name__}: {what}): "
            "copy the folder again"
        ) from error
    if not entries:
        raise DatasetError(f"'{path}' lists no case: copy the folder again")
    return entries


def _entry(folder: Path, raw: Mapping[str, Any], family: Any) -> Entry:
    """One case of a manifest.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: It is no such thing.
    """
    tensors = raw.get("tensors") or {}
    announced = {
        str(name): (str(dtype), tuple(int(side) for side in shape)) for name, (dtype, shape) in tensors.items()
    }
    size, digest = raw.get("bytes"), raw.get("sha256")
    return Entry(
        folder=folder,
        module=_text(raw.get("module", family)),
        case=_text(raw["case"]),
        file=_text(raw["file"]),
        hyper={name: _whole(value) for name, value in dict(raw.get("hyper") or {}).items() if value is not None},
        tensors=announced,
        sha256=None if digest is None else _text(digest).lower(),
        bytes=None if size is None else int(size),
        upstream=dict(raw.get("upstream") or {}),
        note=str(raw.get("note") or ""),
    )


def _whole(value: Any) -> Any:
    """A value with its whole numbers as ints: some writers of JSON know floats only."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} stands where a text belongs")
    return value


def read_case(entry: Entry) -> Case:
    """The tensors of a case.

    Args:
        entry: What the manifest says about it.

    Returns:
        The case; it expects at least one output.

    Raises:
        DatasetError: The file is missing, damaged, or not what the manifest announces.
    """
    data = _file(entry)
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DatasetError(f"{entry.file} is damaged ({error}): copy it again") from error
    _compare(entry, tensors)
    inputs, params, expected = (
        {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in PREFIXES
    )
    inputs, params = (
        {name: it.float() if it.is_floating_point() else it for name, it in group.items()} for group in (inputs, params)
    )
    if not expected:
        raise DatasetError(f"{entry.file} holds no tensor out.*, so there is nothing to compare with: copy it again")
    inputs, params, expected = (
        Held(group, f"{entry.file} holds no tensor {prefix}{{}}, without which the case cannot be run: copy it again")
        for group, prefix in zip((inputs, params, expected), PREFIXES, strict=True)
    )
    hyper = Held(entry.hyper, "the manifest gives this case no hyper-parameter {}, which has no usual value")
    return Case(entry.module, entry.case, hyper, inputs, params, expected, entry.note, entry.upstream)


def _file(entry: Entry) -> bytes:
    """The file of a case, as announced."""
    path = entry.folder / entry.file
    if not path.is_file():
        raise DatasetError(f"{entry.file} is missing: copy the folder again")
    data = path.read_bytes()
    if entry.bytes is not None and len(data) != entry.bytes:
        raise DatasetError(f"{entry.file} has {len(data)} bytes, the manifest says {entry.bytes}: copy it again")
    if entry.sha256 is not None and hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DatasetError(f"{entry.file} is not the file that the manifest was made with (SHA-256): copy it again")
    return data


def _compare(entry: Entry, tensors: Mapping[str, torch.Tensor]) -> None:
    """Sees that a file holds what the manifest announces."""
    found = {name: (str(it.dtype).removeprefix("torch."), tuple(it.shape)) for name, it in tensors.items()}
    for name, announced in entry.tensors.items():
        if found.get(name) != announced:
            there = "{} {}".format(*found[name]) if name in found else "nothing"
            raise DatasetError(f"{entry.file} holds {there} as {name}, the manifest says {announced[0]} {announced[1]}")
    for name in found:
        if not name.startswith(PREFIXES) or (entry.tensors and name not in entry.tensors):
            raise DatasetError(f"{entry.file} holds {name}, which the manifest does not announce")
