"""The configurations of our operators that tests look at: lists named ``CASES`` in ``tests/export/ops/cases_*.py``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from helpers.op_case import OpCase

FOLDER = Path(__file__).resolve().parents[1] / "export" / "ops"


def all_cases(operator: str = "*") -> list[OpCase]:
    """Those of every operator, or of the one in ``cases_OPERATOR.py``."""
    found: list[OpCase] = []
    for path in sorted(FOLDER.glob(f"cases_{operator}.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.CASES
    return found
