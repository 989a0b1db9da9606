"""Figures of trained models: a JSON that ``benchmarks/zoo_train.py`` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside.export.zoo.result import Training
from lineside.runtime.errors import BadOption

__all__ = ["FIGURES", "SHIPPED", "Trained", "read_trained"]

FIGURES = ("mask_map", "small_ap", "boundary_f")
"""What is shown: mask mAP50-95, AP of small objects, boundary F."""

SHIPPED = Path(__file__).absolute().parents[2] / "configs" / "models" / "trained.json"
"""They lie beside the models, so that an installed Lineside has them too."""


@dataclass(frozen=True)
class Trained:
    """What trained models reached.

    Attributes:
        accuracy: For each model those of `FIGURES` that were measured, each with ``mean`` and ``ci``.
        training: On what, all of them alike.
    """

    accuracy: dict[str, dict[str, dict[str, object]]]
    training: Training


def read_trained(path: Path | None) -> Trained:
    """Reads the figures of a training.

    Args:
        path: The JSON; the one that lies beside the models when None.

    Raises:
        BadOption: The file is no such JSON.
    """
    chosen = path or SHIPPED
    try:
        content: Any = json.loads(chosen.read_text("utf-8"))
        budget = content["budget"]
        training = Training(
            task=str(budget["task"]),
            pictures=int(budget["train"]),
            size=int(budget["size"]),
            epochs=int(budget["epochs"]),
            fresh=int(content["pictures"]),
        )
        return Trained({str(name): _figures(entry) for name, entry in content["entries"].items()}, training)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadOption(
            f"--trained {chosen}: this is no result of benchmarks/zoo_train.py ({type(error).__name__}): give the JSON that "
            "it writes"
        ) from error


def _figures(entry: dict[str, Any]) -> dict[str, dict[str, object]]:
    """The figures of one model."""
    return {
        figure: {"mean": float(entry[figure]["mean"]), "ci": [float(it) for it in entry[figure].get("ci") or ()]}
        for figure in FIGURES
        if isinstance(entry.get(figure), dict)
    }
