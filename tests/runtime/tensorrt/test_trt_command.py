"""`lineside build` at the command line, and what commands say of an engine that is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers import trt_double
from helpers.trt_builds import with_fp16
from lineside import cli

ROOT = Path(__file__).resolve().parents[3]


def test_the_command_prints_what_it_built(
    bundle: Path, double: trt_double.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", str(bundle)]) == 0
    printed = capsys.readouterr()
    assert "built in" in printed.out and "TensorRT 10.3.0 on a double of an Orin" in printed.out
    assert "build: 100% written" in printed.err
    assert cli.main(["build", str(bundle), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["built"], facts["precision"], facts["audit"]["convolutions"] > 0) == (False, "fp32", True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--least", "2"], 2, "give a share from 0 to 1"),
        (["--workspace", "0"], 2, "give MiB, from 1"),
        (["--workspace", "99999999999999999999"], 2, "give MiB, from 1"),
        (["--from", "12y"], 2, "give one number, such as 640"),
        (["--precision", "fp8"], 2, "fp8"),
        (["--imgsz", "96"], 2, "cannot be changed"),
    ],
)
def test_wrong_words_are_refused(
    bundle: Path,
    double: trt_double.Settings,
    words: list[str],
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["build", str(bundle), *words]) == code
    assert says in capsys.readouterr().err


def test_exit_code_1_for_another_precision(
    bundle: Path, double: trt_double.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", str(with_fp16(bundle)), "--precision", "fp16"]) == 1
    assert "does not compute in fp16 as asked" in capsys.readouterr().err


def test_help_has_examples(cli: object, capsys: pytest.CaptureFixture[str]) -> None:
    answer = cli("build", "--help")  # type: ignore[operator]
    assert answer.returncode == 0
    assert "lineside build parts.bundle --precision fp16" in answer.stdout


def test_without_a_gpu_there_is_one_clear_sentence(cli: object, bundle: Path) -> None:
    answer = cli("build", bundle, timeout=120)  # type: ignore[operator]
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1
    assert "TensorRT" in answer.stderr or "NVIDIA" in answer.stderr


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_a_command_that_falls_back_says_so_in_one_sentence(cli: object, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="the extra station, which reads pictures, is not installed")
    pictures = ROOT / "demo" / "pictures" / "bearing"
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(next(pictures.glob("*.jpg")), one)
    answer = cli(  # type: ignore[operator]
        "run", ROOT / "demo" / "bearing.bundle", one, "--engine", "tensorrt:fallback", "--out", tmp_path / "found"
    )
    assert answer.returncode == 0, answer.stderr
    said = [line for line in answer.stderr.splitlines() if "slower" in line]
    assert len(said) == 1 and said[0].startswith(
        "warning: onnxruntime runs the model on the processor, which is slower: "
    )
    assert "opening.py" not in answer.stderr
