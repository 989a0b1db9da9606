"""Measures a bundle on a labelled data set, beside the weights that it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from lineside.export.accuracy.bootstrap import draw_pictures, percentiles
from lineside.export.accuracy.classes import match_classes
from lineside.export.accuracy.evaluator import require_evaluator
from lineside.export.accuracy.found import CONF, IOU, MAX_DET, Found
from lineside.export.accuracy.frames import read_frames
from lineside.export.accuracy.judge import SIZES, Kind
from lineside.export.accuracy.report import AccuracyReport, Difference
from lineside.export.accuracy.scores import Scores, redrawn, redrawn_boundaries, score
from lineside.export.accuracy.through_bundle import through_bundle
from lineside.export.accuracy.truth import Truth, label_truth
from lineside.export.accuracy.verdict import judge_differences
from lineside.export.datasets import DatasetReport, check_dataset
from lineside.runtime.bundle import open_bundle
from lineside.runtime.errors import BadOption, ContractMismatch
from lineside.runtime.loading import load
from lineside.runtime.manifest import Manifest
from lineside.runtime.segmenter import Segmenter

__all__ = ["AccuracyOptions", "compare", "differences", "measure"]

T = TypeVar("T")

Step = Callable[[str, int, int], None]
"""Called with what is being done, how many pictures are done, and how many there are."""


@dataclass(frozen=True)
class AccuracyOptions:
    """How to measure.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        root: Folder of the set, in place of the ``path`` that its ``data.yaml`` names.
        limit: At most so many pictures, picked evenly; None for all.
        draws: Redrawn sets of pictures behind each interval.
        seed: Seed of those draws.
        margin: How much worse than torch the bundle may surely be, in mAP50-95.
        sizes: Limits between sizes of objects: square roots of areas, picture px.
        engine: Name of the engine.
        precision: ``fp32`` or a variant of the bundle; None for what the engine runs by itself.
        safe: Load the weights without running code from them.
        modules: Files and packages with blocks of the user's own that the weights name.
    """

    split: str = "val"
    root: Path | None = None
    limit: int | None = None
    draws: int = 1000
    seed: int = 0
    margin: float = 0.005
    sizes: tuple[float, ...] = SIZES
    engine: str = "auto"
    precision: str | None = None
    safe: bool = False
    modules: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises BadOption for a value out of range."""
        if self.limit is not None and self.limit < 1:
            raise BadOption(f"--limit is at least 1; {self.limit} was given")
        if self.draws < 100:
            raise BadOption(f"--bootstrap is at least 100: fewer draws give no interval; {self.draws} were asked for")
        if self.seed < 0:
            raise BadOption(f"--seed is not negative; {self.seed} was given")
        if not 0 <= self.margin < 1:
            raise BadOption(f"--margin is a difference of mAP50-95, from 0 to below 1; {self.margin} was given")
        if (
            not self.sizes
            or list(self.sizes) != sorted(set(self.sizes))
            or not 0 < self.sizes[0] <= self.sizes[-1] < 1e5
        ):
            raise BadOption(f"--sizes are ascending sides in px, such as 32,96; {self.sizes} was given")


def measure(
    bundle: str | Path,
    data: str | Path,
    weights: str | Path | None = None,
    options: AccuracyOptions | None = None,
    on_step: Step | None = None,
) -> AccuracyReport:
    """Measures a bundle; torch is imported only where weights are given.

    Args:
        bundle: The bundle.
        data: ``data.yaml`` of a labelled set; for a bundle without masks its labels may be boxes.
        weights: What the bundle was exported from, to be measured on the same pictures.
        options: How; the defaults of `AccuracyOptions` when None.
        on_step: Called after every picture.

    Returns:
        The report.

    Raises:
        BadOption: An option is out of range.
        BundleError: The bundle is not usable.
        ContractMismatch: Bundle and weights are not of one kind.
        DatasetError: The set is broken, or its classes are not those of the bundle.
        MissingPackage: pycocotools is not installed; with weights, ultralytics or torch.
        WeightsError: The weights cannot be loaded.
    """
    options = options or AccuracyOptions()
    options.check()
    require_evaluator()
    manifest = open_bundle(bundle).manifest
    report = check_dataset(data, options.root, (options.split,), boxes=manifest.task == "detect")
    report.require("measured")
    class_of = match_classes(manifest.names, report.names)
    pictures = picked(report.pictures[options.split], options.limit)
    step = on_step or (lambda what, done, total: None)
    with load(bundle, engine=options.engine, precision=options.precision) as model:
        torch_side = None if weights is None else TorchSide(Path(weights), manifest, options)
        found = list(_counted("runtime", through_bundle(model, read_frames(pictures)), len(pictures), step))
        truth = label_truth(pictures, [it.image_size for it in found], len(report.names), manifest.task == "segment")
        return _report(model, truth, found, torch_side, _Set(report, pictures, class_of, Path(bundle)), options, step)


@dataclass(frozen=True)
class _Set:
    """What is measured on."""

    report: DatasetReport
    pictures: tuple[Path, ...]
    class_of: Sequence[int | None]
    bundle: Path


class TorchSide:
    """The weights that a bundle is compared with, loaded before the first picture is looked at.

    Args:
        weights: Path of the checkpoint.
        manifest: Manifest of the bundle.
        options: Whether to load it without running code from it, and the user's own blocks.

    Raises:
        BadOption: The user's own blocks cannot be imported.
        ContractMismatch: Weights of another task, with another number of classes or with the same in another order.
        WeightsError: They cannot be loaded.
    """

    def __init__(self, weights: Path, manifest: Manifest, options: AccuracyOptions) -> None:
        from lineside.export.blocks import load_blocks
        from lineside.export.class_paths import class_paths
        from lineside.export.outdated import require_current
        from lineside.export.ultra import load_model

        self.weights = weights
        self.manifest = manifest
        blocks = load_blocks(options.modules, [path.module for path in class_paths(weights)])
        self.model = load_model(weights, safe=options.safe, blocks=blocks)
        require_current(self.model, weights, blocks)
        names = tuple(str(name) for _, name in sorted(dict(self.model.names).items()))  # type: ignore[arg-type]
        if (str(self.model.task), len(names)) != (manifest.task, len(manifest.names)):
            raise ContractMismatch(
                f"'{weights}' is a model for '{self.model.task}' with {len(names)} classes and the bundle one for "
                f"'{manifest.task}' with {len(manifest.names)}: give the weights that the bundle was exported from"
            )
        for name, ours in zip(names, manifest.names, strict=True):
            if name != ours and name in manifest.names:
                raise ContractMismatch(
                    f"'{weights}' has the class '{name}' where the bundle has '{ours}': "
                    "give the weights that the bundle was exported from"
                )

    @property
    def same(self) -> bool | None:
        """Whether the file has the hash that the bundle names; None where it names none."""
        named = self.manifest.provenance.weights_sha256
        if not named or not self.weights.is_file():
            return None
        return hashlib.sha256(self.weights.read_bytes()).hexdigest() == named

    @property
    def end2end(self) -> bool:
        """Whether the bundle has the part of the head that needs no NMS."""
        return self.manifest.head.kind == "end2end"

    def look(self, pictures: Sequence[Path]) -> Iterator[Found]:
        """Looks at pictures."""
        from lineside.export.accuracy.through_torch import through_torch

        return through_torch(self.model, read_frames(pictures), self.manifest.input.size, self.end2end)

    def validate(self, pictures: Sequence[Path], class_of: Sequence[int | None]) -> dict[str, dict[str, float]]:
        """Runs ultralytics' own validation."""
        from lineside.export.accuracy.validation import validate

        return validate(self.model, pictures, class_of, max(self.manifest.input.size), self.end2end)


def picked(pictures: Sequence[Path], limit: int | None) -> tuple[Path, ...]:
    """At most so many pictures, picked evenly."""
    if limit is None or len(pictures) <= limit:
        return tuple(pictures)
    return tuple(pictures[index * len(pictures) // limit] for index in range(limit))


def compare(
    truth: Truth,
    found: Sequence[Found],
    class_of: Sequence[int | None],
    names: Sequence[str],
    limits: Sequence[float] = SIZES,
) -> dict[Kind, Scores]:
    """Scores of a model, for boxes and, where there are any, for masks."""
    kinds: tuple[Kind, ...] = ("box",) if truth.masks is None else ("box", "mask")
    return {kind: score(truth, found, kind, class_of, names, limits) for kind in kinds}


def differences(
    ours: dict[Kind, Scores], theirs: dict[Kind, Scores], truth: Truth, draws: int, seed: int
) -> dict[str, Difference]:
    """The first model's figures less the second's, with intervals.

    Args:
        ours: Scores of the first model.
        theirs: Scores of the second, on the same pictures.
        truth: What is in the pictures.
        draws: Redrawn sets of pictures.
        seed: Seed of the draws.

    Returns:
        By figure, such as ``mask mAP50-95``.
    """
    pictures = len(truth.image_sizes)
    # The pictures as they are come first, as a draw that drew each of them once.
    again = np.vstack([np.ones((1, pictures), np.int64), draw_pictures(pictures, draws, seed)])
    result = {}
    for kind in ours:
        first, second = redrawn(ours[kind], again), redrawn(theirs[kind], again)
        deltas = {name: first[name] - second[name] for name in first}
        deltas |= redrawn_boundaries(ours[kind], theirs[kind], truth, again)
        for name, delta in deltas.items():
            low, high = percentiles(delta[1:])
            result[f"{kind} {name}"] = Difference(value=float(delta[0]), low=low, high=high)
    return result


def _report(
    model: Segmenter,
    truth: Truth,
    found: Sequence[Found],
    torch_side: TorchSide | None,
    data: _Set,
    options: AccuracyOptions,
    step: Step,
) -> AccuracyReport:
    """Judges, and lets torch look where it is asked to."""
    names, total = data.report.names, len(data.pictures)
    ours = compare(truth, found, data.class_of, names, options.sizes)
    theirs, validation, delta = None, None, {}
    if torch_side is not None:
        seen = list(_counted("torch", torch_side.look(data.pictures), total, step))
        theirs = compare(truth, seen, data.class_of, names, options.sizes)
        delta = differences(ours, theirs, truth, options.draws, options.seed)
        validation = torch_side.validate(data.pictures, data.class_of)
    passed, reason = judge_differences(delta, options.margin, total, len(truth))
    return AccuracyReport(
        passed=passed,
        reason=reason,
        bundle=str(data.bundle),
        engine=model.engine_name,
        data=str(data.report.yaml),
        split=options.split,
        pictures=total,
        empty=total - len(set(truth.pictures.tolist())),
        objects=len(truth),
        unseen=truth.unseen,
        conf=CONF,
        iou=IOU,
        max_det=MAX_DET,
        figures={kind: it.figures for kind, it in ours.items()},
        torch=None if theirs is None else {kind: it.figures for kind, it in theirs.items()},
        validation=validation,
        weights="" if torch_side is None else str(torch_side.weights),
        same_weights=None if torch_side is None else torch_side.same,
        differences=delta,
        margin=options.margin,
        draws=options.draws,
        seed=options.seed,
    )


def _counted(what: str, items: Iterable[T], total: int, step: Step) -> Iterator[T]:
    """Tells after every item how many are done."""
    for done, item in enumerate(items, 1):
        yield item
        step(what, done, total)
