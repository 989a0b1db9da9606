"""``lineside import``: from a foreign ONNX file to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    model: Annotated[Path, typer.Argument(help="An ONNX model, such as `yolo export format=onnx` writes.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Name of the bundle, a new folder NAME.bundle.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder with at least 8 pictures to compare on. Default: drawings.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Makes a bundle of a YOLO segmentation or detection model that another tool exported; the graph runs as it is.

    There is no torch model to compare with: the report says how the runtime agrees with the plain graph.

    Example: lineside import yolo11n-seg.onnx -o parts.bundle
    """
    from lineside.cli.export import show_report
    from lineside.cli.progress import progress
    from lineside.export.importing import import_onnx
    from lineside.export.prove import ParityFailed

    try:
        with progress("import") as update:
            made = import_onnx(model, out, images=images, force=force, update=update)
    except ParityFailed as failure:
        show_report(failure.report, as_json, {"bundle": None, "report": str(failure.kept)})
        raise
    head = made.manifest.head
    show_report(made.parity, as_json, {"bundle": str(made.path), "head": head.kind})
    if not as_json:
        print(
            f"{made.path}: head {head.kind}, {head.classes} classes, {head.coefficients} mask coefficients; "
            "there was no torch reference"
        )
    return 0
