"""Every kernel of the program compiles for every GPU, takes what it declares, spills nothing, and runs on the processor."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from helpers import cuda_wheels
from helpers.all_kernels import all_kernels, sources_in_the_tree, tables
from lineside.runtime.kernels.host import host_function
from lineside.runtime.kernels.kernel import Kernel
from lineside.runtime.kernels.nvrtc import ARCHITECTURES, compile_ptx
from lineside.runtime.kernels.ptx import entry_parameters, ptx_target, ptx_version
from lineside.runtime.ops.kernels import NAMES
from lineside.runtime.ops.table import OPS

KINDS = {"pointer": "u64", "int": "u32", "float": "f32"}
QUICK = ("compute_80", "compute_87")
"""Assembled in every run; the others in the slow ones."""

REST = tuple(arch for arch in ARCHITECTURES if arch not in QUICK)

JETPACK_6 = "12.6"
"""CUDA of the oldest device: its driver takes PTX up to version 8.5 and nothing newer."""


def label(kernel: Kernel) -> str:
    return "-".join((kernel.name, *(value for _, value in kernel.defines)))


KERNELS = [pytest.param(kernel, id=f"{number}-{label(kernel)}") for number, kernel in enumerate(all_kernels())]


def test_every_source_of_the_tree_is_in_a_table() -> None:
    assert {kernel.source.resolve() for kernel in tables()} == sources_in_the_tree()
    assert len({kernel.fingerprint() for kernel in tables()}) == len(tables())


def check(kernel: Kernel, arch: str, ptx: bytes) -> None:
    assert ptx_target(ptx) == arch.replace("compute", "sm")
    assert entry_parameters(ptx, kernel.name) == tuple(KINDS[parameter.kind] for parameter in kernel.parameters)
    for parameter in kernel.parameters:
        assert parameter.name
        assert parameter.kind != "pointer" or parameter.type.endswith("*")


def test_every_operator_with_a_kernel_is_tried() -> None:
    without = {"ModDeformConv2d"}  # TensorRT's own
    assert {name.partition("_")[0] for name in NAMES} == set(OPS) - without


@pytest.mark.parametrize("kernel", KERNELS)
def test_cuda_13_compiles_it_for_every_gpu(kernel: Kernel) -> None:
    for arch in ARCHITECTURES:
        check(kernel, arch, compile_ptx(kernel, arch, cuda_wheels.nvrtc("13.0")))


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_cuda_of_jetpack_6_compiles_it_and_its_driver_would_take_it(kernel: Kernel) -> None:
    for arch in ARCHITECTURES[:5]:
        ptx = compile_ptx(kernel, arch, cuda_wheels.nvrtc(JETPACK_6))
        check(kernel, arch, ptx)
        assert ptx_version(ptx) <= (8, 5)
    assemble(cuda_wheels.ptxas(JETPACK_6), compile_ptx(kernel, "compute_87", cuda_wheels.nvrtc(JETPACK_6)), "sm_87")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "archs", [pytest.param(QUICK, id="quick"), pytest.param(REST, id="rest", marks=pytest.mark.slow)]
)
def test_it_spills_nothing_and_shares_what_it_says(kernel: Kernel, archs: tuple[str, ...]) -> None:
    shared = host_function(kernel).shared  # builds it for the processor as well
    for arch in archs:
        ptx = compile_ptx(kernel, arch, cuda_wheels.nvrtc("13.0"))
        found = assemble(cuda_wheels.ptxas("13.0"), ptx, arch.replace("compute", "sm"))
        spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", found)
        assert spills, found
        assert set(spills) == {"0"}, f"{kernel.name} for {arch}: {found}"
        used = re.search(r"(\d+) bytes smem", found)
        assert (int(used.group(1)) if used else 0) <= -(-shared // 16) * 16, (
            f"{kernel.name} has more shared memory than g++ makes"
        )


def assemble(ptxas: Path, ptx: bytes, arch: str) -> str:
    """What the assembler says of a kernel's registers, spills and shared memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(ptxas), "-v", f"--gpu-name={arch}", "--output-file=kernel.cubin", "-"]
        answer = subprocess.run(command, input=ptx, capture_output=True, timeout=120, cwd=folder)
    words = answer.stderr.decode(errors="replace")
    assert answer.returncode == 0, words
    return words
