"""``lineside export``: from weights to a bundle that proved itself."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineside.cli.sizes import input_size

if TYPE_CHECKING:
    from lineside.export.bundle import Exported

__all__ = ["command"]


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
    from lineside.cli.parity import show_report
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
    _show(made, as_json)
    return 0


def _show(made: Exported, as_json: bool) -> None:
    """Prints what was made and how it was proved."""
    from lineside.cli.parity import show_report
    from lineside.cli.tables import size_text
    from lineside.cli.variants import print_variants
    from lineside.runtime.plain import plain

    files = {name: made.path.joinpath(name).stat().st_size for name in made.manifest.files}
    total, model = sum(files.values()) + made.path.joinpath("manifest.json").stat().st_size, files[made.manifest.model]
    facts: dict[str, Any] = {"bundle": str(made.path), "bytes": total, "model_bytes": model}
    if made.precision is not None:
        facts |= {"variants": plain(made.precision)["variants"]}
    show_report(made.parity, as_json, facts)
    if as_json:
        return
    if made.precision is not None:
        print_variants(made.precision)
    print(
        f"{made.path}: {size_text(total)}, model {size_text(model)}, {len(made.verified.golden)} golden files replayed"
    )
