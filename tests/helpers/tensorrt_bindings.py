"""The real Python bindings of TensorRT, over libraries of our own that hold nothing.

NVIDIA's libraries cannot be had everywhere, the bindings can: they are packages of the Python package index. They are
imported over stub libraries with the C functions that they call, so every class, method and value that they have can be
looked at, and with 11.4 the plugin registry of NVIDIA's lean runtime, which is a package too, is real.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest

from helpers.fetched import once, unpack

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "build" / "tensorrt"

VERSIONS = {
    "10.3.0": "tensorrt-cu12-bindings",
    "10.13.3.9": "tensorrt-cu12-bindings",
    "10.16.1.11": "tensorrt-cu13-bindings",
    "11.4.0.106": "tensorrt-cu13-bindings",
}
"""Every version that is supported, and the package of its bindings."""

REAL_REGISTRY = "11.4.0.106"
LEAN = "tensorrt-lean-cu13-libs"

NOTHING = """
void* createInferBuilder_INTERNAL(void* logger, int version) { return 0; }
void* createInferRefitter_INTERNAL(void* engine, void* logger, int version) { return 0; }
void* getBuilderPluginRegistry(int capability) { return 0; }
"""
NO_RUNTIME = """
void* createInferRuntime_INTERNAL(void* logger, int version) { return 0; }
void* getPluginRegistry(void) { return 0; }
"""
PARSER = """
void* createNvOnnxParser_INTERNAL(void* network, void* logger, int version) { return 0; }
void* createNvOnnxParserRefitter_INTERNAL(void* refitter, void* logger, int version) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
"""
PLUGINS = "int initLibNvInferPlugins(void* logger, const char* scope) { return 0; }"
PACKAGE = """
import tensorrt_bindings
from tensorrt_bindings import *
from tensorrt_bindings import __version__
__path__ = [*__path__, *tensorrt_bindings.__path__]
"""


def bindings(version: str) -> Path:
    """A folder with the bindings of a version and their stub libraries; made once, else the test is skipped."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the bindings of TensorRT are fetched for Linux on x86-64")
    folder = STORE / f"{version}-cp{sys.version_info[0]}{sys.version_info[1]}"
    return once(folder, partial(_make, version))


def _make(version: str, folder: Path) -> None:
    """Fills the folder."""
    compiler = shutil.which("gcc") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C compiler for the stub libraries")
    unpack(f"{VERSIONS[version]}=={version}", folder)
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.py").write_text(PACKAGE)
    _compile(compiler, folder, version)


def run_with(version: str, script: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process of its own where ``import tensorrt`` gives the bindings of a version."""
    folder = bindings(version)
    paths = [str(folder), str(ROOT / "tests")]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder / "stubs"), "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
    )


def _compile(compiler: str, folder: Path, version: str) -> None:
    """The three libraries that the bindings open."""
    stubs, major = folder / "stubs", version.partition(".")[0]
    stubs.mkdir()
    real = version == REAL_REGISTRY
    more: list[str] = []
    if real:
        unpack(f"{LEAN}=={version}", folder)
        lean = folder / "tensorrt_lean_libs"
        more = ["-Wl,--no-as-needed", f"-L{lean}", f"-l:libnvinfer_lean.so.{major}", f"-Wl,-rpath,{lean}"]
    _library(compiler, stubs / f"libnvinfer.so.{major}", NOTHING + ("" if real else NO_RUNTIME), more)
    _library(compiler, stubs / f"libnvonnxparser.so.{major}", PARSER, [])
    _library(compiler, stubs / f"libnvinfer_plugin.so.{major}", PLUGINS, [])


def _library(compiler: str, path: Path, text: str, more: list[str]) -> None:
    source = path.with_suffix(".c")
    source.write_text(text)
    subprocess.run(
        [compiler, "-x", "c", "-shared", "-fPIC", "-o", str(path), str(source), "-x", "none", *more], check=True
    )
