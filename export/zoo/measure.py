"""Measures the zoo."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from lineside.export.zoo.accuracy import read_trained
from lineside.export.zoo.build import BASE, Built, build, model_of, short_names
from lineside.export.zoo.latency import cores, foreign_load, interleaved, opened, processor, ratio
from lineside.export.zoo.result import Entry, Machine, Zoo
from lineside.runtime.errors import BadOption

__all__ = ["measure_zoo"]

Progress = Callable[[float, float, str], None]


def measure_zoo(
    *,
    scale: str = "n",
    imgsz: tuple[int, int] = (640, 640),
    only: Sequence[str] = (),
    rounds: int = 20,
    trained: Path | None = None,
    update: Progress = lambda done, total, note: None,
) -> Zoo:
    """Builds models and times them against the base.

    Args:
        scale: Scale of all models: ``n``, ``s``, ``m``, ``l`` or ``x``.
        imgsz: Height and width of the input in pixels.
        only: Names of the models; all when empty. The base is always there.
        rounds: Rounds in which every model runs once.
        trained: JSON of ``benchmarks/zoo_train.py``; that of the checkout when None.
        update: Called with how much is done, how much there is, and what comes next.

    Returns:
        What was found.

    Raises:
        BadOption: There is no such model or scale, or the size does not fit.
        EngineFailed: onnxruntime refuses a graph.
    """
    names = _chosen(only)
    if scale not in tuple("nsmlx"):
        raise BadOption(f"--scale {scale[:20]}: give n, s, m, l or x")
    known = read_trained(trained)
    load, total = foreign_load(), 2 * len(names)
    built: dict[str, Built] = {}
    for number, name in enumerate(names):
        update(number, total, f"building {name}")
        built[name] = build(model_of(name, scale), imgsz)
    threads = cores()
    runs = {name: opened(model.onnx, imgsz, threads) for name, model in built.items()}
    times = interleaved(
        runs, rounds, lambda done, of: update(len(names) * (1 + done / of), total, f"round {done} of {of}")
    )
    entries = tuple(
        Entry(
            name=name,
            model=model_of(name, scale),
            parameters=model.parameters,
            gflops=round(model.gflops, 3),
            nodes=model.nodes,
            bytes=len(model.onnx),
            custom_ops=model.custom_ops,
            latency_ms=round(statistics.median(times[name]), 3),
            relative=round(ratio(times, name, BASE), 4),
            accuracy=known.accuracy.get(name) if scale == "n" else None,
        )
        for name, model in built.items()
    )
    machine = Machine(
        processor=processor(),
        threads=threads,
        onnxruntime=version("onnxruntime"),
        torch=version("torch"),
        foreign_load=round(load(), 3),
    )
    training = known.training if any(entry.accuracy for entry in entries) else None
    return Zoo(scale=scale, imgsz=imgsz, rounds=rounds, machine=machine, entries=entries, training=training)


def _chosen(only: Sequence[str]) -> tuple[str, ...]:
    """The base, and the models that were asked for."""
    known = short_names()
    unknown = [name for name in only if name not in (*known, BASE)]
    if unknown:
        raise BadOption(f"--only {unknown[0][:40]}: there is no such model; known are {', '.join(known)}")
    return (BASE, *(name for name in known if not only or name in only))
