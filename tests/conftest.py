"""What all tests share: the repository, the command line, and a home of their own for caches.

Imports nothing but the standard library, pytest and (where it is there) hypothesis: the lean tests on Python 3.10 read it too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEMO_BUNDLES = ("bearing", "tube")

Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure(config: pytest.Config) -> None:
    """Gives the process, and all that it starts, caches and settings of its own."""
    home = tempfile.mkdtemp(prefix="lineside-tests-")
    config.stash[HOME] = home
    os.environ["XDG_CACHE_HOME"] = os.path.join(home, "cache")
    _share_kernels(Path(home) / "cache" / "lineside")
    os.environ["YOLO_CONFIG_DIR"] = os.path.join(home, "ultralytics")
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["MPLBACKEND"] = "agg"
    os.environ.pop("COLUMNS", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # Started in the background by a shell: what is started from here would inherit deafness to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        # One worker a core: more threads than that only wait for each other.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:
        return
    settings.register_profile(
        "lineside",
        deadline=None,
        # The same tree gets the same verdict; LINESIDE_SEARCH=1 looks for new examples instead.
        derandomize="LINESIDE_SEARCH" not in os.environ,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    settings.load_profile("lineside")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files of this folder itself before those of all others.

    Each makes a bundle for all its tests, one of them by training. What stands at the front goes to one process as a whole;
    what stands at the end goes to all of them by twos, and each would make the bundles again.
    """
    items.sort(key=lambda item: item.path.parent != ROOT / "tests")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes the caches again."""
    shutil.rmtree(config.stash.get(HOME, ""), ignore_errors=True)


def _share_kernels(cache: Path) -> None:
    """Puts a folder of all test processes in the place of compiled kernels, which none of them then compiles again.

    They are named after all that goes into a compiler. What makes the files for it is our own code: where that changes,
    the folder is another one.
    """
    digest = hashlib.sha256()
    for path in sorted((ROOT / "runtime" / "kernels").glob("*.py")):
        digest.update(path.read_bytes() + b"\0")
    shared = ROOT / "build" / "kernels" / digest.hexdigest()[:16]
    if "PYTEST_XDIST_WORKER" not in os.environ and not shared.is_dir():
        shutil.rmtree(shared.parent, ignore_errors=True)
    shared.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True)
    (cache / "kernels").symlink_to(shared)


HOME = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def cli() -> Command:
    """Runs ``lineside WORD...`` in a process of its own; keyword arguments go to `subprocess.run`.

    ``env_add`` is added to this process's environment.
    """

    def run(
        *words: str | Path, timeout: float = 600, env_add: dict[str, str] | None = None, **options: object
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lineside", *map(str, words)]
        if env_add:
            options["env"] = {**os.environ, **env_add}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache is empty and the test's own; compiled kernels alone are those of all tests."""
    folder = tmp_path / "cache"
    _share_kernels(folder)
    monkeypatch.setenv("LINESIDE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def small_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with as many pictures as a parity gate needs, small enough for a gate of a second; for ``--images``."""
    import cv2

    from lineside.export.pictures import drawn_pictures

    folder = tmp_path_factory.mktemp("small-pictures")
    sizes = [(90, 120), (120, 90), (96, 96), (75, 110), (101, 64), (64, 101), (88, 88), (130, 97)]
    for index, picture in enumerate(drawn_pictures((), sizes)):
        cv2.imwrite(str(folder / f"{index}.png"), picture.frame)
    return folder


@pytest.fixture(params=DEMO_BUNDLES)
def demo_bundle(request: pytest.FixtureRequest) -> Path:
    """Each demo bundle in turn."""
    bundle = ROOT / "demo" / f"{request.param}.bundle"
    assert bundle.is_dir(), f"{bundle} is part of the repository"
    return bundle
