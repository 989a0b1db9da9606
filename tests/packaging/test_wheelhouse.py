"""Wheels for a machine without a network: everything is there, for that machine and not for this one."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/wheelhouse.py"


@pytest.fixture(scope="module")
def wheelhouse() -> ModuleType:
    pytest.importorskip("pip", reason="the script reads wheels with what pip brings")
    spec = importlib.util.spec_from_file_location("wheelhouse", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make(folder: Path, name: str, version: str = "1", wants: Sequence[str] = (), tag: str = "py3-none-any") -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {it}" for it in wants)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n")
    return path


def lacking(module: ModuleType, paths: Sequence[Path], wanted: str, machine: str) -> list[str]:
    wheels = [module.Wheel.read(path) for path in paths]
    return sorted(map(str, module.missing(wheels, [module.Requirement(wanted)], module.Machine.parse(machine))))


def test_markers_are_those_of_the_machine(wheelhouse: ModuleType, tmp_path: Path) -> None:
    """pip itself would look at them with the Python that runs it."""
    wants = ["older; python_version < '3.11'", "desktop; platform_machine == 'x86_64'", "sun; sys_platform == 'darwin'"]
    paths = [make(tmp_path, "base", wants=wants)]
    assert lacking(wheelhouse, paths, "base", "aarch64-3.10") == ["older"]
    assert lacking(wheelhouse, paths, "base", "aarch64-3.12") == []
    assert lacking(wheelhouse, paths, "base", "x86_64-3.12") == ["desktop"]


def test_extras_and_versions_count_and_names_are_compared_as_pip_does(wheelhouse: ModuleType, tmp_path: Path) -> None:
    paths = [
        make(tmp_path, "base", wants=["In.Ner>=2; extra == 'more'", "third"]),
        make(tmp_path, "in_ner", "1.5"),
        make(tmp_path, "third", "7", wants=["base"]),
    ]
    assert lacking(wheelhouse, paths, "base", "aarch64-3.10") == []
    assert lacking(wheelhouse, paths, "base[more]", "aarch64-3.10") == ["In.Ner>=2"]
    assert lacking(wheelhouse, paths, "base>=2", "aarch64-3.10") == ["base>=2"]


def test_tags_of_a_machine(wheelhouse: ModuleType) -> None:
    orin, desktop = wheelhouse.Machine.parse("aarch64-3.10"), wheelhouse.Machine.parse("x86_64-3.11")
    assert str(orin) == "aarch64-cp310" and "manylinux_2_35_aarch64" in orin.platforms
    assert "manylinux_2_36_aarch64" not in orin.platforms  # Ubuntu 22.04 has glibc 2.35
    assert "manylinux_2_28_x86_64" in desktop.platforms and "manylinux_2_29_x86_64" not in desktop.platforms


def test_what_cannot_be_had_ends_with_a_sentence_and_no_folder(tmp_path: Path) -> None:
    for words, text in (
        (["--for", "sparc-3.10"], "give processor and Python"),
        (["--for", "aarch64-3.10", "--own", str(tmp_path)], "no wheel of Lineside for aarch64-cp310"),
    ):
        answer = run(tmp_path / "house", *words)
        assert answer.returncode == 2 and text in answer.stderr and "Traceback" not in answer.stderr
    assert list((tmp_path / "house").iterdir()) == []


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where no wheel can be fetched."""
    folder = tmp_path_factory.mktemp("reachable")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries", "0", "-d", str(folder), "click"]
    if subprocess.run(command, capture_output=True, timeout=120).returncode:
        pytest.skip("no package index can be reached")


@pytest.mark.slow
def test_a_machine_like_this_one_installs_from_it_without_an_index(
    distributions: tuple[Path, Path], index: None, tmp_path: Path
) -> None:
    machine = f"{platform.machine()}-{sys.version_info.major}.{sys.version_info.minor}"
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(distributions[1], own)
    answer = run(tmp_path / "house", "--for", machine, "--extras", "", "--own", str(own))
    assert answer.returncode == 0, answer.stderr
    (house,) = (tmp_path / "house").iterdir()
    assert "complete" in answer.stdout and "--no-index" in (house / "INSTALL.txt").read_text()
    summed = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=house, capture_output=True, text=True)
    assert summed.returncode == 0, summed.stdout
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    install = [str(python), "-m", "pip", "install", "-q", "--no-index", "--find-links", str(house), "lineside"]
    installed = subprocess.run(install, capture_output=True, text=True, timeout=300)
    assert installed.returncode == 0, installed.stderr
    shown = subprocess.run([str(tmp_path / "env/bin/lineside"), "--help"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and "Usage" in shown.stdout + shown.stderr


@pytest.mark.slow
def test_jetpack_6_is_resolved_from_here(distributions: tuple[Path, Path], index: None, tmp_path: Path) -> None:
    """The small extra alone: NVIDIA's bindings for its CUDA 12, and not what the same extra wants on a desktop."""
    own = tmp_path / "own"
    own.mkdir()
    version = distributions[1].name.split("-")[1]
    shutil.copy(distributions[1], own / f"lineside-{version}-cp310-cp310-linux_aarch64.whl")
    answer = run(tmp_path / "house", "--for", "aarch64-3.10", "--extras", "tensorrt", "--own", str(own))
    assert answer.returncode == 0, answer.stderr
    names = [path.name for path in (tmp_path / "house/aarch64-cp310").glob("*.whl")]
    assert any(name.startswith("cuda_bindings-12.") and "cp310" in name for name in names), names
    assert any(name.startswith("numpy-") and "cp310" in name and "aarch64" in name for name in names), names
    assert not any(name.startswith(("tensorrt", "nvidia_cuda_nvrtc")) or "x86_64" in name for name in names), names
