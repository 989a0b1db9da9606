"""One model on a GPU: Lineside, ultralytics' ``.engine`` and NVIDIA's trtexec, in turns, with percentiles.

    python benchmarks/gpu.py [BUNDLE] [--weights best.pt | --ultralytics best.engine] [--engine host] [--quick]

Two questions, each with its own rows. **Whole frame**: from a picture in the processor's memory to boxes and masks at
the picture's resolution. **Engine**: the network alone, from an input on the device to its outputs there; trtexec is given
the ONNX file that our plan was built from. Candidates take turns in rounds of a few frames, in a new order each round, so
that a clock that falls falls for all. A peer that is not there is named with the reason. ``--engine host`` shows on any
machine that all of it works; its times say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import Load, machine, median_interval, quantile, take_turns

from lineside.runtime.bundle import Bundle, open_bundle
from lineside.runtime.errors import LinesideError
from lineside.runtime.selftest.building import find_engine
from lineside.runtime.selftest.run import open_device
from lineside.runtime.selftest.subject import Options, Subject

HERE = Path(__file__).resolve().parent
BUNDLE = HERE.parent / "demo" / "bearing.bundle"
OURS, PLAIN, ENGINE = "lineside", "lineside without masks", "lineside, engine alone"
PROCESSOR, ULTRALYTICS, TRTEXEC = "lineside on onnxruntime", "ultralytics .engine", "trtexec"
WHOLE, ALONE = "whole frame", "engine"
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
INNER = 10
"""Frames of a candidate in one round."""


class Missing(Exception):
    """A peer that is not there, and why."""


@dataclass
class Candidate:
    """One that takes part.

    Attributes:
        group: What it is compared in.
        turn: Times some runs and returns the milliseconds of each.
        found: Objects in the frame; None where nobody looks.
    """

    group: str
    turn: Callable[[], list[float]]
    found: int | None = None
    samples: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """One turn; its mean, ms."""
        times = self.turn()
        self.samples += times
        return statistics.fmean(times)


def timed(call: Callable[[], object], count: int = INNER) -> Callable[[], list[float]]:
    """A turn of several calls, each timed by itself."""

    def turn() -> list[float]:
        times = []
        for _ in range(count):
            begin = time.perf_counter_ns()
            call()
            times.append((time.perf_counter_ns() - begin) / 1e6)
        return times

    return turn


def measure(
    bundle: Bundle,
    engine: str,
    size: tuple[int, int],
    rounds: int,
    seconds: float,
    ultralytics: Path | None,
    weights: Path | None,
) -> dict[str, Any]:
    """Figures of all candidates that are there.

    Args:
        bundle: The model.
        engine: ``tensorrt`` or ``host``.
        size: Height and width of the frame, px.
        rounds: Rounds at most.
        seconds: Time after which no new round begins.
        ultralytics: An engine that ultralytics exported of the same weights.
        weights: Weights to export it from; with `ultralytics` not needed.

    Returns:
        Percentiles in ms of each candidate, ratios of the rounds' means to ours, and why a peer is missing.
    """
    missing: dict[str, str] = {}
    candidates: dict[str, Candidate] = {}
    with ExitStack() as stack:
        subject = Subject(bundle, Options(engine=engine, size=size), open_device(engine))
        stack.callback(subject.close)
        find_engine(subject)
        candidates |= stack.enter_context(ours(subject))
        makers: dict[str, Callable[[], Candidate]] = {
            PROCESSOR: lambda: processor(subject),
            ULTRALYTICS: lambda: of_ultralytics(subject, ultralytics, weights),
            TRTEXEC: lambda: stack.enter_context(of_trtexec(subject)),
        }
        for name, make in makers.items():
            with noted(missing, name):
                candidates[name] = make()
        for candidate in candidates.values():
            candidate()
            candidate.samples.clear()
        load = Load()
        turns = take_turns(candidates, rounds=rounds, warmup=1, seconds=seconds, share=max(1.0, seconds / 3))
        foreign = load.foreign()
        device, real = subject.device.name, subject.real
    rows = {
        name: {"group": one.group, "count": len(one.samples), "found": one.found, **percentiles(one.samples)}
        for name, one in candidates.items()
    }
    return {
        "device": device,
        "real": real,
        "precision": subject.precision,
        "bundle": bundle.manifest.name,
        "model_sha256": bundle.manifest.files[bundle.manifest.model],
        "size": list(size),
        "rounds": len(turns.rounds),
        "rows": rows,
        "ratio": {name: ratio(turns.rounds, name, base(one)) for name, one in candidates.items() if name != base(one)},
        "missing": missing,
        "foreign_cpu": round(foreign, 4),
    }


@contextmanager
def noted(missing: dict[str, str], name: str) -> Iterator[None]:
    """Notes why a peer is not there."""
    try:
        yield
    except Missing as reason:
        missing[name] = str(reason)


def base(candidate: Candidate) -> str:
    """Whom a candidate is compared with."""
    return OURS if candidate.group == WHOLE else ENGINE


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """Percentiles by nearest rank, ms."""
    return {name: round(quantile(samples, share), 4) for name, share in SHARES.items()}


def ratio(rounds: list[dict[str, float]], peer: str, ours: str) -> dict[str, float]:
    """Median of a peer's mean over ours, round by round, and between which values it lies with 95 % probability."""
    found = [turn[peer] / turn[ours] for turn in rounds if peer in turn and ours in turn]
    low, high = median_interval(found)
    return {"median": round(statistics.median(found), 4), "low": round(low, 4), "high": round(high, 4)}


@contextmanager
def ours(subject: Subject) -> Iterator[dict[str, Candidate]]:
    """Lineside: whole frames with masks and without, and the engine as one captured graph."""
    model, frame = subject.model, subject.frame(subject.options.size)
    device = subject.device
    runner = subject.runner()
    try:
        with device.current():
            engine, stream = runner.engines[0], device.stream()
            engine.enqueue(stream)
            device.synchronize(stream)
            graph = device.capture(stream, lambda: engine.enqueue(stream))

            def alone() -> None:
                graph.launch(stream)
                device.synchronize(stream)

            yield {
                OURS: Candidate(WHOLE, timed(lambda: model(frame)), len(model(frame))),
                PLAIN: Candidate(WHOLE, timed(lambda: model(frame, masks="none")), len(model(frame, masks="none"))),
                ENGINE: Candidate(ALONE, timed(alone)),
            }
            graph.free()
    finally:
        runner.close()


def processor(subject: Subject) -> Candidate:
    """The same bundle on the processor."""
    reference = subject.reference
    if reference is None:
        raise Missing("onnxruntime is not installed")
    frame = subject.frame(subject.options.size)
    return Candidate(WHOLE, timed(lambda: reference(frame), 2), len(reference(frame)))


def of_ultralytics(subject: Subject, engine: Path | None, weights: Path | None) -> Candidate:
    """Predict of ultralytics with its own engine, masks at the picture's resolution as ours are."""
    if not subject.real:
        raise Missing("its engines need a GPU, and this is the host device")
    if engine is None and weights is None:
        raise Missing("neither --ultralytics best.engine nor --weights best.pt was given")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        import torch
        from ultralytics import YOLO
    except ImportError as error:
        raise Missing(f"{error.name} is not installed") from error
    if not torch.cuda.is_available():
        raise Missing(f"torch {torch.__version__} sees no GPU")
    if engine is None:
        size, half = list(subject.bundle.manifest.input.size), subject.precision == "fp16"
        engine = Path(YOLO(str(weights)).export(format="engine", imgsz=size, half=half))
    yolo: Any = YOLO(str(engine), task=subject.bundle.manifest.task)
    frame, limits = subject.frame(subject.options.size), subject.bundle.manifest.thresholds
    asked = {"conf": limits.conf, "iou": limits.iou, "max_det": limits.max_det, "retina_masks": True, "verbose": False}

    def predict() -> Any:
        return yolo.predict(frame, **asked)[0]

    return Candidate(WHOLE, timed(predict), len(predict()))


@contextmanager
def of_trtexec(subject: Subject) -> Iterator[Candidate]:
    """NVIDIA's trtexec on the ONNX file of our plan, strongly typed, with a CUDA graph; built once, run anew each round."""
    if not subject.real:
        raise Missing("it needs a GPU, and this is the host device")
    program = shutil.which("trtexec") or shutil.which("/usr/src/tensorrt/bin/trtexec")
    if program is None:
        raise Missing("trtexec is not on the PATH, nor in /usr/src/tensorrt/bin")
    manifest = subject.bundle.manifest
    variants = [one for one in manifest.variants.values() if "tensorrt" in one.engines]
    chosen = next((one.file for one in variants if one.precision == subject.precision), manifest.model)
    with tempfile.TemporaryDirectory() as folder:
        plan, times = Path(folder) / "trtexec.plan", Path(folder) / "times.json"
        words = [f"--onnx={subject.bundle.file(chosen)}", "--stronglyTyped", f"--saveEngine={plan}", "--skipInference"]
        run(program, words + ["--noTF32"] * (subject.precision == "fp32"))  # as ours

        def turn() -> list[float]:
            words = [f"--loadEngine={plan}", "--useCudaGraph", "--noDataTransfers", "--warmUp=100", "--duration=0"]
            run(program, [*words, f"--iterations={INNER}", "--avgRuns=1", f"--exportTimes={times}"])
            return computed(times)

        turn()
        yield Candidate(ALONE, turn)


def run(program: str, words: list[str]) -> None:
    """Runs trtexec; what it says where it fails is the reason for its absence."""
    done = subprocess.run([program, *words], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "[E]" in line] or ["it says no more"]
        raise Missing(f"trtexec ended with {done.returncode}: {said[-1].strip()}")


def computed(times: Path) -> list[float]:
    """Milliseconds of each run in what trtexec exported."""
    found = json.loads(times.read_text())
    keys = ("computeMs", "latencyMs")
    key = next((key for key in keys if found and key in found[0]), None)
    if key is None:
        raise Missing(f"its exported times have neither {' nor '.join(keys)}")
    return [float(one[key]) for one in found]


def table(results: dict[str, Any]) -> str:
    """The figures for the terminal."""
    lines = [
        f"{results['bundle']} on {results['device']}, frames of {results['size'][1]}x{results['size'][0]}, "
        f"{results['rounds']} rounds, others used {results['foreign_cpu']:.0%} of the processor",
        "",
        "| | what | ms p50 | p90 | p99 | p99.9 | max | runs | found | times ours |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for group in (WHOLE, ALONE):
        for name, row in results["rows"].items():
            if row["group"] == group:
                times = " | ".join(f"{row[key]:.3f}" for key in SHARES)
                beside = results["ratio"].get(name)
                gain = f"{beside['median']:.3f} ({beside['low']:.3f} to {beside['high']:.3f})" if beside else ""
                found = "" if row["found"] is None else row["found"]
                lines.append(f"| {group} | {name} | {times} | {row['count']} | {found} | {gain} |")
    lines += [f"no {name} here: {reason}" for name, reason in results["missing"].items()]
    if not results["real"]:
        lines.append("This is the host device: the times say nothing about a GPU.")
    if results["quick"]:
        lines.append("Few rounds: not to be quoted.")
    return "\n".join(lines)


def main() -> None:
    """Measures, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=BUNDLE)
    parser.add_argument("--engine", choices=("tensorrt", "host"), default="tensorrt")
    parser.add_argument("--size", default="1920x1080", help="of the frame, WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300.0, help="no new round begins after so long")
    parser.add_argument("--ultralytics", type=Path, help="engine that ultralytics exported of the same weights")
    parser.add_argument("--weights", type=Path, help="weights to export it from")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that everything works")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu.json")
    options = parser.parse_args()
    width, _, height = options.size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        parser.error(f"--size {options.size}: give WIDTHxHEIGHT, such as 1920x1080")
    rounds, seconds = (3, 20.0) if options.quick else (options.rounds, options.seconds)
    try:
        figures = measure(
            open_bundle(options.bundle),
            options.engine,
            (int(height), int(width)),
            rounds,
            seconds,
            options.ultralytics,
            options.weights,
        )
    except LinesideError as error:
        raise SystemExit(f"error: {error}") from error
    results = {"date": time.strftime("%Y-%m-%d"), "quick": options.quick, "machine": machine(), **figures}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
