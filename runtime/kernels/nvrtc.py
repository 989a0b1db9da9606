"""Kernels for the GPU: the CUDA source compiled to PTX by NVRTC, NVIDIA's compiler as a library.

PTX is made for the architecture of the device and finished by its driver. Nothing depends on where the files lie: NVRTC
gets the text of every header. What was compiled once lies in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from pathlib import Path
from typing import Any

from lineside.runtime import cache
from lineside.runtime.errors import EngineFailed, EngineUnavailable
from lineside.runtime.kernels.kernel import Kernel, sources
from lineside.runtime.kernels.nvrtc_library import NvrtcLibrary
from lineside.runtime.kernels.ptx import check_parameters

__all__ = ["ARCHITECTURES", "OPTIONS", "compile_cubin", "compile_ptx", "known_architectures", "library_version"]

ARCHITECTURES = tuple(f"compute_{number}" for number in (80, 86, 87, 89, 90, 110, 120, 121))
"""What kernels are tested for: A100, RTX 30, Orin, RTX 40, H100, Thor, RTX 50, GB10."""

OPTIONS = (
    "--std=c++17",
    # One rounding for each operation, division and square root as IEEE has them: the bits of the processor.
    "--fmad=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--ftz=false",
    "--device-as-default-execution-space",
)

_INSTALL = 'install the extra (pip install "lineside[tensorrt]"), on a Jetson as docs/jetson.md says'
_LINES = 12
"""Of the compiler's log, how many an error shows."""


def compile_ptx(kernel: Kernel, arch: str = "compute_87", library: Path | None = None) -> bytes:
    """Compiles a kernel, or takes it from the cache.

    Args:
        kernel: What to compile.
        arch: Virtual architecture, such as ``compute_87``. One that NVRTC is too old for is replaced by the newest that it
            knows below: drivers finish PTX of older architectures.
        library: A ``libnvrtc`` to compile with; None: the one that cuda-bindings finds.

    Returns:
        PTX, without a NUL at its end.

    Raises:
        EngineUnavailable: cuda-bindings or NVRTC is missing.
        EngineFailed: The source does not compile, or has other parameters than the kernel declares.
    """
    target = _nearest(arch, known_architectures(library))
    name, options = _named(kernel, target, library)
    kept = cache.fetch(f"{name}.ptx")
    if kept is not None:
        return kept
    ptx, _ = _compile(_nvrtc(library), kernel, options)
    check_parameters(kernel, ptx)
    cache.keep(f"{name}.ptx", ptx)
    return ptx


def compile_cubin(kernel: Kernel, arch: str, library: Path | None = None) -> bytes:
    """Compiles a kernel to the very code of one architecture, or takes it from the cache.

    A driver of the same major CUDA as NVRTC loads it although NVRTC's PTX is newer than what that driver reads.

    Args:
        kernel: As for `compile_ptx`.
        arch: As there; that of the device.
        library: As there.

    Returns:
        A cubin, an ELF file.

    Raises:
        EngineUnavailable: As for `compile_ptx`.
        EngineFailed: As for `compile_ptx`; also where NVRTC is too old for the architecture.
    """
    if arch not in known_architectures(library):
        raise EngineFailed(f"NVRTC {library_version(library)} does not compile for {arch}: {_INSTALL}")
    name, options = _named(kernel, arch.replace("compute_", "sm_"), library)
    kept = cache.fetch(f"{name}.cubin")
    if kept is not None:
        return kept
    ptx, cubin = _compile(_nvrtc(library), kernel, options, whole=True)
    check_parameters(kernel, ptx)
    cache.keep(f"{name}.cubin", cubin)
    return cubin


def library_version(library: Path | None = None) -> str:
    """Version of NVRTC, such as ``12.6``.

    Args:
        library: As for `compile_ptx`.

    Raises:
        EngineUnavailable: cuda-bindings or NVRTC is missing.
    """
    major, minor = _ask(_nvrtc(library).nvrtcVersion(), "its version")
    return f"{major}.{minor}"


def known_architectures(library: Path | None = None) -> tuple[str, ...]:
    """What NVRTC compiles for, oldest first, such as ``compute_87``.

    Args:
        library: As for `compile_ptx`.

    Raises:
        EngineUnavailable: cuda-bindings or NVRTC is missing.
    """
    (numbers,) = _ask(_nvrtc(library).nvrtcGetSupportedArchs(), "the architectures")
    return tuple(f"compute_{number}" for number in sorted(numbers))


def _nvrtc(library: Path | None) -> Any:
    """The functions of NVRTC, as the module ``cuda.bindings.nvrtc`` has them, tried once."""
    if library is not None:
        return NvrtcLibrary(library)
    try:
        module = importlib.import_module("cuda.bindings.nvrtc")
    except ImportError as error:
        raise EngineUnavailable(
            f"kernels are compiled through cuda-bindings, which cannot be imported ({error}): {_INSTALL}"
        ) from error
    try:
        module.nvrtcVersion()
    except RuntimeError as error:  # it looks for the library at its first call
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineUnavailable(
            f"NVRTC, the compiler of kernels, is not found ({reason}): {_INSTALL}, or put the libnvrtc of your CUDA on "
            "LD_LIBRARY_PATH"
        ) from error
    return module


def _named(kernel: Kernel, target: str, library: Path | None) -> tuple[str, tuple[str, ...]]:
    """A kernel's name in the cache, and the options that it is compiled with for an architecture."""
    options = (*OPTIONS, f"--gpu-architecture={target}", *(f"-D{name}={value}" for name, value in kernel.defines))
    key = "\n".join((kernel.fingerprint(), library_version(library), *options))
    return f"kernels/{kernel.name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}", options


def _compile(nvrtc: Any, kernel: Kernel, options: tuple[str, ...], whole: bool = False) -> tuple[bytes, bytes]:
    """PTX, and the code of the architecture where it is asked for as a whole, else nothing."""
    texts = sources(kernel.source)
    source = texts.pop(kernel.source.name)
    (program,) = _ask(
        nvrtc.nvrtcCreateProgram(
            source.encode(),
            kernel.source.name.encode(),
            len(texts),
            [text.encode() for text in texts.values()],
            [name.encode() for name in texts],
        ),
        "a program",
    )
    try:
        words = [option.encode() for option in options]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(words), words)
        if int(status):
            raise EngineFailed(
                f"the kernel {kernel.name} of {kernel.source} does not compile with NVRTC ({_name(nvrtc, status)}):\n"
                + _log(nvrtc, program)
            )
        (size,) = _ask(nvrtc.nvrtcGetPTXSize(program), "the size of the PTX")
        ptx = bytearray(size)
        _ask(nvrtc.nvrtcGetPTX(program, ptx), "the PTX")
        cubin = bytearray()
        if whole:
            (size,) = _ask(nvrtc.nvrtcGetCUBINSize(program), "the size of the code")
            cubin = bytearray(size)
            _ask(nvrtc.nvrtcGetCUBIN(program, cubin), "the code")
        return bytes(ptx).rstrip(b"\0"), bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _log(nvrtc: Any, program: Any) -> str:
    (size,) = _ask(nvrtc.nvrtcGetProgramLogSize(program), "the size of the log")
    log = bytearray(size)
    _ask(nvrtc.nvrtcGetProgramLog(program, log), "the log")
    lines = bytes(log).rstrip(b"\0").decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if line.strip()][:_LINES])


def _ask(answer: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    status, *values = answer
    if int(status):
        raise EngineFailed(f"NVRTC does not give {what} (error {int(status)}): {_INSTALL}")
    return tuple(values)


def _name(nvrtc: Any, status: Any) -> str:
    answer = nvrtc.nvrtcGetErrorString(status)
    text = answer[-1]
    return text.decode() if isinstance(text, bytes) else str(text)


def _nearest(arch: str, known: tuple[str, ...]) -> str:
    """The architecture itself, or the newest below that is known."""
    if not re.fullmatch(r"compute_\d+", arch):
        raise EngineFailed(f"{arch!r} is no architecture: give one such as compute_87")
    if arch in known:
        return arch
    below = [name for name in known if _number(name) < _number(arch)]
    if not below:
        raise EngineFailed(f"NVRTC compiles for {', '.join(known)}, not for {arch}: this GPU is too old")
    return below[-1]


def _number(arch: str) -> int:
    return int(arch.partition("_")[2])
