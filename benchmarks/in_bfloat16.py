"""Runs ``lineside`` with training in bfloat16 on a CPU, which ultralytics allows on GPUs only.

Convolutions and matrix products are done in bfloat16 under autocast, weights, sums and losses stay float32. On a
processor with AVX512-BF16 a step takes two thirds of the time.

usage: python benchmarks/in_bfloat16.py train MODEL DATA …
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch


def in_bfloat16(trainer: Any) -> None:
    """Callback for ``on_train_start``."""
    forward = trainer.model.forward

    @functools.wraps(forward)
    def cast(*arguments: Any, **options: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(*arguments, **options)

    trainer.model.forward = cast


if __name__ == "__main__":
    import lineside.export.ultra

    lineside.export.ultra.prepare()
    from ultralytics.utils.callbacks.base import default_callbacks

    from lineside.cli import main

    default_callbacks["on_train_start"].append(in_bfloat16)
    sys.exit(main(sys.argv[1:]))
