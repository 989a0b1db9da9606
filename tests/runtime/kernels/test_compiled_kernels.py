"""Kernels for the GPU: NVRTC's answers, its errors, the cache, and what PTX says of itself."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers import cuda_wheels
from helpers.example_kernels import BLOCK_SUM, EARLY, ROUNDED
from lineside.runtime import cache
from lineside.runtime.errors import EngineFailed, EngineUnavailable
from lineside.runtime.kernels import nvrtc
from lineside.runtime.kernels.kernel import Kernel, Parameter
from lineside.runtime.kernels.nvrtc import (
    ARCHITECTURES,
    compile_cubin,
    compile_ptx,
    known_architectures,
    library_version,
)
from lineside.runtime.kernels.ptx import check_parameters, entry_parameters, ptx_target, ptx_version


@pytest.fixture(params=["12.6", "13.0"])
def library(request: pytest.FixtureRequest) -> Path:
    return cuda_wheels.nvrtc(request.param)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_ptx_is_for_the_architecture_and_has_the_parameters(library: Path) -> None:
    ptx = compile_ptx(BLOCK_SUM, "compute_87", library)
    assert ptx_target(ptx) == "sm_87"
    assert entry_parameters(ptx, "block_sum") == ("u64", "u64", "u32", "f32")
    assert ptx_version(ptx) == ((8, 5) if library_version(library) == "12.6" else (9, 0))
    assert not ptx.endswith(b"\0")


def test_finished_code_is_for_the_very_architecture(library: Path) -> None:
    code = compile_cubin(BLOCK_SUM, "compute_87", library)
    assert (
        code.startswith(b"\x7fELF") and b"block_sum" in code and code != compile_cubin(BLOCK_SUM, "compute_89", library)
    )
    assert compile_cubin(BLOCK_SUM, "compute_87", library) == code
    with pytest.raises(EngineFailed, match="does not compile for compute_88|does not compile for compute_50"):
        compile_cubin(BLOCK_SUM, "compute_88" if library_version(library) == "12.6" else "compute_50", library)


def test_cuda_bindings_give_the_same_ptx_as_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    try:
        version = library_version()
    except EngineUnavailable as error:
        pytest.skip(str(error))
    ptx = compile_ptx(BLOCK_SUM, "compute_89")
    assert entry_parameters(ptx, "block_sum") == ("u64", "u64", "u32", "f32")
    if version == "13.0":
        monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "other"))
        assert compile_ptx(BLOCK_SUM, "compute_89", cuda_wheels.nvrtc("13.0")) == ptx


def test_an_architecture_that_is_too_new_becomes_the_newest_that_is_known() -> None:
    old = cuda_wheels.nvrtc("12.6")
    assert "compute_121" not in known_architectures(old)
    assert ptx_target(compile_ptx(EARLY, "compute_121", old)) == "sm_90"
    assert ptx_target(compile_ptx(EARLY, "compute_88", old)) == "sm_87"


@pytest.mark.parametrize(("arch", "words"), [("compute_35", "too old"), ("sm_87", "no architecture"), ("", "no arch")])
def test_an_architecture_that_cannot_be_is_refused(arch: str, words: str) -> None:
    with pytest.raises(EngineFailed, match=words):
        compile_ptx(EARLY, arch, cuda_wheels.nvrtc("12.6"))


def written(folder: Path, text: str, *parameters: Parameter, **defines: str) -> Kernel:
    source = folder / "tried.cu"
    source.write_text(text)
    return Kernel("tried", source, parameters, tuple(sorted(defines.items())))


def test_an_error_of_the_compiler_comes_with_its_log(tmp_path: Path, library: Path) -> None:
    kernel = written(
        tmp_path, '#include "portable.cuh"\nLINESIDE_KERNEL void tried(int* out) {\n  out[0] = nonsense;\n}'
    )
    with pytest.raises(EngineFailed, match=r"(?s)NVRTC_ERROR_COMPILATION.*tried\.cu\(3\).*nonsense"):
        compile_ptx(kernel, library=library)


def test_a_declaration_that_the_ptx_does_not_keep_is_refused(tmp_path: Path, library: Path) -> None:
    text = '#include "portable.cuh"\nLINESIDE_KERNEL void tried(int* out, float a) { out[0] = a; }'
    right = written(tmp_path, text, Parameter("out", "pointer"), Parameter("a", "float"))
    compile_ptx(right, library=library)
    for parameters in (right.parameters[:1], right.parameters[::-1], (*right.parameters, Parameter("b", "int"))):
        with pytest.raises(EngineFailed, match=r"takes \(u64, f32\) and is declared"):
            compile_ptx(dataclasses.replace(right, parameters=parameters), library=library)
    with pytest.raises(EngineFailed, match='extern "C"'):
        compile_ptx(dataclasses.replace(right, name="other"), library=library)


def test_nothing_is_fused_on_the_gpu_either(library: Path) -> None:
    ptx = compile_ptx(ROUNDED, library=library)
    assert ptx.count(b"fma.rn.f32") == 1
    assert b"mul" in ptx
    assert b".ftz" not in ptx


def test_what_was_compiled_is_kept_until_the_source_changes(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = cuda_wheels.nvrtc("12.6")
    text = '#include "portable.cuh"\n#include "inner.cuh"\nLINESIDE_KERNEL void tried(int* out) { out[0] = NUMBER + INNER; }'
    (tmp_path / "inner.cuh").write_text("#define INNER 5\n")
    kernel = written(tmp_path, text, Parameter("out", "pointer"), NUMBER="70")
    compiled: list[Kernel] = []
    real = nvrtc._compile

    def counted(module: Any, kernel: Kernel, options: Sequence[str]) -> bytes:
        compiled.append(kernel)
        return real(module, kernel, tuple(options))

    monkeypatch.setattr(nvrtc, "_compile", counted)
    first = compile_ptx(kernel, library=library)
    assert b"75" in first
    assert compile_ptx(kernel, library=library) == first
    assert len(compiled) == 1
    (kept,) = empty_cache.rglob("*.ptx")
    kept.write_bytes(kept.read_bytes()[:-3])  # damaged: made again
    assert compile_ptx(kernel, library=library) == first
    compile_ptx(kernel, "compute_80", library)
    assert b"76" in compile_ptx(dataclasses.replace(kernel, defines=(("NUMBER", "71"),)), library=library)
    (tmp_path / "inner.cuh").write_text("#define INNER 9\n")
    assert b"79" in compile_ptx(kernel, library=library)
    assert len(compiled) == 5


def test_without_a_cache_it_compiles_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "file"))
    assert cache.fetch("x") is None
    assert compile_ptx(EARLY, library=cuda_wheels.nvrtc("12.6"))


def test_without_cuda_bindings_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "cuda" or name.startswith("cuda.")]:
        monkeypatch.delitem(sys.modules, name)

    class Block:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.split(".")[0] == "cuda":
                raise ImportError("blocked here")

    monkeypatch.setattr(sys, "meta_path", [Block(), *sys.meta_path])
    with pytest.raises(EngineUnavailable, match=r"(?s)blocked here.*lineside\[tensorrt\]"):
        compile_ptx(EARLY)


def test_a_library_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "libnvrtc.so").write_text("no library")
    with pytest.raises(EngineUnavailable, match="cannot be loaded"):
        compile_ptx(EARLY, library=tmp_path / "libnvrtc.so")


def test_ptx_that_says_nothing_is_refused() -> None:
    for function in (ptx_version, ptx_target):
        with pytest.raises(EngineFailed, match="damaged"):
            function(b"//")
    strange = b".visible .entry early(\n.param .align 8 .b8 early_param_0[16],\n.param .u32 early_param_1\n)"
    assert entry_parameters(strange, "early") == ("b8[16]", "u32")
    with pytest.raises(EngineFailed, match="declare what it takes"):
        check_parameters(EARLY, strange)


def test_the_architectures_are_those_of_the_supported_gpus() -> None:
    known = known_architectures(cuda_wheels.nvrtc("13.0"))
    assert set(ARCHITECTURES) <= set(known)
    assert set(ARCHITECTURES[:5]) <= set(known_architectures(cuda_wheels.nvrtc("12.6")))
