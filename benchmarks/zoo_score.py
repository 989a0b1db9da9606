"""Measures trained models of the zoo on fresh pictures, through their bundles, and compares them with the base.

The pictures are the same for every run, so the comparison is paired: pictures are drawn again, and on each draw the mean
over the runs of a model is compared with the mean over the runs of the base. Trained again from another seed, a model is
another model: the interval that counts also holds how far its seeds lie apart, pooled over all models, because two or
three seeds of one say little about it. Latency is that of the engine alone, on one thread, all models taking turns.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measure import Load, take_turns

import lineside
from lineside.export.accuracy.bootstrap import draw_pictures, percentiles
from lineside.export.accuracy.found import Found
from lineside.export.accuracy.scores import Scores, redrawn, score
from lineside.export.accuracy.through_bundle import through_bundle
from lineside.export.accuracy.truth import Truth, mask_truth
from lineside.export.bundle import export_bundle
from lineside.export.synth import labelled

if TYPE_CHECKING:
    from zoo_train import Run

LIMITS = (10.0, 20.0)
"""Limits between small, medium and large defects: square roots of areas, px; half of the defects are small."""

DRAWS = 1000
CHUNK = 100
ROUNDS = 40

Draws = dict[str, np.ndarray[Any, np.dtype[np.float64]]]


def measure(runs: list[Run]) -> dict[str, Any]:
    """Measures runs.

    Args:
        runs: Finished runs; those of the base among them.

    Returns:
        What ``configs/models/trained.json`` holds.
    """
    import zoo_train

    budget = runs[0].place.budget
    bundles = {run: _bundle(run) for run in runs}
    truth, seen = _look(bundles)
    again = np.vstack([np.ones((1, budget.fresh), np.int64), draw_pictures(budget.fresh, DRAWS, seed=0)])
    drawn = {run: _figures(truth, found, again) for run, found in seen.items()}
    latency, foreign = _latency(bundles)
    families = {name: [run for run in runs if run.model == name] for name in dict.fromkeys(run.model for run in runs)}
    spread = seed_spread({name: [drawn[run] for run in own] for name, own in families.items()})
    entries = {name: _entry(own, drawn, latency, bundles) for name, own in families.items()}
    if zoo_train.BASE in families:
        base = [drawn[run] for run in families[zoo_train.BASE]]
        for name, own in families.items():
            if name != zoo_train.BASE:
                for figure, difference in over_base([drawn[run] for run in own], base, spread).items():
                    entries[name][figure] |= difference
    return {
        "budget": dataclasses.asdict(budget),
        "pictures": budget.fresh,
        "objects": len(truth),
        "small_objects": int((np.sqrt(truth.areas) < LIMITS[0]).sum()),
        "small_below_px": LIMITS[0],
        "draws": DRAWS,
        "versions": json.loads((runs[0].folder / "settings.json").read_text())["versions"],
        "seed_spread": spread,
        "foreign_load": round(foreign, 3),
        "entries": entries,
    }


def _bundle(run: Run) -> Path:
    """The bundle of a run, exported through the gate where it is not there yet; its report lies inside."""
    out = run.folder / f"{run.model}.bundle"
    weights = run.folder / "best.pt"
    if not out.is_dir() or out.stat().st_mtime < weights.stat().st_mtime:
        done = export_bundle(weights, out, imgsz=(run.place.budget.size,) * 2, force=True)
        print(
            f"{run.folder.name}: exported, passed its gate with {len(done.manifest.custom_ops)} custom ops", flush=True
        )
    return out


def _look(bundles: dict[Run, Path]) -> tuple[Truth, dict[Run, list[Found]]]:
    """Lets every bundle look at the fresh pictures, some at a time; the truth is what was drawn."""
    budget = next(iter(bundles)).place.budget
    models = {run: lineside.load(path) for run, path in bundles.items()}
    tables, sizes = [], []
    found: dict[Run, list[Found]] = {run: [] for run in bundles}
    for start in range(0, budget.fresh, CHUNK):
        count = min(CHUNK, budget.fresh - start)
        drawings = labelled(budget.task, count, budget.size, budget.fresh_seed + start, photos=False)
        tables += [[mask > 0.5 for mask in drawing.masks] for drawing in drawings]
        sizes += [(drawing.image.shape[0], drawing.image.shape[1]) for drawing in drawings]
        for run, model in models.items():
            found[run] += through_bundle(model, (drawing.image for drawing in drawings))
        print(f"measured {start + count} of {budget.fresh} pictures", flush=True)
    for model in models.values():
        model.close()
    return mask_truth(tables, sizes), found


def _figures(truth: Truth, found: list[Found], again: np.ndarray[Any, np.dtype[np.int64]]) -> Draws:
    """Figures of one run on the pictures as they are (first) and on every draw."""
    masks = score(truth, found, "mask", [0], ["Defect"], LIMITS)
    boxes = score(truth, found, "box", [0], ["Defect"], LIMITS)
    return {
        "mask_map": redrawn(masks, again)["mAP50-95"],
        "mask_map50": redrawn(masks, again)["mAP50"],
        "box_map": redrawn(boxes, again)["mAP50-95"],
        "small_ap": redrawn(masks, again, size=1)["mAP50-95"],
        "boundary_f": _outlines(masks, truth, again),
    }


def _outlines(scores: Scores, truth: Truth, again: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """Boundary F at 1 px of every object, 0 for one that was not found: a model is not to gain by finding less."""
    values = np.zeros(len(truth))
    for index, per_distance in scores.boundaries.items():
        values[index] = per_distance[0]
    weights = again[:, truth.pictures].astype(np.float64)
    return weights @ values / weights.sum(axis=1)


def _mean(runs: list[Draws]) -> Draws:
    """Mean over the runs of a model, draw by draw."""
    return {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}


def seed_spread(families: Mapping[str, list[Draws]]) -> dict[str, float]:
    """How far runs of one model lie apart: standard deviation between seeds, pooled over the models.

    Args:
        families: Figures of every run of every model; element 0 of a figure is the one on the pictures as they are.

    Returns:
        Standard deviation of each figure; nothing where no model has two runs.
    """
    several = [runs for runs in families.values() if len(runs) > 1]
    freedom = sum(len(runs) - 1 for runs in several)
    names = several[0][0] if several else []
    return {
        name: math.sqrt(
            sum((len(it) - 1) * statistics.variance(float(run[name][0]) for run in it) for it in several) / freedom
        )
        for name in names
    }


def over_base(own: list[Draws], base: list[Draws], spread: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """How much more a model reaches than the base.

    Args:
        own: Figures of the model's runs.
        base: Figures of the base's runs, on the same draws.
        spread: What `seed_spread` found; without it there is no interval over seeds.

    Returns:
        Per figure ``over_base``, ``over_base_ci`` (these runs, other pictures) and ``over_base_seeds_ci`` (other runs and
        other pictures; normal, the two variances added).
    """
    mean, mean_of_base = _mean(own), _mean(base)
    found: dict[str, dict[str, Any]] = {}
    for name in mean:
        delta = mean[name] - mean_of_base[name]
        found[name] = {"over_base": float(delta[0]), "over_base_ci": percentiles(delta[1:])}
        if name in spread:
            variance = float(np.var(delta[1:], ddof=1)) + spread[name] ** 2 * (1 / len(own) + 1 / len(base))
            half = 1.96 * math.sqrt(variance)
            found[name]["over_base_seeds_ci"] = [float(delta[0]) - half, float(delta[0]) + half]
    return found


def _entry(
    own: list[Run], drawn: dict[Run, Draws], latency: dict[str, dict[str, float]], bundles: dict[Run, Path]
) -> dict[str, Any]:
    """What is written down of one model by itself."""
    mean = _mean([drawn[run] for run in own])
    entry: dict[str, Any] = {
        "structure": (own[0].folder / "model.sha256").read_text(),
        "seeds": [run.seed for run in own],
        "latency": latency[own[0].model],
    }
    for name, values in mean.items():
        entry[name] = {
            "mean": float(values[0]),
            "ci": percentiles(values[1:]),
            "by_seed": [float(drawn[run][name][0]) for run in own],
        }
    settings = [json.loads((run.folder / "settings.json").read_text()) for run in own]
    entry["train_seconds"] = [it["seconds"] for it in settings]
    entry["parity"] = [_parity(bundles[run]) for run in own]
    return entry


def _parity(bundle: Path) -> dict[str, float]:
    """The worst figures of a bundle's gate, with its trained weights."""
    pictures = json.loads((bundle / "reports" / "parity.json").read_text())["pictures"]
    return {
        "cosine": min(output["cosine"] for picture in pictures for output in picture["raw"]),
        "box_px": max(picture["anchors"]["box_px"] for picture in pictures),
        "mask_iou": min(picture["masks"]["mean_iou"] for picture in pictures if picture["masks"]["compared"]),
    }


def _latency(bundles: dict[Run, Path]) -> tuple[dict[str, dict[str, float]], float]:
    """Milliseconds of the engine alone and their ratio to the base, one bundle per model; the load of others."""
    import onnxruntime
    import zoo_train

    first = {run.model: path for run, path in reversed(bundles.items())}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    size = next(iter(bundles)).place.budget.size
    picture = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    candidates: dict[str, Callable[[], float]] = {}
    for name, path in first.items():
        session = onnxruntime.InferenceSession(path / "model.onnx", options, providers=["CPUExecutionProvider"])
        candidates[name] = partial(_timed, partial(session.run, None, {"images": picture}))
    load = Load()
    turns = take_turns(candidates, rounds=ROUNDS, seconds=300)
    return latencies(turns.rounds, zoo_train.BASE), load.foreign()


def latencies(rounds: Sequence[Mapping[str, float]], base: str) -> dict[str, dict[str, float]]:
    """Medians of what was timed.

    Args:
        rounds: Milliseconds of each model in each round.
        base: The model that the others are compared with.

    Returns:
        Per model ``ms``, and ``of_base``, the median of the ratios within a round; that only where the base took part.
    """
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(name for turn in rounds for name in turn):
        found[name] = {"ms": statistics.median(turn[name] for turn in rounds if name in turn)}
        ratios = [turn[name] / turn[base] for turn in rounds if name in turn and base in turn]
        if ratios:
            found[name]["of_base"] = statistics.median(ratios)
    return found


def _timed(call: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)
