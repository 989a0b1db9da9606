"""What is said where TensorRT is not there, not whole, or too old."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from helpers import trt_double
from helpers.tensorrt_bindings import bindings
from lineside.runtime.engines.tensorrt import machine
from lineside.runtime.engines.tensorrt.library import require_library, version_of
from lineside.runtime.engines.tensorrt.machine import open_machine
from lineside.runtime.errors import EngineUnavailable


def module(**content: object) -> types.ModuleType:
    made = types.ModuleType("tensorrt")
    vars(made).update(content)
    return made


def test_a_whole_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", trt_double)
    assert require_library() is trt_double
    assert version_of(module(__version__="10.16.1.11.post1")) == (10, 16, 1, 11)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (module(), "empty folder or another package"),
        (module(__version__="odd"), "empty folder or another package"),
        (module(__version__="8.6.1"), "TensorRT 8.6.1 is installed and 10.3 or newer is needed: update JetPack"),
        (module(__version__="10.0.1"), "10.3 or newer is needed"),
        (
            module(__version__="11.4.0", Logger=1, Runtime=1),
            "without Builder, as its lean and dispatch packages are",
        ),
    ],
)
def test_others_are_named(found: types.ModuleType, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", found)
    with pytest.raises(EngineUnavailable, match=says):
        require_library()


def test_a_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "tensorrt":
                raise ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt")

    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Nowhere(), *sys.meta_path])
    with pytest.raises(EngineUnavailable, match="is not installed: on a Jetson it comes with JetPack"):
        require_library()


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_real_bindings_without_their_libraries(version: str) -> None:
    script = """
from lineside.runtime.engines.tensorrt.library import require_library
try:
    require_library()
except Exception as error:
    print(type(error).__name__, error)
"""
    environment = {**os.environ, "PYTHONPATH": str(bindings(version)), "LD_LIBRARY_PATH": ""}
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(
        "EngineUnavailable TensorRT's Python module is installed and its libraries are not (libnv"
    )


def test_without_a_gpu_too_both_are_said_and_the_gpu_first(
    double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", module(__version__="8.6.1"))
    with pytest.raises(EngineUnavailable, match="^TensorRT 8.6.1 is installed and 10.3"):
        open_machine()

    def no_gpu() -> None:
        raise EngineUnavailable("there is no NVIDIA driver: install it")

    monkeypatch.setattr(machine, "open_device", no_gpu)
    with pytest.raises(EngineUnavailable, match="^there is no NVIDIA driver: install it. Besides, TensorRT 8.6.1 is"):
        open_machine()


def test_the_machine_is_what_the_gpu_and_the_module_say(double: trt_double.Settings) -> None:
    double.sm = "110"
    found = open_machine()
    assert (found.version, found.sm, found.gpu) == ("10.3.0", "110", "a double of an Orin")
    assert found.platform.startswith(f"{sys.platform}-")
