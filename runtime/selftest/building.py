"""The engine for this device: which of the bundle's models it is of, and its build where it is not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lineside.runtime.errors import BadOption, EngineError
from lineside.runtime.selftest.findings import Finding, checked, failed, unchecked
from lineside.runtime.selftest.subject import Subject
from lineside.runtime.variants import FP32

__all__ = ["check", "find_engine"]


def find_engine(subject: Subject) -> None:
    """Notes which of the bundle's models is under test: the one asked for, else that of the engine beside the bundle.

    Every check opens that one, whether the build is among the checks or not.

    Raises:
        BadOption: The bundle has no model of the precision asked for, or the host device does not run it.
    """
    asked = subject.asked_precision
    if not subject.real:
        if asked not in (None, FP32):
            raise BadOption(
                f"--precision {asked} is for --engine tensorrt: the host device executes the bundle's portable model, in "
                f"{FP32}; leave one of them out"
            )
        return
    from lineside.runtime.engines.tensorrt.models import choose_model

    if asked is not None:
        subject.variant = choose_model(subject.bundle.manifest, asked).variant or FP32
        return
    from lineside.runtime.engines.tensorrt.finding import find_plan
    from lineside.runtime.engines.tensorrt.machine import open_machine

    with contextlib.suppress(EngineError):  # there is none yet, or TensorRT is not there: checks say so
        own = find_plan(subject.bundle, open_machine(subject.device)).sidecar
        subject.precision, subject.variant = own.precision, own.variant or FP32


def check(subject: Subject) -> Iterator[Finding]:
    """Builds with TensorRT, and reads from the plan what precision it computes in."""
    if not subject.real:
        for name in ("engine", "precision of the engine"):
            yield unchecked(name, "the host device executes the model with onnxruntime: there is nothing to build")
        return
    from lineside.runtime.engines.tensorrt.building import BuildOptions, build_engine
    from lineside.runtime.engines.tensorrt.machine import open_machine

    def tell(share: float, note: str) -> None:
        subject.say(f"{100 * share:.0f}% {note}")

    options = BuildOptions(precision=subject.asked_precision)
    made = build_engine(subject.bundle, options, tell, open_machine(subject.device))
    subject.precision, subject.variant = made.precision, made.variant or FP32
    how = f"built in {made.seconds:.0f} s" if made.built else f"there already, built in {made.seconds:.0f} s"
    yield checked(
        "engine",
        f"{how}: TensorRT {made.tensorrt}, {made.gpu} (sm {made.sm}), {made.precision}, {made.profile}, "
        f"{made.megabytes:.1f} MB; {made.reason}",
        seconds=made.seconds,
        megabytes=made.megabytes,
    )
    line = checked if made.audit.passed else failed
    yield line("precision of the engine", made.audit.sentence(made.precision))
    parts = {"plugins": made.plugins, "TensorRT's own": made.native, "bodies": made.bodies}
    said = "; ".join(f"{name}: {', '.join(ops)}" for name, ops in parts.items() if ops)
    yield checked("operators of the engine", said or "the model has none of its own")
    for warning in made.warnings[:5]:
        yield checked("TensorRT warned", warning)
