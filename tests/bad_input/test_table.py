"""Every test that docs/bad-input.md names exists and is collected, and every row names one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/bad-input.md"
NAME = re.compile(r"`([a-z_]+/test_[a-z_]+\.py(?:::\w+)+)`")
CODE = re.compile(r"–|(?:0|1|2|130|as without)(?: / (?:0|141))?|141")
"""An exit code, or two where the row has two cases."""


def rows() -> list[list[str]]:
    """Cells of every row of every table."""
    text = DOCUMENT.read_text(encoding="utf-8").replace("\\|", "¦")
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| What is given")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_row_says_what_happens_with_which_code_and_names_its_tests() -> None:
    assert len(rows()) > 40
    for row in rows():
        given, does, code, tests = row
        assert given and does and CODE.fullmatch(code), row
        assert NAME.findall(tests) and not NAME.sub("", tests).strip(), row


def names_in(file: Path) -> set[str]:
    """What pytest collects in a file: functions ``test_*``, and those in classes ``Test*``."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        members = [("", node)]
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            members = [(f"{node.name}::", member) for member in node.body]
        found |= {
            prefix + member.name
            for prefix, member in members
            if isinstance(member, ast.FunctionDef) and member.name.startswith("test_")
        }
    return found


def test_every_named_test_is_collected() -> None:
    named = {name for row in rows() for name in NAME.findall(row[3])}
    for name in named:
        file, _, test = name.partition("::")
        assert test in names_in(ROOT / "tests" / file), f"{name} does not exist"
    ours = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert ours <= {name.split("::")[0].rpartition("/")[2] for name in named}, "each file of this folder has a row"
