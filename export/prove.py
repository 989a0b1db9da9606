"""Puts a bundle through its gate, gives it golden files, and replays them; or leaves nothing but a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from lineside.export.golden import write_goldens
from lineside.export.parity.budget import Budget
from lineside.export.parity.gate import run_gate
from lineside.export.parity.reference import Reference
from lineside.export.parity.result import ParityReport
from lineside.export.parity.shipped import Shipped
from lineside.export.parity.trials import Trial, joined
from lineside.export.pictures import Picture
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import CheckFailed, NonFiniteOutput
from lineside.runtime.manifest import Manifest
from lineside.runtime.plain import indented
from lineside.runtime.sizing import resized
from lineside.runtime.verify import VerifyReport, verify_bundle

__all__ = ["STEPS", "ParityFailed", "Progress", "prove"]

REPORT = "reports/parity.json"
STEPS = 4
"""Steps of an export beside one per picture: load, trace, golden files, replay."""

Progress = Callable[[float, float, str], None]
"""Called with steps done, steps in all, and what comes next."""


class ParityFailed(CheckFailed):
    """The bundle does not see what torch sees.

    Attributes:
        report: What the gate found.
        kept: File that the report was saved to.
    """

    def __init__(self, message: str, report: ParityReport, kept: Path) -> None:
        super().__init__(message)
        self.report, self.kept = report, kept


def prove(
    folder: Path,
    target: Path,
    manifest: Manifest,
    reference: Reference,
    pictures: Sequence[Picture],
    golden: Sequence[Picture],
    budget: Budget,
    *,
    described: str,
    pictures_from: str,
    rounding: dict[str, float] | None = None,
    also: Sequence[Trial] = (),
    update: Progress = lambda done, total, note: None,
) -> tuple[ParityReport, VerifyReport, Manifest]:
    """Puts a bundle in its temporary folder through the gate, adds report and golden files, and replays those.

    Args:
        folder: The temporary folder; the model is in it.
        target: The name that the bundle is to have.
        manifest: Its manifest; hashes are filled in.
        reference: What it must agree with.
        pictures: Pictures for the gate.
        golden: Pictures for the golden files.
        budget: How far it may be from the reference.
        described: What the reference is, in words.
        pictures_from: Where the pictures come from, in words.
        rounding: For the report: what rounding the weights changed.
        also: Further shapes of a dynamic bundle that must pass the same gate.
        update: Called with steps done, steps in all, and what comes next.

    Returns:
        The gate's report, the replay, and the manifest as written.

    Raises:
        ParityFailed: Beyond the budget.
        CheckFailed: NaN among the outputs, or the finished bundle does not replay its golden files.
        ExportError: The pictures give too few detections for golden files.
    """
    total = STEPS + len(pictures) * (1 + len(also))
    write_manifest(folder, manifest)
    reports: list[ParityReport] = []

    def compared(done: int) -> None:
        update(2 + len(reports) * len(pictures) + done, total, "comparing")

    for trial in (Trial(manifest.input.size, manifest.input.batch, reference), *also):
        shown = trial.named(pictures) if reports else pictures
        report = _gate(
            folder, trial, shown, budget, described=described, pictures_from=pictures_from, progress=compared
        )
        reports.append(report)
    report = joined(reports)
    report = msgspec.structs.replace(report, rounding=rounding or {})
    _keep_or_raise(report, folder, target)
    update(total - 2, total, "writing golden files")
    write_goldens(folder, reference, golden)
    manifest = write_manifest(folder, manifest)
    update(total - 1, total, "replaying them")
    verified = verify_bundle(open_bundle(folder))
    if not verified.passed:
        wrong = next(result for result in verified.golden if result.reason)
        raise CheckFailed(
            f"the finished bundle does not replay {wrong.name}: {wrong.reason}; nothing was written. If the model was "
            "hardly trained, more of its answers may be on a par than a golden file can list: train it further, or "
            "give other pictures with --images"
        )
    update(total, total, "")
    return report, msgspec.structs.replace(verified, bundle=str(target)), manifest


def _gate(
    folder: Path,
    trial: Trial,
    pictures: Sequence[Picture],
    budget: Budget,
    *,
    described: str,
    pictures_from: str,
    progress: Callable[[int], None],
) -> ParityReport:
    """Runs the parity gate on the bundle in its temporary folder."""
    bundle = open_bundle(folder)
    bundle = dataclasses.replace(bundle, manifest=resized(bundle.manifest, trial.size, trial.batch))
    shipped = Shipped(bundle)
    try:
        return run_gate(
            shipped, trial.reference, bundle.manifest.head, pictures, budget,
            described=described, pictures_from=pictures_from, progress=progress,
        )  # fmt: skip
    except NonFiniteOutput as error:
        raise CheckFailed(
            f"the model puts out NaN or infinity ({error}): its weights are broken; train it again or take an "
            "earlier checkpoint"
        ) from error
    finally:
        shipped.close()


def _keep_or_raise(report: ParityReport, folder: Path, target: Path) -> None:
    """Saves the report in the bundle; where the gate failed, beside the name that stays unused, and raises."""
    data = indented(report)
    beside = target.with_name(f"{target.name}.parity.json")
    if report.passed:
        (folder / "reports").mkdir(exist_ok=True)
        (folder / REPORT).write_bytes(data)
        beside.unlink(missing_ok=True)  # left by an earlier attempt
        return
    beside.write_bytes(data)
    failed = [verdict for verdict in report.verdicts if not verdict.passed]
    worst = failed[0]
    where = f" on picture '{worst.worst_picture}'" if worst.worst_picture else ""
    more = f" (and {', '.join(v.level for v in failed[1:])})" if len(failed) > 1 else ""
    raise ParityFailed(
        f"the bundle does not see what its reference sees, level '{worst.level}'{more}{where}: {worst.reason}. "
        f"No bundle was written; the full report is in {beside}",
        report,
        beside,
    )
