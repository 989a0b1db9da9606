"""Through the public doors a model on the host device is the same, to the bit and to the sentence, as on the processor."""

from __future__ import annotations

import functools
import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lineside
from helpers import bright_scenes
from helpers.captures import count_captures
from helpers.frame_steps import Array, same
from helpers.tiny_bundle import output_shapes, tiny_bundle
from lineside.runtime import Detections
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda import frame as frames
from lineside.runtime.cuda import host_stream
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.cuda.host_stream import Fault, HostStream, Work
from lineside.runtime.cuda.slot import MOST_FRAMES
from lineside.runtime.cuda.steps import FrameSteps, Limits
from lineside.runtime.engines.onnxruntime import OnnxRuntimeEngine
from lineside.runtime.engines.recorded import save_recording
from lineside.runtime.errors import BadOption, LinesideError
from lineside.runtime.yuv import Picture, Yuv
from oracle.heads import outputs_of

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there")

FEW = Limits(detections=5, words=60, first=200)
"""So little room that a result of some boxes is fetched by a second copy, or decoded on the processor."""

Pixels = npt.NDArray[np.uint8]
STAGES = ("preprocess", "wait", "infer", "postprocess")


def scene(seed: int = 0, size: tuple[int, int] = (60, 80)) -> Pixels:
    return bright_scenes.scene(seed, size)


def outcome(ask: Callable[[], Any]) -> Any:
    """What came of a call: an answer, or the kind and the sentence of what was raised."""
    try:
        return ask()
    except (LinesideError, ZeroDivisionError) as error:
        return type(error), str(error)


def alike(have: Any, want: Any) -> None:
    """Asserts that two outcomes are the same."""
    if isinstance(want, Detections):
        assert isinstance(have, Detections), have
        same(have, want)
    elif isinstance(want, list):
        assert isinstance(have, list), have
        for mine, other in zip(have, want, strict=True):
            alike(mine, other)
    else:
        assert have == want


# A model whose batch and size are free


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as `--dynamic` makes them: batch up to 3, any multiple of 32 as sides."""
    path = tiny_bundle(tmp_path_factory.mktemp("free") / "free.bundle", "levels", classes=3, batch=3)
    model = onnx.load(path / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in ((0, "batch"), (2, f"{value.name}_h"), (3, f"{value.name}_w")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    manifest = open_bundle(path).manifest
    onnx.save(model, path / "model.onnx")
    write_manifest(path, msgspec.structs.replace(manifest, input=msgspec.structs.replace(manifest.input, dynamic=True)))
    return path


@pytest.mark.parametrize("imgsz", [None, 96, (32, 128), (160, 64)])
def test_a_dynamic_model_at_any_size_and_batch(free: Path, imgsz: Any) -> None:
    pictures = [scene(seed, size) for seed, size in enumerate([(60, 80), (200, 30), (60, 80), (1, 1), (64, 64)])]
    found = 0
    with lineside.load(free, imgsz=imgsz) as cpu, lineside.load(free, "host", imgsz=imgsz) as model:
        assert model.manifest == cpu.manifest
        for count in (5, 1, 2, 3, 5, 4):  # runs of 3 + 2, 1, 2, 3, 3 + 2, 3 + 1
            want = cpu.many(pictures[:count], conf=0.05)
            alike(model.many(pictures[:count], conf=0.05), want)
            found += sum(map(len, want))
        for count in (1, 3, 2):
            tensor = np.random.default_rng(count).random((count, 3, *cpu.manifest.input.size), np.float32)
            for have, wanted in zip(model.infer(tensor), cpu.infer(tensor), strict=True):
                np.testing.assert_array_equal(have, wanted)
    assert found > 20


def test_a_short_run_of_a_dynamic_model_executes_no_more_than_its_pictures(
    free: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    infer = OnnxRuntimeEngine.infer

    def counted(engine: OnnxRuntimeEngine, given: Any, *rest: Any) -> Any:
        seen.append(len(given["images"]))
        return infer(engine, given, *rest)

    monkeypatch.setattr(OnnxRuntimeEngine, "infer", counted)
    with lineside.load(free, "host") as model:
        for count in (1, 3, 2):
            model.many([scene()] * count)
    assert seen == [1, 3, 2]


def test_sizes_that_change_in_mid_stream_are_captured_once_each_and_leave_nothing(free: Path) -> None:
    device = HostDevice()
    captured = count_captures(device)
    with lineside.load(free) as cpu, lineside.load(free, "host", device=device, mode="throughput", lanes=1) as model:
        sizes = [(40 + number, 60) for number in range(3)]
        want = {size: cpu(scene(1, size), conf=0.05) for size in sizes}
        for _ in range(3):
            for size in sizes:
                alike(model(scene(1, size), conf=0.05), want[size])
        assert len(captured) == len(sizes)
        model.many([scene(1, size) for size in sizes], conf=0.05)
        assert len(captured) == len(sizes) + 1, "another key: three pictures at once"
        used = []
        for number in range(2 * MOST_FRAMES):
            model(scene(1, (10 + number, 20)))
            used.append(device.buffers)
        assert used[MOST_FRAMES] == used[-1], "as many buffers as before"
        # Those that made room are captured anew, and answer as before.
        captured.clear()
        alike(model(scene(1, sizes[0]), conf=0.05), want[sizes[0]])
        assert captured == [1]
    device.check_bounds()
    assert device.buffers == 0
    device.close()


# Anything that a model may say about anything that a camera may show

HEADS = {
    "masks": HeadContract(kind="levels", classes=3, coefficients=4, input_size=(32, 64)),
    "boxes": HeadContract(kind="levels", classes=2, coefficients=0, input_size=(64, 32), strides=(16,), reg_max=1),
    "focus": HeadContract(kind="levels", classes=1, coefficients=2, input_size=(32, 32), strides=(4, 8), focus=8),
    "flat": HeadContract(kind="flat", classes=4, coefficients=3, input_size=(32, 32)),
    "flat boxes": HeadContract(kind="flat", classes=80, coefficients=0, input_size=(32, 32)),
    "rows": HeadContract(kind="end2end", classes=3, coefficients=3, input_size=(32, 64)),
    "rows of boxes": HeadContract(kind="end2end", classes=2, coefficients=0, input_size=(32, 32)),
}
"""Every tail of the head contract."""

SHAPES = ("as they come", "nothing", "equal scores", "one box", "outside", "turned round", "large")
WRONG = (None, None, None, np.nan, np.inf, -np.inf)

PICTURES = st.fixed_dictionaries(
    {
        "size": st.one_of(
            st.tuples(st.integers(1, 90), st.integers(1, 90)), st.sampled_from([(1, 1), (300, 2), (2, 300)])
        ),
        "kind": st.sampled_from(["bgr", "grey", "turned", "NV12", "I420"]),
        "shape": st.sampled_from(SHAPES),
        "wrong": st.sampled_from(WRONG),
        "seed": st.integers(0, 2**16),
        "options": st.fixed_dictionaries(
            {
                "conf": st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.999]), st.floats(0, 0.99)),
                "iou": st.sampled_from([0.0, 0.3, 0.7, 1.0]),
                "max_det": st.sampled_from([1, 4, 300, 10**12]),
                "masks": st.sampled_from(["native", "proto", "none"]),
                "agnostic": st.booleans(),
            }
        ),
    }
)


def picture_of(asked: dict[str, Any]) -> Picture:
    """A picture of noise."""
    (height, width), rng, kind = asked["size"], np.random.default_rng(asked["seed"]), asked["kind"]
    if kind in ("NV12", "I420"):
        luma = rng.integers(0, 256, (height, width), dtype=np.uint8)
        chroma = rng.integers(0, 256, ((height + 1) // 2, (width + 1) // 2, 2), dtype=np.uint8)
        planes = (luma, chroma) if kind == "NV12" else (luma, chroma[..., 0], chroma[..., 1])
        matrix, span = ("bt601", "bt709")[asked["seed"] % 2], ("limited", "full")[asked["seed"] // 2 % 2]
        return Yuv(kind, planes, matrix, span)  # type: ignore[arg-type]
    frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "turned":
        frame = frame[::-1, ::-1, ::-1]
        frame.setflags(write=False)
    return frame[..., 0] if kind == "grey" else frame


def said(head: HeadContract, asked: dict[str, Any]) -> list[Array]:
    """What the model says about a picture, in the order of the head contract."""
    rng, shape = np.random.default_rng(asked["seed"]), asked["shape"]
    outputs = outputs_of(
        rng, head, ties=shape == "equal scores", planes=("smooth", "noise", "whole")[asked["seed"] % 3]
    )
    if head.kind == "end2end":
        outputs[0] = outputs[0][:, : output_shapes(head, 1)["output0"][1]]
    if head.focus:
        outputs.append(np.full((1, 1, *(side // head.focus for side in head.input_size)), np.nan, np.float32))
    table = outputs[0]
    if shape == "nothing":
        for output in outputs[1::3] if head.kind == "levels" and head.coefficients else outputs[:2]:
            output[...] = -50
    if head.kind != "levels":
        boxes = table[0, :4] if head.kind == "flat" else table[0, :, :4].T
        if shape == "one box":
            boxes[:] = np.array([[16], [16], [20], [24]])
        if shape == "outside":
            boxes[:2] += np.float32(rng.choice([-500, 500]))
        if shape == "turned round":
            boxes[2:] = -boxes[2:]
        if shape == "large":
            boxes[:] = boxes * np.float32(1e30)
    elif shape in ("outside", "large", "turned round"):
        table[...] *= np.float32({"outside": 30, "large": 1e30, "turned round": -3}[shape])
    if asked["wrong"] is not None:
        output = outputs[rng.integers(len(outputs))].reshape(-1)
        output[rng.integers(output.size)] = asked["wrong"]
    return outputs


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle for each head; what the models in them would say does not matter."""
    folder = tmp_path_factory.mktemp("heads")
    made = {}
    for (name, head), batch in zip(HEADS.items(), itertools.cycle((1, 2)), strict=False):
        path = tiny_bundle(folder / f"{name}.bundle", head.kind, head.input_size, head.classes, 4, batch)
        manifest = open_bundle(path).manifest
        task = "segment" if head.coefficients else "detect"
        write_manifest(path, msgspec.structs.replace(manifest, head=head, task=task))
        made[name] = path
    return made


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(name=st.sampled_from(sorted(HEADS)), asked=st.lists(PICTURES, min_size=1, max_size=4), few=st.booleans())
def test_whatever_a_model_says_of_whatever_picture(
    heads: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, name: str, asked: list[dict[str, Any]], few: bool
) -> None:
    head, path = HEADS[name], heads[name]
    record = tmp_path_factory.getbasetemp() / "said.npz"
    with pytest.MonkeyPatch.context() as patch:
        if few:
            patch.setattr(frames, "FrameSteps", functools.partial(FrameSteps, limits=FEW))
        manifest = open_bundle(path).manifest
        save_recording(record, manifest, [said(head, one) for one in asked])
        with lineside.load(path, f"recorded:{record}") as cpu, lineside.load(path, f"host:{record}") as model:
            for one in asked:
                shown, options = picture_of(one), one["options"]
                alike(outcome(lambda: model(shown, **options)), outcome(lambda: cpu(shown, **options)))  # noqa: B023
                many = [shown] * manifest.input.batch
                alike(outcome(lambda: model.many(many, **options)), outcome(lambda: cpu.many(many, **options)))  # noqa: B023


# Whoever interrupts


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("engine", ["host", "onnxruntime"])
def test_a_stamp_that_raises_ends_the_call_and_no_more(free: Path, stage: str, engine: str) -> None:
    def stamp(reached: str) -> None:
        if reached == stage:
            raise ZeroDivisionError(reached)

    with lineside.load(free, engine) as model:
        want = model(scene())
        for ask in (lambda: model(scene(), stamp=stamp), lambda: model.many([scene(1)] * 7, stamp=stamp)):
            assert outcome(ask) == (ZeroDivisionError, stage)
            alike(model(scene()), want)
            alike(model.many([scene()] * 7), [want] * 7)


def test_a_run_that_was_interrupted_is_over_before_the_next_begins(free: Path) -> None:
    """Ctrl-C while the host waits: the device works on, on memory that the next picture goes to."""
    order: list[str] = []
    device = HostDevice(inspect=lambda what: order.append(what) if what == "run the engine" else None)
    with lineside.load(free, "host", device=device) as model:
        want = model(scene())
        synchronize, interrupted = device.synchronize, [0]

        def waits(stream: Any) -> None:
            interrupted[0] += 1
            if interrupted[0] == 1:
                raise KeyboardInterrupt
            synchronize(stream)
            order.append("waited")

        device.synchronize = waits  # type: ignore[method-assign]
        order.clear()
        with pytest.raises(KeyboardInterrupt):
            model(scene(2))
        assert order == ["run the engine", "waited"]
        alike(model(scene()), want)
    device.close()


def test_work_whose_handing_over_was_interrupted_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_stream, "PATIENCE", 2.0)
    stream = HostStream(Fault())
    stream.drain()
    wake, done = stream._queue.changed.notify_all, threading.Event()

    def interrupted() -> None:
        monkeypatch.setattr(stream._queue.changed, "notify_all", wake)
        raise KeyboardInterrupt

    monkeypatch.setattr(stream._queue.changed, "notify_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.put(Work("nothing", lambda: None))
    stream.drain()
    stream.put(Work("something", done.set))
    stream.drain()
    assert done.is_set() and stream.stop()


@pytest.mark.parametrize("device", ["cuda:0", 0, object()])
@pytest.mark.parametrize("engine", ["host", "onnxruntime"])
def test_what_is_no_device(free: Path, engine: str, device: Any) -> None:
    with pytest.raises(BadOption, match="is no device: leave it out"):
        lineside.load(free, engine, device=device)
