"""Folders that are no bundle, or no longer: damage, links, pipes and devices, manifests of any kind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lineside
from helpers.refusals import refused, snapshot
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import BundleDamaged, BundleError, ContractMismatch, NotABundle
from lineside.runtime.manifest import decode_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tiny_bundle(tmp_path / "tiny.bundle")
    for name in ("golden/000.npz", "reports/parity.json"):
        (path / name).parent.mkdir()
        (path / name).write_text(name)
    write_manifest(path, decode_manifest((path / "manifest.json").read_bytes(), "here"))
    return path


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[99] ^= 1
    (folder / "model.onnx").write_bytes(data)


ROWS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not a bundle": (lambda f: (f / "manifest.json").unlink(), "is not a bundle: give the folder"),
    "newer schema": (lambda f: edit(f, schema=2), "upgrade it"),
    "altered file": (flip, "copy the bundle again"),
    "missing file": (lambda f: (f / "golden/000.npz").unlink(), "golden/000.npz is missing"),
    "extra file": (lambda f: (f / "golden/new.npz").write_text("x"), "golden/new.npz, not listed"),
    "half a manifest": (lambda f: os.truncate(f / "manifest.json", 300), "not a readable manifest"),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_command_that_opens_a_bundle_refuses_it(folder: Path, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    harm, says = ROWS[row]
    harm(folder)
    picture = Path(__file__).resolve().parents[2] / "demo" / "pictures" / "bearing"
    words = {"inspect": (), "run": (picture,), "profile": ("synthetic:64x64",), "verify": ()}
    command = list(words)[list(ROWS).index(row) % len(words)]  # each row at one command, each command at some row
    refused(folder.parent, command, folder, *words[command], says=says)
    before = snapshot(folder)
    with pytest.raises(BundleError, match=says):
        lineside.load(folder)
    assert snapshot(folder) == before


# Links


def test_a_linked_file_is_read_through_and_held_to_its_hash(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "model.onnx", tmp_path / "store")
    (folder / "model.onnx").symlink_to(tmp_path / "store")
    assert open_bundle(folder).manifest.name == "tiny levels"
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/etc/passwd")
    refused(tmp_path, "verify", folder, says=("model.onnx", "altered or copied badly"))


def test_a_linked_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "golden", tmp_path / "elsewhere")
    (folder / "golden").symlink_to(tmp_path / "elsewhere")
    refused(tmp_path, "verify", folder, says="golden/000.npz is missing")


def test_a_link_that_leads_into_itself(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("model.onnx")
    refused(tmp_path, "inspect", folder, says="Too many levels of symbolic links")


# What could be read for ever


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "golden/000.npz"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_in_a_bundle(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    with pytest.raises(BundleDamaged, match=rf"{name} is no regular file: copy the bundle again"):
        open_bundle(folder)


def test_a_pipe_or_a_device_as_a_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    refused(tmp_path, "verify", "pipe.zip", says="neither a folder nor a file", timeout=60)
    refused(tmp_path, "verify", "/dev/zero", says="neither a folder nor a file", timeout=60)


def test_a_manifest_without_end(folder: Path, tmp_path: Path) -> None:
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(5 << 30)  # sparse: it takes no room on the disk
    refused(tmp_path, "inspect", folder, says="so it is no manifest", memory=600 << 20)


def test_a_manifest_that_is_a_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    refused(tmp_path, "inspect", folder, says="manifest.json is no regular file")


# Manifests


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schema": 1, "name": "\xff"}',
        b'{"schema": 1e400}',
        b'{"schema": ' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b'{"schema": 1}\0',
        b'{"schema": NaN}',
    ],
    ids=lambda data: str(data[:20]),
)
def test_bytes_that_are_no_manifest(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    with pytest.raises(BundleError, match=r"manifest\.json .*(export|copy|upgrade)"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"min_onnxruntime": "9" * 5000}, NotABundle),
        ({"min_onnxruntime": "1.x"}, NotABundle),
        ({"names": ["a"] * 100_000}, ContractMismatch),
        ({"thresholds": {"conf": -1}}, NotABundle),
        ({"thresholds": {"max_det": -1}}, NotABundle),
        ({"model": ""}, NotABundle),
        ({"model": "manifest.json"}, NotABundle),
        ({"model": "../tiny.bundle/model.onnx"}, NotABundle),
        ({"model": "golden"}, BundleDamaged),
        ({"files": {"model.onnx": "0" * 64}}, BundleDamaged),
        ({"opset": -1}, NotABundle),
        ({"names": []}, ContractMismatch),
        ({"task": "detect"}, ContractMismatch),
    ],
    ids=str,
)
def test_manifests_that_say_what_no_bundle_is(
    folder: Path, changes: dict[str, object], error: type[BundleError]
) -> None:
    edit(folder, **changes)
    with pytest.raises(error):
        open_bundle(folder)


@pytest.mark.parametrize(
    "head",
    [
        {"classes": 10**9},
        {"classes": 2**31},
        {"coefficients": 10**9},
        {"reg_max": 2**40},
        {"input_size": [2**31, 2**31]},
        {"input_size": [10**6 * 32, 64]},
        {"strides": []},
        {"strides": [0, 1]},
        {"strides": [-8, 8]},
        {"strides": [3]},
        {"input_size": [1, 1], "strides": [1]},
        {"kind": "yolo"},
        {"classes": 1.5},
        {"unknown": 1},
    ],
    ids=str,
)
def test_contracts_of_no_model(folder: Path, head: dict[str, object]) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    content["head"].update(head)
    if "input_size" in head:
        content["input"]["size"] = head["input_size"]
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BundleError):
        open_bundle(folder)


# Paths


@pytest.mark.parametrize("path", [None, 5, 2.5, [], "", "no\0where", "x" * 5000, b"bytes"], ids=lambda p: str(p)[:9])
def test_paths_that_are_none(path: object) -> None:
    with pytest.raises(NotABundle):
        lineside.load(path)  # type: ignore[arg-type]


def test_a_name_of_odd_bytes_reaches_the_terminal_harmless(tmp_path: Path) -> None:
    says = refused(tmp_path, "inspect", "no\x1b[31msuch\udcff\u202e", says="no\\x1b[31msuch\\udcff\\u202e")
    assert says.isascii()


def test_a_parity_report_that_is_none(folder: Path, tmp_path: Path) -> None:
    for content in ("no json", "[]", "[" * 90_000, '{"pictures": [1]}', '{"pictures": [{}], "passed": 1}'):
        (folder / "reports/parity.json").write_text(content)
        write_manifest(folder, decode_manifest((folder / "manifest.json").read_bytes(), "here"))
        refused(tmp_path, "inspect", folder, says="reports/parity.json")
