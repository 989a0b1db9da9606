"""Makes a virtual environment with Lineside in it; does nothing where nothing has changed since the last time.

usage: python venv.py FOLDER --extras cpu,station [--editable] [--constraints FILE]

Runs with the interpreter that the environment is to have, from the root of the repository, on the standard library alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

STAMP = ".lineside-stamp"
"""File inside the environment that holds the fingerprint of what was installed into it."""

BUILD_FILES = ("pyproject.toml", "CMakeLists.txt")
PACKAGE_FOLDERS = ("src/lineside", "runtime", "export", "pipelines", "configs")
NATIVE = "runtime/native"


def sources(editable: bool) -> list[Path]:
    """Files whose content decides whether the environment is up to date.

    An editable environment sees the Python sources by itself: only the build files and the native core count.
    """
    folders = (NATIVE,) if editable else PACKAGE_FOLDERS
    found = [Path(name) for name in BUILD_FILES if Path(name).is_file()]
    for folder in folders:
        found += [path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path for path in found if path.suffix not in {".pyc", ".so"})


def fingerprint(folder: Path, arguments: argparse.Namespace) -> str:
    """Hash of the interpreter, the place, the options and the content of every source."""
    digest = hashlib.sha256()
    constraints = arguments.constraints.read_text() if arguments.constraints else ""
    # An environment holds absolute paths: a moved or copied one is made anew.
    for word in (sys.version, str(folder.resolve()), arguments.extras, str(arguments.editable), constraints):
        digest.update(word.encode() + b"\0")
    for path in sources(arguments.editable):
        digest.update(path.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def install(folder: Path, arguments: argparse.Namespace) -> None:
    """Makes the environment anew where its interpreter is another one, then installs Lineside with its extras."""
    python = folder / "bin" / "python"
    clear = ["--clear"] if not usable(folder) else []
    subprocess.run([sys.executable, "-m", "venv", *clear, str(folder)], check=True)
    target = ["--editable"] if arguments.editable else []
    target.append(f".[{arguments.extras}]" if arguments.extras else ".")
    constraints = ["--constraint", str(arguments.constraints)] if arguments.constraints else []
    quiet = [] if sys.stdout.isatty() else ["-qq", "--progress-bar", "off"]
    subprocess.run([str(python), "-m", "pip", "install", *quiet, *constraints, *target], check=True)


def usable(folder: Path) -> bool:
    """Whether the environment's interpreter starts and is of the wanted version."""
    probe = [str(folder / "bin" / "python"), "-c", "import sys; print(sys.version)"]
    try:
        answer = subprocess.run(probe, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.stdout.strip() == sys.version.strip()


def main() -> int:
    """Brings the environment up to date; 0 done, otherwise the exit code of what failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="")
    parser.add_argument("--constraints", type=Path)
    parser.add_argument("--editable", action="store_true")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    stamp = arguments.folder / STAMP
    wanted = fingerprint(arguments.folder, arguments)
    if stamp.is_file() and stamp.read_text().strip() == wanted:
        return 0
    what = f"lineside[{arguments.extras}]" if arguments.extras else "lineside"
    print(f"installing {what} into {arguments.folder} (only when something has changed) ...", flush=True)
    started = time.monotonic()
    stamp.unlink(missing_ok=True)
    try:
        install(arguments.folder, arguments)
    except subprocess.CalledProcessError as error:
        print(f"error: the installation failed; the lines above say why ({error.cmd[0]}).", file=sys.stderr)
        return 1
    stamp.write_text(wanted + "\n")
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
