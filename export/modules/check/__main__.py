"""``python -m lineside.export.modules.check DIR``: runs every case below a folder and says how far off each is."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lineside.export.modules.check.case import Entry, NoHandler, find_entries, read_case
from lineside.export.modules.check.compare import compare
from lineside.export.modules.check.table import answer, tolerance
from lineside.runtime.errors import LinesideError

__all__ = ["Outcome", "main", "run_case"]

FAULT_LENGTH = 300
"""Letters of an error that a line has room for; ``--debug`` shows all of it."""


@dataclass(frozen=True)
class Outcome:
    """How one case went.

    Attributes:
        folder: Folder of the manifest, relative to the one that was asked for.
        module: Family.
        case: Name of the case.
        passed: Whether the relative error is at most the tolerance.
        error: Largest relative error; None where there is none to give.
        tolerance: What was allowed; None where nothing answers the case.
        fault: Why it failed, for anything but a large error; empty otherwise.
    """

    folder: str
    module: str
    case: str
    passed: bool
    error: float | None
    tolerance: float | None
    fault: str = ""


def run_case(entry: Entry, root: Path, debug: bool = False) -> Outcome:
    """Runs one case; whatever goes wrong in it is its outcome.

    Args:
        entry: The case.
        root: Folder that `Outcome.folder` is relative to.
        debug: Print the traceback of what a module raised.

    Returns:
        The outcome. A case that nothing answers, whose file is missing, or whose answer is not finite has not passed.
    """
    folder = entry.folder.relative_to(root).as_posix()
    error: float | None = None
    allowed: float | None = None
    try:
        case = read_case(entry)
        allowed = tolerance(case)
        with torch.no_grad():
            found = compare(answer(case), case.expected)
        fault = found.fault
        error = found.error if found.error < float("inf") else None
    except (NoHandler, LinesideError) as refusal:
        fault = str(refusal)
    except Exception as failure:  # a module can fail in any way, and the other cases still count
        if debug:
            traceback.print_exc()
        fault = f"{type(failure).__name__}: {' '.join(str(failure).split())[:FAULT_LENGTH]}"
    passed = not fault and error is not None and allowed is not None and error <= allowed
    return Outcome(folder, entry.module, entry.case, passed, error, allowed, fault)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: Words of the command line; those of the process when None.

    Returns:
        0 where every case passed, 1 where one did not, 2 where there is nothing to run.
    """
    parser = argparse.ArgumentParser("python -m lineside.export.modules.check", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with reference vectors, at any depth")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    asked = parser.parse_args(arguments)
    try:
        return _run(asked.folder, asked.json, asked.debug)
    except (LinesideError, OSError) as error:
        if asked.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, LinesideError) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(folder: Path, as_json: bool, debug: bool) -> int:
    entries = find_entries(folder)
    outcomes = []
    with_progress = _progress(len(entries))
    for entry in entries:
        with_progress(f"{entry.module}/{entry.case}")
        outcome = run_case(entry, folder, debug)
        outcomes.append(outcome)
        with_progress("")
        if not as_json:
            print(_line(outcome), flush=True)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if as_json:
        counts = {"cases": len(outcomes), "passed": len(outcomes) - len(failed), "failed": len(failed)}
        print(json.dumps(counts | {"outcomes": [asdict(outcome) for outcome in outcomes]}, allow_nan=False))
    else:
        print(_summary(outcomes, failed))
    return 1 if failed else 0


def _line(outcome: Outcome) -> str:
    """One line about one case."""
    above = Path(outcome.folder)
    above = above.parent if above.name == outcome.module else above
    name = (above / outcome.module / outcome.case).as_posix()
    error = "-" if outcome.error is None else f"{outcome.error:.1e}"
    if outcome.passed:
        return f"ok      {name:50} {error:>8} <= {outcome.tolerance:.0e}"
    why = outcome.fault or f"more than {outcome.tolerance:.0e}"
    return f"FAILED  {name:50} {error:>8}  {why}"


def _summary(outcomes: Sequence[Outcome], failed: Sequence[Outcome]) -> str:
    """The last line."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    worst = f", largest relative error {max(errors):.1e}" if errors else ""
    missing = f", {len(failed)} failed" if failed else ""
    return f"{len(outcomes) - len(failed)} of {len(outcomes)} cases passed{missing}{worst}"


def _progress(total: int) -> Callable[[str], None]:
    """Shows on a terminal which case is running; says nothing elsewhere."""
    done = 0

    def show(name: str) -> None:
        nonlocal done
        done += bool(name)
        if sys.stderr.isatty():
            text = f"[{done}/{total}] {name}" if name else ""
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
