from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lineside import cli as program

HELPERS = Path(__file__).parents[1]
ENDINGS = ("fine", "bad_input", "check", "crash", "disk", "memory", "package", "other_package", "wait")
SCRIPT = f"""
import sys
sys.path.insert(0, {str(HELPERS)!r})
from lineside import cli
cli.COMMANDS.update({{name: f"helpers.failing_commands:{{name}}" for name in {ENDINGS!r}}})
sys.exit(cli.main())
"""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the commands that end badly."""
    for name in ENDINGS:
        monkeypatch.setitem(program.COMMANDS, name, f"helpers.failing_commands:{name}")


@pytest.mark.usefixtures("commands")
class TestEndings:
    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            (["bad_input"], 2, "error: the picture is empty: give another one"),
            (["check"], 1, "error: box differs by 3 px: export again"),
            (["disk"], 2, "error: No such file or directory: /nonexistent/file"),
            (["memory"], 2, "error: there is not enough memory ("),
            (["package"], 2, "error: the Python package cv2 is not installed: pip install 'lineside[station]'"),
            (["crash"], 1, "internal error: ZeroDivisionError"),
            (["other_package"], 1, "internal error: ModuleNotFoundError: No module named 'flurb'"),
            (["fine", "--code", "1"], 1, ""),
            (["fine"], 0, ""),
        ],
    )
    def test_code_and_sentence(
        self, words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert program.main(words) == code
        printed = capsys.readouterr()
        assert printed.err.startswith(says) and (says or printed.err == "")
        assert "Traceback" not in printed.err
        assert printed.err.count("\n") <= 1
        assert printed.out == ("line 0\n" if words[0] == "fine" else "")

    @pytest.mark.parametrize("words", [["--debug", "crash"], ["crash", "--debug"]])
    def test_debug_shows_the_traceback(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert program.main(words) == 1
        assert "failing_commands.py" in (printed := capsys.readouterr().err) and "Traceback" in printed

    def test_an_internal_error_names_the_place_and_the_remedy(self, capsys: pytest.CaptureFixture[str]) -> None:
        program.main(["crash"])
        printed = capsys.readouterr().err
        assert "(failing_commands.py:" in printed and "--debug" in printed


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fine", "many"], "count"),
        (["fine", "--clours", "3"], "--clours"),
        (["fine", "1", "2"], "2"),
        (["--nope"], "--nope"),
        (["exprot"], "did you mean `lineside export`?"),
        (["qqqq"], "`lineside --help`"),
    ],
)
def test_wrong_usage_is_a_sentence_and_code_2(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and says in printed.err.lower() and printed.err.count("\n") == 1


@pytest.mark.usefixtures("commands")
def test_usage_errors_point_to_the_help_of_their_command(capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["fine", "many"])
    assert "`lineside fine --help`" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"], ["--debug"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(words) == 0
    printed = capsys.readouterr()
    assert all(f" {name} " in printed.out for name in program.COMMANDS)
    assert printed.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import lineside

    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lineside {lineside.__version__}\n"
    assert lineside.__version__[0].isdigit()


def test_a_command_that_cannot_be_loaded_breaks_only_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(program.COMMANDS, "gone", "lineside.cli.no_such_module:command")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(program.COMMANDS, "heavy", "torch:command")
    assert program.main(["--help"]) == 0
    assert " gone " in capsys.readouterr().out
    assert program.main(["gone", "some", "--words"]) == 2
    assert "lineside gone" in capsys.readouterr().err
    assert program.main(["heavy", "best.pt"]) == 2
    assert "pip install 'lineside[export]'" in capsys.readouterr().err


def test_every_command_of_the_table_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in program.COMMANDS:
        assert program.main([name, "--help"]) == 0
        printed = capsys.readouterr().out
        assert f"lineside {name}" in printed and "Does not work here" not in printed


def test_an_interrupt_ends_with_130_and_a_word() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "interrupted\n")


@pytest.mark.parametrize("count", [1, 100_000])  # one line waits in a buffer until the end, many do not
def test_a_closed_pipe_is_quiet(count: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        answer = subprocess.run(
            [sys.executable, "-c", SCRIPT, "fine", str(count)], stdout=writing, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writing)
    assert (answer.returncode, answer.stderr) == (141, b"")


def test_the_module_and_the_table_are_the_same_command(cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    answer = cli("exprot")
    assert answer.returncode == 2 and "lineside export" in answer.stderr and "Traceback" not in answer.stderr
