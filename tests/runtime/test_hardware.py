from __future__ import annotations

import os
from pathlib import Path

import pytest

from lineside.runtime import hardware


def machine(root: Path, siblings: dict[int, str], cgroup: str = "0::/\n", limits: dict[str, str] | None = None) -> Path:
    """A machine's ``/proc`` and ``/sys``, as far as they are read."""
    for processor, text in siblings.items():
        write(root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list", text)
    write(root / "proc/self/cgroup", cgroup)
    for name, text in (limits or {}).items():
        write(root / "sys/fs/cgroup" / name, text)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


FOUR_CORES = {i: f"{i % 4},{i % 4 + 4}\n" for i in range(8)}


def test_hyper_threads_of_one_core_count_once(tmp_path: Path) -> None:
    root = machine(tmp_path, FOUR_CORES)
    assert hardware.available_cores(root, set(range(8))) == 4
    assert hardware.available_cores(root, {0, 4}) == 1
    assert hardware.available_cores(root, {0, 1, 5}) == 2


def test_without_a_topology_every_processor_is_a_core(tmp_path: Path) -> None:
    assert hardware.available_cores(tmp_path, {0, 1, 2}) == 3


@pytest.mark.parametrize(
    ("cgroup", "limits", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),  # half a processor is still one thread
        ("0::/\n", {"cpu.max": "350000 100000\n"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),  # a parent's limit holds
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "100000 100000\n"}, 1),
        ("4:memory:/x\n3:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "200000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 2),
        ("3:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 4),
        ("nonsense", {}, 4),
    ],
)  # fmt: skip
def test_the_quota_of_a_container_is_a_bound(tmp_path: Path, cgroup: str, limits: dict[str, str], cores: int) -> None:
    assert hardware.available_cores(machine(tmp_path, FOUR_CORES, cgroup, limits), set(range(8))) == cores


X86 = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: sse4_2 avx2\n\nprocessor\t: 1\nmodel name\t: Other\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd42\n"


def test_an_x86_processor(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", X86)
    found = hardware.cpu(tmp_path)
    assert (found.model, found.flags) == ("Some CPU @ 3 GHz", ("avx2", "sse4_2"))


def test_a_jetson_tells_its_name_in_the_device_tree(tmp_path: Path) -> None:
    write(tmp_path / "proc/cpuinfo", ARM)
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin Nano\0")
    found = hardware.cpu(tmp_path)
    assert (found.model, found.flags) == ("NVIDIA Jetson Orin Nano", ("asimd", "fp"))


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = hardware.cpu(tmp_path)
    assert found.model and found.flags == () and found.cores >= 1


def test_this_machine() -> None:
    found = hardware.cpu()
    assert found.flags and found.machine and 1 <= found.cores <= len(os.sched_getaffinity(0)) <= found.logical
