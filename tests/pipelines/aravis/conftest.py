"""One test at a time simulates industrial cameras; without Aravis none does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.industrial import alone


@pytest.fixture(autouse=True)
def no_other_camera() -> Iterator[None]:
    """See `alone`."""
    with alone():
        yield
