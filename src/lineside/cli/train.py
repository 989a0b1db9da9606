"""``lineside train``: a model from a data set."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["command"]


def command(
    model: Annotated[
        str, typer.Argument(help="Model yaml, e.g. yolo11n-seg.yaml or yolo11n-seg-edge.yaml, or a .pt that you trust.")
    ],
    data: Annotated[str, typer.Argument(help="data.yaml or its folder, or a name: bearing, tube.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder, new or empty.")] = Path("runs/train"),
    epochs: Annotated[int, typer.Option(help="Passes over the training pictures.")] = 100,
    imgsz: Annotated[int, typer.Option(help="Side of the network's input, px.")] = 640,
    batch: Annotated[int, typer.Option(help="Pictures per step.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of weights and shuffling.")] = 0,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs without a better result.")] = 50,
    device: Annotated[str | None, typer.Option(help="cpu, 0, …; chosen by torch when left out.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads. Default: OMP_NUM_THREADS, else one per core.")
    ] = None,
    modules: Annotated[
        list[str] | None,
        typer.Option("--modules", help="File or package with blocks of your own; may be repeated. It is imported."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the set, in place of 'path' in data.yaml.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    check_only: Annotated[bool, typer.Option("--check-only", help="Check the data set and stop.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of ultralytics, NAME=VALUE; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Trains a segmentation model, offline; the data set is checked first.

    Leaves best.pt, best.safetensors, results.csv, curves.png and settings.json in the run folder.

    Example: lineside train yolo11n-seg.yaml sets/tube/data.yaml --imgsz 320 --epochs 30 --out runs/tube

    Example: lineside train yolo11n-seg-edge.yaml tube --out runs/edge

    The improved models: lineside zoo
    """
    from lineside.cli.progress import progress
    from lineside.export.checkpoint import warn_of_pickle
    from lineside.export.datasets import DatasetReport, check_dataset
    from lineside.export.train import Progress, TrainOptions, train

    if check_only:
        report = check_dataset(data, root)
        report.require()
        print(json.dumps(_counts(report)) if as_json else report.summary())
        return 0
    options = TrainOptions(epochs, imgsz, batch, seed, device, patience, threads, modules or (), _settings(set_ or []))

    def tell(report: DatasetReport) -> None:
        print(report.summary(), file=sys.stderr, flush=True)

    if not resume:
        for weights in (model, *options.other_weights):
            warn_of_pickle(weights, remedy="")
    try:
        with progress("training", every=30) as update:

            def step(state: Progress) -> None:
                note = f"epoch {state.epoch}/{state.epochs}"
                if state.metrics:
                    note += _epoch_note(state)
                    if not sys.stderr.isatty():
                        print(note, file=sys.stderr, flush=True)
                        return
                update(state.epoch - 1 + state.share, state.epochs, note)

            best = train(model, data, out, options, root=root, resume=resume, on_progress=step, on_report=tell)
    except KeyboardInterrupt:
        print(f"interrupted; go on with: lineside train {model} {data} --out {out} --resume", file=sys.stderr)
        return 130
    result = json.loads((best.parent / "settings.json").read_text(encoding="utf-8"))["best"]
    accuracy = {f"mask {name}": result.get(f"metrics/{name}(M)") for name in ("mAP50", "mAP50-95")} | _focus(result)
    if as_json:
        print(json.dumps({"best": str(best), **accuracy}))
    else:
        print(
            f"{best}: best epoch {result.get('epoch', 0):.0f}, on the validation pictures "
            + ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items() if value is not None)
        )
    return 0


def _focus(metrics: Mapping[str, float]) -> dict[str, float]:
    """How well a FocusPixel branch does; empty for a model without one."""
    keys = (("FocusPixel recall", "metrics/recall(F)"), ("FocusPixel precision", "metrics/precision(F)"))
    return {name: metrics[key] for name, key in keys if key in metrics}


def _epoch_note(state: Any) -> str:
    """Losses and accuracy of an epoch in one line."""
    losses = " ".join(f"{name.rsplit('/', 1)[-1]} {value:.3f}" for name, value in state.losses.items())
    accuracy = [state.metrics.get(f"metrics/{name}(M)", 0.0) for name in ("mAP50", "mAP50-95")]
    focus = "".join(f"  {name} {value:.3f}" for name, value in _focus(state.metrics).items())
    return f"  {losses}  mask mAP50 {accuracy[0]:.3f} mAP50-95 {accuracy[1]:.3f}{focus}  {state.seconds:.0f} s"


def _counts(report: Any) -> dict[str, Any]:
    """The good result of a data check, for a program."""
    return {
        name: {"pictures": split.pictures, "objects": split.objects, "empty": split.empty}
        for name, split in report.splits.items()
    }


def _settings(words: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as a mapping; values are read as YAML, so that 0.1 is a number and true a boolean."""
    import yaml

    from lineside.runtime.errors import BadOption

    result: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadOption(f"--set needs NAME=VALUE, and '{word}' is not of that form. Example: --set lr0=0.001")
        result[name] = yaml.safe_load(value)
    return result
