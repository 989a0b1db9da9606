"""The command line: ``lineside COMMAND``, the same as ``python -m lineside COMMAND``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from lineside.runtime.errors import LinesideError

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "demo": "lineside.cli.demo:command",
    "run": "lineside.cli.run:command",
    "profile": "lineside.cli.profile:command",
    "inspect": "lineside.cli.inspect:command",
    "verify": "lineside.cli.verify:command",
    "synth": "lineside.cli.synth:command",
    "train": "lineside.cli.train:command",
    "export": "lineside.cli.export:command",
    "import": "lineside.cli.import_:command",
}
"""Every command and the function behind it; a command's module is imported only when it is asked for."""


class CommandTable(TyperGroup):
    """A command group that finds its commands in `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None where there is none."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        app.command(name=cmd_name, no_args_is_help=False)(getattr(importlib.import_module(module), attribute))
        return typer.main.get_command(app)


app = typer.Typer(cls=CommandTable, add_completion=False, no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def lineside(
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Improved YOLO11 instance segmentation on the factory line: export with proof, run without torch."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line; those of the process when None.

    Returns:
        Exit code: 0 done, 1 a check failed, 2 wrong usage or bad input.
    """
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words == ["--version"]:
        from importlib.metadata import version

        print(f"lineside {version('lineside')}")
        return 0
    try:
        result = app(args=words, prog_name="lineside", standalone_mode=False)
    except LinesideError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return result if isinstance(result, int) else 0
