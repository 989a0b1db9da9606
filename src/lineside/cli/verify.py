"""``lineside verify``: does this machine see what the original model saw?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or the same tree in a .zip.")],
    engine: Annotated[str, typer.Option(help="Engine to replay with.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Checks every hash of a bundle, then replays its golden files and compares with what torch saw.

    Exit code 1: this machine gives other answers. Needs no torch.

    Example: lineside verify demo/bearing.bundle
    """
    import msgspec

    from lineside.cli.progress import progress
    from lineside.runtime.bundle import list_golden, open_bundle
    from lineside.runtime.verify import verify_bundle

    opened = open_bundle(bundle)
    total = len(list_golden(opened))
    with progress("verify") as update:
        report = verify_bundle(opened, engine, progress=lambda done: update(done, total))
    if as_json:
        print(json.dumps(json.loads(msgspec.json.encode(report))))  # NaN, for which JSON has no word, becomes null
        return 0 if report.passed else 1
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
            result.reason or "ok",
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
    return 0 if report.passed else 1
