"""Writes docs/elements.md from the options of all elements: ``python scripts/elements.py``."""

from __future__ import annotations

from pathlib import Path

from lineside.pipelines.reference import as_markdown

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "elements.md"


def main() -> None:
    """Writes the document."""
    DOCUMENT.write_text(as_markdown(), encoding="utf-8")
    print(DOCUMENT)


if __name__ == "__main__":
    main()
