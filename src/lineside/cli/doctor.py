"""``lineside doctor``: what a target makes of a model, before any long work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lineside.cli.export import Deform
from lineside.cli.sizes import input_size
from lineside.runtime.errors import MissingPackage

if TYPE_CHECKING:
    from lineside.export.doctor.report import Report

__all__ = ["command", "show"]

MOST_PLACES = 4
"""So many places of one finding are shown in the table; --json has all."""
_ONNX = (
    "the Python package onnx is not installed: pip install onnx. An ONNX file or a bundle needs no more than that; weights "
    "and a model yaml need 'lineside[export]'"
)
"""Said on a device, which need not have torch for this."""


def command(
    model: Annotated[
        str, typer.Argument(help="A .pt checkpoint, its .safetensors copy, a model yaml, an .onnx file or a bundle.")
    ],
    target: Annotated[
        str, typer.Option(help="What is to run it: onnxruntime, onnxruntime1.23, trt10.3, trt10.16 or trt11.4.")
    ] = "onnxruntime",
    imgsz: Annotated[
        str | None, typer.Option(help="Input in pixels, of weights: one number or HxW. Default: as trained, else 640.")
    ] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Input size shall stay free.")] = False,
    end2end: Annotated[bool, typer.Option("--end2end", help="Take the head that needs no NMS.")] = False,
    deform: Annotated[Deform, typer.Option(help="How deformable convolutions are to be written.")] = Deform.PORTABLE,
    modules: Annotated[
        list[str] | None,
        typer.Option("--modules", help="File or package with blocks of your own; may be repeated. It is imported."),
    ] = None,
    safe: Annotated[bool, typer.Option("--safe", help="Load the checkpoint without running code from it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Says what a target cannot run, what becomes a custom op, what falls back to a body, what is slow or not exported.

    Runs no picture. Exit code 1 when the target cannot run it. An ONNX file or a bundle, with every graph in it, takes
    seconds and needs the package onnx alone; weights and a model yaml are traced as in an export, which needs torch and
    ultralytics and takes some tens of seconds. A .pt file is a pickle: what it names is read before anything is loaded.

    Example: lineside doctor yolo11n-seg.yaml --target onnxruntime1.23

    Example: lineside doctor demo/bearing.bundle --target trt10.3
    """
    size = input_size(imgsz)
    try:
        from lineside.export.doctor.examine import examine
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingPackage(_ONNX) from error

    report = examine(
        model, target, imgsz=size, dynamic=dynamic, end2end=end2end, deform=deform.value, modules=modules or (), safe=safe
    )  # fmt: skip
    if as_json:
        from lineside.runtime.plain import plain

        print(json.dumps(plain(report)))
    else:
        show(report)
    return 0 if report.runs else 1


def show(report: Report) -> None:
    """Prints a report as a table and a sentence."""
    from lineside.cli.tables import print_table

    if report.findings:
        rows = [
            [finding.severity, _places(finding.where), finding.reason, finding.remedy] for finding in report.findings
        ]
        print_table(f"{report.model} on {report.target} ({report.version})", ["what", "where", "why", "remedy"], rows)
    graph = f", {report.nodes} nodes" if report.nodes else ""
    verdict = "runs it" if report.runs else "does not run it"
    print(f"{report.target} ({report.version}) {verdict}: {_counts(report) or 'nothing to say'}{graph}")


def _counts(report: Report) -> str:
    """How many findings of each kind there are."""
    from lineside.export.doctor.rule import SEVERITIES

    counts = [(report.count(severity), severity) for severity in SEVERITIES]
    return ", ".join(f"{count} {severity}" for count, severity in counts if count)


def _places(where: tuple[str, ...]) -> str:
    """The first places of a finding."""
    more = f" and {len(where) - MOST_PLACES} more" if len(where) > MOST_PLACES else ""
    return "\n".join(where[:MOST_PLACES]) + more
