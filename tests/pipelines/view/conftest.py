"""What the tests of a station's page share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.obedient import COMMANDS, Command
from helpers.tiny_bundle import tiny_bundle


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, which stations start from."""
    folder = tmp_path_factory.mktemp("station")
    tiny_bundle(folder / "tiny.bundle")
    return folder


@pytest.fixture
def cameras() -> Iterator[dict[str, Command]]:
    """Two cameras that wait for commands."""
    COMMANDS.update(top=Command(), side=Command())
    yield COMMANDS
    COMMANDS.clear()
