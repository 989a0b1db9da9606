"""``lineside import``: from a foreign ONNX file to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lineside.export.tails.find import TailRecord

__all__ = ["command"]


def command(
    model: Annotated[Path, typer.Argument(help="An ONNX model, such as `yolo export format=onnx` writes.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Name of the bundle, a new folder NAME.bundle.")],
    imgsz: Annotated[
        str | None,
        typer.Option(help="Input in pixels, one number or HxW, for a model with dynamic shapes. Default: as it says."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures per run, for a model with dynamic shapes. Default: 1.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(help="Class names where the file has none: NAME,NAME,... or a file with one a line."),
    ] = None,
    keep_tail: Annotated[
        bool, typer.Option("--keep-tail", help="Let the graph run as it is, even where its decode tail could go.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder with at least 8 pictures to compare on. Default: drawings.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Makes a bundle of a YOLO segmentation or detection model that another tool exported.

    The decode tail of the graph is cut off where it is proven to compute what the runtime computes itself; else the
    graph runs as it is. There is no torch model to compare with: the report says how the runtime agrees with the plain
    graph.

    Example: lineside import yolo11n-seg.onnx -o parts.bundle
    """
    from lineside.cli.parity import show_report
    from lineside.cli.progress import progress
    from lineside.cli.sizes import input_size
    from lineside.export.importing import import_onnx
    from lineside.export.prove import ParityFailed

    size = input_size(imgsz)
    try:
        with progress("import") as update:
            made = import_onnx(
                model, out, imgsz=size, batch=batch, names=_names(names), keep_tail=keep_tail, images=images,
                force=force, update=update,
            )  # fmt: skip
    except ParityFailed as failure:
        show_report(failure.report, as_json, {"bundle": None, "report": str(failure.kept)})
        raise
    import msgspec

    head, record = made.manifest.head, made.record
    show_report(
        made.parity,
        as_json,
        {"bundle": str(made.path), "head": head.kind, "import": msgspec.to_builtins(record)},
    )
    if not as_json:
        for clause in record.adapted:
            print(f"note: {clause}")
        print(_tail_line(record.tail))
        print(
            f"{made.path}: head {head.kind}, {head.classes} classes, {head.coefficients} mask coefficients; "
            "there was no torch reference"
        )
    return 0


def _tail_line(tail: TailRecord) -> str:
    """What became of the decode tail."""
    if not tail.cut:
        return f"the graph runs as it is, with its decode tail: {tail.reason}"
    seen = tail.figures
    proof = f"; over {seen.anchors} anchors boxes differ by {seen.box_px:.2g} px at most" if seen else ""
    return f"decode tail cut off, {tail.removed} nodes less{proof}"


def _names(text: str | None) -> tuple[str, ...] | None:
    """Class names as given: a list with commas, or a file with one a line.

    Raises:
        BadOption: A name is empty, or given twice.
    """
    from lineside.runtime.errors import BadOption

    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() in (".txt", ".names") or path.is_file():
        try:
            words = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise BadOption(
                f"--names {text} cannot be read ({reason}): give names, or a file with one a line"
            ) from error
    else:
        words = [word.strip() for word in text.split(",")]
    if not words or not all(words) or len(set(words)) != len(words):
        raise BadOption(f"--names {text!r} holds an empty name or one name twice: give NAME,NAME,...")
    return tuple(words)
