"""What `fuzz.py` throws bytes at: every place where Lineside reads what others wrote.

A target is a function that makes a fresh trial: ``prepare(scratch) -> (try_one, seeds)``. ``try_one(data)`` may raise
nothing but `LinesideError`; it also checks what must hold of an answer. A new parser gets a line in `TARGETS`.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

Trial = Callable[[bytes], None]
Prepared = tuple[Trial, Sequence[bytes]]

TARGETS: dict[str, str] = {
    "manifest": "fuzz_targets:manifest",
    "folder": "fuzz_targets:folder",
    "zip": "fuzz_targets:packed",
    "golden": "fuzz_targets:golden",
    "recorded": "fuzz_targets:recorded",
    "rle": "fuzz_targets:run_lengths",
    "labels": "fuzz_targets:labels",
    "dataset": "fuzz_targets:dataset",
    "station": "fuzz_targets:station",
    "decode": "fuzz_decode:decode",
    "frame": "fuzz_decode:frame",
    "onnx-bytes": "fuzz_onnx:onnx_bytes",
    "onnx-graph": "fuzz_onnx:onnx_graph",
    "engine-bytes": "fuzz_onnx:engine_bytes",
    "engine-graph": "fuzz_onnx:engine_graph",
}
"""Every target and the function behind it."""

SHARES = {"onnx-bytes": 0.3, "onnx-graph": 0.3, "engine-bytes": 0.1, "engine-graph": 0.1, "zip": 0.5, "dataset": 0.3}
"""Part of the cases that a slow target gets."""


class Memory:
    """A tree of a bundle that lies in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def names(self) -> set[str]:
        """Names of all files."""
        return set(self.files)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Opens one file."""
        yield io.BytesIO(self.files[name])


def bundle_of(files: dict[str, bytes], manifest: Any = None) -> Any:
    """A bundle in memory, with the manifest of the first demo bundle unless another is given."""
    from lineside.runtime.bundle import Bundle
    from lineside.runtime.manifest import decode_manifest

    manifest = manifest or decode_manifest(demo("bearing.bundle/manifest.json"), "demo")
    return Bundle(Path("fuzz.bundle"), manifest, Memory(files))


def demo(name: str) -> bytes:
    """Content of a file of the demo folder."""
    return (ROOT / "demo" / name).read_bytes()


def small_manifest() -> Any:
    """The manifest of a model with small tensors."""
    import msgspec

    from lineside.runtime.manifest import decode_manifest

    manifest = decode_manifest(demo("bearing.bundle/manifest.json"), "demo")
    head = msgspec.structs.replace(manifest.head, input_size=(32, 32), coefficients=2, reg_max=2)
    return msgspec.structs.replace(manifest, head=head, input=msgspec.structs.replace(manifest.input, size=(32, 32)))


def manifest(scratch: Path) -> Prepared:
    """``manifest.json``: what is read can be written and read again."""
    from lineside.runtime.manifest import decode_manifest, encode_manifest

    def try_one(data: bytes) -> None:
        read = decode_manifest(data, "fuzz")
        assert decode_manifest(encode_manifest(read), "fuzz") == read

    return try_one, [demo("bearing.bundle/manifest.json"), demo("tube.bundle/manifest.json")]


def folder(scratch: Path) -> Prepared:
    """A folder whose manifest is the data."""
    from lineside.runtime.bundle import open_bundle, write_manifest

    (scratch / "golden").mkdir(exist_ok=True)
    (scratch / "model.onnx").write_bytes(b"model")
    (scratch / "golden/000.npz").write_bytes(b"golden")
    write_manifest(scratch, small_manifest())
    seed = (scratch / "manifest.json").read_bytes()

    def try_one(data: bytes) -> None:
        (scratch / "manifest.json").write_bytes(data)
        bundle = open_bundle(scratch)
        assert set(bundle.manifest.files) == {"model.onnx", "golden/000.npz"}

    return try_one, [seed]


def packed(scratch: Path) -> Prepared:
    """A zip of a bundle: opened, and every file of it read."""
    from lineside.runtime.bundle import open_bundle

    (scratch / "made").mkdir(exist_ok=True)
    folder(scratch / "made")
    files = {name: (scratch / "made" / name).read_bytes() for name in ("manifest.json", "model.onnx", "golden/000.npz")}
    path = scratch / "fuzz.zip"

    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        bundle = open_bundle(path)
        for name in bundle.names():
            bundle.read(name)

    return try_one, [zip_of(files, method, top) for method in (0, 8, 12, 14) for top in ("", "top/")]


def zip_of(files: dict[str, bytes], method: int, top: str) -> bytes:
    """Packs files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(top + name, data)
    return out.getvalue()


def golden(scratch: Path) -> Prepared:
    """A golden file: read, and its masks unpacked."""
    from lineside.runtime.golden import Golden, mask_of_rle, read_golden, rle_of_mask, write_golden

    made = small_manifest()
    mask = np.zeros((9, 12), bool)
    mask[2:5, 3:8] = True
    whole = Golden(
        name="", pixels=np.zeros((32, 32, 3), np.uint8), image_size=(9, 12), conf=0.25, iou=0.7, max_det=300,
        boxes=np.ones((2, 4), np.float32), scores=np.ones(2, np.float32), classes=np.zeros(2, np.int32),
        rle=(rle_of_mask(mask), rle_of_mask(~mask)), outputs={"box8": np.zeros((1, 8, 4, 4), np.float16)},
    )  # fmt: skip
    write_golden(str(scratch / "g.npz"), whole)
    packed_seed = (scratch / "g.npz").read_bytes()
    with np.load(scratch / "g.npz") as archive:
        np.savez(scratch / "plain.npz", **archive)  # not deflated, so that a changed byte reaches the array

    def try_one(data: bytes) -> None:
        read = read_golden(bundle_of({"golden/000.npz": data}, made), "golden/000.npz")
        for code in read.rle or ():
            if read.image_size[0] * read.image_size[1] < 1 << 20:
                with suppress(ValueError):
                    mask_of_rle(code, read.image_size)

    return try_one, [packed_seed, (scratch / "plain.npz").read_bytes()]


def recorded(scratch: Path) -> Prepared:
    """A recording, named by the user."""
    from lineside.runtime.engines.base import EngineOptions
    from lineside.runtime.engines.recorded import open_engines, save_recording

    bundle = bundle_of({}, small_manifest())
    shapes = [tuple(1 if side is None else side for side in shape) for shape in bundle.manifest.head.output_shapes()]
    save_recording(scratch / "r.npz", bundle.manifest, [[np.zeros(shape, np.float32) for shape in shapes]])
    seed = (scratch / "r.npz").read_bytes()
    with np.load(scratch / "r.npz") as archive:
        np.savez(scratch / "plain.npz", **archive)

    def try_one(data: bytes) -> None:
        (scratch / "r.npz").write_bytes(data)
        (engine,) = open_engines(bundle, EngineOptions(recording=str(scratch / "r.npz")))
        engine.infer(engine.buffers())

    return try_one, [seed, (scratch / "plain.npz").read_bytes()]


def run_lengths(scratch: Path) -> Prepared:
    """Run lengths of a mask: both readers say the same, and what is read can be written and read again."""
    from lineside.runtime.errors import BadOption
    from lineside.runtime.golden import mask_of_rle, rle_of_mask
    from lineside.runtime.masks import Mask

    def try_one(data: bytes) -> None:
        height, width = int.from_bytes(data[:2], "little") % 700, int.from_bytes(data[2:4], "little") % 700
        text = data[4:].decode("latin-1")
        try:
            want = mask_of_rle(text, (height, width))
        except ValueError:
            want = None
        try:
            mask = Mask.from_rle({"size": [height, width], "counts": text})
        except BadOption:
            assert want is None, "the native reader refuses what the other one reads"
            return
        assert want is not None, "the native reader reads what the other one refuses"
        np.testing.assert_array_equal(mask.to_array(), want)
        assert Mask.from_rle(mask.rle()).iou(mask) == 1 and mask.rle()["counts"] == rle_of_mask(want)
        assert all(len(contour) >= 3 for contour in mask.polygons())

    mask = np.random.default_rng(0).random((30, 40)) > 0.5
    seeds = [bytes([30, 0, 40, 0]) + rle_of_mask(table).encode() for table in (mask, mask | True, mask & False)]
    return try_one, seeds


def labels(scratch: Path) -> Prepared:
    """A label file."""
    from lineside.export.labels import check_label

    path = scratch / "label.txt"

    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        good, faults = check_label(path, 3)
        assert good >= 0 and all(fault.kind for fault in faults)

    return try_one, [b"0 0.1 0.1 0.5 0.1 0.5 0.6\n", b"2 0.25 0.5 0.75 0.5 0.5 1\n\n1 0 0 1 0 1 1 0 1\n"]


def dataset(scratch: Path) -> Prepared:
    """A ``data.yaml`` beside a small set."""
    from lineside.export.datasets import check_dataset

    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (scratch / kind / split).mkdir(parents=True, exist_ok=True)

    def try_one(data: bytes) -> None:
        (scratch / "data.yaml").write_bytes(data)
        check_dataset(scratch / "data.yaml", root=scratch).summary()

    return try_one, [
        b"path: .\ntrain: images/train\nval: images/val\nnames: {0: Defect}\n",
        b"path: .\ntrain: [images/train]\nval: images/val\ntest: images/val\nnc: 2\nnames: [a, 'b']\n",
    ]


def station(scratch: Path) -> Prepared:
    """The text of a station file, and the job that it describes."""
    from lineside.pipelines.station import job_of, parse_station

    def try_one(data: bytes) -> None:
        job_of(parse_station(data, "fuzz.yaml"), scratch)

    (scratch / "part.png").write_bytes(b"")
    return try_one, [
        b"station: line 1\nbundle: a.bundle\nsources: [part.png]\n",
        b"station: x\nbundle: a\nsources: synthetic:64x64\nsegment: {conf: 0.5, iou: 0.7, max_det: 9, masks: native,"
        b" agnostic: true, engine: auto, mode: latency, threads: 2}\npolicy: 'every:3'\nsinks: [csv, jsonl]\nlimit: 5\n",
    ]
