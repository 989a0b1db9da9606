from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.bundle import list_golden, open_bundle, write_manifest
from lineside.runtime.errors import BundleDamaged, LinesideError, NotABundle, SchemaTooNew
from lineside.runtime.manifest import decode_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with a file of every kind."""
    path = tiny_bundle(tmp_path / "tiny.bundle")
    for name in ("golden/000.npz", "golden/001.npz", "reports/parity.json", "reports/latency.json", "engines/a.plan"):
        file = path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(name.encode())
    write_manifest(path, decode_manifest((path / "manifest.json").read_bytes(), "here"))
    return path


def zipped(folder: Path, top: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, top + file.relative_to(folder).as_posix())
    return path


@pytest.fixture(params=["folder", "zip", "zip with a top folder"])
def bundle_path(request: pytest.FixtureRequest, folder: Path) -> Path:
    """The bundle in each form it may have."""
    if request.param == "folder":
        return folder
    return zipped(folder, "" if request.param == "zip" else "tiny.bundle/")


def test_every_form_gives_the_same_files(bundle_path: Path, folder: Path) -> None:
    bundle = open_bundle(bundle_path)
    assert bundle.manifest == open_bundle(folder).manifest
    assert bundle.names() == sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    for name in bundle.names():
        assert bundle.read(name) == (folder / name).read_bytes() == bundle.file(name).read_bytes()
    assert list_golden(bundle) == ["golden/000.npz", "golden/001.npz"]


def test_a_string_is_a_path_too(folder: Path) -> None:
    assert open_bundle(str(folder)).path == folder


def test_hashes_cover_all_but_what_changes_in_use(folder: Path) -> None:
    files = open_bundle(folder).manifest.files
    assert set(files) == {"model.onnx", "golden/000.npz", "golden/001.npz", "reports/parity.json"}
    assert files["model.onnx"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()


def test_engines_latency_reports_and_file_manager_junk_come_and_go(folder: Path) -> None:
    (folder / "engines/a.plan").unlink()
    (folder / "engines/b.plan").write_bytes(b"built here")
    (folder / "reports/latency-orin.json").write_text("{}")
    (folder / "reports/latency.json").unlink()
    for junk in ("golden/.DS_Store", "golden/._000.npz", "._manifest.json"):
        (folder / junk).write_bytes(b"junk")
    assert "engines/b.plan" in open_bundle(folder).names()


def test_a_linked_file_is_read_through(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "store"
    shutil.move(folder / "model.onnx", kept)
    (folder / "model.onnx").symlink_to(kept)
    assert open_bundle(folder).read("model.onnx") == kept.read_bytes()


def test_a_missing_name_is_refused(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    for read in (bundle.read, bundle.file):
        with pytest.raises(BundleDamaged, match=r"variants/int8\.onnx is missing"):
            read("variants/int8.onnx")


def test_a_file_outside_is_not_reached(folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    with pytest.raises(BundleDamaged):
        open_bundle(folder).file("../secret")


def test_the_manifest_is_written_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "manifest.json").read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_manifest(folder, decode_manifest(before, "here"))
    assert (folder / "manifest.json").read_bytes() == before


# What goes wrong: each damage, the error, and the words that a user needs to see.


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 255
    (folder / "model.onnx").write_bytes(data)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES: dict[str, tuple[Callable[[Path], object], type[LinesideError], str]] = {
    "a flipped byte": (flip_a_byte, BundleDamaged, r"model\.onnx in .* altered .*copy the bundle again"),
    "a file gone": (lambda f: (f / "golden/000.npz").unlink(), BundleDamaged, r"golden/000\.npz is missing"),
    "the model gone": (lambda f: (f / "model.onnx").unlink(), BundleDamaged, r"model\.onnx is missing"),
    "a file too many": (lambda f: (f / "golden/x.npz").write_text("x"), BundleDamaged, r"golden/x\.npz, not listed"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), NotABundle, r"has no manifest\.json.*lineside export"),
    "half a manifest": (
        lambda f: (f / "manifest.json").write_text("{"),
        NotABundle,
        r"manifest\.json is not a readable",
    ),
    "a newer schema": (lambda f: edit(f, schema=2), SchemaTooNew, r"schema version 2 .*upgrade"),
    "an outside file": (lambda f: edit(f, files={"../../x": "0" * 64}), NotABundle, r"'\.\./\.\./x'"),
    "an absolute file": (lambda f: edit(f, files={"/etc/passwd": "0" * 64}), NotABundle, "'/etc/passwd'"),
    "an unhashed model": (lambda f: edit(f, files={}), BundleDamaged, "not listed in its manifest"),
    "a model elsewhere": (lambda f: edit(f, model="other.onnx"), BundleDamaged, r"other\.onnx is missing"),
    "no such variant": (
        lambda f: edit(f, variants={"fp16": {"file": "variants/f.onnx", "precision": "fp16", "engines": []}}),
        BundleDamaged,
        r"variants/f\.onnx is missing",
    ),
}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(folder: Path, damage: str, form: str) -> None:
    harm, error, says = DAMAGES[damage]
    harm(folder)
    path = folder if form == "folder" else zipped(folder)
    with pytest.raises(error, match=says) as caught:
        open_bundle(path)
    assert str(path) in str(caught.value)


def test_a_model_that_no_hash_covers_is_refused(folder: Path) -> None:
    (folder / "engines/a.onnx").write_bytes((folder / "model.onnx").read_bytes())
    edit(folder, model="engines/a.onnx")
    with pytest.raises(NotABundle, match=r"engines/a\.onnx"):
        open_bundle(folder)


def test_an_unreadable_file_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("model.onnx")
    with pytest.raises(BundleDamaged, match=r"model\.onnx cannot be read \(Too many levels of symbolic links\)"):
        open_bundle(folder)


def test_a_link_that_leads_nowhere_is_a_missing_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(folder / "gone")
    with pytest.raises(BundleDamaged, match=r"model\.onnx is missing"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("best.pt", "lineside export"),
        ("model.onnx", "lineside import"),
        ("model.engine", "the bundle that it was built from"),
        ("notes.txt", "not a readable zip"),
        ("manifest.json", "give its folder"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(NotABundle, match=says):
        open_bundle(tmp_path / name)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotABundle, match=r"no bundle at .*/none\.bundle"):
        open_bundle(tmp_path / "none.bundle")


# Zips that were not made from a bundle.


def with_entry(folder: Path, name: str, mode: int = stat.S_IFREG | 0o644) -> Path:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, b"x")
    return path


@pytest.mark.parametrize("name", ["../evil", "/evil", "golden/../../evil", "..\\b", "golden//evil", "././evil"])
def test_a_zip_with_a_name_that_leads_elsewhere(folder: Path, name: str) -> None:
    with pytest.raises(BundleDamaged, match="plain relative names"):
        open_bundle(with_entry(folder, name))


def test_a_zip_with_a_link(folder: Path) -> None:
    with pytest.raises(BundleDamaged, match=r"'engines/link'.*no links"):
        open_bundle(with_entry(folder, "engines/link", stat.S_IFLNK | 0o777))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_name_twice(folder: Path) -> None:
    with pytest.raises(BundleDamaged, match="twice"):
        open_bundle(with_entry(folder, "model.onnx"))


def test_a_zip_with_too_many_files(folder: Path) -> None:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(5000):
            archive.writestr(f"engines/{i}", b"")
    with pytest.raises(BundleDamaged, match="too many"):
        open_bundle(path)


def test_a_zip_with_an_absurd_size_is_refused_unread(folder: Path) -> None:
    path = zipped(folder)
    data = bytearray(path.read_bytes())
    where = data.rindex(b"model.onnx") - 46  # its record in the central directory
    assert data[where : where + 4] == b"PK\x01\x02"
    data[where + 24 : where + 28] = (0xF0000000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(BundleDamaged, match=r"'model\.onnx'.*2 GiB"):
        open_bundle(path)


@pytest.mark.parametrize("cut", [0.3, 0.98])
def test_half_a_zip(folder: Path, cut: float) -> None:
    path = zipped(folder)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(NotABundle, match="not a readable zip"):
        open_bundle(path)


@pytest.mark.parametrize("where", ["first", "middle"])
def test_a_zip_whose_content_is_damaged(folder: Path, where: str) -> None:
    path = zipped(folder)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("model.onnx")
    begin = entry.header_offset + 30 + len(entry.filename)
    if where == "first":
        data[begin] = 0xFF  # a kind of block that deflate does not have
    else:
        data[begin + entry.compress_size // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(BundleDamaged, match=r"model\.onnx"):
        open_bundle(path)


def test_what_a_mac_adds_to_a_zip_is_no_part_of_the_bundle(folder: Path) -> None:
    path = zipped(folder, "tiny.bundle/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/tiny.bundle/._manifest.json", b"junk")
        archive.writestr(".DS_Store", b"junk")
    assert open_bundle(path).names() == open_bundle(folder).names()


def test_a_zip_needs_a_cache_for_files_on_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(zipped(folder))
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(NotABundle, match="LINESIDE_CACHE"):
        bundle.file("model.onnx")
