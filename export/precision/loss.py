"""What a variant loses on labelled pictures, beside the FP32 model on the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lineside.export.accuracy.classes import match_classes
from lineside.export.accuracy.evaluator import require_evaluator
from lineside.export.accuracy.found import Found
from lineside.export.accuracy.frames import read_frames
from lineside.export.accuracy.judge import Kind
from lineside.export.accuracy.measure import compare, differences, picked
from lineside.export.accuracy.scores import Scores
from lineside.export.accuracy.through_bundle import through_bundle
from lineside.export.accuracy.truth import label_truth
from lineside.export.datasets import check_dataset
from lineside.export.precision.choice import PrecisionChoice
from lineside.export.precision.report import MaskLoss
from lineside.runtime.loading import load
from lineside.runtime.manifest import Manifest

__all__ = ["DRAWS", "Yardstick"]

DRAWS = 1000


class Yardstick:
    """Labelled pictures, and what the FP32 model sees in them.

    Args:
        bundle: The bundle, complete but for its variants.
        manifest: Its manifest.
        choice: Names the labelled set.

    Raises:
        DatasetError: The set is broken, or its classes are not those of the bundle.
        MissingPackage: pycocotools is not installed.
    """

    def __init__(self, bundle: Path, manifest: Manifest, choice: PrecisionChoice) -> None:
        require_evaluator()
        assert choice.data is not None
        report = check_dataset(choice.data, choice.root, ("val",), boxes=manifest.task == "detect")
        report.require("measured")
        self._classes = match_classes(manifest.names, report.names)
        self._names = report.names
        self._pictures = picked(report.pictures["val"], choice.limit)
        self._kind: Kind = "mask" if manifest.task == "segment" else "box"
        found = self._look(bundle)
        self._truth = label_truth(
            self._pictures, [it.image_size for it in found], len(self._names), manifest.task == "segment"
        )
        self._plain = self._scores(found)

    def loss(self, stand_in: Path, aim: float) -> MaskLoss:
        """Measures a variant.

        Args:
            stand_in: A bundle with the variant in the place of its model.
            aim: What it may lose, in mAP50-95.
        """
        scores = self._scores(self._look(stand_in))
        delta = differences(
            {self._kind: scores[self._kind]}, {self._kind: self._plain[self._kind]}, self._truth, DRAWS, seed=0
        )
        return MaskLoss(
            fp32=self._plain[self._kind].figures.map50_95,
            variant=scores[self._kind].figures.map50_95,
            difference=delta[f"{self._kind} mAP50-95"],
            aim=aim,
            pictures=len(self._pictures),
            objects=len(self._truth),
            draws=DRAWS,
        )

    def _look(self, bundle: Path) -> list[Found]:
        with load(bundle, "onnxruntime") as model:
            return list(through_bundle(model, read_frames(self._pictures)))

    def _scores(self, found: Sequence[Found]) -> dict[Kind, Scores]:
        return compare(self._truth, found, self._classes, self._names)
