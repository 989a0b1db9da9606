"""Says in one sentence why a user's Python file cannot be imported."""

from __future__ import annotations

import traceback
from pathlib import Path

__all__ = ["advice", "why_not_imported"]


def why_not_imported(error: BaseException, path: Path) -> str:
    """What went wrong with an import, with file and line.

    Args:
        error: What the import raised.
        path: The file or folder that was imported; lines of other files are not named.
    """
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename or path).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(path)]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}{place}"


def advice(error: BaseException) -> str:
    """What to do about an error that an import raised."""
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "It imports from the package around it: give the folder of that package"
    if isinstance(error, ModuleNotFoundError):
        return f"Install {error.name}, or give the folder that it lies in" if error.name else "Install what it needs"
    return "Correct the file"
