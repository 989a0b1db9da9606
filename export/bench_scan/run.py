"""Times every mode on every shape, in turns, and compares what they compute."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import torch
from torch import Tensor

from lineside.export.bench_scan.modes import MODES, Scan, why_not
from lineside.export.bench_scan.problem import INPUTS, Problem, ScanShape
from lineside.runtime.errors import BadOption, CheckFailed, EngineUnavailable

__all__ = ["ScanBench", "ScanRow", "ScanTimes", "check_modes", "measure_scans"]

WRONG = 1e-3
"""A mode whose result or gradients are that far from the recurrence, relative to the largest, is broken."""

Notify = Callable[[float, float, str], None]


class ScanTimes(msgspec.Struct, frozen=True):
    """One mode on one shape.

    Attributes:
        forward_ms: Median time of the scan without gradients, ms.
        forward_backward_ms: Median time of the scan with all its gradients, ms; None where it has none.
        error: Largest difference of the result from that of the recurrence in float64, over the largest result.
        gradient_error: The same of the gradients, the worst of all inputs; None where there are none.
    """

    forward_ms: float
    forward_backward_ms: float | None
    error: float
    gradient_error: float | None


class ScanRow(msgspec.Struct, frozen=True):
    """One shape.

    Attributes:
        shape: Size of the scan.
        modes: Figures by mode.
        left_out: Modes that do not take this shape, and why.
    """

    shape: ScanShape
    modes: dict[str, ScanTimes]
    left_out: dict[str, str]


class ScanBench(msgspec.Struct, frozen=True):
    """Everything that was measured.

    Attributes:
        device: Where: ``cpu``, or the name of the GPU.
        threads: Threads of torch and of onnxruntime.
        repeats: Rounds; in each, every mode had its turn.
        torch: Version.
        rows: One per shape.
        unavailable: Modes that cannot run here, and why.
    """

    device: str
    threads: int
    repeats: int
    torch: str
    rows: list[ScanRow]
    unavailable: dict[str, str]

    def check(self) -> None:
        """Sees that all modes compute the same.

        Raises:
            CheckFailed: One does not.
        """
        for row in self.rows:
            for name, times in row.modes.items():
                worst = max((times.error, times.gradient_error or 0.0), key=lambda error: (math.isnan(error), error))
                if not worst <= WRONG:
                    raise CheckFailed(
                        f"{name} is {worst:.1e} away from the recurrence on {row.shape}, {WRONG:.0e} at most is right: "
                        "do not use this form here"
                    )


def check_modes(names: Sequence[str]) -> list[str]:
    """Names of modes, each once.

    Raises:
        BadOption: One is none.
    """
    for name in names:
        if name not in MODES:
            raise BadOption(f"there is no mode {name!r}: take some of {', '.join(MODES)}")
    return list(dict.fromkeys(names))


def measure_scans(
    shapes: Sequence[ScanShape], names: Sequence[str], repeats: int, threads: int, device: str, notify: Notify
) -> ScanBench:
    """Measures.

    Args:
        shapes: What to scan.
        names: Modes.
        repeats: Rounds after one that is not counted.
        threads: Threads of torch and onnxruntime; 0 for as many as torch takes.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where torch sees one.
        notify: Is called with what is done, what there is, and what it was.

    Raises:
        EngineUnavailable: No mode can run here, or there is no such device.
    """
    place = _device(device)
    refused = {name: why_not(MODES[name], place) for name in names}
    usable = [name for name in names if not refused[name]]
    unavailable = {name: reason for name, reason in refused.items() if reason}
    if not usable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unavailable.items())
        raise EngineUnavailable(f"none of the modes asked for can run here ({reasons}): ask for ref or two-level")
    with _threads(threads) as used:
        rows = []
        for index, shape in enumerate(shapes):
            notify(index, len(shapes), str(shape))
            rows.append(_row(Problem(shape, place), usable, repeats, used))
        notify(len(shapes), len(shapes), "")
    name = torch.cuda.get_device_name(place) if place != "cpu" else place
    return ScanBench(name, used, repeats, str(torch.__version__), rows, unavailable)


def _device(asked: str) -> str:
    """The device as torch names it."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise EngineUnavailable("torch sees no CUDA device here: measure on the CPU with --device cpu")
    return "cuda" if there and asked != "cpu" else "cpu"


@contextmanager
def _threads(asked: int) -> Iterator[int]:
    """Sets the number of torch's threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(asked or before)
    try:
        yield asked or before
    finally:
        torch.set_num_threads(before)


def _row(problem: Problem, names: Sequence[str], repeats: int, threads: int) -> ScanRow:
    """Every mode on one shape; the order turns from round to round, so that none always follows the same other."""
    left_out = {name: "it is for one state a channel" for name in names if _too_many(problem, name)}
    scans: dict[str, Scan] = {}
    for name in names:
        if name not in left_out:
            scans[name] = MODES[name].make(problem, threads)
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in scans}
    errors = {name: _errors(problem, scan, MODES[name].trains) for name, scan in scans.items()}
    order = list(scans)
    for _ in range(repeats):
        for name in order:
            times[name][0].append(_forward(problem, scans[name]))
            if MODES[name].trains:
                times[name][1].append(_both(problem, scans[name]))
        order = order[1:] + order[:1]
    modes = {
        name: ScanTimes(statistics.median(first), statistics.median(both) if both else None, *errors[name])
        for name, (first, both) in times.items()
    }
    return ScanRow(problem.shape, modes, left_out)


def _too_many(problem: Problem, name: str) -> bool:
    return MODES[name].one_state and problem.shape.states > 1


def _forward(problem: Problem, scan: Scan) -> float:
    """Time of a scan without gradients, ms."""
    inputs = problem.fresh()
    with torch.no_grad():
        return _timed(lambda: scan(*inputs), problem.device)


def _both(problem: Problem, scan: Scan) -> float:
    """Time of a scan with all gradients, ms."""
    inputs = problem.fresh()
    return _timed(lambda: torch.autograd.backward(scan(*inputs).sum()), problem.device)


def _timed(work: Callable[[], object], device: str) -> float:
    """Time of some work and all that it leaves to the device, ms."""
    _wait(device)
    start = time.perf_counter_ns()
    work()
    _wait(device)
    return (time.perf_counter_ns() - start) / 1e6


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _errors(problem: Problem, scan: Scan, trains: bool) -> tuple[float, float | None]:
    """How far the result and the gradients are from the recurrence; the run warms up as well."""
    wanted, gradients = problem.wanted
    inputs = problem.fresh()
    if not trains:
        with torch.no_grad():
            return _distance(scan(*inputs), wanted), None
    y = scan(*inputs)
    torch.autograd.backward(y.sum())
    found = [problem.inputs[name].grad for name in INPUTS]
    distances = [
        math.inf if tensor is None else _distance(tensor, other) for tensor, other in zip(found, gradients, strict=True)
    ]
    return _distance(y.detach(), wanted), max(distances)


def _distance(found: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value; NaN where something is not finite."""
    difference = (found.to(wanted.device, torch.float64) - wanted).abs().max()
    return float(difference / wanted.abs().max().clamp(min=1e-30))
