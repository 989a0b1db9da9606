"""Builds a kernel with g++ and keeps the library in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from lineside.runtime import cache
from lineside.runtime.errors import EngineFailed, EngineUnavailable
from lineside.runtime.kernels.kernel import Kernel, sources

__all__ = ["COMPILERS", "FLAGS", "build", "compiler", "write_sources"]

COMPILERS = ("g++", "c++", "clang++")
"""What is tried, in this order."""

FLAGS = (
    "-std=c++17",
    "-O2",
    "-fPIC",
    # What a library holds is its own: a loader would share what templates hold among libraries, by name.
    "-fvisibility=hidden",
    # One rounding for each operation, as on the GPU.
    "-ffp-contract=off",
    "-fno-math-errno",
    # Kernels look at bits through other types, which CUDA allows.
    "-fno-strict-aliasing",
    # The check of longjmp takes stacks of our own for broken ones.
    "-U_FORTIFY_SOURCE",
    "-Wno-unknown-pragmas",
)

_DYNAMIC = re.compile(
    r"extern\s+__shared__\s+((?:(?:__align__|alignas)\s*\([^)]*\)\s*)?)([A-Za-z_][\w:\s]*?)\s*\b(\w+)\s*\[\s*\]\s*;"
)
_DIGEST = hashlib.sha256().digest_size
_LINES = 8
"""Of the compiler's words, how many an error shows."""


def build(kernel: Kernel, threads: bool = False) -> ctypes.CDLL:
    """Builds a kernel as a shared library, or takes the one that was built before.

    Args:
        kernel: What to build.
        threads: Whether each thread of a block becomes a thread of the processor.

    Raises:
        EngineUnavailable: There is no C++ compiler.
        EngineFailed: It does not compile.
    """
    path, version = compiler()
    flags = (*FLAGS, "-shared", *(("-DLINESIDE_HOST_THREADS", "-pthread") if threads else ()))
    digest = hashlib.sha256("\n".join((kernel.fingerprint(), version, *flags)).encode()).hexdigest()
    name = f"kernels/{kernel.name}-{digest[:32]}.so"
    kept = _load(cache.folder() / name)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="lineside-") as folder:
        library = _compile(kernel, path, flags, Path(folder))
        data = library.read_bytes()
        stored = cache.store(name, data + hashlib.sha256(data).digest())  # a loader ignores what stands behind the end
        kept = _load(stored) if stored is not None else None
        return kept if kept is not None else ctypes.CDLL(str(library))


def compiler() -> tuple[str, str]:
    """Path and version of the C++ compiler.

    Raises:
        EngineUnavailable: There is none.
    """
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return path, _version(path)
    raise EngineUnavailable(
        "kernels run on the processor only when they are built here, and there is no C++ compiler: install g++ "
        "(on Debian and Ubuntu: apt install g++), or choose engine='onnxruntime'"
    )


def write_sources(kernel: Kernel, folder: Path) -> Path:
    """Lays a kernel's source, all that it includes and its entry into a folder.

    Args:
        kernel: The kernel.
        folder: An empty folder.

    Returns:
        The file to compile.
    """
    for name, text in {**sources(Path(__file__).parent / "portable.cuh"), **sources(kernel.source)}.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        # Dynamic shared memory is declared as an array that lies elsewhere: here it is one that we have.
        place.write_text(_DYNAMIC.sub(r"\2* \3 = reinterpret_cast<\2*>(lineside_host::dynamic_shared);", text))
    main = folder / "lineside_main.cpp"
    defines = "".join(f"#define {define} {value}\n" for define, value in kernel.defines)
    main.write_text(
        f'{defines}#include "portable.cuh"\n#include "{kernel.source.name}"\nLINESIDE_HOST_ENTRY({kernel.name})\n'
    )
    return main


def _compile(kernel: Kernel, path: str, flags: tuple[str, ...], folder: Path) -> Path:
    main = write_sources(kernel, folder)
    command = [path, *flags, "-I.", "-o", "kernel.so", main.name]
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise EngineUnavailable(
            f"the C++ compiler {path} cannot be started ({error.strerror}): install g++ anew"
        ) from error
    if answer.returncode:
        lines = [line for line in answer.stderr.splitlines() if line.strip()]
        raise EngineFailed(
            f"the kernel {kernel.name} of {kernel.source} does not compile with {path}:\n" + "\n".join(lines[:_LINES])
        )
    return folder / "kernel.so"


@functools.cache
def _version(path: str) -> str:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise EngineUnavailable(
            f"the C++ compiler {path} cannot be started ({error.strerror}): install g++ anew"
        ) from error
    return answer.stdout.splitlines()[0] if answer.stdout else path


def _load(path: Path) -> ctypes.CDLL | None:
    """A library of the cache; None when it is absent, damaged or was just dropped."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
            return None
        return ctypes.CDLL(str(path))
    except OSError:
        return None
