"""A bundle with an operator of ours, built, loaded and run, with its plugin enqueued between TensorRT's own work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import trt_double
from helpers.selftested import with_operator
from helpers.trt_builds import build
from helpers.trt_plugins import PluginContext
from lineside.runtime.engines.tensorrt import plugin as plugins
from lineside.runtime.loading import load

OP = "Carafe_k3_up1"


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ builds the kernels of the host device")
def test_a_model_runs_with_the_kernel_of_its_plugin(
    repository: Path, tmp_path: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt_double, "_Context", PluginContext)
    monkeypatch.setattr(PluginContext, "enqueued", [])
    bundle = with_operator(repository / "demo/bearing.bundle", tmp_path / "bearing.bundle")
    report = build(bundle)
    assert (report.plugins, report.bodies, report.standalone) == ((OP,), (), False)
    monkeypatch.setattr(plugins, "_REGISTERED", {})  # as in another process, which only loads
    monkeypatch.setattr(trt_double.REGISTRY, "creators", {})
    with load(bundle, "tensorrt") as model, load(bundle, "onnxruntime") as other:
        tensor = np.random.default_rng(0).random(model.manifest.input.shape, np.float32)
        for mine, theirs in zip(model.infer(tensor), other.infer(tensor), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)
        picture = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        wanted, counts = other(picture, conf=0.01), []
        for _ in range(2):
            found = model(picture, conf=0.01)
            counts.append(len(PluginContext.enqueued))
            assert len(found) == len(wanted)
            np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
        assert set(PluginContext.enqueued) == {OP}
        assert counts[0] == counts[1]  # the second frame is a replay of the graph, in which only the kernel is left
