"""Building kernels with g++: the cache, two processes at once, no compiler, errors of the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from helpers.kernel_arrays import launch_of
from lineside.runtime.errors import EngineFailed, EngineUnavailable
from lineside.runtime.kernels import host_build
from lineside.runtime.kernels.host import HostFunction, host_function
from lineside.runtime.kernels.host_build import build, compiler
from lineside.runtime.kernels.kernel import Kernel, Parameter, sources

SOURCE = """
#include "portable.cuh"
#include "more/inner.cuh"
LINESIDE_KERNEL void built(float* out) { out[threadIdx.x] = INNER * threadIdx.x; }
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "inner.cuh").write_text("#pragma once\n#define INNER 2.0f\n")
    (tmp_path / "built.cu").write_text(SOURCE)
    return Kernel("built", tmp_path / "built.cu", (Parameter("out", "pointer", "float*"),))


def doubled(function: HostFunction) -> list[float]:
    out = np.zeros(3, np.float32)
    function(launch_of(function.kernel, 1, 3, out))
    return list(map(float, out))


def libraries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.so"))


def test_a_kernel_is_built_once(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function = host_function(kernel)
    assert host_function(kernel) is function
    assert doubled(function) == [0, 2, 4]
    assert len(libraries(tmp_path)) == 1
    monkeypatch.setattr(host_build, "_compile", None)
    assert doubled(HostFunction(kernel, build(kernel))) == [0, 2, 4]


def test_a_damaged_library_is_built_again(kernel: Kernel, tmp_path: Path) -> None:
    build(kernel)
    (path,) = libraries(tmp_path)
    good = path.read_bytes()
    path.unlink()  # what is loaded stays as it is
    path.write_bytes(good[:-4000])
    assert doubled(HostFunction(kernel, build(kernel))) == [0, 2, 4]
    assert len(path.read_bytes()) == len(good)


def test_a_change_of_an_included_file_is_seen(kernel: Kernel, tmp_path: Path) -> None:
    before = kernel.fingerprint()
    assert doubled(host_function(kernel)) == [0, 2, 4]
    assert set(sources(kernel.source)) >= {"built.cu", "portable.cuh", "more/inner.cuh", "host_words.cuh"}
    inner = tmp_path / "more" / "inner.cuh"
    inner.write_text("#pragma once\n#define INNER 3.0f\n")
    assert kernel.fingerprint() != before
    assert doubled(host_function(kernel)) == [0, 3, 6]


def test_two_processes_may_build_at_once(kernel: Kernel, tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from lineside.runtime.kernels.host_build import build
        from lineside.runtime.kernels.kernel import Kernel, Parameter
        build(Kernel("built", Path({str(kernel.source)!r}), (Parameter("out", "pointer", "float*"),))).lineside_launch
    """
    started = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in started:
        assert process.wait(timeout=120) == 0, process.stderr and process.stderr.read()
    assert len(libraries(tmp_path)) == 1
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_without_a_cache_it_is_built_all_the_same(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "file"))
    assert doubled(HostFunction(kernel, build(kernel))) == [0, 2, 4]


def test_without_a_compiler_the_error_says_what_to_install(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match=r"no C\+\+ compiler: install g\+\+ .*apt install g\+\+"):
        build(kernel)


def test_a_compiler_that_cannot_be_started_is_named(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "g++"
    broken.parent.mkdir()
    broken.write_text("no program")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent))
    with pytest.raises(EngineUnavailable, match=r"bin/g\+\+ cannot be started"):
        compiler()


def test_an_error_of_the_compiler_comes_with_its_first_lines(kernel: Kernel, tmp_path: Path) -> None:
    kernel.source.write_text(SOURCE.replace("INNER *", "nonsense *"))
    with pytest.raises(EngineFailed, match=r"(?s)does not compile with .*built\.cu:4.*nonsense"):
        host_function(kernel)
    assert not libraries(tmp_path)


def test_a_source_that_is_not_there_is_named(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "more" / "inner.cuh").unlink()
    with pytest.raises(EngineFailed, match=r"more/inner\.cuh cannot be read"):
        kernel.fingerprint()
    (tmp_path / "built.cu").write_bytes(b"\xff\xfe")
    with pytest.raises(EngineFailed, match=r"built\.cu cannot be read \(it is no UTF-8"):
        kernel.fingerprint()


def test_the_fingerprint_knows_all_that_changes_the_kernel(kernel: Kernel) -> None:
    others = [
        Kernel("other", kernel.source, kernel.parameters),
        Kernel("built", kernel.source, (Parameter("out", "int"),)),
        Kernel("built", kernel.source, ()),
        Kernel("built", kernel.source, kernel.parameters, (("A", "1"),)),
        Kernel("built", kernel.source, kernel.parameters, (("A", "2"),)),
    ]
    found = {one.fingerprint() for one in (kernel, *others)}
    assert len(found) == 6
    assert kernel.fingerprint() == Kernel("built", kernel.source, kernel.parameters).fingerprint()


def test_a_cached_start_needs_no_compiler_run(kernel: Kernel, tmp_path: Path) -> None:
    build(kernel)
    environment = {**os.environ, "LINESIDE_CACHE": str(tmp_path / "cache"), "TMPDIR": "/nonexistent"}
    script = f"""
        from pathlib import Path
        from lineside.runtime.kernels.host import host_function
        from lineside.runtime.kernels.kernel import Kernel, Parameter
        host_function(Kernel("built", Path({str(kernel.source)!r}), (Parameter("out", "pointer"),)))
    """
    answer = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True)
    assert answer.returncode == 0, answer.stderr
