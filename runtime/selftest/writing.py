"""Writes a report: JSON to read by programs, and a page that needs nothing but itself."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from lineside.runtime.bundle import Bundle
from lineside.runtime.errors import BadOption, SinkError
from lineside.runtime.plain import plain
from lineside.runtime.selftest.findings import Report
from lineside.runtime.selftest.page import page_of
from lineside.runtime.whole_file import write_whole

__all__ = ["check_place", "write_report"]

JSON, HTML = "selftest.json", "selftest.html"


def check_place(folder: Path, bundle: Bundle) -> None:
    """Says early that a report cannot go where it shall go.

    Args:
        folder: Where the two files go; it is made with them.
        bundle: What is tested.

    Raises:
        BadOption: It is a file, or cannot be written, or lies in the bundle, whose files are fixed.
    """
    if folder.resolve().is_relative_to(bundle.path.resolve()):
        raise BadOption(f"--out {folder} lies in the bundle, whose files are fixed: name another folder")
    if any(path.exists() and not path.is_dir() for path in (folder, *folder.parents)):
        raise BadOption(f"--out {folder} is no folder, nor can it be one: name another")
    if taken := next((folder / name for name in (JSON, HTML) if (folder / name).is_dir()), None):
        raise BadOption(f"{taken} is a folder, and the report would be written there: name another with --out")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise BadOption(f"--out {folder} cannot be written ({error.strerror}): name another folder") from error


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Writes both forms, each whole or not at all.

    Args:
        report: The report.
        folder: Where.

    Returns:
        The JSON and the HTML.

    Raises:
        SinkError: The disk says no.
    """
    made = folder / JSON, folder / HTML
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(
            f"the folder {folder} for the report cannot be made ({error.strerror}): name another"
        ) from error
    texts = json.dumps(plain(report), indent=1) + "\n", page_of(report)
    try:
        for path, text in zip(made, texts, strict=True):
            write_whole(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise SinkError(
            f"the report cannot be written to {path} ({error.strerror}): name another with --out"
        ) from error
    return made
