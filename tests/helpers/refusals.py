"""What every refusal has in common, whatever was wrong."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path


def snapshot(folder: Path) -> dict[str, object]:
    """Every name below a folder, with what lies there."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def lineside(
    folder: Path, *words: str | Path, memory: int | None = None, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs ``lineside WORD...`` in a folder.

    Args:
        folder: Working folder.
        words: The command.
        memory: Most bytes of data that the process may hold.
        timeout: Seconds after which it counts as hanging.
        environment: Added to the environment.
    """

    def bound() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

    return subprocess.run(
        [sys.executable, "-m", "lineside", *map(str, words)],
        cwd=folder,
        env={**os.environ, **environment},
        preexec_fn=bound,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )


def peak_of(script: str, *words: str | Path) -> int:
    """MiB that a process held at most while it ran a script."""
    tail = "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    answer = subprocess.run(
        [sys.executable, "-c", script + tail, *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout.split("VmHWM:")[1].split()[0]) >> 10


def assert_sentence(text: str, *says: str) -> None:
    """One sentence with what happened, why, and what to do; no traceback."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ") and "Traceback" not in text and "internal error" not in text, text
    assert ":" in lines[0].removeprefix("error: ") or ";" in lines[0], f"what is to be done? {text}"
    for word in says:
        assert word in text, f"{word!r} is not in: {text}"


def refused(
    folder: Path, *words: str | Path, says: str | tuple[str, ...] = (), code: int = 2, **options: object
) -> str:
    """Runs a command that must be refused: its exit code, one sentence, nothing on stdout, nothing written.

    Returns:
        The sentence.
    """
    before = snapshot(folder)
    answer = lineside(folder, *words, **options)  # type: ignore[arg-type]
    assert answer.returncode == code, (answer.returncode, answer.stdout, answer.stderr)
    errors = "".join(line for line in answer.stderr.splitlines(True) if not line.startswith("verify: "))
    assert_sentence(errors, *((says,) if isinstance(says, str) else says))
    assert answer.stdout == ""
    assert snapshot(folder) == before, "a refusal writes nothing"
    return errors
