"""Differences between trained models, with the chance of the seeds in their intervals."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools")


@pytest.fixture
def zoo_score(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("zoo_score")


def runs(*values: float) -> list[dict[str, np.ndarray[Any, np.dtype[np.float64]]]]:
    """Runs that reach these figures on every draw."""
    return [{"mask_map": np.full(101, value)} for value in values]


def test_seeds_are_pooled_over_models(zoo_score: Any) -> None:
    families = {"base": runs(0.30, 0.34), "edge": runs(0.40, 0.41, 0.42), "dcn": runs(0.9)}
    variance = (0.0008 * 1 + 0.0001 * 2) / 3
    assert zoo_score.seed_spread(families) == {"mask_map": pytest.approx(variance**0.5)}
    assert zoo_score.seed_spread({"dcn": runs(0.9)}) == {}


def test_the_interval_knows_pictures_and_seeds(zoo_score: Any) -> None:
    base, own = runs(0.30, 0.32), runs(0.35)
    own[0]["mask_map"] = own[0]["mask_map"] + np.concatenate([[0.0], np.tile([-0.01, 0.01], 50)])
    found = zoo_score.over_base(own, base, {"mask_map": 0.02})["mask_map"]
    assert found["over_base"] == pytest.approx(0.04)
    assert found["over_base_ci"] == pytest.approx([0.03, 0.05])
    half = 1.96 * (0.01**2 * 100 / 99 + 0.02**2 * (1 + 1 / 2)) ** 0.5
    assert found["over_base_seeds_ci"] == pytest.approx([0.04 - half, 0.04 + half])
    assert "over_base_seeds_ci" not in zoo_score.over_base(own, base, {})["mask_map"]


def test_the_committed_figures_are_those_of_the_models_as_they_are(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    zoo_train = importlib.import_module("zoo_train")
    trained = json.loads((repository / "configs" / "models" / "trained.json").read_text())
    if trained["versions"]["ultralytics"] != ultralytics.__version__:
        pytest.skip("trained with another ultralytics, whose base may differ")
    for name, entry in trained["entries"].items():
        assert entry["structure"] == zoo_train.fingerprint(zoo_train.Run(name, 0).yaml), f"{name}: train it again"


def test_latency_is_compared_with_the_base_where_that_took_part(zoo_score: Any) -> None:
    rounds = [{"base": 10.0, "edge": 12.0}, {"edge": 9.0, "base": 10.0}, {"edge": 11.0}]
    found = zoo_score.latencies(rounds, "base")
    assert found == {"base": {"ms": 10.0, "of_base": 1.0}, "edge": {"ms": 11.0, "of_base": pytest.approx(1.05)}}
    alone = zoo_score.latencies([{"edge": 9.0}], "base")
    assert json.loads(json.dumps(alone, allow_nan=False)) == {"edge": {"ms": 9.0}}
