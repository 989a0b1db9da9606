"""The wheel holds the whole program and nothing that is not of it; without extras it still imports and speaks."""

from __future__ import annotations

import subprocess
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDERS = {
    "runtime/": "lineside/runtime/",
    "export/": "lineside/export/",
    "pipelines/": "lineside/pipelines/",
    "configs/": "lineside/configs/",
    "src/lineside/": "lineside/",
}
LEFT_OUT = (".cpp", ".hpp", ".toml", ".gitignore")
"""What lies in the package folders for the build and the linter only."""
WEIGHTS = (".pt", ".onnx", ".safetensors", ".engine", ".plan", ".npz", ".mp4", ".jpg")
HEAVY = ("torch", "onnx", "ultralytics", "cv2", "onnxruntime")


def tracked(repository: Path) -> list[str]:
    answer = subprocess.run(["git", "ls-files", "-s", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    entries = [entry.split("\t", 1) for entry in answer.stdout.split("\0") if entry]
    return [name for mode, name in entries if not mode.startswith("120000") and (repository / name).exists()]


def expected(repository: Path) -> set[str]:
    """Where every tracked file of the package folders lies in the wheel."""
    found = set()
    for name in tracked(repository):
        for folder, place in FOLDERS.items():
            if name.startswith(folder) and not name.endswith(LEFT_OUT):
                found.add(place + name.removeprefix(folder))
    return found


def test_the_wheel_holds_every_file_of_the_packages(repository: Path, distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    native = {name for name in names if name.startswith("lineside/runtime/_native.") and name.endswith(".so")}
    assert len(native) == 1
    assert names - native == expected(repository)
    assert {"lineside/py.typed", "lineside/runtime/errors.py", "lineside/configs/__init__.py"} <= names


def test_the_wheel_holds_no_links_no_weights_and_the_licence(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        infos = wheel.infolist()
    assert not [info.filename for info in infos if (info.external_attr >> 16) & 0o170000 == 0o120000]
    assert not [info.filename for info in infos if info.filename.endswith(WEIGHTS)]
    assert [info.filename for info in infos if info.filename.endswith("LICENSE")]
    assert sum(info.compress_size for info in infos) < 5_000_000


def test_the_source_distribution_holds_the_native_sources_and_no_demo(
    repository: Path, distributions: tuple[Path, Path]
) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    native = {name for name in tracked(repository) if name.startswith("runtime/native/")}
    assert native
    assert native <= names
    assert {"CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.startswith(("demo/", "tests/", "benchmarks/", ".venv", "build/"))]
    assert not [name for name in names if name.endswith(WEIGHTS) and not name.startswith("docs/")]


def run(python: Path, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-c", textwrap.dedent(script)], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_without_extras_the_lean_packages_import(bare_python: Path, tmp_path: Path) -> None:
    script = f"""
        import importlib, pkgutil, sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {HEAVY!r}:
                    raise ImportError(f"{{name}} is blocked")

        sys.meta_path.insert(0, Block())
        import lineside, lineside.pipelines, lineside.runtime
        for module in pkgutil.walk_packages(lineside.runtime.__path__, "lineside.runtime."):
            importlib.import_module(module.name)
        print(lineside.__file__)
    """
    answer = run(bare_python, script, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert Path(answer.stdout.strip()).is_relative_to(bare_python.parents[1])


@pytest.mark.parametrize(
    "command", ["", "run", "inspect", "verify", "export", "train", "synth", "demo", "import", "profile"]
)
def test_without_extras_every_command_has_its_help(bare_python: Path, tmp_path: Path, command: str) -> None:
    words = [word for word in (command, "--help") if word]
    answer = subprocess.run(
        [bare_python, "-m", "lineside", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    assert "Usage" in answer.stdout


def test_without_an_engine_the_error_says_what_to_install(bare_python: Path, tmp_path: Path, demo_bundle: Path) -> None:
    answer = subprocess.run(
        [bare_python, "-m", "lineside", "verify", demo_bundle],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 2
    assert "pip install" in answer.stderr
    assert "lineside[cpu]" in answer.stderr
    assert "Traceback" not in answer.stderr
