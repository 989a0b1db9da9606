"""Commands that end badly, each in its own way, for the tests of the command line."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from lineside.runtime.errors import BadFrame, CheckFailed


def fine(count: int = typer.Argument(1), code: int = typer.Option(0)) -> int:
    """Prints some lines and returns a code."""
    for i in range(count):
        print(f"line {i}")
    return code


def bad_input() -> None:
    """Meets a bad picture."""
    raise BadFrame("the picture is empty: give another one")


def check() -> None:
    """Runs a check that says no."""
    raise CheckFailed("box differs by 3 px: export again")


def crash() -> None:
    """Divides by zero."""
    print(1 // (len(sys.argv) * 0))


def disk() -> None:
    """Opens what is not there."""
    Path("/nonexistent/file").read_text()


def memory() -> None:
    """Asks for more than there is."""
    bytes(sys.maxsize - 99)


def package() -> None:
    """Needs a package that is not installed."""
    raise ModuleNotFoundError("No module named 'cv2.dnn'", name="cv2.dnn")


def other_package() -> None:
    """Needs a package that no extra brings."""
    raise ModuleNotFoundError("No module named 'flurb'", name="flurb")


def wait() -> None:
    """Waits for an interrupt."""
    print("ready", flush=True)
    time.sleep(60)
