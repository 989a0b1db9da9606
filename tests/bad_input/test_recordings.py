"""Golden files and recordings that are none: bombs, promises and nonsense, hashes and all."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lineside
from helpers.refusals import peak_of, refused
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import BundleDamaged, ContractMismatch, EngineUnavailable
from lineside.runtime.golden import mask_of_rle, read_golden
from lineside.runtime.manifest import decode_manifest

MEGABYTE = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny.bundle")


def good() -> dict[str, Any]:
    """What a golden file holds."""
    return {
        "pixels": np.zeros((64, 64, 3), np.uint8),
        "image_size": np.array([64, 64]),
        "conf": np.array(0.25),
        "iou": np.array(0.7),
        "max_det": np.array(300),
        "boxes": np.zeros((1, 4), np.float32),
        "scores": np.ones(1, np.float32),
        "classes": np.zeros(1, np.int32),
        "rle": np.frombuffer(b"PP4\n", np.uint8),
    }


def put(folder: Path, data: bytes) -> None:
    """Puts a golden file into a bundle, hashed like any other."""
    (folder / "golden").mkdir(exist_ok=True)
    (folder / "golden/000.npz").write_bytes(data)
    write_manifest(folder, decode_manifest((folder / "manifest.json").read_bytes(), "here"))


def saved(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def promising(shape: str, dtype: str = "|u1", version: int = 1) -> bytes:
    """A member whose header promises an array that is not there."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text.encode()


def archive(method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, data in members.items():
            packed.writestr(f"{name}.npy", data)
    return out.getvalue()


BYTES: dict[str, bytes] = {
    "empty": b"",
    "text": b"PK no zip",
    "one array": promising("(3,)") + b"abc",
    "half": saved(**good())[:-90],
    "a promise of gigabytes": archive(pixels=promising("(100000, 100000, 3)")),
    "a promise of nothing": archive(pixels=promising("(-1, 4)")),
    "a promise beyond numbers": archive(pixels=promising("(2305843009213693952, 64)", "<f8")),
    "a header of brackets": archive(pixels=promising("(" * 100)),
    "a header that is code": archive(pixels=promising("(__import__('os').getpid(),)")),
    "a format from the future": archive(pixels=promising("(1,)", version=9) + b"x"),
    "objects": saved(**{**good(), "pixels": np.array([{}], object)}),
    "packed otherwise": archive(zipfile.ZIP_LZMA, pixels=promising("(1,)") + b"x"),
}


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """An array of zeros, larger than anything in a bundle, in half a megabyte."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("pixels.npy", "w") as file:
            file.write(promising("(600, 1048576)"))
            for _ in range(600):
                file.write(bytes(MEGABYTE))
    return out.getvalue()


@pytest.mark.parametrize("what", BYTES)
def test_bytes_that_are_no_golden_file_or_recording(folder: Path, what: str, tmp_path: Path) -> None:
    put(folder, BYTES[what])
    bundle = open_bundle(folder)
    with pytest.raises(BundleDamaged, match=r"golden/000\.npz in .* (is not a golden file|lacks).*export the bundle"):
        read_golden(bundle, "golden/000.npz")
    with pytest.raises((EngineUnavailable, ContractMismatch), match="record it again|holds no recorded|none of the"):
        lineside.load(folder, engine=f"recorded:{folder / 'golden/000.npz'}")


ARRAYS: dict[str, dict[str, Any]] = {
    "a picture without end": {"image_size": np.array([10**9, 10**9])},
    "a picture too large to replay": {"image_size": np.array([65535, 65535])},
    "a picture without pixels": {"image_size": np.array([0, 4])},
    "three sides": {"image_size": np.array([4, 4, 4])},
    "an infinite side": {"image_size": np.array([np.inf, 4])},
    "another input": {"pixels": np.zeros((32, 32, 3), np.uint8)},
    "pixels of text": {"pixels": np.array("x")},
    "no number of scores": {"scores": np.float32(1)},
    "scores of text": {"scores": np.array(["0.5"])},
    "more boxes than scores": {"boxes": np.zeros((2, 4), np.float32)},
    "ten million detections": {
        "boxes": np.zeros((10**5, 4), np.float32),
        "scores": np.ones(10**5, np.float32),
        "classes": np.zeros(10**5, np.int32),
        "rle": np.frombuffer(b"0\n" * 10**5, np.uint8),
    },
    "a threshold of no kind": {"conf": np.array(5.0)},
    "a threshold that is not a number": {"iou": np.array(np.nan)},
    "no detections at most": {"max_det": np.array(-1)},
    "thresholds in rows": {"conf": np.zeros(3)},
    "masks of letters": {"rle": np.array([[1.5, np.nan]])},
    "too few masks": {"rle": np.zeros(0, np.uint8)},
}


@pytest.mark.parametrize("what", ARRAYS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_arrays_that_are_no_golden_file(folder: Path, what: str) -> None:
    put(folder, saved(**{**good(), **ARRAYS[what]}))
    with pytest.raises(BundleDamaged, match=r"golden/000\.npz in .*export the bundle again"):
        read_golden(open_bundle(folder), "golden/000.npz")


@pytest.mark.parametrize("name", sorted(set(good()) - {"rle"}))
def test_an_array_less(folder: Path, name: str) -> None:
    put(folder, saved(**{key: value for key, value in good().items() if key != name}))
    with pytest.raises(BundleDamaged, match=f"lacks the array '{name}': export the bundle again"):
        read_golden(open_bundle(folder), "golden/000.npz")


def test_the_good_one_is_read(folder: Path) -> None:
    put(folder, saved(**good()))
    assert read_golden(open_bundle(folder), "golden/000.npz").image_size == (64, 64)


def test_a_bomb_takes_no_memory(folder: Path, bomb: bytes) -> None:
    put(folder, bomb)
    script = """
import sys, lineside
from lineside.runtime.bundle import open_bundle
from lineside.runtime.golden import read_golden
try:
    read_golden(open_bundle(sys.argv[1]), "golden/000.npz")
except lineside.errors.BundleDamaged as error:
    assert "unpacks to 629" in str(error)
"""
    assert peak_of(script, folder) < 150, "MiB"


@pytest.mark.parametrize("what", ["half", "a promise of gigabytes"])
def test_the_same_at_the_command_line(folder: Path, tmp_path: Path, what: str) -> None:
    pytest.importorskip("onnxruntime")
    put(folder, BYTES[what])
    refused(tmp_path, "verify", folder, says=("golden/000.npz", "export the bundle again"))


@pytest.mark.parametrize("rle", ["PP4", "a" * 10**6, "\x00", "é", "o" * 10, "~~~~", "4"])
def test_run_lengths_of_no_mask(folder: Path, rle: str) -> None:
    if rle == "PP4":
        assert not mask_of_rle(rle, (64, 64)).any()
        return
    with pytest.raises(ValueError, match="run lengths"):
        mask_of_rle(rle, (64, 64))


@pytest.mark.parametrize("size", [(-1, -1), (10**6, 10**6), (2**40, 1), (1.5, "x"), (1,), None])
def test_masks_of_impossible_pictures(size: Any) -> None:
    from lineside.runtime import Mask

    with pytest.raises(lineside.errors.BadOption, match="run lengths"):
        Mask.from_rle({"size": size, "counts": "PP4"})
