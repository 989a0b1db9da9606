"""``lineside export``: from weights to a bundle that proved itself."""

from __future__ import annotations

import json
import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lineside.export.parity.result import ParityReport

__all__ = ["command", "input_size", "show_report"]


class Storage(str, Enum):
    """Element type in which weights are stored."""

    FP32 = "fp32"
    FP16 = "fp16"


class Deform(str, Enum):
    """Form of deformable convolutions in the graph."""

    PORTABLE = "portable"
    NATIVE = "native"


def command(
    weights: Annotated[
        str, typer.Argument(help="A .pt checkpoint, its .safetensors copy, or a model yaml (random weights).")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Name of the bundle, a new folder NAME.bundle.")],
    imgsz: Annotated[
        str | None, typer.Option(help="Input in pixels: one number or HxW. Default: as trained, else 640.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures per run; with --dynamic the most.")] = 1,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Leave batch and input size free; --imgsz is then the default.")
    ] = False,
    end2end: Annotated[
        bool, typer.Option("--end2end", help="Take the head that needs no NMS (YOLO26, YOLOv10), not the usual one.")
    ] = False,
    storage: Annotated[
        Storage, typer.Option("--weights", help="How weights are stored; arithmetic is FP32 either way.")
    ] = Storage.FP32,
    deform: Annotated[
        Deform,
        typer.Option(help="Deformable convolutions: for every onnxruntime, or DeformConv (1.25 and newer, faster)."),
    ] = Deform.PORTABLE,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with at least 8 pictures for the parity gate. Default: drawings and photographs."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Add variants: some of fp16,int8-trt (TensorRT) and int8-cpu. INT8 needs pictures."),
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder with pictures for INT8. Default: training pictures of --data.")
    ] = None,
    calibration: Annotated[int, typer.Option(min=1, help="At most so many of them.")] = 128,
    data: Annotated[
        Path | None, typer.Option(help="data.yaml: measure what each variant loses on its split val.")
    ] = None,
    modules: Annotated[
        list[str] | None,
        typer.Option("--modules", help="File or package with blocks of your own; may be repeated. It is imported."),
    ] = None,
    safe: Annotated[
        bool,
        typer.Option(
            "--safe", help="Run no code of a checkpoint: take its .safetensors copy, else load it restricted."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Exports YOLO segmentation weights into a bundle, if the bundle sees what torch sees.

    Compares raw tensors, the best anchors and their masks with torch on at least 8 pictures; beyond the budget nothing
    is written, the exit code is 1 and the report lies beside.

    Example: lineside export runs/train/best.pt -o bearing.bundle --weights fp16

    Example: lineside export yolo11n-seg-edge.yaml -o edge.bundle --imgsz 320

    Example: lineside export best.pt -o parts.bundle --precision fp16,int8-trt --data parts/data.yaml

    The improved models: lineside zoo
    """
    size = input_size(imgsz)
    from lineside.cli.progress import progress
    from lineside.export.bundle import export_bundle
    from lineside.export.checkpoint import warn_of_pickle
    from lineside.export.precision.choice import PrecisionChoice, read_precisions
    from lineside.export.prove import ParityFailed

    names = () if precision is None else read_precisions(precision)
    choice = PrecisionChoice(names=names, calibrate=calibrate, count=calibration, data=data)
    choice.check()
    if not safe:
        warn_of_pickle(weights)
    try:
        with progress("export") as update:
            made = export_bundle(
                weights, out, imgsz=size, batch=batch, end2end=end2end, dynamic=dynamic, storage=storage.value,
                deform=deform.value, images=images, modules=modules or (), safe=safe, force=force, precision=choice,
                update=update,
            )  # fmt: skip
    except ParityFailed as failure:
        show_report(failure.report, as_json, {"bundle": None, "report": str(failure.kept)})
        raise
    files = {name: made.path.joinpath(name).stat().st_size for name in made.manifest.files}
    total = sum(files.values()) + made.path.joinpath("manifest.json").stat().st_size
    facts: dict[str, Any] = {"bundle": str(made.path), "bytes": total, "model_bytes": files[made.manifest.model]}
    if made.precision is not None:
        from lineside.runtime.plain import plain

        facts |= {"variants": plain(made.precision)["variants"]}
    show_report(made.parity, as_json, facts)
    if not as_json:
        if made.precision is not None:
            from lineside.cli.variants import print_variants

            print_variants(made.precision)
        from lineside.cli.tables import size_text

        print(
            f"{made.path}: {size_text(total)}, model {size_text(files[made.manifest.model])}, "
            f"{len(made.verified.golden)} golden files replayed"
        )
    return 0


def input_size(text: str | None) -> tuple[int, int] | None:
    """Reads ``640`` or ``480x640`` as height and width; None stays None.

    Raises:
        BadOption: It is neither, or a side is not from 32 to 8192.
    """
    from lineside.runtime.errors import BadOption

    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(re.fullmatch("[0-9]{2,4}", side) and 32 <= int(side) <= 8192 for side in sides):
        raise BadOption(
            f"--imgsz {text[:20]}: give one number, such as 640, or HxW, such as 480x640; sides from 32 to 8192"
        )
    return int(sides[0]), int(sides[-1])


BLIND = (
    "warning: the model answers every picture alike, so the comparison says nothing about what it is given. Its weights "
    "are damaged or hardly trained: look at its accuracy before you use it"
)


def show_report(report: ParityReport, as_json: bool, facts: dict[str, Any]) -> None:
    """Prints a report of the parity gate, as JSON together with other facts, or as a table."""
    if report.blind:
        print(BLIND, file=sys.stderr)
    if as_json:
        from lineside.runtime.plain import plain

        print(json.dumps(facts | {"parity": plain(report)}))
        return
    from lineside.cli.tables import print_table

    rows = [
        [
            picture.picture,
            "x".join(map(str, picture.image_size)),
            f"{min(measure.cosine for measure in picture.raw):.7f}",
            f"{max(measure.max_abs for measure in picture.raw):.1e}",
            str(picture.anchors.compared),
            f"{picture.anchors.box_px:.1e}",
            f"{picture.anchors.score:.1e}",
            str(picture.anchors.class_differs),
            str(picture.masks.compared),
            f"{picture.masks.mean_iou:.5f}" if picture.masks.compared else "-",
            f"{picture.masks.native_iou:.5f}" if picture.masks.compared else "-",
        ]
        for picture in report.pictures
    ]
    columns = [
        "picture",
        "HxW",
        ">cosine",
        ">max diff",
        ">anchors",
        ">box px",
        ">score",
        ">class",
        ">masks",
        ">IoU",
        ">IoU native",
    ]
    print_table(f"Parity with {report.reference}", columns, rows)
    for verdict in report.verdicts:
        state = "ok" if verdict.passed else f"FAILED: {verdict.reason}"
        print(f"{verdict.level:8} {state} (worst picture: {verdict.worst_picture or '-'})")
    print(f"pictures: {report.pictures_from}")
    if report.rounding:
        print(
            f"storing the weights as FP16 moved scores by up to {report.rounding['score']:.1e} and boxes by up to "
            f"{report.rounding['box_px']:.1e} px against unrounded torch"
        )
