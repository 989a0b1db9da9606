"""What ``auto`` takes where an engine of TensorRT may be, and what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers import trt_double
from helpers.trt_builds import build
from lineside.runtime.engines import auto
from lineside.runtime.loading import load


def test_auto_takes_the_engine_that_is_built(bundle: Path, double: trt_double.Settings) -> None:
    build(bundle)
    with load(bundle) as model:
        assert model.engine_name == "tensorrt"
        assert "fits this machine" in model.engine_reason


def test_auto_never_takes_the_slow_one_in_silence(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(auto, "GPU_NODES", (str(tmp_path / "nvidiactl"),))
    with pytest.warns(
        RuntimeWarning, match="slower: no TensorRT engine was built for this bundle; run `lineside build"
    ):
        with load(bundle) as model:
            assert model.engine_name == "onnxruntime"
    build(bundle)
    double.sm = "90"
    with pytest.warns(RuntimeWarning, match="compute capability: yours 90, the engine's 87"):
        with load(bundle) as model:
            assert model.engine_name == "onnxruntime" and "yours 90" in model.engine_reason
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(auto.importlib.util, "find_spec", lambda name: None)
    with pytest.warns(RuntimeWarning, match="TensorRT's Python module is not installed"):
        load(bundle).close()


def test_auto_without_a_gpu_is_quiet_and_says_why(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(auto, "GPU_NODES", ())
    with load(bundle) as model:
        assert model.engine_name == "onnxruntime"
        assert "there is no GPU" in model.engine_reason
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]
