from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.tiny_bundle import output_shapes, tiny_bundle, tiny_model
from lineside.runtime import cache
from lineside.runtime.bundle import Bundle, open_bundle, write_manifest
from lineside.runtime.contract import HeadContract
from lineside.runtime.engines import ENGINES, open_engines
from lineside.runtime.engines.base import Array, Engine, EngineOptions, match_outputs
from lineside.runtime.engines.recorded import save_recording
from lineside.runtime.errors import ContractMismatch, EngineFailed, EngineUnavailable

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(tiny_bundle(tmp_path / "tiny.bundle"))


def picture(bundle: Bundle, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(bundle.manifest.input.shape, dtype=np.float32)


def expected(bundle: Bundle, tensor: Array) -> list[Array]:
    """What a plain session says, in the order of the head contract."""
    session = ort.InferenceSession(bundle.read("model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(list(bundle.manifest.head.output_names), {bundle.manifest.input.name: tensor})  # type: ignore[no-any-return]


def infer(engine: Engine, tensor: Array) -> list[Array]:
    (name,) = engine.buffers()
    return engine.infer({name: tensor})


# Answers


@pytest.mark.parametrize("kind", ["levels", "flat", "end2end"])
@pytest.mark.parametrize("coefficients", [8, 0])
@pytest.mark.parametrize("batch", [1, 3])
def test_onnxruntime_answers_in_the_order_of_the_contract(
    tmp_path: Path, kind: str, coefficients: int, batch: int
) -> None:
    path = tiny_bundle(tmp_path / "b", kind, size=(64, 96), coefficients=coefficients, batch=batch)  # type: ignore[arg-type]
    bundle = open_bundle(path)
    engine = open_engines("onnxruntime", bundle)[0]
    for seed in range(3):
        tensor = picture(bundle, seed)
        found = infer(engine, tensor)
        assert [output.shape for output in found] == [
            output_shapes(bundle.manifest.head, batch)[name] for name in bundle.manifest.head.output_names
        ]
        for have, want in zip(found, expected(bundle, tensor), strict=True):
            assert have.dtype == np.float32 and have.flags.c_contiguous
            np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)


def test_outputs_are_found_by_name_in_whatever_order_the_graph_has_them(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "b")
    want = expected(open_bundle(path), tensor := picture(open_bundle(path)))
    model = onnx.load(path / "model.onnx")
    model.graph.output.extend([model.graph.output.pop() for _ in range(len(model.graph.output))])
    assert model.graph.output[0].name == "protos"
    bundle = rewritten(path, model)
    for have, wanted in zip(infer(open_engines("auto", bundle)[0], tensor), want, strict=True):
        np.testing.assert_allclose(have, wanted, rtol=1e-5, atol=1e-5)


def test_outputs_with_other_names_are_taken_in_order(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "b", "flat")
    want = expected(open_bundle(path), tensor := picture(open_bundle(path)))
    bundle = rewritten(path, renamed(onnx.load(path / "model.onnx"), {"protos": "output1"}))
    for have, wanted in zip(infer(open_engines("auto", bundle)[0], tensor), want, strict=True):
        np.testing.assert_allclose(have, wanted, rtol=1e-5, atol=1e-5)


def test_a_dynamic_batch_is_run_as_the_manifest_says(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "b", "levels")
    model = onnx.load(path / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    bundle = rewritten(path, model)
    assert infer(open_engines("auto", bundle)[0], picture(bundle))[0].shape == (1, 64, 8, 8)


def rewritten(path: Path, model: onnx.ModelProto) -> Bundle:
    """The bundle with another model, its hashes made new."""
    manifest = open_bundle(path).manifest
    onnx.save(model, path / "model.onnx")
    write_manifest(path, manifest)
    return open_bundle(path)


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    for node in model.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)
    return model


# Buffers and lanes


def test_buffers_are_static_and_foreign_arrays_are_copied_in(bundle: Bundle) -> None:
    engine = open_engines("onnxruntime", bundle)[0]
    buffer = engine.buffers()["images"]
    assert engine.buffers()["images"] is buffer
    assert buffer.shape == (1, 3, 64, 64) and buffer.dtype == np.float32 and buffer.flags.c_contiguous
    foreign = np.ascontiguousarray(picture(bundle).transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    first = infer(engine, foreign)
    kept = [output.copy() for output in first]
    np.testing.assert_array_equal(buffer, foreign)
    again = infer(engine, buffer)
    assert all(a is b for a, b in zip(first, again, strict=True)), "the outputs are the same arrays each time"
    for a, b in zip(again, kept, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_lanes_do_not_share_buffers(bundle: Bundle, mode: str) -> None:
    lanes = open_engines("onnxruntime", bundle, EngineOptions(mode=mode, lanes=3))  # type: ignore[arg-type]
    assert len(lanes) == 3
    kept = [infer(lane, picture(bundle, seed)) for seed, lane in enumerate(lanes)]
    for seed, outputs in enumerate(kept):
        for have, want in zip(outputs, expected(bundle, picture(bundle, seed)), strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "threads", "lanes", "sessions"),
    [
        ("latency", None, None, [3]),
        ("latency", 2, 4, [2]),
        ("throughput", None, None, [1, 1, 1]),
        ("throughput", 2, 2, [2, 2]),
    ],
)
def test_modes_open_sessions_of_so_many_threads(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    threads: int | None,
    lanes: int | None,
    sessions: list[int],
) -> None:
    opened = []

    class Session(ort.InferenceSession):  # type: ignore[misc, name-defined]
        def __init__(self, model: bytes, options: ort.SessionOptions, **rest: object) -> None:
            opened.append(options)
            super().__init__(model, options, **rest)

    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr("lineside.runtime.hardware.available_cores", lambda *_: 3)
    found = open_engines("onnxruntime", bundle, EngineOptions(mode=mode, threads=threads, lanes=lanes))  # type: ignore[arg-type]
    assert [options.intra_op_num_threads for options in opened] == sessions
    assert {o.get_session_config_entry("session.intra_op.allow_spinning") for o in opened} == {"0"}
    assert len(found) == (lanes or (1 if mode == "latency" else 3))


def test_lanes_of_one_session_may_run_at_once(bundle: Bundle) -> None:
    lanes = open_engines("onnxruntime", bundle, EngineOptions(lanes=4, threads=2))
    wrong: list[str] = []

    def work(lane: Engine, seed: int) -> None:
        tensor = picture(bundle, seed)
        want = expected(bundle, tensor)
        for _ in range(30):
            for have, wanted in zip(infer(lane, tensor), want, strict=True):
                if not np.allclose(have, wanted, rtol=1e-5, atol=1e-5):
                    wrong.append(f"lane {seed}")

    threads = [threading.Thread(target=work, args=(lane, seed)) for seed, lane in enumerate(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def runs_at_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, mode: str, wait: Callable[[], object]) -> int:
    """Most runs that were in a session at the same time while two lanes were busy."""
    inside: list[int] = []
    most = 0

    class Session(ort.InferenceSession):  # type: ignore[misc, name-defined]
        def run_with_iobinding(self, *words: object) -> None:
            nonlocal most
            inside.append(1)
            most = max(most, len(inside))
            wait()
            super().run_with_iobinding(*words)
            inside.pop()

    monkeypatch.setattr(ort, "InferenceSession", Session)
    lanes = open_engines("onnxruntime", bundle, EngineOptions(mode=mode, lanes=2))  # type: ignore[arg-type]
    threads = [
        threading.Thread(target=lambda lane=lane: [infer(lane, picture(bundle)) for _ in range(50)]) for lane in lanes
    ]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_for_latency_one_picture_has_the_session_to_itself(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs_at_once(bundle, monkeypatch, "latency", lambda: None) == 1


def test_for_throughput_pictures_run_side_by_side(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=60)  # opens only when both lanes are inside a run
    assert runs_at_once(bundle, monkeypatch, "throughput", both.wait) == 2


@pytest.mark.parametrize("name", ["onnxruntime", "recorded"])
def test_a_closed_engine_says_so(tmp_path: Path, bundle: Bundle, name: str) -> None:
    save_recording(tmp_path / "r.npz", bundle.manifest, [expected(bundle, picture(bundle))])
    engine = open_engines(name, bundle, EngineOptions(recording=str(tmp_path / "r.npz")))[0]
    engine.close()
    engine.close()
    with pytest.raises(EngineFailed, match="closed: load the bundle again"):
        infer(engine, picture(bundle))


# The cache of optimised models


def cached(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.onnx"))


def test_the_optimised_model_is_kept_and_used_and_gives_the_same_bits(
    bundle: Bundle, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = picture(bundle)
    first = [output.copy() for output in infer(open_engines("onnxruntime", bundle)[0], tensor)]
    (file,) = cached(cache_folder)
    assert ort.__version__ in file.parent.name and bundle.manifest.files["model.onnx"] in file.name
    levels = []
    real = ort.InferenceSession

    def spy(model: bytes, options: ort.SessionOptions, **rest: object) -> object:
        levels.append((options.graph_optimization_level, bytes(model) == bundle.read("model.onnx")))
        return real(model, options, **rest)

    monkeypatch.setattr(ort, "InferenceSession", spy)
    second = infer(open_engines("onnxruntime", bundle)[0], tensor)
    assert levels == [(ort.GraphOptimizationLevel.ORT_DISABLE_ALL, False)]
    for have, want in zip(second, first, strict=True):
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other file"])
def test_a_damaged_cache_is_made_again(
    bundle: Bundle, cache_folder: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    tensor = picture(bundle)
    want = [output.copy() for output in infer(open_engines("onnxruntime", bundle)[0], tensor)]
    (file,) = cached(cache_folder)
    whole = file.read_bytes()
    if damage == "other file":  # intact as a file, but no model
        cache.keep(file.relative_to(cache_folder).as_posix(), b"no model at all")
    else:
        flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
        file.write_bytes({"cut": whole[:-10], "flipped": flipped, "empty": b""}[damage])
    for have, wanted in zip(infer(open_engines("onnxruntime", bundle)[0], tensor), want, strict=True):
        np.testing.assert_array_equal(have, wanted)
    again = cache.fetch(file.relative_to(cache_folder).as_posix())
    assert again is not None and onnx.load_from_string(again).graph.node
    assert capfd.readouterr() == ("", "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the cache may stay from one to the next
@given(data=st.binary(max_size=99), where=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_one_flipped_bit_is_enough(data: bytes, where: int, bit: int) -> None:
    cache.keep("some/file", data)
    assert cache.fetch("some/file") == data
    path = cache.folder() / "some/file"
    content = bytearray(path.read_bytes())
    content[where % len(content)] ^= 1 << bit
    path.write_bytes(content)
    assert cache.fetch("some/file") is None
    assert not path.exists(), "it is not looked at again"


def test_a_cache_that_cannot_be_written_does_no_harm(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "occupied"))
    assert len(infer(open_engines("onnxruntime", bundle)[0], picture(bundle))) == 10
    assert capfd.readouterr() == ("", "")


def test_nothing_is_written_into_the_bundle(bundle: Bundle) -> None:
    before = bundle.names()
    open_engines("onnxruntime", bundle)
    assert open_bundle(bundle.path).names() == before


def test_the_cache_drops_what_was_used_longest_ago(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 1000)
    for i in range(3):
        cache.keep(f"x/{i}", bytes(300))
    assert cache.fetch("x/0") == bytes(300)  # used last now
    cache.keep("y/3", bytes(300))
    assert [cache.fetch(name) is not None for name in ("x/0", "x/1", "x/2", "y/3")] == [True, False, True, True]
    cache.keep("y/huge", bytes(5000))
    assert cache.fetch("y/huge") == bytes(5000)


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.folder() == tmp_path / "cache"
    monkeypatch.delenv("LINESIDE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.folder() == Path("/somewhere/lineside")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/worker")
    assert cache.folder() == Path("/home/worker/.cache/lineside")


# Refusals


def test_an_unknown_engine_lists_what_exists(bundle: Bundle) -> None:
    with pytest.raises(EngineUnavailable, match="no engine 'tensorflow': choose one of auto, onnxruntime, recorded"):
        open_engines("tensorflow", bundle)
    assert set(ENGINES) >= {"onnxruntime", "recorded", "host"}


def test_onnxruntime_that_is_not_installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'lineside\[cpu\]'"):
        open_engines("auto", bundle)


@pytest.mark.parametrize(
    ("installed", "needed", "enough"),
    [
        ("1.16.3", "1.17", False),
        ("1.9.0", "1.17", False),
        ("1.17.0", "1.17", True),
        ("1.17", "1.17.0", True),
        ("1.17.3", "1.17.4", False),
        ("1.20.0.dev2", "1.17", True),
        ("2.0", "1.17", True),
    ],
)
def test_onnxruntime_older_than_the_bundle_needs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, installed: str, needed: str, enough: bool
) -> None:
    module = types.ModuleType("onnxruntime")
    module.__dict__.update({**ort.__dict__, "__version__": installed})
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    manifest = msgspec.structs.replace(bundle.manifest, min_onnxruntime=needed)
    wanting = Bundle(bundle.path, manifest, bundle.tree)
    if enough:
        assert open_engines("onnxruntime", wanting)
    else:
        with pytest.raises(EngineUnavailable, match=rf"{installed} is installed .* needs {needed} .*pip install -U"):
            open_engines("onnxruntime", wanting)


def test_a_model_that_onnxruntime_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle(tmp_path / "b")
    model = onnx.load(path / "model.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    bundle = rewritten(path, model)
    with pytest.raises(EngineFailed, match=r"refuses the model: .*NoSuchOperator.*; upgrade"):
        open_engines("onnxruntime", bundle)
    (path / "model.onnx").write_bytes(b"not a model")
    write_manifest(path, bundle.manifest)
    with pytest.raises(EngineFailed, match="refuses the model"):
        open_engines("onnxruntime", open_bundle(path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "flat"}, "10 outputs .* 'flat' has 2"),
        ({"classes": 3}, r"'cls8' .* \(1, 2, 8, 8\) .* \(1, 3, 8, 8\)"),
        ({"coefficients": 4}, "'mc8'"),
        ({"reg_max": 1}, "'box8'"),
        ({"strides": (8, 16)}, "10 outputs .* 7|'protos'|"),
    ],
)
def test_a_model_that_does_not_fit_its_head_contract(bundle: Bundle, change: dict[str, object], says: str) -> None:
    head = msgspec.structs.replace(bundle.manifest.head, **change)
    names = tuple(map(str, range(head.classes)))
    other = Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, head=head, names=names), bundle.tree)
    if change == {"strides": (8, 16)}:  # all outputs it names are there: the rest is not its business
        assert open_engines("onnxruntime", other)
        return
    with pytest.raises(ContractMismatch, match=rf"{says}.*export it again"):
        open_engines("onnxruntime", other)


@pytest.mark.parametrize("change", [{"name": "picture"}, {"batch": 2}])
def test_a_model_that_does_not_fit_its_input_contract(bundle: Bundle, change: dict[str, object]) -> None:
    manifest = msgspec.structs.replace(bundle.manifest, input=msgspec.structs.replace(bundle.manifest.input, **change))
    with pytest.raises(ContractMismatch, match=r"the model's input is images tensor\(float\) \[1, 3, 64, 64\]"):
        open_engines("onnxruntime", Bundle(bundle.path, manifest, bundle.tree))


def test_an_end2end_model_must_say_how_many_rows_it_gives() -> None:
    head = HeadContract(kind="end2end", classes=1, coefficients=0, input_size=(64, 64))
    assert match_outputs(head, 1, [("output0", (1, 300, 6))]) == [("output0", (1, 300, 6))]
    assert match_outputs(head, 1, [("output0", ("n", 300, 6))]) == [("output0", (1, 300, 6))]
    with pytest.raises(ContractMismatch, match=r"\(1, rows, 6\).*\(1, any, 6\).*static shapes"):
        match_outputs(head, 1, [("output0", (1, "rows", 6))])


@pytest.mark.parametrize("kind", ["levels", "flat", "end2end"])
@pytest.mark.parametrize("coefficients", [0, 8])
def test_the_contract_knows_its_shapes(kind: str, coefficients: int) -> None:
    head = HeadContract(kind=kind, classes=2, coefficients=coefficients, input_size=(64, 96))  # type: ignore[arg-type]
    for name, shape in zip(head.output_names, head.output_shapes(3), strict=True):
        want = output_shapes(head, 3)[name]
        assert len(shape) == len(want) and all(have in (None, side) for have, side in zip(shape, want, strict=True))
        assert shape.count(None) == (kind == "end2end" and name == "output0")


def test_the_tiny_model_is_what_it_says() -> None:
    head = HeadContract(kind="levels", classes=2, coefficients=8, input_size=(64, 64))
    session = ort.InferenceSession(tiny_model(head).SerializeToString(), providers=["CPUExecutionProvider"])
    bright = np.zeros((1, 3, 64, 64), np.float32)
    bright[:, :, 8:16, 16:24] = 1
    outputs = dict(zip(head.output_names, session.run(None, {"images": bright}), strict=True))
    assert (outputs["cls8"][0] > 0).sum(axis=(1, 2)).tolist() == [1, 1] and outputs["cls8"][0, 0, 1, 2] > 0
    assert (outputs["protos"][0, 0] > 0).sum() == 4 and outputs["mc8"][0, 0, 1, 2] == 1
