"""``lineside inspect``: what a bundle says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineside.runtime.errors import BundleDamaged

if TYPE_CHECKING:
    from lineside.runtime.bundle import Bundle

__all__ = ["command"]


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or the same tree in a .zip.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> int:
    """Shows what a bundle is, where it comes from, how it proved itself and what lies in it; runs nothing.

    Example: lineside inspect demo/bearing.bundle
    """
    from lineside.runtime.bundle import open_bundle

    facts = describe(open_bundle(bundle))
    if as_json:
        print(json.dumps(facts))
        return 0
    from lineside.cli.tables import print_table, size_text

    print_table(str(facts["bundle"]), ["what", "value"], _rows(facts))
    files = [[name, size_text(entry["bytes"]), entry["sha256"][:16]] for name, entry in facts["files"].items()]
    print_table(f"{len(files)} files, {size_text(facts['bytes'])}", ["file", ">size", "sha256"], files)
    return 0


def describe(opened: Bundle) -> dict[str, Any]:
    """Everything about a verified bundle, as plain data."""
    import msgspec

    files = {
        name: {"bytes": len(opened.read(name)), "sha256": opened.manifest.files.get(name, "")}
        for name in opened.names()
    }
    return {
        "bundle": str(opened.path),
        "bytes": sum(entry["bytes"] for entry in files.values()),
        "manifest": {key: value for key, value in msgspec.to_builtins(opened.manifest).items() if key != "files"},
        "parity": _parity(opened),
        "files": files,
    }


def _parity(opened: Bundle) -> dict[str, Any] | None:
    """The parity report in a few numbers; None where the bundle holds none."""
    if "reports/parity.json" not in opened.names():
        return None
    try:
        return _summary(json.loads(opened.read("reports/parity.json")))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BundleDamaged(
            f"reports/parity.json in {opened.path} is no parity report ({type(error).__name__}): "
            "export the bundle again"
        ) from error


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    pictures = report.get("pictures") or []
    if not pictures:
        return {"passed": report.get("passed"), "reference": report.get("reference"), "pictures": 0}
    # An end-to-end head may find nothing in a picture, and then there was nothing to compare.
    compared = [picture["anchors"] for picture in pictures if picture["anchors"]["compared"]]
    masks = [picture["masks"] for picture in pictures if picture["masks"]["compared"]]
    return {
        "passed": report["passed"],
        "reference": report["reference"],
        "pictures": len(pictures),
        "pictures_from": report["pictures_from"],
        "cosine": min(measure["cosine"] for picture in pictures for measure in picture["raw"]),
        "box_px": max((anchors["box_px"] for anchors in compared), default=None),
        "score": max((anchors["score"] for anchors in compared), default=None),
        "focus": max((picture["focus"] for picture in pictures if picture.get("focus") is not None), default=None),
        "mask_iou": min((mask["mean_iou"] for mask in masks), default=None),
        "native_iou": min((mask["native_iou"] for mask in masks), default=None),
        "rounding": report.get("rounding") or {},
    }


def _precisions(variants: dict[str, Any]) -> str:
    """Which precisions there are, and which engines they are meant for."""
    others = [f"{name} ({', '.join(variant['engines'])})" for name, variant in variants.items()]
    return ", ".join(["fp32", *others])


def _rows(facts: dict[str, Any]) -> list[list[str]]:
    """The table of what a bundle is."""
    manifest, parity = facts["manifest"], facts["parity"]
    head, source, limits = manifest["head"], manifest["provenance"], manifest["thresholds"]
    names = manifest["names"]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    rows = [
        ["name", f"{manifest['name']} ({manifest['task']})"],
        ["classes", shown],
        [
            "input",
            f"{manifest['input']['name']} {manifest['input']['batch']}x3x{'x'.join(map(str, manifest['input']['size']))} "
            f"{manifest['input']['colour']}, letterboxed with {manifest['input']['padding']}"
            f"{'; dynamic: other sizes with --imgsz, fewer pictures per run' if manifest['input']['dynamic'] else ''}",
        ],
        [
            "head",
            f"{head['kind']}: {head['classes']} classes, {head['coefficients']} mask coefficients, strides "
            f"{', '.join(map(str, head['strides']))}, reg_max {head['reg_max']}"
            + (f"; focus map, a cell per {head['focus']} px" if head["focus"] else ""),
        ],
        ["thresholds", f"conf {limits['conf']:g}, iou {limits['iou']:g}, at most {limits['max_det']}"],
        [
            "model",
            f"opset {manifest['opset']}, weights stored as {manifest['weights_storage']}, "
            f"onnxruntime {manifest['min_onnxruntime']} or newer",
        ],
        ["precisions", _precisions(manifest["variants"])],
        ["made from", f"{source['model']} {source['weights']} {source['weights_sha256'][:16]}".strip()],
        ["data set", source["dataset"] or "unknown"],
        ["licence of the weights", source["licence"] or "unknown"],
        ["made", f"{source['created'] or 'unknown'} with " + ", ".join(f"{k} {v}" for k, v in source["tools"].items())],
    ]
    if parity is None:
        return [*rows, ["parity", "no report in this bundle"]]
    rows.append(["parity", f"{'passed' if parity['passed'] else 'FAILED'} against {parity['reference']}"])
    if parity["pictures"]:
        masks = "-" if parity["mask_iou"] is None else f"{parity['mask_iou']:.5f}"
        rows.append(
            [
                f"on {parity['pictures']} pictures",
                f"cosine at least {parity['cosine']:.7f}, boxes within {parity['box_px']:.1e} px, scores within "
                f"{parity['score']:.1e}, mask IoU at least {masks}"
                + ("" if parity["focus"] is None else f", focus map within {parity['focus']:.1e}"),
            ]
        )
    return rows
