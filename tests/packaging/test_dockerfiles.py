"""The Dockerfiles and their scripts, as far as that shows without a container engine: docs/machines.md has the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.checkout import export_tree

NAMES = ("desktop", "gpu", "jetpack6", "jetpack7")

CUDA = {"gpu": "13", "jetpack6": "12", "jetpack7": "13"}
"""The CUDA of each image with a GPU."""


def instructions(repository: Path, name: str) -> list[tuple[str, str]]:
    lines = (repository / f"docker/{name}.Dockerfile").read_text().splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line and not line.startswith("#")]


def rest_of(repository: Path, name: str, word: str) -> list[str]:
    return [rest for instruction, rest in instructions(repository, name) if instruction == word]


def test_all_dockerfiles_are_looked_at(repository: Path) -> None:
    assert tuple(sorted(path.name.partition(".")[0] for path in (repository / "docker").glob("*.Dockerfile"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_base_is_pinned_and_no_layer_runs_as_root_at_the_end(name: str, repository: Path) -> None:
    for base in rest_of(repository, name, "FROM"):
        tag = base.split()[0].partition(":")[2]
        assert tag and tag != "latest", base
    assert rest_of(repository, name, "USER") == ["lineside"]


@pytest.mark.parametrize("name", NAMES)
def test_fresh_root_knows_every_instruction(name: str, repository: Path) -> None:
    known = (repository / "scripts/fresh_root.sh").read_text()
    for word, rest in instructions(repository, name):
        assert re.search(rf"^        {word}\)", known, re.MULTILINE), word
        assert not rest.endswith("\\"), "one instruction a line: scripts/fresh_root.sh reads them so"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_copied_is_there_and_what_is_run_are_the_scripts(name: str, repository: Path, tmp_path: Path) -> None:
    export_tree(tmp_path / "checkout")
    for rest in rest_of(repository, name, "COPY"):
        if not rest.startswith("--from"):
            assert (tmp_path / "checkout" / rest.split()[0]).exists(), rest
    for rest in rest_of(repository, name, "RUN"):
        match = re.fullmatch(r"sh /(?:src/docker|opt)/(install(?:_gpu)?\.sh) (build|run|check) [a-z0-9/ ]+", rest)
        assert match and (tmp_path / "checkout/docker" / match[1]).exists(), rest
    assert (repository / f"docker/{name}.Dockerfile.dockerignore").exists()


@pytest.mark.parametrize("name", sorted(CUDA))
def test_an_image_with_a_gpu_says_that_it_was_not_built_and_gets_the_bindings_of_its_cuda(
    name: str, repository: Path
) -> None:
    text = (repository / f"docker/{name}.Dockerfile").read_text()
    assert "Not built here" in text and f"CUDA {CUDA[name]}" in text
    assert f"RUN sh /src/docker/install_gpu.sh build /src /opt/lineside {CUDA[name]}\n" in text


@pytest.mark.parametrize("script", ["docker/install.sh", "docker/install_gpu.sh", "scripts/fresh_root.sh"])
def test_scripts_are_whole(script: str, repository: Path) -> None:
    shell = shutil.which("sh") or pytest.skip("no sh")
    assert subprocess.run([shell, "-n", str(repository / script)], capture_output=True).stderr == b""


@pytest.mark.parametrize("words", [(), ("upgrade",), ("build", "/src"), ("build", "/src", "/opt/x", "11"), ("check",)])
def test_the_gpu_steps_say_how_they_are_called(words: tuple[str, ...], repository: Path) -> None:
    shell = shutil.which("sh") or pytest.skip("no sh")
    answer = subprocess.run([shell, str(repository / "docker/install_gpu.sh"), *words], capture_output=True, text=True)
    assert answer.returncode == 2
    assert [line.split()[3] for line in answer.stderr.splitlines()] == ["build", "check", "run"]
