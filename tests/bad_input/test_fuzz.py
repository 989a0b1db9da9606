"""The fuzzer itself, in a few cases, and every failure that it has found, as a test."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.runtime.bundle import open_bundle
from lineside.runtime.errors import BundleDamaged, DatasetError, NotABundle
from lineside.runtime.manifest import decode_manifest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/fuzz.py"
QUICK = ("manifest", "folder", "zip", "golden", "recorded", "rle", "decode", "frame", "station")
HEAVY = ("labels", "dataset", "onnx-bytes", "onnx-graph", "engine-bytes", "engine-graph")


@pytest.fixture(scope="module")
def targets() -> Iterator[Any]:
    sys.path.insert(0, str(SCRIPT.parent))
    yield importlib.import_module("fuzz_targets")
    sys.path.remove(str(SCRIPT.parent))


def test_every_target_of_the_table_is_there(targets: Any) -> None:
    assert set(targets.TARGETS) == {*QUICK, *HEAVY} and set(targets.SHARES) <= set(targets.TARGETS)
    for place in targets.TARGETS.values():
        module, name = place.split(":")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("names", [QUICK, HEAVY], ids=["quick", "heavy"])
def test_some_cases_of_each_target(names: tuple[str, ...], tmp_path: Path) -> None:
    if names is HEAVY:
        for package in ("onnx", "onnxruntime", "cv2"):
            pytest.importorskip(package)
    words = [*names, "--fuzzer", "hypothesis", "--cases", "40", "--json", str(tmp_path / "r.json")]
    answer = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "--failures", str(tmp_path / "failures")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert set(found) == set(names) and all(result["cases"] > 0 for result in found.values())


def test_a_failure_is_kept_and_counted(tmp_path: Path) -> None:
    """The same, with a reader that lets a fault through and one that never ends."""
    broken = "import fuzz_targets, os\n"
    broken += "def target(scratch):\n    def try_one(data):\n        if b'x' in data: 1 // 0\n"
    broken += "        if b'die' in data: os.abort()\n    return try_one, [b'x', b'die', b'good']\n"
    (tmp_path / "broken.py").write_text(broken)
    script = f"""
import sys
sys.path[:0] = [{str(SCRIPT.parent)!r}, {str(tmp_path)!r}]
import fuzz, fuzz_targets
fuzz_targets.TARGETS["broken"] = "broken:target"
fuzz.__file__, fuzz.RESTARTS = __file__, 3
if __name__ == "__main__":
    sys.exit(fuzz.main())
"""
    (tmp_path / "run.py").write_text(script)
    words = ["broken", "--fuzzer", "hypothesis", "--cases", "60", "--failures", str(tmp_path / "kept")]
    answer = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), *words], capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    kinds = " ".join(path.read_text().partition("\n")[0] for path in (tmp_path / "kept").glob("*.txt"))
    assert "ZeroDivisionError" in kinds and "exit -6" in kinds


# What it has found


def test_a_manifest_that_is_not_utf8() -> None:
    whole = (ROOT / "demo/bearing.bundle/manifest.json").read_bytes()
    with pytest.raises(NotABundle, match="is not a readable manifest"):
        decode_manifest(whole.replace(b'"bearing"', b'"bear\xffng"', 1), "here")


def test_a_zip_entry_without_a_name(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("x"), b"")
    data = bytearray(out.getvalue())
    central = data.rindex(b"PK\x01\x02")
    data[central + 28 : central + 30] = b"\0\0"  # the name has no letters, and what was one belongs to the extra field
    data[central + 30 : central + 32] = b"\1\0"
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises((BundleDamaged, NotABundle), match=r"b\.zip"):
        open_bundle(tmp_path / "b.zip")


def test_run_lengths_of_a_picture_without_pixels() -> None:
    from lineside.runtime import Mask
    from lineside.runtime.golden import mask_of_rle, rle_of_mask

    mask = Mask.from_rle({"size": [0, 5], "counts": ""})
    assert mask.rle()["counts"] == rle_of_mask(np.zeros((0, 5), bool)) == ""
    assert mask_of_rle("", (0, 5)).shape == mask.to_array().shape == (0, 5)


@pytest.mark.parametrize(
    "text",
    [
        "train: a\nval: b\nnames: {0: e,Dect}\n",  # found
        "train: a\nval: b\nnames: {0: a, b: 1}\n",
        "train: a\nval: b\nnames: [[a]]\n",
        "train: [[a]]\nval: b\nnames: [a]\n",
        "train: ~no-such-user/at/all\nval: b\nnames: [a]\n",
        "train: " + "x" * 5000 + "\nval: b\nnames: [a]\n",
        'train: "a\\0b"\nval: b\nnames: [a]\n',
        "train: 2001-99-99\nval: b\nnames: [a]\n",
        "train: " + "[" * 5000,
        "a: &a [x, x]\nb: &b [*a, *a]\ntrain: [*b, *b]\nval: b\nnames: [a]\n",
    ],
    ids=lambda text: text[:40],
)
def test_data_files_that_only_look_like_yaml(tmp_path: Path, text: str) -> None:
    pytest.importorskip("cv2")
    from lineside.export.datasets import check_dataset

    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DatasetError):
        check_dataset(tmp_path / "data.yaml")


def test_a_graph_with_odd_types_and_metadata(tmp_path: Path, targets: Any) -> None:
    onnx = pytest.importorskip("onnx")
    from lineside.export.foreign import load_onnx, recognise
    from lineside.runtime.errors import ExportError

    seeds = importlib.import_module("fuzz_onnx").seeds(("flat",))

    def refused(model: Any) -> str:
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(ExportError) as caught:
            recognise(load_onnx(tmp_path / "m.onnx"))
        return str(caught.value)

    model = onnx.load_from_string(seeds[0])
    model.graph.output[0].type.tensor_type.elem_type = 49
    assert "type 49" in refused(model)
    model = onnx.load_from_string(seeds[0])
    model.metadata_props[0].value = "{0: 'a', 'b': 1}"  # no names: it is read without them, and does not fall over
    onnx.save(model, tmp_path / "m.onnx")
    assert recognise(load_onnx(tmp_path / "m.onnx")).names == ("0", "1")
