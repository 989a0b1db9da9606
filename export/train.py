"""Trains a segmentation model with ultralytics, offline, with settings that suit small sets.

A run folder holds ``best.pt``, ``best.safetensors``, ``results.csv``, ``curves.png`` and ``settings.json``; what
ultralytics itself writes, and what ``resume`` needs, is kept in its sub-folder ``work``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineside.export.blocks import UserBlocks, load_blocks
from lineside.export.checkpoint import read_checkpoint
from lineside.export.class_paths import ClassPath, class_paths, installed
from lineside.export.datasets import DatasetReport, check_dataset, write_resolved
from lineside.export.results import best_row, copy_whole, draw_curves, read_results, write_safetensors
from lineside.export.ultra import load_model, prepare
from lineside.export.yaml_blocks import registered
from lineside.runtime.errors import BadOption, MissingPackage, WeightsError
from lineside.runtime.whole_file import write_whole

__all__ = ["SMALL_SET", "Progress", "TrainOptions", "train"]

SMALL_SET: Mapping[str, Any] = {
    "optimizer": "AdamW",
    "lr0": 1.5e-3,
    "cos_lr": True,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,  # 0.1 throws biases about: before a LayerNorm they drown what the weights see, for good
    "mosaic": 0.0,  # four parts glued together look like no part of a line, and cost epochs on a few hundred pictures
    "degrees": 5.0,
    "scale": 0.4,
    "hsv_s": 0.5,
    "cache": "ram",
    "workers": 0,
    "plots": False,
    "val": True,
    "amp": False,
    "verbose": False,
}
"""Settings of ultralytics that differ from its defaults. ``nbs`` is set to the batch besides: with its default of 64
a set of 120 pictures gets two optimiser steps per epoch and learns nothing."""

OWNED = ("data", "exist_ok", "mode", "model", "name", "project", "resume", "save", "save_dir", "task")
"""Settings of ultralytics that a run folder depends on, and that nobody else may set."""

OTHER_WEIGHTS = ("distill_model", "pretrained")
"""Settings of ultralytics that may name a checkpoint, which it unpickles."""


@dataclass(frozen=True)
class TrainOptions:
    """What a training run is asked for.

    Attributes:
        epochs: Passes over the training pictures.
        imgsz: Side of the network's input, px, a multiple of 32.
        batch: Pictures per step; never more than there are.
        seed: Seed of weights and shuffling.
        device: ``cpu``, ``0`` …; None lets torch choose.
        patience: Stop after so many epochs without a better result.
        threads: CPU threads of torch; None for one per core that the process may use.
        modules: Files and packages with blocks of the user's own; see `lineside.export.blocks.load_blocks`.
        extra: Further settings of ultralytics by name; they win over everything else.
    """

    epochs: int = 100
    imgsz: int = 640
    batch: int = 16
    seed: int = 0
    device: str | None = None
    patience: int = 50
    threads: int | None = None
    modules: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises BadOption for a value out of range."""
        for name, least in (("epochs", 1), ("imgsz", 32), ("batch", 1), ("seed", 0), ("patience", 0)):
            if getattr(self, name) < least:
                raise BadOption(f"--{name} is at least {least}; {getattr(self, name)} was given.")
        if self.imgsz % 32:
            raise BadOption(f"--imgsz is a multiple of 32; {self.imgsz} was given. Take {-(-self.imgsz // 32) * 32}.")
        if self.several_devices and self.modules:
            raise BadOption(
                f"--device {self.device} trains in a process per GPU, and blocks of --modules do not get there. "
                "Train on one GPU."
            )
        for name in OWNED:
            if name in self.extra:
                raise BadOption(
                    f"--set {name} is refused: where a run lies and what it is called are set by MODEL, DATA and --out."
                )

    @property
    def other_weights(self) -> tuple[str, ...]:
        """Checkpoints that the settings name beside the model: a teacher, or weights to begin with."""
        values = (self.extra.get(name) for name in OTHER_WEIGHTS)
        return tuple(str(value) for value in values if isinstance(value, (str, Path)))

    @property
    def several_devices(self) -> bool:
        """Whether ultralytics starts a process for each of several GPUs."""
        return "," in (self.device or "")


@dataclass(frozen=True)
class Progress:
    """State after a batch or an epoch.

    Attributes:
        epoch: Number of the current epoch, from 1.
        epochs: Number of epochs of the run.
        share: Share of the current epoch that is done, 0..1.
        losses: Mean losses of the epoch by name; empty within an epoch.
        metrics: Validation metrics by ultralytics' names; empty within an epoch.
        seconds: Time since the start of the run (or since it was resumed).
    """

    epoch: int
    epochs: int
    share: float
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    seconds: float


def train(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    options: TrainOptions | None = None,
    *,
    root: str | Path | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    on_report: Callable[[DatasetReport], None] | None = None,
) -> Path:
    """Checks a data set and trains a model on it.

    Args:
        model: A model yaml (``yolo11n-seg.yaml``: random weights) or a trusted ``.pt`` to start from.
        data: ``data.yaml`` of a set in the YOLO segmentation format.
        out: Run folder; new or empty unless `resume`.
        options: What to do; the defaults of `TrainOptions` when None.
        root: Folder of the set, in place of the ``path`` that `data` names.
        resume: Go on with the interrupted run in `out`; its own options are kept.
        on_progress: Called after each batch and each epoch.
        on_report: Called with the result of the data check before training starts.

    Returns:
        Path of ``best.pt`` in the run folder: averaged weights (EMA) of the epoch with the best validation result
        (see `lineside.export.results.best_row`).

    Raises:
        BadOption: An option is out of range, or the folder does not fit.
        DatasetError: The set is broken; the message names files and lines.
        MissingPackage: ultralytics or safetensors is not installed.
        WeightsError: The model, or a checkpoint that the settings name, cannot be loaded or built.
    """
    options = options or TrainOptions()
    options.check()
    folder = Path(out).absolute()
    work = folder / "work"
    last = work / "weights" / "last.pt"
    _check_folder(folder, last, resume)
    ultralytics = prepare()
    _need("safetensors")
    report = check_dataset(data, root)
    if on_report is not None:
        on_report(report)
    report.require()
    start = str(last) if resume else str(model)
    if Path(start).suffix.lower() == ".safetensors":
        raise WeightsError(f"Training cannot start from '{start}'. Give the .pt that lies beside it.")
    weights = [start, *(() if resume else options.other_weights)]
    blocks = load_blocks(options.modules, [path.module for path in _classes(weights)])
    # Says what is wrong with them, before ultralytics tries to download or runs what is in them.
    loaded = load_model(start, tasks=("segment",), blocks=blocks)
    for other in weights[1:]:
        read_checkpoint(other, safe=False, blocks=blocks)
    arguments = {"resume": True} if resume else _checked(_arguments(options, report, folder, loaded))
    with _within_reach(blocks, weights):
        seconds = _train(ultralytics, start, arguments, options, report, folder, on_progress)
        return _deliver(folder, str(model), options, report, seconds, blocks)


def _train(
    ultralytics: Any,
    start: str,
    arguments: dict[str, Any],
    options: TrainOptions,
    report: DatasetReport,
    folder: Path,
    on_progress: Callable[[Progress], None] | None,
) -> float:
    """Runs ultralytics' training, where it is not finished already; returns the seconds that it took."""
    work, resume = folder / "work", "resume" in arguments
    yolo = ultralytics.YOLO(start, task="segment")
    finished = resume and yolo.ckpt.get("epoch", -1) < 0  # so ultralytics marks a run that came to its end
    if finished and (folder / "best.pt").is_file():
        raise BadOption(f"The run in '{folder}' is finished: nothing is left to go on with.")
    work.mkdir(parents=True, exist_ok=True)
    write_resolved(report, work / "data.yaml")
    began = time.time()
    if not finished:
        if not options.several_devices:  # the ranks are other processes, where nobody would see it
            _watch(yolo, on_progress)
        yolo.add_callback("on_train_start", lambda trainer: _use_threads(options.threads))
        yolo.add_callback(
            "on_pretrain_routine_end", importlib.import_module("lineside.export.yolo.fine_masks").learn_fine_masks
        )
        with contextlib.redirect_stdout(sys.stderr):  # results go to stdout, ultralytics' chatter does not
            yolo.train(**arguments)
    return time.time() - began


@contextlib.contextmanager
def _within_reach(blocks: UserBlocks, weights: Sequence[str]) -> Iterator[None]:
    """Lets ultralytics find the user's blocks, in yamls and in the checkpoints that it starts from."""
    with registered(blocks), installed(blocks, _classes(weights), safe=False):
        yield


def _classes(weights: Sequence[str]) -> tuple[ClassPath, ...]:
    """The classes that checkpoints name, each once."""
    return tuple(dict.fromkeys(path for file in weights for path in class_paths(file)))


def _check_folder(folder: Path, last: Path, resume: bool) -> None:
    """A new run needs an empty folder, a resumed one its last checkpoint."""
    if resume and not last.is_file():
        raise BadOption(f"'{folder}' holds no interrupted run (no {last.relative_to(folder)}). Start without --resume.")
    if resume and Path(str(_used_arguments(last.parent.parent).get("save_dir"))) != last.parent.parent:
        raise BadOption(f"'{folder}' was moved since its run began, and cannot go on here. Move it back.")
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadOption(f"'{folder}' is not empty. Give another --out, or go on with that run with --resume.")


def _need(package: str) -> None:
    """Raises MissingPackage where a package cannot be imported; asked before hours of training, not after."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(
            f"Training needs the package {package}. Install it with: pip install 'lineside[export]'"
        ) from error


def _checked(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, or a BadOption where ultralytics knows no such setting or not such a value."""
    try:
        importlib.import_module("ultralytics.cfg").get_cfg(overrides=arguments)
    except (SyntaxError, TypeError, ValueError) as error:
        text = str(error).strip().splitlines()[0]
        raise BadOption(f"A setting is refused: {text} Correct --set.") from error
    return arguments


def _use_threads(threads: int | None) -> None:
    """Gives torch its threads, after ultralytics has kept one core free (on two cores: has halved the speed).

    ``OMP_NUM_THREADS`` counts as in every program: where others work beside, more threads than cores wait for each
    other and the training takes many times as long.
    """
    import torch

    limit = os.environ.get("OMP_NUM_THREADS", "")
    default = int(limit) if limit.isdigit() and int(limit) else len(os.sched_getaffinity(0))
    torch.set_num_threads(threads or default)


def _arguments(options: TrainOptions, report: DatasetReport, folder: Path, model: Any) -> dict[str, Any]:
    """Keyword arguments for ultralytics."""
    from lineside.export.yolo.fine_masks import can_learn_fine_masks

    fine = {"mask_ratio": 1} if can_learn_fine_masks(model) else {}
    batch = min(options.batch, report.splits["train"].pictures)
    return {
        **SMALL_SET,
        **fine,
        "data": str(folder / "work" / "data.yaml"),
        "epochs": options.epochs,
        "imgsz": options.imgsz,
        "batch": batch,
        "nbs": batch,
        "seed": options.seed,
        "device": options.device,
        "patience": options.patience,
        "project": str(folder),
        "name": "work",
        "exist_ok": True,
        **options.extra,
    }


def _watch(yolo: Any, on_progress: Callable[[Progress], None] | None) -> None:
    """Hooks the progress calls into ultralytics' training loop."""
    if on_progress is None:
        return
    state = {"began": time.monotonic(), "batch": 0}

    def tell(trainer: Any, share: float, losses: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        seconds = time.monotonic() - state["began"]
        on_progress(Progress(trainer.epoch + 1, trainer.epochs, share, losses, metrics, seconds))

    def epoch_start(trainer: Any) -> None:
        state["batch"] = 0

    def batch_end(trainer: Any) -> None:
        state["batch"] += 1
        tell(trainer, state["batch"] / max(1, len(trainer.train_loader)), {}, {})

    def epoch_end(trainer: Any) -> None:
        if state["batch"] == 0:
            return  # the last validation, of the best weights, is no epoch
        losses = {name: float(value) for name, value in trainer.label_loss_items(trainer.tloss).items()}
        tell(trainer, 1.0, losses, {name: float(value) for name, value in trainer.metrics.items()})
        state["batch"] = 0

    yolo.add_callback("on_train_epoch_start", epoch_start)
    yolo.add_callback("on_train_batch_end", batch_end)
    yolo.add_callback("on_fit_epoch_end", epoch_end)


def _deliver(
    folder: Path, model: str, options: TrainOptions, report: DatasetReport, seconds: float, blocks: UserBlocks
) -> Path:
    """Puts the results where the user looks for them."""
    work = folder / "work"
    best = work / "weights" / "best.pt"
    if not best.is_file():
        raise WeightsError(f"The training left no best.pt in '{work}'. Look at the losses in work/results.csv.")
    copy_whole(best, folder / "best.pt")
    copy_whole(work / "results.csv", folder / "results.csv")
    trained = load_model(best, blocks=blocks)
    write_safetensors(trained, best, folder / "best.safetensors", _trained_size(work, options))
    rows = read_results(folder / "results.csv")
    draw_curves(rows, folder / "curves.png")
    settings = {
        "model": model,
        "data": str(report.yaml),
        "pictures": {name: split.pictures for name, split in report.splits.items()},
        "objects": {name: split.objects for name, split in report.splits.items()},
        "names": list(report.names),
        "seconds": round(seconds, 1),
        "modules": blocks.provenance(),
        "weights_sha256": hashlib.sha256(best.read_bytes()).hexdigest(),
        "versions": _versions(),
        "ultralytics": _used_arguments(work),
        "best": best_row(rows),
    }
    write_whole(folder / "settings.json", (json.dumps(settings, indent=2) + "\n").encode())
    return folder / "best.pt"


def _used_arguments(work: Path) -> dict[str, Any]:
    """The settings that ultralytics recorded for the run."""
    import yaml

    recorded = yaml.safe_load((work / "args.yaml").read_text(encoding="utf-8"))
    return dict(recorded) if isinstance(recorded, dict) else {}


def _trained_size(work: Path, options: TrainOptions) -> int:
    """Input size of the run; a resumed one keeps its own."""
    return int(_used_arguments(work).get("imgsz", options.imgsz))


def _versions() -> dict[str, str]:
    """Versions of what took part."""
    import platform

    import torch
    import ultralytics

    return {"python": platform.python_version(), "torch": torch.__version__, "ultralytics": ultralytics.__version__}
