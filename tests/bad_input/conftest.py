from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tiny_bundle import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model; no test may change it."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.bundle")
