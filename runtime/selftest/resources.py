"""Memory at its peak, and what temperatures and clocks did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineside.runtime.selftest.findings import Finding, Line, Sample, checked, unchecked
from lineside.runtime.selftest.subject import Subject
from lineside.runtime.selftest.trace import memory

__all__ = ["check", "over_time"]


def check(subject: Subject) -> Iterator[Finding]:
    """Peak of the process, and what the device has left."""
    found = memory(subject.options.root)
    peak = found.get("process peak MB")
    if peak is None:
        yield unchecked("peak memory of the process", "the system does not tell it in /proc/self/status")
    else:
        yield checked("peak memory of the process", f"{peak:.0f} MB", mb=round(peak, 1))
    yield _of_device(subject)


def _of_device(subject: Subject) -> Line:
    name = "memory of the device"
    if not subject.real:
        return unchecked(name, "the host device has the processor's")
    from lineside.runtime.cuda.library import open_library

    library = open_library()
    with subject.device.current():
        free, total = library.read(library.runtime.cudaMemGetInfo(), "cudaMemGetInfo")
    used = (total - free) / 2**20
    text = f"{used:.0f} of {total / 2**20:.0f} MB in use with the model open, other programs included"
    return checked(name, text, used_mb=round(used), total_mb=round(total / 2**20))


def over_time(samples: Sequence[Sample]) -> Iterator[Line]:
    """What the trace shows: highest temperatures, clocks and how far they fell, and the least memory left.

    Args:
        samples: The trace of the whole selftest.
    """
    yield _series("temperatures over time", " C", "highest", samples)
    yield _series("clocks over time", " MHz", "from", samples)
    free = [one.values["free MB"] for one in samples if "free MB" in one.values]
    if free:
        yield checked("memory left on the machine", f"{min(free):.0f} MB at least", mb=min(free))
    else:
        yield unchecked("memory left on the machine", "the system does not tell it in /proc/meminfo")


def _series(name: str, unit: str, word: str, samples: Sequence[Sample]) -> Line:
    names = sorted({key for one in samples for key in one.values if key.endswith(unit)})
    if not names:
        return unchecked(name, "the system shows none")
    figures: dict[str, float] = {}
    said = []
    for key in names:
        values = [one.values[key] for one in samples if key in one.values]
        low, high = min(values), max(values)
        figures[f"{key} least"], figures[f"{key} most"] = low, high
        plain = key.removesuffix(unit)
        said.append(f"{plain} {high:.1f}{unit}" if word == "highest" else f"{plain} {low:.0f} to {high:.0f}{unit}")
    return checked(name, f"{word} " + ", ".join(said), **figures)
