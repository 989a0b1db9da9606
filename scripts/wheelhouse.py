"""Collects every wheel that a machine without a network needs, one folder for each kind of machine.

usage: python scripts/wheelhouse.py [FOLDER] [--for aarch64-3.10,aarch64-3.12] [--extras cpu,station,tensorrt] [--own FOLDER]

The machines are named by processor and Python: JetPack 6 is aarch64-3.10, JetPack 7 aarch64-3.12, a desktop x86_64-3.11 or the
like. Lineside's own wheel is cross-compiled for aarch64 by scripts/cross_wheels.sh, or taken from --own. pip looks at the markers of
dependencies ("python_version < '3.11'") with the Python that runs it, not with the one that the wheels are for; so what each wheel
wants is read from it and asked for until nothing is missing. Exit code 2: something cannot be had, and no folder is left.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
from pip._vendor.packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]

GLIBC = {("aarch64", "3.10"): 35, ("aarch64", "3.12"): 39}
"""The second number of glibc's version there, Ubuntu 22.04 and 24.04; elsewhere 2.28, which wheels of today ask for at most."""

PINS = {("aarch64", "3.10"): ("cuda-bindings<13",), ("aarch64", "3.12"): ("cuda-bindings>=13",)}
"""JetPack 6 has CUDA 12.6, JetPack 7 has 13."""

MACHINE = {"aarch64": b"\xb7\x00", "x86_64": b"\x3e\x00"}
"""What a shared object says it is for, in its header."""

COMPILED = ("hdrhistogram",)
"""Has wheels for x86-64 alone: its C is compiled here, by the cross compiler and with the headers of a Python of that version."""

ROUNDS = 8
"""So often missing dependencies are asked for; two are usual."""


class Incomplete(Exception):
    """Something cannot be had; the text says what and what to do."""


@dataclass(frozen=True)
class Machine:
    """What the wheels are for.

    Attributes:
        processor: ``aarch64`` or ``x86_64``.
        python: Such as ``3.10``.
    """

    processor: str
    python: str

    @classmethod
    def parse(cls, text: str) -> Machine:
        """A machine by its name, such as ``aarch64-3.10``."""
        match = re.fullmatch(r"(aarch64|x86_64)-(3\.\d+)", text)
        if match is None:
            raise Incomplete(f"--for {text}: give processor and Python, such as aarch64-3.10 or x86_64-3.11")
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{self.processor}-cp{self.python.replace('.', '')}"

    @property
    def platforms(self) -> list[str]:
        """Tags of wheels that run there."""
        newest = GLIBC.get((self.processor, self.python), 28)
        tags = [f"manylinux_2_{minor}_{self.processor}" for minor in range(newest, 4, -1)]
        return [*tags, f"manylinux2014_{self.processor}", f"linux_{self.processor}"]

    def environment(self, extra: str) -> dict[str, str]:
        """What markers are compared with there."""
        return {
            "implementation_name": "cpython", "implementation_version": f"{self.python}.0", "os_name": "posix",
            "platform_machine": self.processor, "platform_python_implementation": "CPython", "platform_release": "",
            "platform_system": "Linux", "platform_version": "", "python_full_version": f"{self.python}.0",
            "python_version": self.python, "sys_platform": "linux", "extra": extra,
        }  # fmt: skip


@dataclass(frozen=True)
class Wheel:
    """A wheel and what it wants.

    Attributes:
        name: Of its distribution, in the form in which names are compared.
        version: Its version.
        wants: Its requirements, markers included.
    """

    name: str
    version: Version
    wants: tuple[Requirement, ...]

    @classmethod
    def read(cls, path: Path) -> Wheel:
        """What a wheel says of itself."""
        with zipfile.ZipFile(path) as archive:
            name = next(it for it in archive.namelist() if it.endswith(".dist-info/METADATA"))
            told = email.message_from_bytes(archive.read(name))
        wants = tuple(Requirement(text) for text in told.get_all("Requires-Dist") or ())
        return cls(canonicalize_name(told["Name"]), Version(told["Version"]), wants)


def missing(wheels: Iterable[Wheel], wanted: Sequence[Requirement], machine: Machine) -> list[Requirement]:
    """What of some requirements, and of theirs, no wheel satisfies on a machine.

    Args:
        wheels: What is there.
        wanted: What is asked for, extras included.
        machine: Where it is to be installed.

    Returns:
        Requirements without markers, each once.
    """
    there = {wheel.name: wheel for wheel in wheels}
    waiting, seen, found = list(wanted), set(), []
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        wheel = there.get(canonicalize_name(requirement.name))
        if wheel is None or not requirement.specifier.contains(wheel.version, prereleases=True):
            found.append(requirement)
            continue
        for extra in ("", *sorted(requirement.extras)):
            for inner in wheel.wants:
                if inner.marker is None or inner.marker.evaluate(machine.environment(extra)):
                    plain = Requirement(str(inner))
                    plain.marker = None
                    waiting.append(plain)
    return found


def own_wheels(machines: Sequence[Machine], folder: Path) -> None:
    """Builds Lineside's own wheel for every machine into a folder."""
    crossed = [it.python for it in machines if it.processor == "aarch64"]
    if crossed:
        run("sh", str(ROOT / "scripts/cross_wheels.sh"), str(folder), *crossed)
    for machine in machines:
        if machine.processor != "aarch64":
            run(find_python(machine), "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT))


def own_wheel(machine: Machine, folder: Path) -> Path:
    """Lineside's wheel for a machine."""
    digits = machine.python.replace(".", "")
    stable = [f"cp3{minor}-abi3" for minor in range(int(digits[1:]), 11, -1)]
    for tag in (f"cp{digits}-cp{digits}", *stable):
        found = sorted(folder.glob(f"lineside-*-{tag}-*linux*_{machine.processor}.whl"))
        if found:
            return found[-1]
    raise Incomplete(f"{folder} has no wheel of Lineside for {machine}: scripts/cross_wheels.sh makes them")


def run(*words: str, there: Mapping[str, str] | None = None) -> None:
    """Runs a command, in an environment with more in it, and ends with what it said where that failed."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **(there or {})})
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        raise Incomplete(f"{' '.join(words[:4])} failed: {' / '.join(said[-3:])}")


def compiled(requirement: Requirement, machine: Machine, folder: Path) -> None:
    """Compiles a package of C sources for another processor into a folder."""
    python = find_python(machine)
    compiler = f"{machine.processor}-linux-gnu-gcc"
    if shutil.which(compiler) is None:
        raise Incomplete(
            f"{requirement} has no wheel for {machine} and wants a compiler: apt-get install gcc-{machine.processor}-linux-gnu"
        )
    there = {
        "CC": compiler, "LDSHARED": f"{compiler} -shared", "_PYTHON_HOST_PLATFORM": f"linux-{machine.processor}",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{machine.python.replace('.', '')}-{machine.processor}-linux-gnu.so",
    }  # fmt: skip
    command = [python, "-m", "pip", "wheel", "-q", "--no-deps", "--use-pep517", "--no-cache-dir", "-w", str(folder)]
    run(*command, "--no-binary", requirement.name, str(requirement), there=there)
    for path in folder.glob(f"{canonicalize_name(requirement.name).replace('-', '_')}-*.whl"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".so") and archive.read(name)[18:20] != MACHINE[machine.processor]:
                    raise Incomplete(f"{name} in {path.name} is not for {machine.processor}")


def find_python(machine: Machine) -> str:
    """An interpreter of the version that a machine has."""
    versions = sorted((Path.home() / ".pyenv/versions").glob(f"{machine.python}.*/bin/python{machine.python}"))
    for python in (f"python{machine.python}", *map(str, versions)):
        found = shutil.which(python)  # pyenv leaves scripts on the PATH that end with an error
        if found and subprocess.run([found, "-c", "import pip"], capture_output=True).returncode == 0:
            return found
    raise Incomplete(f"no Python {machine.python} with pip was found to compile with")


def download(requirements: Sequence[str], machine: Machine, folder: Path) -> None:
    """Fetches wheels for a machine, with what they want as this Python sees it."""
    tags = [word for tag in machine.platforms for word in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", machine.python, *tags, "-d", str(folder)]
    run(*command, *requirements)


def collect(machine: Machine, own: Path, extras: Sequence[str], folder: Path) -> int:
    """Fills the folder of one machine.

    Returns:
        How many wheels it holds.
    """
    wheel, made = own_wheel(machine, own), folder.with_name(f"compiled-{machine}")
    made.mkdir()
    shutil.copy(wheel, folder)
    ours = Wheel.read(wheel)
    wanted = [Requirement(f"lineside[{','.join(extras)}]=={ours.version}" if extras else f"lineside=={ours.version}")]
    asked = [*PINS.get((machine.processor, machine.python), ())] if "tensorrt" in extras else []
    for _ in range(ROUNDS):
        lacking = missing([Wheel.read(path) for path in folder.glob("*.whl")], wanted, machine)
        if not lacking:
            break
        for requirement in lacking:
            if machine.processor == "aarch64" and requirement.name in COMPILED:
                compiled(requirement, machine, made)
            else:
                asked.append(str(requirement))
        for path in folder.glob("*.whl"):
            path.unlink()  # pip resolves everything together; its cache has what it fetched before
        download(asked, machine, folder)
        for path in (wheel, *made.glob("*.whl")):
            shutil.copy(path, folder)
    else:
        raise Incomplete(f"{machine}: {', '.join(map(str, lacking))} cannot be had together with the rest")
    names = sorted(path.name for path in folder.glob("*.whl"))
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums))
    named = f"lineside[{','.join(extras)}]" if extras else "lineside"
    (folder / "INSTALL.txt").write_text(
        "In this folder, on the machine:\n\n  sha256sum -c SHA256SUMS\n  python3 -m venv --system-site-packages ~/lineside\n"
        f"  ~/lineside/bin/pip install --no-index --find-links . '{named}'\n"
    )
    return len(names)


def main() -> int:
    """Collects, and says what is where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/wheelhouse"))
    parser.add_argument("--for", dest="machines", default="aarch64-3.10,aarch64-3.12")
    parser.add_argument("--extras", default="cpu,station,tensorrt")
    parser.add_argument("--own", type=Path, help="folder with wheels of Lineside that are there already")
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    try:
        machines = [Machine.parse(text.strip()) for text in words.machines.split(",")]
        extras = [word.strip() for word in words.extras.split(",") if word.strip()]
        with tempfile.TemporaryDirectory(dir=words.folder, prefix=".new-") as temporary:
            own = words.own or Path(temporary) / "own"
            if words.own is None:
                own_wheels(machines, own)
            for machine in machines:
                new, old = Path(temporary) / str(machine), words.folder / str(machine)
                new.mkdir()
                count = collect(machine, own, extras, new)
                shutil.rmtree(old, ignore_errors=True)
                os.replace(new, old)
                size = sum(path.stat().st_size for path in old.iterdir())
                print(f"{old}: {count} wheels, {size / 1e6:.0f} MB, complete; INSTALL.txt says how")
    except Incomplete as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
