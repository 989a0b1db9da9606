"""Reads the Markdown documents: their code blocks, commands and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = tuple(
    sorted([*ROOT.glob("README*.md"), ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])
)
SHELLS = ("sh", "bash", "console", "shell")

FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: line of its first line of code, language, text."""

    line: int
    language: str
    text: str


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [Block(text.count("\n", 0, match.start()) + 2, match[1], match[2]) for match in FENCE.finditer(text)]


def commands(document: Path) -> list[tuple[int, str]]:
    """Line and text of every shell command: comments cut off, continued lines joined, ``a && b`` taken apart."""
    found = []
    for block in blocks(document):
        if block.language not in SHELLS:
            continue
        lines = block.text.replace("\\\n", " ").splitlines()
        if block.language == "console":
            lines = [line.removeprefix("$ ") if line.startswith("$ ") else "" for line in lines]
        for number, line in enumerate(lines):
            words = re.sub(r"(^|\s)#.*$", "", line).strip()
            found += [(block.line + number, part.strip()) for part in words.split("&&") if part.strip()]
    return found


def links(document: Path) -> list[str]:
    """Targets of all links and pictures outside code."""
    return LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
