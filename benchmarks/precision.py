"""What other precisions of a bundle's model cost in accuracy: mask mAP50-95 beside FP32, on fresh synthetic pictures.

Usage::

    python benchmarks/precision.py bearing --json benchmarks/results/precision.json
    python benchmarks/precision.py tube --pictures 200 --methods
    python benchmarks/precision.py bearing --time 60 --json benchmarks/results/precision.json

The model is the bundle's own ONNX; no weights are needed. Both models look at the same pictures, the drawn masks are the
truth, and the interval comes from pictures drawn again (paired bootstrap). FP16 is computed with its roundings after every
operator, see `lineside.export.precision.emulate`; onnxruntime alone would compute it in float32.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from lineside.export.accuracy.found import Found, Frame
from lineside.export.accuracy.measure import differences
from lineside.export.accuracy.scores import Scores, score
from lineside.export.accuracy.through_bundle import through_bundle
from lineside.export.accuracy.truth import Truth, mask_truth
from lineside.export.precision.asymmetric import to_asymmetric
from lineside.export.precision.calibrate import letterboxed_inputs, observe
from lineside.export.precision.emulate import rounding_like_half
from lineside.export.precision.half import to_fp16
from lineside.export.precision.quantise import METHOD, ranges_of
from lineside.export.precision.ranges import METHODS
from lineside.export.precision.stand_in import stand_in
from lineside.export.precision.symmetric import to_symmetric
from lineside.export.synth import CLASSES, draw
from lineside.runtime.bundle import open_bundle
from lineside.runtime.loading import load
from lineside.runtime.segmenter import Segmenter

DEMO = Path(__file__).resolve().parents[1] / "demo"

DRAWS = 2000

AIMS = {"fp16": 0.1, "int8-trt": 0.5, "int8-cpu": 0.5}
"""Points of mAP50-95 (of 100) that each precision may lose."""


def forms(
    model: onnx.ModelProto, inputs: list[Any], every_method: bool, only: list[str]
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The graphs to measure, by name."""
    if not only or "fp16" in only:
        yield "fp16", rounding_like_half(to_fp16(model))
    if only and not any(name.startswith("int8") for name in only):
        return
    spreads = observe(model, inputs)
    for method in METHODS if every_method else ():
        ranges = ranges_of(spreads, method)
        yield f"int8-trt {method}", to_symmetric(model, ranges)
        yield f"int8-cpu {method}", to_asymmetric(model, ranges)
    if every_method:
        return
    if not only or "int8-trt" in only:
        yield "int8-trt", to_symmetric(model, ranges_of(spreads, METHOD["int8-trt"]))
    if not only or "int8-cpu" in only:
        yield "int8-cpu", to_asymmetric(model, ranges_of(spreads, METHOD["int8-cpu"]))


@contextlib.contextmanager
def opened(bundle: Path, graph: onnx.ModelProto | None) -> Iterator[Segmenter]:
    """The bundle's model, or another graph in its place, one thread."""
    if graph is None:
        with load(bundle, "onnxruntime", threads=1) as model:
            yield model
        return
    with tempfile.TemporaryDirectory() as folder:
        with load(stand_in(Path(folder), open_bundle(bundle).manifest, graph), "onnxruntime", threads=1) as model:
            yield model


def drawn(task: str, count: int, size: int, seed: int) -> tuple[list[Frame], Truth]:
    """Pictures and what is in them; masks are kept as run lengths, so that a thousand fit into memory."""
    frames, parts = [], []
    for index in range(count):
        drawing = draw(task, size, np.random.default_rng([seed, index]))
        frames.append(drawing.image)
        parts.append(mask_truth([[mask > 0.5 for mask in drawing.masks]], [(size, size)]))
    return frames, Truth(
        classes=parts[0].classes,
        image_sizes=tuple(size for part in parts for size in part.image_sizes),
        pictures=np.concatenate([part.pictures + index for index, part in enumerate(parts)]),
        kinds=np.concatenate([part.kinds for part in parts]),
        boxes=np.concatenate([part.boxes.reshape(-1, 4) for part in parts]),
        masks=tuple(mask for part in parts for mask in part.masks or ()),
        areas=np.concatenate([part.areas for part in parts]),
    )


def judged(bundle: Path, graph: onnx.ModelProto | None, frames: list[Frame], truth: Truth, name: str) -> Scores:
    """Looks at the pictures and scores what was found."""
    with opened(bundle, graph) as model:
        found: list[Found] = list(through_bundle(model, frames))
    return score(truth, found, "mask", [0], [name], (32.0,))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Draws, quantises, looks and judges."""
    bundle, name = DEMO / f"{options.task}.bundle", CLASSES[options.task]
    model = onnx.load(bundle / "model.onnx")
    size = open_bundle(bundle).manifest.input.size
    frames, truth = drawn(options.task, options.pictures, options.size, options.seed)
    others, _ = drawn(options.task, options.calibrate, options.size, options.seed + 1)
    plain = judged(bundle, None, frames, truth, name)
    result: dict[str, Any] = {
        "task": options.task,
        "pictures": len(frames),
        "objects": len(truth),
        "calibration": len(others),
        "size": options.size,
        "seed": options.seed,
        "draws": DRAWS,
        "fp32": {"mAP50": plain.figures.map50, "mAP50-95": plain.figures.map50_95},
    }
    for form, graph in forms(
        model, letterboxed_inputs(others, size), options.methods, options.only.split(",") * bool(options.only)
    ):
        scores = judged(bundle, graph, frames, truth, name)
        delta = differences({"mask": scores}, {"mask": plain}, truth, DRAWS, seed=0)["mask mAP50-95"]
        points = {key: 100 * value for key, value in msgspec.to_builtins(delta).items()}
        result[form] = {
            "mAP50": scores.figures.map50,
            "mAP50-95": scores.figures.map50_95,
            "points against fp32": points,
            "bytes": graph.ByteSize(),
        }
        print(
            f"| {form} | {100 * scores.figures.map50_95:.2f} | {points['value']:+.3f} | "
            f"{points['low']:+.3f} to {points['high']:+.3f} |",
            flush=True,
        )
    return result


def timed(bundle: Path, rounds: int, size: int, calibrate: int, seed: int) -> dict[str, Any]:
    """Times FP32 and the INT8 form for processors in turns, on one thread: the engine alone, on one picture."""
    model = onnx.load(bundle / "model.onnx")
    manifest = open_bundle(bundle).manifest
    frames, _ = drawn(bundle.stem, calibrate, size, seed + 1)
    inputs = letterboxed_inputs(frames, manifest.input.size)
    quantised = to_asymmetric(model, ranges_of(observe(model, inputs), METHOD["int8-cpu"]))
    sessions = {"fp32": session(model), "int8-cpu": session(quantised)}
    spent: dict[str, list[float]] = {name: [] for name in sessions}
    gc.disable()
    try:
        for turn in range(rounds + 3):
            for name in sorted(sessions, reverse=bool(turn % 2)):
                begun = time.perf_counter()
                sessions[name].run(None, {manifest.input.name: inputs[0]})
                if turn >= 3:
                    spent[name].append(1000 * (time.perf_counter() - begun))
    finally:
        gc.enable()
    ratios = [fp32 / int8 for fp32, int8 in zip(spent["fp32"], spent["int8-cpu"], strict=True)]
    return {
        "threads": 1,
        "rounds": rounds,
        "input": list(manifest.input.size),
        "vnni": vnni(),
        "ms": {name: round(statistics.median(times), 2) for name, times in spent.items()},
        "gain": round(statistics.median(ratios), 3),
    }


def vnni() -> bool | None:
    """Whether the processor multiplies bytes in one instruction; None where it does not say."""
    try:
        return "_vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None


def session(graph: onnx.ModelProto) -> Any:
    """A session of onnxruntime with one thread that does not spin."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def options_of(words: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=tuple(CLASSES))
    parser.add_argument("--pictures", type=int, default=1000, help="pictures to judge on")
    parser.add_argument("--calibrate", type=int, default=128, help="other pictures to calibrate on")
    parser.add_argument("--size", type=int, default=320, help="side of a picture, px")
    parser.add_argument("--seed", type=int, default=77001, help="never the seed of a training set")
    parser.add_argument("--methods", action="store_true", help="measure every method of calibration")
    parser.add_argument("--only", default="", help="precisions to measure, by comma; the others stay in --json")
    parser.add_argument(
        "--time", type=int, default=0, metavar="ROUNDS", help="time FP32 and int8-cpu in turns, nothing else"
    )
    parser.add_argument("--json", type=Path, help="file for the result")
    return parser.parse_args(words)


def time_only(options: argparse.Namespace) -> int:
    """Prints times; adds them to the JSON of the same task, or writes one."""
    speed = timed(DEMO / f"{options.task}.bundle", options.time, options.size, options.calibrate, options.seed)
    print(
        f"{speed['ms']} ms, int8-cpu {speed['gain']} times as fast (median of the rounds' ratios), VNNI: {speed['vnni']}"
    )
    if options.json is not None:
        known = (
            json.loads(options.json.read_text(encoding="utf-8")) if options.json.is_file() else {"task": options.task}
        )
        if known["task"] == options.task:
            options.json.write_text(json.dumps({**known, "time": speed}, indent=2) + "\n", encoding="utf-8")
    return 0


def main(words: list[str] | None = None) -> int:
    """Runs what the command line asks for, prints a table and writes JSON.

    Returns:
        1 where the interval does not exclude that an aim is missed. An export is milder and stops only where one surely is:
        its pictures are as few as the user has.
    """
    options = options_of(words)
    if options.time:
        return time_only(options)
    print("| precision | mask mAP50-95 | points against fp32 | 95 % interval |\n|---|---|---|---|", flush=True)
    result = measure(options)
    if options.json is not None and options.json.is_file() and options.only:
        earlier = json.loads(options.json.read_text(encoding="utf-8"))
        if all(earlier.get(key) == result[key] for key in ("task", "pictures", "seed", "size", "fp32")):
            result = {**earlier, **result}
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    missed = [
        name for name, aim in AIMS.items() if name in result and result[name]["points against fp32"]["low"] < -aim
    ]
    for name in missed:
        print(f"{name} may lose more than {AIMS[name]} points", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
