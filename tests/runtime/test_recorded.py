"""The engine that replays recorded outputs: no onnxruntime is needed for any of this."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.tiny_bundle import output_shapes, tiny_bundle
from lineside.runtime.bundle import Bundle, open_bundle, write_manifest
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import Array, Engine, EngineOptions
from lineside.runtime.engines.recorded import save_recording
from lineside.runtime.errors import ContractMismatch, EngineUnavailable


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path / "tiny.bundle"))


@pytest.fixture
def runs(bundle: Bundle) -> list[list[Array]]:
    """Three runs that differ from each other."""
    rng, head = np.random.default_rng(0), bundle.manifest.head
    shapes = output_shapes(head, 1)
    return [[rng.standard_normal(shapes[name], dtype=np.float32) for name in head.output_names] for _ in range(3)]


def infer(engine: Engine, tensor: Array) -> list[Array]:
    (name,) = engine.buffers()
    return engine.infer({name: tensor})


def test_a_recording_is_replayed_in_turn_and_starts_over(
    tmp_path: Path, bundle: Bundle, runs: list[list[Array]]
) -> None:
    save_recording(tmp_path / "r.npz", bundle.manifest, runs)
    (engine,) = open_engines("recorded", bundle, EngineOptions(recording=str(tmp_path / "r.npz")))
    assert engine.name == "recorded"
    for want in [*runs, runs[0]]:
        for have, wanted in zip(infer(engine, engine.buffers()["images"]), want, strict=True):
            np.testing.assert_array_equal(have, wanted)


def test_a_batch_takes_the_next_pictures_of_a_recording(tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle(tmp_path / "b", batch=2))
    outputs = [np.arange(3, dtype=np.float32).reshape(3, *[1] * len(shape[1:])) + np.zeros((3, *shape[1:]), np.float32)
               for shape in (output_shapes(bundle.manifest.head, 2)[n] for n in bundle.manifest.head.output_names)]  # fmt: skip
    save_recording(tmp_path / "r.npz", bundle.manifest, [outputs])
    (engine,) = open_engines("recorded", bundle, EngineOptions(recording=str(tmp_path / "r.npz")))
    shown = [infer(engine, engine.buffers()["images"])[0][:, 0, 0, 0].tolist() for _ in range(3)]
    assert shown == [[0, 1], [2, 0], [1, 2]]


def test_golden_outputs_are_replayed_from_half_precision(bundle: Bundle, runs: list[list[Array]]) -> None:
    golden = bundle.path / "golden"
    golden.mkdir()
    names = bundle.manifest.head.output_names
    np.savez_compressed(golden / "000.npz", pixels=np.zeros((64, 64, 3), np.uint8))
    halves = {name: array.astype(np.float16) for name, array in zip(names, runs[1], strict=True)}
    np.savez_compressed(golden / "001.npz", pixels=np.zeros((64, 64, 3), np.uint8), **halves)
    write_manifest(bundle.path, bundle.manifest)
    (engine,) = open_engines("recorded", open_bundle(bundle.path))
    for have, want in zip(infer(engine, engine.buffers()["images"]), halves.values(), strict=True):
        assert have.dtype == np.float32
        np.testing.assert_array_equal(have, want.astype(np.float32))


def test_a_bundle_without_recorded_outputs_says_how_to_name_some(bundle: Bundle) -> None:
    with pytest.raises(EngineUnavailable, match=r"no recorded outputs: .*recorded:FILE\.npz"):
        open_engines("recorded", bundle)


def test_recordings_that_do_not_fit(tmp_path: Path, bundle: Bundle, runs: list[list[Array]]) -> None:
    names = bundle.manifest.head.output_names
    arrays = dict(zip(names, runs[0], strict=True))

    def refused(error: type[Exception], says: str, **content: Array) -> None:
        np.savez(tmp_path / "r.npz", allow_pickle=False, **content)
        with pytest.raises(error, match=says):
            open_engines("recorded", bundle, EngineOptions(recording=str(tmp_path / "r.npz")))

    refused(ContractMismatch, "holds none of the outputs", other=np.zeros(3, np.float32))
    refused(ContractMismatch, "1 outputs", box8=arrays["box8"])
    refused(ContractMismatch, "'cls8'", **{**arrays, "cls8": np.zeros((1, 5, 8, 8), np.float32)})
    refused(ContractMismatch, "the same number", **{**arrays, "cls8": np.zeros((2, 2, 8, 8), np.float32)})
    refused(ContractMismatch, "the same number", **{name: array[:0] for name, array in arrays.items()})
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        open_engines("recorded", bundle, EngineOptions(recording=str(tmp_path / "none.npz")))


def test_files_that_are_no_recordings(tmp_path: Path, bundle: Bundle) -> None:
    np.savez_compressed(tmp_path / "damaged.npz", allow_pickle=False, box8=np.zeros(1000, np.float32))
    data = bytearray((tmp_path / "damaged.npz").read_bytes())
    begin = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    data[begin] = 0xFF  # a kind of block that deflate does not have
    (tmp_path / "damaged.npz").write_bytes(data)
    (tmp_path / "text.npz").write_bytes(b"PK no zip")
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name in ("damaged.npz", "text.npz", "one.npy"):
        with pytest.raises(EngineUnavailable, match=r"not a readable \.npz"):
            open_engines("recorded", bundle, EngineOptions(recording=str(tmp_path / name)))
