"""Figures of trained models: a JSON that ``benchmarks/zoo_train.py`` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lineside.runtime.errors import BadOption

__all__ = ["FIGURES", "SHIPPED", "read_accuracy"]

FIGURES = ("mask_map", "small_ap", "boundary_f")
"""What is shown: mask mAP50-95, AP of small objects, boundary F."""

SHIPPED = Path(__file__).absolute().parents[2] / "configs" / "models" / "trained.json"
"""They lie beside the models, so that an installed Lineside has them too."""


def read_accuracy(path: Path | None) -> dict[str, dict[str, dict[str, object]]]:
    """Accuracy by model and figure.

    Args:
        path: The JSON; the one that lies beside the models when None.

    Returns:
        For each trained model those of `FIGURES` that were measured, each with ``mean`` and ``ci``.

    Raises:
        BadOption: The file is no such JSON.
    """
    chosen = path or SHIPPED
    try:
        content: Any = json.loads(chosen.read_text("utf-8"))
        return {
            str(name): {
                figure: {
                    "mean": float(entry[figure]["mean"]),
                    "ci": [float(it) for it in entry[figure].get("ci") or ()],
                }
                for figure in FIGURES
                if isinstance(entry.get(figure), dict)
            }
            for name, entry in content["entries"].items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadOption(
            f"--trained {chosen}: this is no result of benchmarks/zoo_train.py ({type(error).__name__}): give the JSON that "
            "it writes"
        ) from error
