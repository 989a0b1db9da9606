"""The benchmark of a GPU runs with the host device, and says which peers are missing and why; speed is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

TRTEXEC = """#!{python}
import json, sys
words = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
with open({log!r}, "a") as log:
    print(" ".join(sys.argv[1:]), file=log)
if "saveEngine" in words:
    if {fails!r}:
        sys.exit("[E] no GPU was found")
    open(words["saveEngine"], "w").write("plan")
else:
    assert open(words["loadEngine"]).read() == "plan"
    times = [dict(startComputeMs=1.0, computeMs=2.0 + run, latencyMs=9.0) for run in range(int(words["iterations"]))]
    json.dump(times, open(words["exportTimes"], "w"))
"""


@pytest.fixture
def gpu(repository: Path) -> Iterator[object]:
    """The benchmark as a module."""
    before, sys.path[:] = list(sys.path), [str(repository / "benchmarks"), *sys.path]
    import gpu as module

    yield module
    sys.path[:] = before


def trtexec(folder: Path, fails: bool = False) -> Path:
    """A double of trtexec that writes times as the real one does."""
    program = folder / "trtexec"
    program.write_text(TRTEXEC.format(python=sys.executable, log=str(folder / "log"), fails=fails))
    program.chmod(0o755)
    return program


def subject(repository: Path, real: bool = True, precision: str = "fp16") -> SimpleNamespace:
    from lineside.runtime.bundle import open_bundle

    return SimpleNamespace(real=real, precision=precision, bundle=open_bundle(repository / "demo/bearing.bundle"))


@pytest.mark.slow
def test_with_the_host_device(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "gpu.json"
    words = ["--engine", "host", "--quick", "--size", "640x480", "--out", str(out)]
    answer = subprocess.run(
        [sys.executable, str(repository / "benchmarks/gpu.py"), *words], capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    figures = json.loads(out.read_text())
    rows = figures["rows"]
    assert set(rows) == {"lineside", "lineside without masks", "lineside, engine alone", "lineside on onnxruntime"}
    for row in rows.values():
        assert 0 < row["p50"] <= row["p90"] <= row["p99"] <= row["p999"] <= row["max"]
    assert rows["lineside"]["found"] == rows["lineside on onnxruntime"]["found"] > 0
    assert set(figures["missing"]) == {"ultralytics .engine", "trtexec"}
    assert "no trtexec here: it needs a GPU" in answer.stdout
    assert "say nothing about a GPU" in answer.stdout and "not to be quoted" in answer.stdout
    assert f"{rows['lineside']['p99']:.3f}" in answer.stdout


def test_without_a_gpu_it_says_so(repository: Path, tmp_path: Path) -> None:
    if any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/nvhost-gpu")):
        pytest.skip("there is a GPU")
    answer = subprocess.run(
        [sys.executable, str(repository / "benchmarks/gpu.py"), "--out", str(tmp_path / "gpu.json")],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert answer.returncode == 1 and answer.stderr.startswith("error: ") and "--engine host" in answer.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_trtexec_gets_our_onnx_and_is_timed_run_by_run(
    gpu, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    trtexec(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with gpu.of_trtexec(subject(repository, precision=precision)) as candidate:
        assert candidate() == 2.0 + 4.5
        assert candidate.samples == [2.0 + run for run in range(gpu.INNER)]
    build, *runs = (tmp_path / "log").read_text().splitlines()
    assert f"--onnx={repository / 'demo/bearing.bundle/model.onnx'} --stronglyTyped" in build
    assert ("--noTF32" in build) == (precision == "fp32")
    assert len(runs) == 2 and all("--useCudaGraph" in run for run in runs)


@pytest.mark.parametrize(
    ("case", "says"),
    [("host", "needs a GPU"), ("absent", "not on the PATH"), ("broken", "no GPU was found")],
)
def test_a_trtexec_that_is_not_there_is_named(
    gpu, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, says: str
) -> None:
    if case == "broken":
        trtexec(tmp_path, fails=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(gpu.Missing, match=says), gpu.of_trtexec(subject(repository, real=case != "host")):
        pass


def test_ultralytics_needs_an_engine_or_weights(gpu, repository: Path) -> None:
    with pytest.raises(gpu.Missing, match=r"neither --ultralytics .* nor --weights"):
        gpu.of_ultralytics(subject(repository), None, None)
    pytest.importorskip("ultralytics")
    with pytest.raises(gpu.Missing, match="sees no GPU"):
        gpu.of_ultralytics(subject(repository), Path("best.engine"), None)


def test_ratios_are_taken_round_by_round(gpu) -> None:
    rounds = [{"a": 4.0, "b": 2.0}, {"a": 30.0, "b": 10.0}, {"b": 1.0}]
    assert gpu.ratio(rounds, "a", "b") == {"median": 2.5, "low": 2.0, "high": 3.0}
