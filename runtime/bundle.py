"""A bundle on disk: opened only when every file is what its manifest says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from lineside.runtime import cache
from lineside.runtime.errors import BundleDamaged, NotABundle
from lineside.runtime.manifest import MANIFEST, Manifest, decode_manifest, encode_manifest
from lineside.runtime.tree import FolderTree, Tree, ZipTree, is_plain_name

__all__ = ["Bundle", "is_immutable", "list_golden", "open_bundle", "sha256", "write_manifest"]

CHUNK = 1 << 20
MAX_MANIFEST = 16 << 20
"""Bytes that a manifest may have: the names of a hundred thousand classes fit."""

REMEDIES = {
    ".onnx": "turn it into a bundle with `lineside import`",
    ".pt": "turn it into a bundle with `lineside export`",
    ".safetensors": "turn it into a bundle with `lineside export`",
    ".engine": "a TensorRT plan alone lacks names and contracts: load the bundle that it was built from",
    ".plan": "a TensorRT plan alone lacks names and contracts: load the bundle that it was built from",
}


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: The folder or the .zip file.
        manifest: What it says about itself.
        tree: Its files.
    """

    path: Path
    manifest: Manifest
    tree: Tree

    def read(self, name: str) -> bytes:
        """Content of one file.

        Args:
            name: Name inside the bundle, such as ``model.onnx``.

        Raises:
            BundleDamaged: There is no such file, or it cannot be read.
        """
        try:
            with self.tree.open(name) as file:
                return file.read()
        except KeyError:
            raise _missing(self.path, name) from None

    def file(self, name: str) -> Path:
        """Path of one file on disk; for a zip, of a copy in the user's cache.

        Args:
            name: Name inside the bundle.

        Raises:
            BundleDamaged: There is no such file.
            NotABundle: It is inside a zip and the cache cannot be written.
        """
        if self.path.is_dir():
            path = self.path / name
            if not is_plain_name(name) or not path.is_file():
                raise _missing(self.path, name)
            return path
        data = self.read(name)
        copy = cache.store(f"unpacked/{hashlib.sha256(data).hexdigest()}/{Path(name).name}", data)
        if copy is None:
            raise NotABundle(
                f"{name} in {self.path} is needed as a file and the cache {cache.folder()} cannot be written: "
                "unpack the zip and use the folder, or set LINESIDE_CACHE to a writable folder"
            )
        return copy

    def names(self) -> list[str]:
        """Names of all files, in alphabetical order."""
        return sorted(self.tree.names())


def is_immutable(name: str) -> bool:
    """Whether the manifest holds the hash of this file: all but itself, ``engines/`` and ``reports/latency*.json``."""
    if name == MANIFEST or name.startswith("engines/"):
        return False
    return not (name.startswith("reports/latency") and name.endswith(".json") and name.count("/") == 1)


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Opens a bundle and verifies every file of it.

    Args:
        path: A folder, or the same tree in a .zip file.

    Returns:
        The bundle.

    Raises:
        NotABundle: Nothing there, or no readable manifest.
        SchemaTooNew: Written by a newer Lineside.
        BundleDamaged: A file is missing, altered or was never part of the bundle.
        ContractMismatch: The parts of its manifest do not belong together.
    """
    try:
        path = Path(path)
    except TypeError:
        raise NotABundle(f"{path!r} is no path: give that of a bundle, a folder or a .zip") from None
    try:
        tree = _tree(path)
    except OSError as error:
        raise NotABundle(
            f"{path} cannot be looked at ({error.strerror}): check the path and its permissions"
        ) from error
    try:
        with tree.open(MANIFEST) as file:
            data = file.read(MAX_MANIFEST + 1)
    except KeyError:
        raise NotABundle(
            f"{path} has no {MANIFEST}, so it is not a bundle: give the folder that `lineside export` wrote"
        ) from None
    if len(data) > MAX_MANIFEST:
        raise NotABundle(
            f"{path / MANIFEST} is larger than {MAX_MANIFEST >> 20} MiB, so it is no manifest: do not use it"
        )
    manifest = decode_manifest(data, f"{path / MANIFEST}")
    _verify(path, tree, manifest)
    return Bundle(path=path, manifest=manifest, tree=tree)


def list_golden(bundle: Bundle) -> list[str]:
    """Names of the golden files, in alphabetical order."""
    return [name for name in bundle.names() if name.startswith("golden/") and name.endswith(".npz")]


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> Manifest:
    """Hashes every immutable file of a folder and writes its manifest, atomically.

    Args:
        folder: The bundle; everything but the manifest is in place.
        manifest: What to write; its ``files`` are replaced.

    Returns:
        The manifest as written.
    """
    folder = Path(folder)
    tree = FolderTree(folder)
    hashes = {}
    for name in sorted(filter(is_immutable, tree.names())):
        with tree.open(name) as file:
            hashes[name] = sha256(file)
    manifest = msgspec.structs.replace(manifest, files=hashes)
    scratch = folder / f"{MANIFEST}.part"
    scratch.write_bytes(encode_manifest(manifest))
    scratch.replace(folder / MANIFEST)
    return manifest


def sha256(file: IO[bytes]) -> str:
    """Hash of an open file, read in pieces, as lower-case hex."""
    digest = hashlib.sha256()
    while piece := file.read(CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def _tree(path: Path) -> Tree:
    if path.is_dir():
        return FolderTree(path)
    if not path.exists():
        raise NotABundle(f"there is no bundle at {path}: check the path, or make one with `lineside export`")
    if path.name == MANIFEST:
        raise NotABundle(f"{path} is the manifest of a bundle: give its folder, {path.parent}")
    if not path.is_file():
        raise NotABundle(
            f"{path} is neither a folder nor a file: give the folder that `lineside export` wrote, or its zip"
        )
    remedy = REMEDIES.get(path.suffix.lower())
    if remedy is not None:
        raise NotABundle(f"{path} is a {path.suffix} file, not a bundle: {remedy}")
    return ZipTree(path)


def _verify(path: Path, tree: Tree, manifest: Manifest) -> None:
    listed, present = set(manifest.files), tree.names()
    needed = {manifest.model, *(variant.file for variant in manifest.variants.values())}
    wrong = sorted(name for name in listed | needed if not is_plain_name(name) or not is_immutable(name))
    if wrong:
        raise NotABundle(
            f"the manifest of {path} names {wrong[0]!r}, which is outside the bundle or not covered by a hash: "
            "do not use it"
        )
    for name in sorted((listed | needed) - present):
        raise _missing(path, name)
    extra = sorted(name for name in present - listed if is_immutable(name))
    if extra:
        raise BundleDamaged(
            f"{path} holds {_some(extra)}, not listed in its manifest: take that out, "
            "or copy the bundle again from where it was made"
        )
    for name in sorted(listed):
        try:
            with tree.open(name) as file:
                found = sha256(file)
        except KeyError:  # a link that leads nowhere has a name and nothing else
            raise _missing(path, name) from None
        if found != manifest.files[name]:
            raise BundleDamaged(
                f"{name} in {path} is not the file that the manifest was written for (sha256 {found[:12]}… instead of "
                f"{manifest.files[name][:12]}…): it was altered or copied badly; copy the bundle again"
            )


def _missing(path: Path, name: str) -> BundleDamaged:
    return BundleDamaged(f"{name} is missing from {path}: copy the whole bundle again from where it was made")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
