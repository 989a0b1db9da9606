"""Fuzzes every place where Lineside reads what others wrote; the places are in `fuzz_targets.py`.

    pip install atheris '.[cpu]' onnx opencv-python-headless      (an environment of its own; atheris has x86-64 wheels)
    python scripts/fuzz.py --cases 20000 --json fuzz.json
    python scripts/fuzz.py zip golden --cases 1000 --fuzzer hypothesis

A case fails when anything but a `LinesideError` comes out, when it takes more than ten seconds or 2 GB, or when the
process dies. Each target runs in processes of its own. What failed lies in the folder ``--failures``, one file for
each kind of failure, and the exit code is 1. ``--replay FILE`` runs one such file through its target.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_targets import SHARES, TARGETS, Trial

SECONDS = 10
MEGABYTES = 2048
LONGEST = 1 << 14
"""Limits of a case: time, memory, bytes of data."""

RESTARTS = 40
"""So many deaths of the process are looked at per target."""


class TooSlow(BaseException):
    """A case took more than `SECONDS`."""


def main() -> int:
    """Runs the targets one after the other and prints a line for each."""
    arguments = _arguments()
    if arguments.replay:
        target = arguments.replay.name.split("--")[0]
        _prepare(target, Path(tempfile.mkdtemp(dir=_memory_folder())))[0](arguments.replay.read_bytes())
        return 0
    if arguments.child:
        _child(arguments)
        return 0
    results = {}
    for name in arguments.targets or TARGETS:
        results[name] = _campaign(name, arguments)
        print(f"{name:14} {json.dumps(results[name])}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    cases, failures = (sum(result[key] for result in results.values()) for key in ("cases", "failures"))
    print(f"{cases} cases, {failures} kinds of failure" + (f", see {arguments.failures}" if failures else ""))
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="targets, all by default")
    parser.add_argument("--cases", type=int, default=20_000, help="cases per target; slow targets get a share of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fuzzer", choices=["atheris", "hypothesis"], default="atheris")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _campaign(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All cases of one target; a process that dies is followed by the next one."""
    wanted = max(1, int(arguments.cases * SHARES.get(name, 1)))
    begin, done, deaths = time.monotonic(), 0, 0
    arguments.failures.mkdir(parents=True, exist_ok=True)
    before = set(arguments.failures.iterdir())
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as scratch:
        while done < wanted and deaths < RESTARTS:
            words = [name, "--cases", str(wanted - done), "--seed", str(arguments.seed + 1000 * deaths)]
            words += ["--fuzzer", arguments.fuzzer, "--failures", str(arguments.failures), "--child", scratch]
            answer = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
            ran = int(_read(Path(scratch) / "count") or 0)
            done += ran
            if answer.returncode == 0 and ran:
                continue
            deaths += 1
            if not ran:
                print(answer.stderr[-2000:], file=sys.stderr)
                break
            reason = f"exit {answer.returncode}"
            place = next((line for line in answer.stderr.splitlines() if "ERROR: libFuzzer" in line), "")
            _keep(arguments.failures, name, (Path(scratch) / "last").read_bytes(), f"{reason} {place}", answer.stderr)
    seconds = time.monotonic() - begin
    new = {path for path in set(arguments.failures.iterdir()) - before if path.suffix == ".bin"}
    return {
        "cases": done,
        "per_second": round(done / seconds, 1),
        "seconds": round(seconds, 1),
        "deaths": deaths,
        "failures": len(new),
    }


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _keep(folder: Path, target: str, data: bytes, kind: str, detail: str) -> None:
    """Keeps a failing case, the smallest of its kind."""
    path = folder / f"{target}--{hashlib.sha256(kind.encode()).hexdigest()[:10]}.bin"
    if not path.exists() or len(data) < path.stat().st_size:
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(f"{kind}\n{detail[-4000:]}")


def _prepare(target: str, scratch: Path) -> tuple[Trial, Sequence[bytes]]:
    module, attribute = TARGETS[target].split(":")
    prepare: Callable[[Path], tuple[Trial, Sequence[bytes]]] = getattr(importlib.import_module(module), attribute)
    return prepare(scratch)


def _child(arguments: argparse.Namespace) -> None:
    """The cases of one process."""
    (target,) = arguments.targets
    scratch: Path = arguments.child
    (scratch / "files").mkdir(exist_ok=True)
    os.environ["LINESIDE_CACHE"] = str(scratch / "cache")
    (scratch / "count").write_text("0")
    faulthandler.enable()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if "ASAN_OPTIONS" not in os.environ:  # the shadow of a sanitizer is larger than any limit
        resource.setrlimit(resource.RLIMIT_DATA, ((MEGABYTES << 20) + (used << 10),) * 2)
    if arguments.fuzzer == "atheris":
        import atheris

        with atheris.instrument_imports(include=["lineside"]):
            trial, seeds = _prepare(target, scratch / "files")
    else:
        trial, seeds = _prepare(target, scratch / "files")
    watched = _watched(target, trial, scratch, arguments.failures)
    run = _run_atheris if arguments.fuzzer == "atheris" else _run_hypothesis
    run(watched, seeds, arguments.cases, arguments.seed, scratch)


def _watched(target: str, trial: Trial, scratch: Path, failures: Path) -> Trial:
    """A trial that counts, keeps what fails and goes on."""
    from lineside.runtime.errors import LinesideError

    count = open(scratch / "count", "r+")  # noqa: SIM115 - open for as long as the process lives
    done = 0

    def alarm(number: int, frame: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, alarm)

    def watched(data: bytes) -> None:
        nonlocal done
        done += 1
        (scratch / "last").write_bytes(data)
        count.seek(0)
        count.write(str(done))
        count.flush()
        try:
            signal.alarm(SECONDS)
            trial(data)
        except LinesideError as error:
            if not str(error).strip():
                _keep(failures, target, data, f"{type(error).__name__} without a word", "")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            _keep(
                failures, target, data, f"{type(error).__name__} {last.filename}:{last.lineno}", traceback.format_exc()
            )
        finally:
            signal.alarm(0)

    return watched


def _run_atheris(trial: Trial, seeds: Sequence[bytes], cases: int, seed: int, scratch: Path) -> None:
    """Coverage-guided."""
    import atheris

    corpus = scratch / "corpus"
    corpus.mkdir(exist_ok=True)
    for k, data in enumerate(seeds):
        (corpus / f"seed{k}").write_bytes(data)
    longest = max(LONGEST, 2 * max(map(len, seeds)))
    words = [
        f"-runs={cases}",
        f"-seed={seed}",
        f"-max_len={longest}",
        "-len_control=0",
        "-rss_limit_mb=0",
        "-timeout=60",
    ]
    atheris.Setup([sys.argv[0], *words, f"-artifact_prefix={scratch}/", str(corpus)], trial)
    atheris.Fuzz()


def _run_hypothesis(trial: Trial, seeds: Sequence[bytes], cases: int, seed: int, scratch: Path) -> None:
    """Blind: a seed with a few edits."""
    import hypothesis
    from hypothesis import strategies as st

    edit = st.tuples(st.integers(0, 1 << 20), st.integers(0, 40), st.binary(max_size=12))

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(st.sampled_from(list(seeds)), st.lists(edit, max_size=8))
    def run(data: bytes, edits: list[tuple[int, int, bytes]]) -> None:
        for place, cut, put in edits:
            place %= len(data) + 1
            data = data[:place] + put + data[place + cut :]
        trial(data)

    run()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
