"""``lineside verify``: does this machine see what the original model saw, and how much of what is there?"""

from __future__ import annotations

import json
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineside.runtime.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lineside.export.accuracy.measure import AccuracyOptions
    from lineside.export.accuracy.report import AccuracyReport
    from lineside.runtime.verify import VerifyReport

__all__ = ["command"]


class Split(str, Enum):
    """Part of a data set."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


OF_ACCURACY = ("weights", "split", "root", "limit", "bootstrap", "seed", "margin", "sizes", "report", "modules", "safe")
OF_WEIGHTS = ("modules", "safe")
"""Options that mean something only with ``--data``, and only with ``--weights``."""


def command(
    ctx: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or the same tree in a .zip.")],
    engine: Annotated[str, typer.Option(help="Engine to replay with.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="Replay with this variant of the bundle, within wider limits.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Also measure accuracy on this labelled set: its data.yaml. Needs pycocotools.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Measure these weights beside it, through torch: the best.pt it came from.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which pictures of the set.")] = Split.VAL,
    root: Annotated[Path | None, typer.Option(help="Folder of the set, in place of the path in data.yaml.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many pictures, picked evenly.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Redrawn sets of pictures behind each interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of those draws.")] = 0,
    margin: Annotated[
        float, typer.Option(help="Exit code 1 if the bundle is surely worse than torch by more than this mAP50-95.")
    ] = 0.005,
    sizes: Annotated[
        str, typer.Option(help="Limits between small, medium and large: sides in picture px (COCO's are 32,96).")
    ] = "32,96",
    modules: Annotated[
        list[str] | None,
        typer.Option("--modules", help="File or package with blocks of your own in the weights; may be repeated."),
    ] = None,
    safe: Annotated[bool, typer.Option("--safe", help="Load the weights without running code from them.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the accuracy into this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Checks every hash of a bundle, then replays its golden files and compares with what torch saw.

    Exit code 1: this machine gives other answers, or the bundle is surely worse than its weights. Needs no torch, except
    for `--weights`.

    Example: lineside verify demo/bearing.bundle

    Example: lineside verify parts.bundle --data sets/parts/data.yaml --weights runs/parts/best.pt
    """
    if data is None and (given := _given(ctx, OF_ACCURACY)):
        raise BadOption(f"{given} belongs to a measurement of accuracy: give --data too")
    if weights is None and (given := _given(ctx, OF_WEIGHTS)):
        raise BadOption(f"{given} says how weights are loaded, and there are none to load: give --weights too")
    options = None
    if data is not None:
        options = _options(split, root, limit, bootstrap, seed, margin, sizes, engine, safe, modules or ())
        options = replace(options, precision=precision)
        _check(options, report, bundle)
    replayed = _replay(bundle, engine, precision, may_be_unproven=data is not None)
    if replayed is not None and not as_json:
        _print_replay(replayed)
    passed = replayed is None or replayed.passed
    measured = None
    if data is not None and options is not None:
        if weights is not None and not safe:
            from lineside.export.checkpoint import warn_of_pickle

            warn_of_pickle(weights)
        measured = _measure(bundle, data, weights, options, report)
        passed = passed and measured.passed
    if as_json:
        print(json.dumps(_plain(bundle, replayed, measured, passed)))
    elif measured is not None:
        from lineside.cli.accuracy import print_accuracy

        if replayed is None:
            print("no golden files in this bundle: nothing to replay")
        print_accuracy(measured)
    return 0 if passed else 1


def _given(ctx: typer.Context, names: Sequence[str]) -> str:
    """The first of some options that is on the command line; empty for none."""
    sources = {name: ctx.get_parameter_source(name) for name in names}
    return next((f"--{name}" for name, source in sources.items() if source and source.name == "COMMANDLINE"), "")


def _options(
    split: Split,
    root: Path | None,
    limit: int | None,
    bootstrap: int,
    seed: int,
    margin: float,
    sizes: str,
    engine: str,
    safe: bool,
    modules: Sequence[str],
) -> AccuracyOptions:
    """What the command line asks for."""
    from lineside.export.accuracy.measure import AccuracyOptions

    try:
        limits = tuple(float(word) for word in sizes.split(","))
    except ValueError:
        raise BadOption(f"--sizes {sizes}: give numbers between commas, such as 32,96") from None
    return AccuracyOptions(
        split=split.value,
        root=root,
        limit=limit,
        draws=bootstrap,
        seed=seed,
        margin=margin,
        sizes=limits,
        engine=engine,
        safe=safe,
        modules=tuple(modules),
    )


def _check(options: AccuracyOptions, report: Path | None, bundle: Path) -> None:
    """Says what is wrong before anything is run."""
    from lineside.export.accuracy.evaluator import require_evaluator
    from lineside.export.accuracy.report import check_report_file

    options.check()
    require_evaluator()
    if report is not None:
        check_report_file(report, bundle)


def _replay(bundle: Path, engine: str, precision: str | None, may_be_unproven: bool) -> VerifyReport | None:
    """Replays the golden files; None where there are none and something else is measured."""
    from lineside.cli.progress import progress
    from lineside.runtime.bundle import list_golden, open_bundle
    from lineside.runtime.verify import verify_bundle

    opened = open_bundle(bundle)
    total = len(list_golden(opened))
    if may_be_unproven and not total:
        return None
    with progress("verify") as update:
        return verify_bundle(opened, engine, precision=precision, progress=lambda done: update(done, total))


def _measure(
    bundle: Path, data: str, weights: Path | None, options: AccuracyOptions, out: Path | None
) -> AccuracyReport:
    """Measures accuracy, and writes the report where one is asked for."""
    from lineside.cli.progress import progress
    from lineside.export.accuracy.measure import measure
    from lineside.export.accuracy.report import write_report

    ways = ["runtime"] if weights is None else ["runtime", "torch"]
    with progress("measure") as update:
        measured = measure(
            bundle,
            data,
            weights,
            options,
            lambda way, done, total: update(ways.index(way) * total + done, len(ways) * total, way),
        )
    if out is not None:
        write_report(measured, out)
    return measured


def _plain(
    bundle: Path, replayed: VerifyReport | None, measured: AccuracyReport | None, passed: bool
) -> dict[str, Any]:
    """Everything as JSON takes it, under the same keys whatever was done; what was not is null."""
    from lineside.runtime.plain import plain
    from lineside.runtime.verify import VerifyReport

    nothing: dict[str, Any] = {**dict.fromkeys(VerifyReport.__struct_fields__), "bundle": str(bundle), "golden": []}
    facts = nothing if replayed is None else plain(replayed)
    return {**facts, "accuracy": None if measured is None else plain(measured), "passed": passed}


def _print_replay(report: VerifyReport) -> None:
    """A row per golden file, and the limits."""
    from lineside.cli.tables import print_table

    rows = [
        [
            result.name,
            str(result.expected),
            str(result.matched),
            f"{result.box_px:.1e}",
            f"{result.score:.1e}",
            "-" if result.mask_iou is None else f"{result.mask_iou:.5f}",
            "-" if result.cosine is None else f"{result.cosine:.7f}",
            result.reason or (f"ok, of {result.undecided} on a par" if result.undecided else "ok"),
        ]
        for result in report.golden
    ]
    columns = ["golden file", ">expected", ">matched", ">box px", ">score", ">mask IoU", ">raw cosine", "verdict"]
    print_table(f"{report.bundle} on {report.engine}", columns, rows)
    limits = report.tolerance
    print(
        f"{report.files} hashes right; limits: box {limits.box_px:g} px, score {limits.score:g}, "
        f"mask IoU {limits.mask_iou:g}, cosine {limits.cosine:g}"
    )
    print("verified" if report.passed else "NOT verified: this machine gives other answers than torch did")
