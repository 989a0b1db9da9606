"""Zips that were not made from a bundle: bombs, tricks and damage, refused before anything is unpacked."""

from __future__ import annotations

import functools
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from helpers.refusals import lineside, peak_of, refused
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.bundle import open_bundle
from lineside.runtime.errors import BundleDamaged, NotABundle

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Content of a good bundle, by name."""
    folder = tiny_bundle(tmp_path_factory.mktemp("good") / "tiny.bundle")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def zipped(
    path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, extra: dict[str, bytes] | None = None
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in {**files, **(extra or {})}.items():
            archive.writestr(name, data)
    return path


def edit_directory(path: Path, name: str, at: int, value: bytes) -> None:
    """Changes bytes of an entry's record in the central directory."""
    data = bytearray(path.read_bytes())
    where = data.rindex(name.encode()) - 46
    assert data[where : where + 4] == b"PK\x01\x02"
    data[where + at : where + at + len(value)] = value
    path.write_bytes(data)


@functools.cache
def deflated_zeros(megabytes: int) -> tuple[bytes, int]:
    """Raw deflate data of so many megabytes of zeros, and the checksum."""
    import zlib

    packer, crc = zlib.compressobj(9, zlib.DEFLATED, -15), 0
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(
        zlib.Z_FULL_FLUSH
    )  # stands for itself, so it can be repeated
    for _ in range(megabytes):
        crc = zlib.crc32(bytes(MEGABYTE), crc)
    return block * megabytes + zlib.compressobj(9, zlib.DEFLATED, -15).flush(), crc


def bomb(path: Path, files: dict[str, bytes], name: str, megabytes: int, claimed: int | None = None) -> Path:
    """A zip in which one member unpacks to so many megabytes, and claims as many bytes as one likes."""
    packed, crc = deflated_zeros(megabytes)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for other, content in files.items():
            archive.writestr(other, content)
        archive.writestr(name, packed)
        local = archive.getinfo(name).header_offset
    size = struct.pack("<I", megabytes * MEGABYTE if claimed is None else claimed)
    data = bytearray(path.read_bytes())
    central = data.rindex(name.encode()) - 46
    for where, method, check, whole in ((local, 8, 14, 22), (central, 10, 16, 24)):
        assert data[where : where + 2] == b"PK"
        data[where + method : where + method + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
        data[where + check : where + check + 4] = struct.pack("<I", crc)
        data[where + whole : where + whole + 4] = size
    path.write_bytes(data)
    return path


OPEN = """
import sys, lineside
try:
    lineside.load(sys.argv[1])
except lineside.LinesideError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("name", ["model.onnx", "engines/plan", "manifest.json"])
def test_a_bomb_is_refused_unread(tmp_path: Path, files: dict[str, bytes], name: str) -> None:
    others = {key: data for key, data in files.items() if key != name}
    path = bomb(tmp_path / "bomb.zip", others, name, 700)
    assert path.stat().st_size < 3 * MEGABYTE
    with pytest.raises(BundleDamaged, match=r"7340\d+ bytes in a file of .*no bundle shrinks like that.*do not use it"):
        open_bundle(path)
    refused(tmp_path, "verify", path, says=("no bundle shrinks like that", "do not use it"), memory=600 * MEGABYTE)
    assert peak_of(OPEN, path) < 200


def test_a_bomb_that_lies_about_its_size_unpacks_no_more_than_it_says(tmp_path: Path, files: dict[str, bytes]) -> None:
    others = {key: data for key, data in files.items() if key != "model.onnx"}
    path = bomb(tmp_path / "bomb.zip", others, "model.onnx", 700, claimed=1000)
    with pytest.raises(BundleDamaged, match=r"model\.onnx in .*bomb\.zip"):
        open_bundle(path)
    assert peak_of(OPEN, path) < 200


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_unpacks_without_a_bound_is_refused(tmp_path: Path, files: dict[str, bytes], method: int) -> None:
    path = zipped(tmp_path / "b.zip", files, method)
    refused(tmp_path, "inspect", path, says=(f"packed with method {method}", "deflate"))
    damaged = bytearray(path.read_bytes())
    damaged[60:90] = bytes(30)
    path.write_bytes(damaged)
    refused(tmp_path, "inspect", path, says=f"packed with method {method}")


@pytest.mark.parametrize("method", [9, 14 + 80, 98])
def test_packing_that_nobody_knows(tmp_path: Path, files: dict[str, bytes], method: int) -> None:
    path = zipped(tmp_path / "b.zip", files)
    edit_directory(path, "model.onnx", 10, struct.pack("<H", method))
    refused(tmp_path, "verify", path, says=f"packed with method {method}")


def test_a_password(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "b.zip", files)
    edit_directory(path, "model.onnx", 8, struct.pack("<H", 1))
    refused(tmp_path, "verify", path, says="behind a password")


def test_entries_that_overlap(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "b.zip", files, zipfile.ZIP_STORED, {f"engines/{i}": bytes(9000) for i in range(3)})
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("engines/0").header_offset
    for i in (1, 2):
        edit_directory(path, f"engines/{i}", 42, struct.pack("<I", first))
        edit_directory(path, f"engines/{i}", 20, struct.pack("<II", 60000, 60000))
    refused(tmp_path, "verify", path, says="overlap each other")


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "golden/../../evil",
        "..\\evil",
        "golden\\..\\..\\evil",
        "golden//evil",
        "././evil",
        "",
        "model.onnx\0.txt",
        "\0",
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, files: dict[str, bytes], name: str) -> None:
    path, stand_in = tmp_path / "b.zip", "?" * len(name)
    entry = zipfile.ZipInfo("x")
    entry.filename = stand_in  # written as it is
    with zipfile.ZipFile(path, "w") as archive:
        for other, content in files.items():
            archive.writestr(other, content)
        archive.writestr(entry, b"x")
        local, count = entry.header_offset + 30, len(name)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02") + 46
    data[local : local + count] = data[central : central + count] = name.encode()
    path.write_bytes(data)
    with pytest.raises(BundleDamaged, match=r"plain relative names.*do not use it"):
        open_bundle(path)


def test_a_name_that_leads_elsewhere_at_the_command_line(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "b.zip", files, extra={"../evil": b"x"})
    for words in (("verify", path), ("inspect", path), ("run", path, tmp_path)):
        refused(tmp_path, *words, says=("'../evil'", "do not use it") if words[0] != "run" else ())
    assert not (tmp_path.parent / "evil").exists()


def test_a_name_in_letters_of_any_script_is_only_an_extra_file(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "b.zip", files, extra={"ｍodel.onnx": b"x"})
    refused(tmp_path, "verify", path, says=("ｍodel.onnx", "not listed in its manifest"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "b.zip", files)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model.onnx", b"another")
    refused(tmp_path, "verify", path, says="twice")


def test_a_link_in_a_zip(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "b.zip", {key: data for key, data in files.items() if key != "model.onnx"})
    entry = zipfile.ZipInfo("model.onnx")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    refused(tmp_path, "verify", path, says=("'model.onnx', a link", "no links"))


def test_a_zip_in_a_zip_is_no_bundle(tmp_path: Path, files: dict[str, bytes]) -> None:
    inner = zipped(tmp_path / "inner.zip", files)
    path = zipped(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes()})
    refused(tmp_path, "verify", path, says="has no manifest.json")


@pytest.mark.parametrize("part", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(300), bytes(5000)])
def test_what_only_looks_like_a_zip(tmp_path: Path, part: bytes) -> None:
    (tmp_path / "b.zip").write_bytes(part)
    refused(tmp_path, "verify", "b.zip", says="b.zip")


def test_every_byte_may_be_wrong(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Whichever byte of the directory is changed: the bundle opens and is the same, or the error is one of the tree."""
    whole = zipped(tmp_path / "b.zip", files).read_bytes()
    good, begin = open_bundle(tmp_path / "b.zip").manifest, whole.index(b"PK\x01\x02")
    outcomes = set()
    for at in range(begin, len(whole)):
        for value in (0, 255, whole[at] ^ 1):
            (tmp_path / "b.zip").write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                assert open_bundle(tmp_path / "b.zip").manifest == good
                outcomes.add("opened")
            except (BundleDamaged, NotABundle) as error:
                outcomes.add(type(error).__name__)
    assert outcomes == {"opened", "BundleDamaged", "NotABundle"}


@pytest.mark.parametrize(("before", "between"), [("./", "/"), ("./tiny.bundle/", "/"), ("tiny.bundle\\", "\\")])
def test_a_bundle_zipped_by_other_tools_is_one(
    tmp_path: Path, files: dict[str, bytes], before: str, between: str
) -> None:
    """``tar -a`` begins names with ``./``, the Compress-Archive of Windows PowerShell 5.1 writes backslashes."""
    files, path = {**files, "engines/deep/x.plan": b"x"}, tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for folder in (before, f"{before}engines{between}"):
            archive.writestr(folder, b"")
        for name, data in files.items():
            archive.writestr(before + name.replace("/", between), data)
    bundle = open_bundle(path)
    assert bundle.names() == sorted(files) and bundle.read("engines/deep/x.plan") == b"x"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{before}model.onnx".removeprefix("./").replace("\\", "/"), b"another")
    refused(tmp_path, "verify", path, says="twice")


def test_a_good_zip_passes_all_this(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "b.zip", files)
    answer = lineside(tmp_path, "inspect", path, memory=600 * MEGABYTE)
    assert answer.returncode == 0 and "tiny levels" in answer.stdout
    # Shrinks a thousandfold, and is small enough not to matter.
    path = zipped(tmp_path / "b.zip", files, extra={"engines/x.plan": bytes(60 * MEGABYTE)})
    assert "engines/x.plan" in open_bundle(path).names()
