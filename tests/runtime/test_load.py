"""The front door: what ``import lineside`` gives, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import lineside
from helpers.tiny_bundle import tiny_bundle
from lineside import errors, runtime


def python(script: str, *words: str) -> str:
    answer = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_every_public_name_is_there() -> None:
    for module in (lineside, runtime):
        assert set(module.__all__) <= set(dir(module))
        for name in module.__all__:
            assert getattr(module, name) is not None
    assert lineside.load is runtime.load and lineside.Segmenter is runtime.Segmenter
    assert issubclass(errors.BadFrame, lineside.LinesideError)
    assert lineside.__version__ == version("lineside")


@pytest.mark.parametrize("module", [lineside, runtime])
def test_a_name_that_is_not_there_is_named(module: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        module.lode  # noqa: B018


def test_importing_loads_nothing_but_the_package() -> None:
    script = "import sys; before = set(sys.modules); import lineside; print(sorted(set(sys.modules) - before))"
    found = python(script)
    assert "'lineside'" in found
    assert not any(name in found for name in ("numpy", "msgspec", "typer", "yaml", "onnxruntime", "lineside.runtime"))


def test_loading_and_calling_needs_numpy_msgspec_and_onnxruntime_only(tmp_path: Path) -> None:
    script = """
import json, sys
blocked = ("torch", "torchvision", "onnx", "ultralytics", "cv2", "typer", "rich", "yaml", "click")
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import numpy, lineside
model = lineside.load(sys.argv[1])
frame = numpy.zeros((480, 640, 3), numpy.uint8)
frame[100:200, 100:300] = 255
found = model(frame)
print(json.dumps([len(found), found.to_dict(), [m.polygons()[0].tolist() for m in found.masks]]))
"""
    count, content, polygons = json.loads(python(script, str(tiny_bundle(tmp_path / "b"))))
    assert count > 0 and len(polygons) == count and content


def test_without_onnxruntime_the_remedy_is_told(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["onnxruntime"] = None
import lineside
try:
    lineside.load(sys.argv[1])
except lineside.errors.EngineUnavailable as error:
    print(error)
"""
    assert "pip install 'lineside[cpu]'" in python(script, str(tiny_bundle(tmp_path / "b")))
