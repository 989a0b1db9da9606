"""Exports models with older versions of ultralytics and imports what they wrote: a table of forms and parity.

Each version is installed without its dependencies into a folder of its own, and runs with the torch of the interpreter
that runs this script. Torch's exporter was the TorchScript one at that time, so it is chosen here as well. Needs the
package index; no part of the test suite.

usage: python scripts/older_ultralytics.py [VERSION ...] [--forms raw,nms,...] [--models yolo26n-seg,...] [--cache DIR] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSIONS = (
    "8.0.20", "8.0.120", "8.0.238", "8.1.0", "8.1.47", "8.2.0", "8.2.103", "8.3.0", "8.3.100", "8.3.253",
    "8.4.0", "8.4.20", "8.4.50", "8.4.190",
)  # fmt: skip

EXTRA = ("psutil", "py-cpuinfo", "pandas", "pytz", "tzdata", "python-dateutil", "six", "seaborn", "matplotlib", "cycler",
         "contourpy", "kiwisolver", "pyparsing", "fonttools", "tqdm", "requests", "charset-normalizer", "idna", "urllib3",
         "certifi", "thop", "ultralytics-thop", "sentry-sdk", "pillow", "scipy", "gitpython", "gitdb", "smmap", "polars",
         "polars-runtime-32", "setuptools<81", "ipython==8.12.3", "traitlets", "decorator",
         "pickleshare", "backcall", "jedi", "parso", "prompt_toolkit", "wcwidth", "pygments", "stack_data", "executing",
         "asttokens", "pure_eval", "matplotlib_inline", "pexpect", "ptyprocess")  # fmt: skip
"""What older versions import beside torch, numpy and OpenCV; those that cannot be installed are left out."""

FORMS: dict[str, dict[str, Any]] = {
    "raw": {},
    "unsimplified": {"simplify": False},
    "opset 12": {"opset": 12},
    "batch 2": {"batch": 2},
    "dynamic": {"dynamic": True},
    "half": {"half": True},
    "nms": {"nms": True, "conf": 1e-5},
}

MODELS: dict[str, tuple[int, ...]] = {"yolov8n-seg": (8,), "yolo11n-seg": (8, 3), "yolo26n-seg": (8, 4)}
"""Models, and the first release that has them."""

IMGSZ = 96


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=list(VERSIONS), metavar="VERSION")
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--cache", type=Path, default=Path(".cache/older_ultralytics"))
    parser.add_argument("--out", type=Path, help="write all figures as JSON")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    forms, models = given.forms.split(","), given.models.split(",")
    if given.child:
        export_all(given.child, forms, models)
        return 0
    rows = []
    print(
        f"{'version':9} {'model':11} {'form':13} {'outputs':34} {'read as':16} {'box px':>8} {'score':>8} {'IoU':>7}  what"
    )
    for version in given.versions:
        for row in table_of(version, forms, models, given.cache.absolute()):
            rows.append(row)
            print(line_of(row), flush=True)
    if given.out:
        given.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def table_of(version: str, forms: list[str], models: list[str], cache: Path) -> Iterator[dict[str, Any]]:
    """One row per model and form of a version."""
    packages = cache / version
    try:
        install(cache, version)
    except subprocess.CalledProcessError as error:
        yield {"version": version, "model": "-", "form": "-", "error": f"pip: {last_line(error.stderr)}"}
        return
    work = cache / f"work-{version}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(packages), str(cache / "extra"))),
        "YOLO_CONFIG_DIR": str(work / "settings"), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false", "MPLBACKEND": "agg",
    }  # fmt: skip
    (work / "settings").mkdir()
    child = subprocess.run(
        [sys.executable, __file__, "--child", str(work), "--forms", ",".join(forms), "--models", ",".join(models)],
        cwd=work, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    listing = work / "made.json"
    if not listing.is_file():
        yield {"version": version, "model": "-", "form": "-", "error": last_line(child.stderr)}
        return
    for made in json.loads(listing.read_text()):
        row = {"version": version, **made}
        if "file" in made:
            row |= imported(work, made)
        yield row


def install(cache: Path, version: str) -> None:
    """Installs a version, and once what older versions need."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--ignore-requires-python"]
    extra = cache / "extra"
    if not extra.is_dir():
        extra.mkdir(parents=True)
        for name in EXTRA:
            subprocess.run([*pip, "--target", str(extra), name], capture_output=True)
    if not (cache / version).is_dir():
        command = [*pip, "--target", str(cache / version), f"ultralytics=={version}"]
        subprocess.run(command, check=True, capture_output=True, text=True)


def export_all(work: Path, forms: list[str], models: list[str]) -> None:
    """In a process of its own: exports every form with the ultralytics that is on the path."""
    import functools

    import numpy as np
    import torch

    torch.set_num_threads(1)
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    torch.load = functools.partial(torch.load, weights_only=False)
    board = types.ModuleType("torch.utils.tensorboard")  # the first versions want it for training
    board.SummaryWriter = None  # type: ignore[attr-defined]
    sys.modules[board.__name__] = board
    import ultralytics
    from ultralytics import YOLO

    from lineside.export.parity.letterbox import letterboxed, place
    from lineside.export.pictures import drawn_pictures
    from lineside.export.settle import settle

    release = tuple(int(part) for part in ultralytics.__version__.split("."))
    made: list[dict[str, Any]] = []
    for model in (name for name in models if release >= MODELS[name]):
        for form in forms:
            options = dict(FORMS[form])
            if form == "nms" and release < (8, 3, 53):
                continue  # there was none
            row: dict[str, Any] = {"model": model, "form": form}
            made.append(row)
            try:
                torch.manual_seed(1)
                yolo = YOLO(f"{model}.yaml")
                settle(yolo.model.eval(), drawn_pictures(()))
                reference = {}
                for picture in drawn_pictures(()):
                    placement = place(picture.frame.shape[:2], (IMGSZ, IMGSZ))
                    pixels = letterboxed(picture.frame, placement).transpose(2, 0, 1).astype(np.float32) / 255
                    with torch.no_grad():
                        rows, protos = outputs_of(yolo.model(torch.from_numpy(pixels[None])))
                    reference[f"{picture.name} rows"], reference[f"{picture.name} protos"] = rows, protos
                written = Path(yolo.export(format="onnx", imgsz=IMGSZ, **options) or f"{model}.onnx")
                name = f"{model} {form}"
                shutil.move(written, work / f"{name}.onnx")
                np.savez(work / f"{name}.npz", **reference)
                row["file"] = f"{name}.onnx"
            except (Exception, SystemExit) as error:
                row["error"] = f"{type(error).__name__}: {last_line(str(error))}"
                traceback.print_exc()
            (work / "made.json").write_text(json.dumps(made))


def outputs_of(answer: Any) -> tuple[Any, Any]:
    """Detections and prototypes among the nested outputs of a torch model."""
    rows = protos = None
    stack = [answer]
    while stack:
        part = stack.pop(0)
        if isinstance(part, dict):
            stack += list(part.values())
        elif isinstance(part, (list, tuple)):
            stack += list(part)
        elif part.ndim == 3 and rows is None:
            rows = part[0].numpy()
        elif part.ndim == 4 and part.shape[2] == IMGSZ // 4 and part.shape[1] == 32 and protos is None:
            protos = part[0].numpy()
    return rows, protos


def imported(work: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Imports a file and compares the bundle with what torch saw."""
    import onnx

    from lineside.export.graph.finish import tensor_shapes
    from lineside.export.importing import import_onnx
    from lineside.runtime.errors import LinesideError

    path = work / made["file"]
    model = onnx.load(path)
    facts: dict[str, Any] = {
        "inputs": {name: list(shape) for name, shape in tensor_shapes(model.graph.input).items()},
        "outputs": {name: list(shape) for name, shape in tensor_shapes(model.graph.output).items()},
        "metadata": [entry.key for entry in model.metadata_props],
        "opset": {entry.domain: entry.version for entry in model.opset_import}.get("", 0),
        "ir": model.ir_version,
        "nodes": len(model.graph.node),
    }
    target = work / f"{path.stem}.bundle"
    try:
        bundle = import_onnx(path, target)
    except LinesideError as error:
        return facts | {"refused": str(error)}
    tail = bundle.record.tail
    measures = [picture.anchors for picture in bundle.parity.pictures]
    return facts | {
        "read_as": bundle.record.form,
        "head": bundle.manifest.head.kind,
        "reg_max": bundle.manifest.head.reg_max,
        "adapted": bundle.record.adapted,
        "tail_cut": tail.cut,
        "why": tail.reason,
        "tail_box_px": tail.figures.box_px if tail.figures else None,
        "graph_box_px": max(each.box_px for each in measures),
        "graph_score": max(each.score for each in measures),
        "torch": beside_torch(target, path.with_suffix(".npz")),
    }


def beside_torch(target: Path, saved: Path) -> dict[str, Any]:
    """Greatest differences of boxes and scores, and least mean IoU of masks, over the best anchors of each picture."""
    import msgspec
    import numpy as np
    import torch

    from lineside.export.parity.anchors import compare_anchors
    from lineside.export.parity.budget import FP32
    from lineside.export.parity.letterbox import letterboxed, place
    from lineside.export.parity.masks import compare_masks
    from lineside.export.parity.plain_decode import decode_end2end, decode_flat
    from lineside.export.parity.reference import Seen, to_picture
    from lineside.export.parity.rows import follow
    from lineside.export.parity.shipped import Shipped
    from lineside.export.pictures import drawn_pictures
    from lineside.runtime.bundle import open_bundle

    bundle = open_bundle(target)
    head = bundle.manifest.head
    shipped = Shipped(bundle)
    arrays = np.load(saved)
    budget = msgspec.structs.replace(FP32, tie_score=1e-6)
    box, score, other, iou = 0.0, 0.0, 0, 1.0
    try:
        for picture in drawn_pictures(()):
            rows, protos = arrays[f"{picture.name} rows"], arrays[f"{picture.name} protos"]
            final = rows.shape[1] == 6 + head.coefficients
            parts = (decode_end2end if final else decode_flat)(rows, head)
            placement = place((picture.frame.shape[0], picture.frame.shape[1]), head.input_size)
            boxes = torch.from_numpy(parts[0])
            seen = Seen(
                placement=placement, pixels=letterboxed(picture.frame, placement), raw={"rows": rows[None]}, input_boxes=boxes,
                boxes=to_picture(boxes, placement), scores=torch.from_numpy(parts[1]),
                coefficients=torch.from_numpy(parts[2]), protos=torch.from_numpy(protos), final=final,
            )  # fmt: skip
            view = shipped.look([picture.frame])[0]
            if head.kind == "end2end":  # rows of nearly the same score come in any order
                seen = (follow if final else at_rows)(view.outputs[0][0], seen)
            found = shipped.best(view, 64)
            anchors, masks = compare_anchors(found, seen, budget), compare_masks(found, seen)
            box, score = max(box, anchors.box_px), max(score, anchors.score)
            other += anchors.missing + anchors.added + anchors.class_differs
            iou = min(iou, masks.mean_iou) if masks.compared else iou
    finally:
        shipped.close()
    return {"box_px": box, "score": score, "others": other, "mask_iou": iou}


def at_rows(rows: Any, seen: Any) -> Any:
    """Torch's anchors in the order of the rows that an embedded suppression picked among them, matched by their boxes."""
    import dataclasses

    import torch

    order = torch.cdist(torch.from_numpy(rows[:, :4]).double(), seen.input_boxes).argmin(1)
    return dataclasses.replace(
        seen, input_boxes=seen.input_boxes[order], boxes=seen.boxes[order], scores=seen.scores[order],
        coefficients=seen.coefficients[order],
    )  # fmt: skip


def line_of(row: dict[str, Any]) -> str:
    """One line of the table."""
    head = f"{row['version']:9} {row['model']:11} {row['form']:13}"
    if "error" in row:
        return f"{head} not exported: {row['error'][:110]}"
    outputs = " ".join("x".join(map(str, shape)) for shape in row["outputs"].values())
    if "refused" in row:
        return f"{head} {outputs[:34]:34} refused: {row['refused'][:140]}"
    torch = row["torch"]
    figures = (
        f"{torch['box_px']:8.1e} {torch['score']:8.1e} {torch['mask_iou']:7.5f}" if "box_px" in torch else f"{'-':>25}"
    )
    what = "tail cut" if row["tail_cut"] else f"as it is: {row['why']}"
    return f"{head} {outputs[:34]:34} {row['read_as'] + ' > ' + row['head']:16} {figures}  {what}"


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


if __name__ == "__main__":
    sys.exit(main())
