"""The whole of a selftest: every check in turn, and what each finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

import msgspec

import lineside
from lineside.runtime.bundle import Bundle
from lineside.runtime.errors import BadOption, DeviceLost, EngineUnavailable, LinesideError
from lineside.runtime.selftest.building import find_engine
from lineside.runtime.selftest.findings import Finding, Line, Report, Table, failed, unchecked
from lineside.runtime.selftest.resources import over_time
from lineside.runtime.selftest.subject import HOST, Options, Subject
from lineside.runtime.selftest.table import CHECKS, find_check
from lineside.runtime.selftest.trace import Trace

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device

__all__ = ["ENGINES", "open_device", "selftest"]

ENGINES = ("tensorrt", HOST)
"""What a selftest can look at."""

Tell = Callable[[int, int, str], None]
Check = Callable[[Subject], Iterable[Finding]]


def open_device(engine: str) -> Device:
    """The device under test.

    Args:
        engine: One of `ENGINES`.

    Raises:
        BadOption: It is none of them.
        EngineUnavailable: There is no GPU, driver or library; the message says what to do.
    """
    if engine == HOST:
        from lineside.runtime.cuda.host import HostDevice
        from lineside.runtime.kernels.host_build import compiler

        try:
            compiler()  # without one every check would fail, each with the same words
        except EngineUnavailable as error:
            raise EngineUnavailable(_without_choice(error)) from error
        return HostDevice()
    if engine != "tensorrt":
        raise BadOption(f"a selftest is about a GPU, and --engine {engine} is none: choose one of {', '.join(ENGINES)}")
    from lineside.runtime.cuda.hardware import HardwareDevice

    try:
        return HardwareDevice()
    except EngineUnavailable as error:
        raise EngineUnavailable(
            f"{_without_choice(error)}; or choose --engine host, which does without a GPU and shows no speed"
        ) from error


def _without_choice(error: EngineUnavailable) -> str:
    """What an error says, without the choice of another engine: a selftest has none."""
    return str(error).replace(", or choose engine='onnxruntime'", "")


def selftest(
    bundle: Bundle,
    options: Options,
    only: Sequence[str] = (),
    tell: Tell = lambda done, total, name: None,
    every: float = 0.5,
) -> Report:
    """Does every check; what one of them cannot do is a line of its own and ends none of the others.

    Args:
        bundle: A verified bundle.
        options: How it is done.
        only: Names of checks; all when empty.
        tell: Told how many checks are done, of how many, and which comes next.
        every: Seconds between two samples of the machine.

    Returns:
        The report.

    Raises:
        BadOption: There is no such check or engine.
        EngineUnavailable: There is no device to test.
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise BadOption(f"there is no check {unknown[0]!r}: choose of {', '.join(CHECKS)}")
    names = [name for name in CHECKS if name in only or not only]
    created, begin = datetime.now(timezone.utc), time.monotonic()
    subject = Subject(bundle, options, open_device(options.engine))
    findings: list[Finding] = []
    device = subject.device.name
    try:
        find_engine(subject)
        with Trace(options.root, every) as trace:
            for done, name in enumerate(names):
                tell(done, len(names), name)
                subject.say = partial(_say, tell, done, len(names), name)
                trace.check = name
                findings += one_check(name, find_check(name), subject)
        if "resources" in names:
            findings += [_of("resources", line) for line in over_time(trace.samples)]
        tell(len(names), len(names), "done")
    finally:
        subject.close()
    lines = tuple(one for one in findings if isinstance(one, Line))
    return Report(
        passed=not any(line.verdict == "failed" for line in lines),
        bundle=bundle.manifest.name,
        model_sha256=bundle.manifest.files.get(bundle.manifest.model, ""),
        engine=options.engine,
        device=device,
        real=subject.real,
        lineside=lineside.__version__,
        created=created.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begin, 1),
        options={
            "checks": ", ".join(names),
            "precision": subject.precision,
            "frames": options.frames,
            "size": f"{options.size[1]}x{options.size[0]}",
        },
        lines=lines,
        tables=tuple(one for one in findings if isinstance(one, Table)),
        trace=tuple(trace.samples),
    )


def _say(tell: Tell, done: int, total: int, name: str, text: str) -> None:
    """Tells what a check is doing."""
    tell(done, total, f"{name}: {text}")


def one_check(name: str, check: Check, subject: Subject) -> list[Finding]:
    """What one check finds; an error of it is its last line, so that a report says all that was found before.

    Args:
        name: Its name, put into each finding.
        check: Its function.
        subject: What is tested.
    """
    found: list[Finding] = []
    try:
        for finding in check(subject):
            found.append(_of(name, finding))  # noqa: PERF401  # what came before an error is kept
    except DeviceLost as error:
        found.append(_of(name, failed("device", f"{error}; what comes after it can fail for that alone")))
    except LinesideError as error:
        found.append(_of(name, failed("all of it", str(error))))
    except Exception as error:  # a fault of the check, or of a library beneath it: the report must still be written
        found.append(_of(name, failed("all of it", f"{type(error).__name__}: {error}")))
    if not found:
        found.append(_of(name, unchecked("all of it", "it found nothing to look at")))
    return found


def _of(name: str, finding: Finding) -> Finding:
    """A finding with the name of its check."""
    return msgspec.structs.replace(finding, check=name)
