"""The graph that Lineside exports beside the one that ultralytics exports: same weights, same engine, same settings.

Lineside cuts the decode tail (DFL softmax, box decode, sigmoid, concat) off the graph and decodes survivors natively;
ultralytics keeps the tail in the graph. Weights are random: the arithmetic does not depend on them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import Load, free_openblas, interleaved
from models import SIZE, models

UNCUT = "ultralytics ONNX as exported"
CUT = "lineside, tail cut off"


def graphs() -> dict[str, bytes]:
    """Both ONNX files of one model with random weights."""
    made = models()
    manifest = json.loads((made.exported / "manifest.json").read_text())
    return {UNCUT: made.onnx.read_bytes(), CUT: (made.exported / manifest["model"]).read_bytes()}


def session_run(model: bytes, threads: int) -> Callable[[], object]:
    """One run of a model on a fixed noise picture, with the settings that the runtime uses."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(0).random((1, 3, *SIZE), dtype=np.float32)
    return partial(session.run, None, {session.get_inputs()[0].name: picture})


def measure(seconds: float = 30.0) -> dict[str, Any]:
    """Times per run with all cores and with one.

    Args:
        seconds: Upper bound of the measuring time of each half.

    Returns:
        For each number of threads the times in ms and the median of the rounds' ratios, cut over uncut.
    """
    found = graphs()
    result: dict[str, Any] = {"bytes": {name: len(model) for name, model in found.items()}}
    for threads in dict.fromkeys((os.cpu_count() or 1, 1)):
        load = Load()
        turns = interleaved(
            {name: session_run(model, threads) for name, model in found.items()}, rounds=100, seconds=seconds
        )
        result[f"threads={threads}"] = {
            "ms": {name: value.as_dict() for name, value in turns.times().items()},
            "ratio": round(1 / turns.gain(UNCUT, CUT), 3),
            "foreign_cpu": round(load.foreign(), 3),
        }
    return result


if __name__ == "__main__":
    free_openblas()
    print(json.dumps(measure(), indent=2))
