"""A wheel built from the source distribution, and an environment with nothing but that wheel in it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from helpers.checkout import export_tree


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution of a clean clone, and the wheel built from that source distribution alone."""
    folder = tmp_path_factory.mktemp("distributions")
    checkout = folder / "checkout"
    export_tree(checkout)
    sdist = hook("build_sdist", checkout, folder / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked")
    (source,) = (folder / "unpacked").iterdir()
    wheel = hook("build_wheel", source, folder / "dist")
    return sdist, wheel


def hook(name: str, source: Path, target: Path) -> Path:
    """Calls a hook of the build backend as pip does, but in this environment: the build's needs are in the dev extra."""
    target.mkdir(exist_ok=True)
    script = f"import sys, scikit_build_core.build as backend; print(backend.{name}(sys.argv[1]))"
    answer = subprocess.run(
        [sys.executable, "-c", script, str(target)], cwd=source, capture_output=True, text=True, timeout=600
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return target / answer.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def bare_python(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a fresh environment that holds the wheel and its plain dependencies: no extra."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(distributions[1])]
    answer = subprocess.run(install, capture_output=True, text=True, timeout=600)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return python
