"""A kernel and a launch of it, as data.

A kernel is one function of one ``.cu`` file with its parameters. The declaration is what a launch is checked against, on
the GPU and on the processor; the tests hold it against what the compiler made of the source.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lineside.runtime.errors import EngineFailed

__all__ = ["HEADERS", "Kernel", "Kind", "Launch", "Parameter", "sources"]

Kind = Literal["pointer", "int", "float"]
"""What a parameter is: a device address (64 bits), a 32-bit int, a 32-bit float."""

HEADERS = Path(__file__).resolve().parent
"""Where the headers lie that every kernel may include."""

_Stamp = tuple[int, int, int]
_kept: dict[Path, tuple[dict[Path, _Stamp], dict[str, str]]] = {}
"""What was read, until a file of it changes."""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"\n]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Attributes:
        name: Its name in the source.
        kind: What is passed.
        type: C type of a pointer, such as ``const float*``; for people.
    """

    name: str
    kind: Kind
    type: str = ""


@dataclass(frozen=True)
class Kernel:
    """One function of one CUDA source.

    Attributes:
        name: The ``extern "C"`` function.
        source: Absolute path of the ``.cu`` file.
        parameters: What it takes, in order.
        defines: Macros as (name, value), sorted by name; two kernels that differ here are compiled apart.
    """

    name: str
    source: Path
    parameters: tuple[Parameter, ...]
    defines: tuple[tuple[str, str], ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over the source, what it includes, the macros and the parameters.

        Raises:
            EngineFailed: The source or a file that it includes cannot be read.
        """
        digest = hashlib.sha256()
        for name, text in sources(self.source).items():
            _add(digest, name, text)
        _add(digest, "name", self.name)
        for define, value in self.defines:
            _add(digest, define, value)
        for parameter in self.parameters:
            _add(digest, parameter.name, parameter.kind)
        return digest.hexdigest()


@dataclass(frozen=True)
class Launch:
    """One launch: what a step of the frame or a plugin asks a device for.

    Attributes:
        kernel: What to run.
        grid: Blocks along x, y, z.
        block: Threads of a block along x, y, z.
        shared: Bytes of dynamic shared memory of a block.
        arguments: A value for each of the kernel's parameters, in their order; pointers as integer addresses.
        purpose: What for, in reports: where a kernel is launched for several things, which of them.
    """

    kernel: Kernel
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: tuple[int | float, ...]
    purpose: str = ""


def sources(source: Path) -> dict[str, str]:
    """A source and all that it includes with quotes, however deep.

    Args:
        source: A ``.cu`` file.

    Returns:
        Text by the name it is included by, the source itself first. A name is looked for beside the file that includes it,
        then among the `HEADERS`.

    Raises:
        EngineFailed: One of them cannot be read.
    """
    kept = _kept.get(source)
    if kept is None or any(_stamp(path) != stamp for path, stamp in kept[0].items()):
        kept = _kept[source] = _gather(source)
    return dict(kept[1])


def _gather(source: Path) -> tuple[dict[Path, _Stamp], dict[str, str]]:
    """Reads a source and what it includes: when each file was written, and its text by name."""
    stamps: dict[Path, _Stamp] = {}
    found: dict[str, str] = {}
    waiting = [(source.name, source)]
    while waiting:
        name, path = waiting.pop()
        if name in found:
            continue
        stamps[path] = _stamp(path)
        found[name] = text = _read(path)
        for inner in _INCLUDE.findall(text):
            beside = path.parent / inner
            waiting.append((inner, beside if beside.is_file() else HEADERS / inner))
    return stamps, found


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)  # whoever reads it says why
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> EngineFailed:
    why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
    return EngineFailed(f"the kernel source {path} cannot be read ({why}): install Lineside again")


def _add(digest: hashlib._Hash, name: str, text: str) -> None:
    """Adds a named text so that no two lists of texts give the same bytes."""
    for part in (name.encode(), text.encode()):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
