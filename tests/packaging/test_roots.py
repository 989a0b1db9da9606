"""The scripts that prove other machines: what can be said of them without being root and without a network.

Their real runs, in Debian roots, are recorded in docs/machines.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.checkout import export_tree

ROOTS = ("arm64_root.sh", "fresh_root.sh", "newer_root.sh")
DOCKERFILE = "docker/desktop.Dockerfile"


def script(repository: Path, name: str, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a script; with ``path`` nothing but the commands of that folder are there."""
    environment = {**os.environ, "LINESIDE_NAMESPACE": ""}
    if path:
        environment["PATH"] = str(path)
    command = [shutil.which("sh") or "sh", str(repository / name), *words]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def commands(folder: Path, user: int, *tools: str) -> Path:
    """A folder with these commands, and an ``id`` that names a user."""
    folder.mkdir()
    for tool in ("sh", "dirname", "mktemp", *tools):
        (folder / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool}"))
    (folder / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (folder / "id").chmod(0o755)
    return folder


@pytest.mark.parametrize("name", ROOTS)
def test_ordinary_users_are_told_to_become_root(repository: Path, tmp_path: Path, name: str) -> None:
    answer = script(repository, f"scripts/{name}", path=commands(tmp_path / "bin", 1000))
    assert answer.returncode == 2
    assert re.fullmatch(r"error: a Debian root can only be made by root: sudo sh .*\n", answer.stderr)


@pytest.mark.parametrize("name", ROOTS)
def test_without_debootstrap_they_say_what_to_install(repository: Path, tmp_path: Path, name: str) -> None:
    answer = script(repository, f"scripts/{name}", path=commands(tmp_path / "bin", 0))
    assert answer.returncode == 2
    assert answer.stderr == "error: debootstrap is missing: apt-get install debootstrap\n"


def test_the_pythons_script_needs_one(repository: Path, tmp_path: Path) -> None:
    answer = script(repository, "scripts/pythons.sh", "/no/such/python", path=commands(tmp_path / "bin", 0, "rm"))
    assert answer.returncode != 0


def test_cross_wheels_needs_a_folder_and_the_compiler(repository: Path, tmp_path: Path) -> None:
    assert "usage: " in script(repository, "scripts/cross_wheels.sh").stderr
    tools = commands(tmp_path / "bin", 0, "mkdir", "rm", "git")
    answer = script(repository, "scripts/cross_wheels.sh", str(tmp_path / "out"), path=tools)
    assert (answer.returncode, answer.stderr) == (2, "error: apt-get install g++-aarch64-linux-gnu\n")


def test_the_install_steps_say_how_they_are_called(repository: Path) -> None:
    answer = script(repository, "docker/install.sh", "upgrade")
    assert answer.returncode == 2
    assert [line.split()[3] for line in answer.stderr.splitlines()] == ["build", "run"]


def instructions(repository: Path) -> list[tuple[str, str]]:
    lines = (repository / DOCKERFILE).read_text().splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line and not line.startswith("#")]


def test_the_dockerfile_calls_the_install_steps_and_nothing_else(repository: Path) -> None:
    found = instructions(repository)
    runs = [rest for word, rest in found if word == "RUN"]
    assert len(runs) == 2
    assert all(re.match(r"sh /(src/docker|opt)/install\.sh (build|run) ", run) for run in runs)
    known = (repository / "scripts/fresh_root.sh").read_text()
    for word, rest in found:
        assert re.search(rf"^        {word}\)", known, re.MULTILINE), f"scripts/fresh_root.sh does not know {word}"
        assert not rest.endswith("\\"), "one instruction a line: scripts/fresh_root.sh reads them so"
    assert [rest for word, rest in found if word == "USER"] == ["lineside"]


def test_what_the_dockerfile_copies_is_in_the_repository(repository: Path, tmp_path: Path) -> None:
    export_tree(tmp_path / "checkout")
    for word, rest in instructions(repository):
        if word == "COPY" and not rest.startswith("--from"):
            assert (tmp_path / "checkout" / rest.split()[0]).exists(), rest
