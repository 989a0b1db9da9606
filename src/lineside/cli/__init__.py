"""The command line: ``lineside COMMAND``, the same as ``python -m lineside COMMAND``.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a check failed (or the program did), 2 wrong usage
or bad input, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from lineside.cli.endings import tidy_endings
from lineside.cli.quiet import quiet_stderr
from lineside.pipelines.secrets import redacted
from lineside.runtime.errors import BadOption, LinesideError, MissingPackage

__all__ = ["COMMANDS", "EXTRAS", "main"]

COMMANDS = {
    "demo": "lineside.cli.demo:command",
    "run": "lineside.cli.run:command",
    "launch": "lineside.cli.launch:command",
    "station": "lineside.cli.station:command",
    "elements": "lineside.cli.elements:command",
    "profile": "lineside.cli.profile:command",
    "inspect": "lineside.cli.inspect:command",
    "verify": "lineside.cli.verify:command",
    "selftest": "lineside.cli.selftest:command",
    "synth": "lineside.cli.synth:command",
    "train": "lineside.cli.train:command",
    "export": "lineside.cli.export:command",
    "import": "lineside.cli.import_:command",
    "build": "lineside.cli.build:command",
    "doctor": "lineside.cli.doctor:command",
    "zoo": "lineside.cli.zoo:command",
    "bench-scan": "lineside.cli.bench_scan:command",
}
"""Every command and the function behind it; a command's module is imported only when it is asked for."""

EXTRAS = {
    "onnxruntime": "cpu",
    "cv2": "station",
    "edgefirst": "station",
    "hdrh": "station",
    "starlette": "station",
    "uvicorn": "station",
    "websockets": "station",
    "xlsxwriter": "station",
    "onnx": "export",
    "onnxscript": "export",
    "onnxslim": "export",
    "pycocotools": "export",
    "safetensors": "export",
    "torch": "export",
    "torchvision": "export",
    "ultralytics": "export",
}
"""Optional packages by the name they are imported under, and the extra that installs each."""

INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell shows for a program that SIGINT or SIGPIPE ended."""


class CommandTable(TyperGroup):
    """A command group that finds its commands in `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; one that cannot be loaded says why when it is called."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        settings = {}
        try:
            function = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            function = _unavailable(cmd_name, error)
            settings = {"allow_extra_args": True, "ignore_unknown_options": True}
        app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        app.command(name=cmd_name, context_settings=settings)(function)
        return typer.main.get_command(app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that the words begin with.

        Raises:
            BadOption: There is no such command.
        """
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean `lineside {close[0]}`?" if close else "`lineside --help` lists what there is"
            raise BadOption(f"there is no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)


def _unavailable(name: str, error: ImportError) -> Any:
    reason = _missing_package(error) or f"it cannot be loaded ({error})"

    def command() -> None:
        raise MissingPackage(f"`lineside {name}` does not work here: {reason}") from error

    command.__doc__ = f"Does not work here: {reason}."
    return command


def _print_version(asked: bool) -> None:
    if asked:
        import lineside

        print(f"lineside {lineside.__version__}")
        raise typer.Exit


app = typer.Typer(cls=CommandTable, add_completion=False, rich_markup_mode="markdown")


@app.callback()
def lineside(
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error; anywhere on the line."),
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Improved YOLO11 instance segmentation on the factory line: export with proof, run without torch."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line; those of the process when None. Without words, help is printed.

    Returns:
        Exit code: 0 done, 1 a check failed (or the program did), 2 wrong usage or bad input, 130 interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # No name of a file or class may cost the result its print.
    with quiet_stderr(), tidy_endings(), _plain_warnings():
        return _guarded(arguments)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Our own warnings, such as of an engine that steps in for another, are one sentence without a place in the source."""
    usual = warnings.formatwarning
    ours = f"{os.sep}lineside{os.sep}runtime{os.sep}"

    def plain(message: Any, category: Any, filename: str, lineno: int, line: str | None = None) -> str:
        if ours in filename:
            return f"warning: {redacted(_printable(str(message)))}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _guarded(arguments: list[str] | None) -> int:
    """Runs one command; whatever it raises becomes a sentence and an exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"] or ["--help"]
    try:
        code = _run(words)
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()  # whoever read it has left, and there is nothing to say
        return PIPE_CLOSED
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, code = _explain(error)
        # Whoever forgets quotes around a launch string has its words repeated, and a camera's password among them.
        print(redacted(_printable(message)), file=sys.stderr)
        if isinstance(error, OSError) and error.filename is None:
            _forget_output()
        return code


def _forget_output() -> None:
    """Lets go of what could not be written to stdout, so that the interpreter does not try again at its end."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable(message: str) -> str:
    """A message as it may be shown: control characters, of a file's name perhaps, do not reach the terminal."""
    return "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in message)


def _run(words: list[str]) -> int:
    group = typer.main.get_command(app)
    try:
        # Not group.main(): it turns interrupts and closed pipes into its own exit codes.
        with group.make_context("lineside", words) as context:
            result = group.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> tuple[str, int]:
    """What to print for an error, and the exit code."""
    if isinstance(error, LinesideError):
        return f"error: {error}", error.exit_code
    if hasattr(error, "format_message"):  # a usage error; its class lies in click or in typer's copy of click
        context = getattr(error, "ctx", None)
        asked = getattr(context, "command_path", "lineside")
        return f"error: {error.format_message().rstrip('.')}: see `{asked} --help`", 2
    if isinstance(error, ImportError) and (reason := _missing_package(error)):
        return f"error: {reason}", 2
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"error: {error.strerror}{where}", 2
    if isinstance(error, MemoryError):
        return f"error: there is not enough memory ({str(error) or 'nothing is left'}): give it less at once", 2
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}:{last.lineno}"
    return (
        f"internal error: {type(error).__name__}: {error} ({place}): this is a fault of the program, not yours; "
        "run the command again with --debug for the whole traceback and report it",
        1,
    )


def _missing_package(error: ImportError) -> str | None:
    """A sentence for an optional package that is not installed, or None where it is something else."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None or not isinstance(error, ModuleNotFoundError):
        return None
    return f"the Python package {package} is not installed: pip install 'lineside[{extra}]'"
