"""A model on the host device answers as on the processor: the whole path of a GPU, its slots, graphs and counters."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import lineside
from helpers.bright_scenes import bundle_maker, results_stay, scene
from helpers.captures import count_captures
from helpers.device_arrays import Dlpack, Interface
from helpers.threads import together
from lineside.runtime import Detections
from lineside.runtime.cuda import frame as frames
from lineside.runtime.cuda.device import Where
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.cuda.slot import MOST_FRAMES
from lineside.runtime.cuda.steps import FrameSteps, Limits
from lineside.runtime.errors import BadFrame, BadOption, EngineFailed, NonFiniteOutput
from lineside.runtime.segmenter import Segmenter
from lineside.runtime.yuv import Yuv

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there")

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    return bundle_maker(tmp_path_factory)


@pytest.fixture
def device() -> Iterator[HostDevice]:
    made = HostDevice()
    yield made
    made.check_bounds()
    made.close()


@pytest.fixture
def model(bundles: Callable[..., Path], device: HostDevice) -> Iterator[Segmenter]:
    with lineside.load(bundles(), engine="host", device=device) as made:
        yield made


def yuv(frame: Pixels, kind: str, matrix: str = "bt709", span: str = "limited") -> Yuv:
    """A picture of luma with some chroma; the bright rectangle is still bright."""
    height, width = (frame.shape[0] + 1) // 2, (frame.shape[1] + 1) // 2
    chroma = (118 + np.arange(2 * height * width, dtype=np.uint8) % 20).reshape(height, width, 2)
    planes = (frame[..., 1], chroma) if kind == "NV12" else (frame[..., 1], chroma[..., 0], chroma[..., 1])
    return Yuv(kind, planes, matrix, span)  # type: ignore[arg-type]


def agree(have: Detections, want: Detections) -> None:
    """Both found the same: boxes within 0.01 pixels, masks that overlap by 0.999."""
    assert have.image_size == want.image_size and have.names == want.names
    np.testing.assert_array_equal(have.classes, want.classes)
    np.testing.assert_array_equal(have.anchors, want.anchors)
    np.testing.assert_allclose(have.boxes, want.boxes, atol=0.01)
    np.testing.assert_allclose(have.scores, want.scores, atol=1e-5)
    assert (have.masks is None) == (want.masks is None)
    for mine, other in zip(have.masks or (), want.masks or (), strict=True):
        assert mine.iou(other) >= 0.999


# The same answers


@pytest.mark.parametrize("kind", ["levels", "flat", "end2end"])
@pytest.mark.parametrize("coefficients", [8, 0])
def test_every_head(bundles: Callable[..., Path], kind: str, coefficients: int) -> None:
    path = bundles(kind, coefficients=coefficients)
    with lineside.load(path) as cpu, lineside.load(path, engine="host") as model:
        assert model.engine_name == "host"
        for seed in range(3):
            want = cpu(scene(seed), conf=0.1)
            agree(model(scene(seed), conf=0.1), want)
            assert len(want)


@pytest.mark.parametrize(
    "size", [(240, 320), (239, 321), (64, 64), (50, 400), (400, 50), (7, 9), (1, 1), (1, 333), (480, 640)]
)
def test_every_size_and_kind_of_picture(bundles: Callable[..., Path], model: Segmenter, size: tuple[int, int]) -> None:
    frame = scene(3, size)
    pictures = [frame, frame[..., 0], frame[::-1, ::-1], yuv(frame, "NV12"), yuv(frame, "I420", "bt601", "full")]
    with lineside.load(bundles()) as cpu:
        for picture in pictures:
            agree(model(picture, conf=0.05), cpu(picture, conf=0.05))


@pytest.mark.parametrize("masks", ["native", "proto", "none"])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("options", [{}, {"conf": 0.0}, {"conf": 0.6, "iou": 0.0}, {"iou": 1.0, "max_det": 3}])
def test_every_option(
    bundles: Callable[..., Path], model: Segmenter, masks: str, agnostic: bool, options: dict[str, float]
) -> None:
    with lineside.load(bundles()) as cpu:
        want = cpu(scene(), masks=masks, agnostic=agnostic, **options)  # type: ignore[arg-type]
        agree(model(scene(), masks=masks, agnostic=agnostic, **options), want)  # type: ignore[arg-type]


def test_outputs_and_prepared_inputs(bundles: Callable[..., Path], model: Segmenter) -> None:
    with lineside.load(bundles()) as cpu:
        mine, other = model.raw(scene()), cpu.raw(scene())
        assert mine.letterbox == other.letterbox and list(mine.outputs) == list(other.outputs)
        for name, want in other.outputs.items():
            np.testing.assert_array_equal(mine.outputs[name], want)
        tensor = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
        for have, want in zip(model.infer(tensor), cpu.infer(tensor), strict=True):
            np.testing.assert_array_equal(have, want)
        agree(model(scene()), cpu(scene()))
        np.testing.assert_array_equal(model.raw(scene()).outputs["protos"], other.outputs["protos"])


def test_many_of_any_sizes_in_any_batch(bundles: Callable[..., Path]) -> None:
    frames = [scene(seed, size) for seed, size in enumerate([(240, 320), (64, 64), (50, 400)] * 5)]
    mixed = [yuv(frame, "NV12") if seed % 4 == 1 else frame for seed, frame in enumerate(frames)]
    with lineside.load(bundles()) as cpu:
        want = [cpu(frame, conf=0.1) for frame in mixed]
    for batch in (1, 4):
        with lineside.load(bundles(batch=batch), engine="host") as model:
            for _ in range(2):
                found = model.many(mixed, conf=0.1)
                assert len(found) == len(mixed)
                for have, wanted in zip(found, want, strict=True):
                    assert have.image_size == wanted.image_size and len(have) == len(wanted)
                    np.testing.assert_allclose(have.boxes, wanted.boxes, atol=0.01)
            assert model.many([]) == []


def test_results_stay_when_the_next_picture_comes(model: Segmenter) -> None:
    results_stay(model)


# Pictures on the device


@pytest.mark.parametrize("door", [Interface, Dlpack])
def test_pictures_that_lie_on_the_device_are_not_copied(
    bundles: Callable[..., Path], device: HostDevice, model: Segmenter, door: type
) -> None:
    frame = scene()
    views = [
        frame,
        frame[..., 0],
        frame[10:200, 20:300],
        frame[::-1],
        np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0),
    ]
    with lineside.load(bundles()) as cpu:
        for view in views:
            want = cpu(view, conf=0.05)
            agree(model(door(device, view), conf=0.05), want)
            shown = door(device, view)  # the same at another place: it needs no new graph
            device.counters.reset()
            agree(model(shown, conf=0.05), want)
            counters = device.counters
            assert (counters.graph_launches, counters.synchronisations, counters.allocations) == (1, 1, 0)
            assert counters.bytes_to_device < 1024, "the parameters, and no pixel"


@pytest.mark.parametrize("named", [True, False])
def test_a_picture_that_is_still_being_made_is_waited_for(bundles: Callable[..., Path], named: bool) -> None:
    """Its maker's stream is named by the picture, or is the one that the device was given."""
    order: list[str] = []
    reading = threading.Event()

    def look(what: str) -> None:
        if what.startswith("run letterbox"):
            order.append("read")
            reading.set()

    device = HostDevice(inspect=look)
    making = device.stream()
    with lineside.load(bundles(), engine="host", device=device) as model:
        want = model(Interface(device, scene()))
        order.clear()
        reading.clear()
        done = Interface(device, scene())
        shown = Interface(device, np.zeros_like(scene()), **({"stream": making.handle} if named else {}))
        device.before = None if named else making

        def draw() -> None:
            reading.wait(0.3)  # it would be read by now, if nobody waited for this
            shown.held.inside()[:] = done.held.inside()
            order.append("made")

        device.call(making, "the maker", draw)
        agree(model(shown), want)
        assert order == ["made", "read"]
    device.close()


def test_pictures_of_both_sides_in_one_run(bundles: Callable[..., Path], device: HostDevice) -> None:
    with lineside.load(bundles(batch=2), engine="host", device=device) as model, lineside.load(bundles()) as cpu:
        found = model.many([scene(1), Interface(device, scene(2)), Dlpack(device, scene(3))])  # type: ignore[list-item]
        for have, seed in zip(found, (1, 2, 3), strict=True):
            assert len(have) == len(cpu(scene(seed)))


def test_the_processor_does_not_take_pictures_of_a_device(bundles: Callable[..., Path], device: HostDevice) -> None:
    with lineside.load(bundles()) as cpu, pytest.raises(BadFrame, match="numpy array"):
        cpu(Interface(device, scene()))  # type: ignore[arg-type]


# Graphs, slots and counters


def test_one_graph_and_one_wait_per_frame_and_nothing_else(device: HostDevice, model: Segmenter) -> None:
    for options in ({}, {"masks": "none"}):
        model(scene(), **options)  # type: ignore[arg-type]
    device.counters.reset()
    captured = count_captures(device)
    for number in range(20):
        model(
            scene(number), conf=0.1 + number / 100, iou=0.5, max_det=1 + number, agnostic=bool(number % 2),
            masks=("native", "proto", "none")[number % 3],
        )  # fmt: skip
    counters = device.counters
    assert (counters.graph_launches, counters.synchronisations, counters.allocations, counters.launches) == (
        20,
        20,
        0,
        0,
    )
    assert counters.bytes_to_host <= 20 * 65536
    assert captured == []


def test_an_integrated_device_copies_the_parameters_and_no_pixel(bundles: Callable[..., Path]) -> None:
    device = HostDevice(integrated=True)
    with lineside.load(bundles(), engine="host", device=device) as model, lineside.load(bundles()) as cpu:
        for seed in range(3):
            agree(model(scene(seed), conf=0.05), cpu(scene(seed), conf=0.05))
        counters = device.counters
        assert counters.bytes_to_host == 0
        counters.reset()
        model(scene())
        assert (counters.bytes_to_host, counters.graph_launches) == (0, 1)
        assert 0 < counters.bytes_to_device <= 256
    device.close()


def test_an_integrated_device_maps_only_what_the_processor_writes_or_reads(
    bundles: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = HostDevice(integrated=True)
    asked: list[Where] = []
    allocate = device.allocate

    def counted(nbytes: int, where: Where = "device") -> object:
        asked.append(where)
        return allocate(nbytes, where)

    with lineside.load(bundles(), engine="host", device=device) as model:
        monkeypatch.setattr(device, "allocate", counted)
        model(scene())
        assert asked.count("mapped") == 2, "the picture, behind it the parameters as they are written, and the result"
        assert asked.count("device") == 3, "parameters, tables and work memory, which a GPU's cache may hold"
    device.close()


def test_forms_that_are_not_used_make_room(device: HostDevice, model: Segmenter) -> None:
    model(scene(0, (20, 20)))
    used = []
    for number in range(MOST_FRAMES + 6):
        model(scene(0, (20 + number, 20)))
        used.append((device.buffers, device.memory_used))
    assert used[-1][0] == used[-2][0] == used[-6][0], "as many buffers as before"
    captured = count_captures(device)
    model(scene(0, (20 + MOST_FRAMES + 5, 20)))
    assert captured == []
    model(scene(0, (20, 20)))
    assert captured == [1]


def test_two_slots_take_turns_and_the_next_picture_is_uploaded_meanwhile(bundles: Callable[..., Path]) -> None:
    """The second graph is launched before the first is waited for."""
    seen: list[str] = []
    device = HostDevice(inspect=lambda what: seen.append(what) if not what.startswith("run") else None)
    with lineside.load(bundles(), engine="host", device=device) as model:
        model.many([scene(seed) for seed in range(4)])
        synchronize = device.synchronize

        def waited(stream: object) -> None:
            seen.append("wait")
            synchronize(stream)  # type: ignore[arg-type]

        device.synchronize = waited  # type: ignore[method-assign, assignment]
        seen.clear()
        model.many([scene(seed) for seed in range(4)])
        assert seen == ["graph", "graph", "wait", "graph", "wait", "graph", "wait", "wait"]
    device.close()


def test_lanes_run_beside_each_other(bundles: Callable[..., Path]) -> None:
    with lineside.load(bundles()) as cpu:
        want = [cpu(scene(seed), conf=0.1) for seed in range(8)]
    with lineside.load(bundles(), engine="host", mode="throughput", lanes=3) as model:
        assert model.lanes == 3

        def work(first: int) -> None:
            for number in range(first, first + 16):
                agree(model(scene(number % 8), conf=0.1), want[number % 8])

        assert together([functools.partial(work, first) for first in range(4)]) == []
    with pytest.raises(EngineFailed, match="closed"):
        model(scene())


def test_more_lanes_than_a_device_has_use_for(bundles: Callable[..., Path]) -> None:
    with pytest.raises(BadOption, match="lanes=17"):
        lineside.load(bundles(), engine="host", lanes=17)


def test_stamps_come_in_order(model: Segmenter) -> None:
    stamps: list[str] = []
    model(scene(), stamp=stamps.append)
    assert stamps == ["preprocess", "wait", "infer", "postprocess"]
    stamps.clear()
    model.many([scene()] * 3, stamp=stamps.append)
    assert stamps == ["preprocess", "wait", "infer", "postprocess"] * 3


def test_close_leaves_nothing(bundles: Callable[..., Path]) -> None:
    before = {thread for thread in threading.enumerate() if thread.name.startswith("host-stream")}
    device = HostDevice()
    model = lineside.load(bundles(), engine="host", device=device, lanes=2)
    model(scene())
    model.raw(scene())
    assert device.buffers > 0
    model.close()
    model.close()
    assert device.buffers == 0
    device.close()
    own = lineside.load(bundles(), engine="host")
    own(scene())
    own.close()
    left = {thread for thread in threading.enumerate() if thread.name.startswith("host-stream")} - before
    assert not left


# What is refused


@pytest.mark.parametrize("frame", [None, "a.png", np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8)])
def test_pictures_that_are_none(model: Segmenter, frame: object) -> None:
    for _ in range(3):
        with pytest.raises(BadFrame):
            model(frame)  # type: ignore[arg-type]
        with pytest.raises(BadFrame):
            model.many([scene(), scene(), frame])  # type: ignore[list-item]
    assert len(model(scene()))


def test_outputs_that_are_not_finite(bundles: Callable[..., Path], model: Segmenter, tmp_path: Path) -> None:
    from lineside.runtime.engines.recorded import save_recording

    outputs = model.infer(np.ones((1, 3, 64, 64), np.float32))
    good = [output.copy() for output in outputs]
    outputs[0][:] = np.nan
    save_recording(tmp_path / "r.npz", model.manifest, [outputs, good])
    with lineside.load(bundles(), engine=f"host:{tmp_path / 'r.npz'}") as broken:
        for _ in range(2):
            with pytest.raises(NonFiniteOutput, match="cannot be trusted"):
                broken(scene())
            assert len(broken(scene()))


# Results of any length


def test_fifty_objects_of_a_large_picture_come_back_in_one_copy(bundles: Callable[..., Path]) -> None:
    device = HostDevice()
    frame = np.zeros((1080, 1920, 3), np.uint8)
    for row in range(5):
        for column in range(10):
            frame[60 + 200 * row : 160 + 200 * row, 40 + 190 * column : 140 + 190 * column] = 250
    path = bundles(size=(256, 448))
    with lineside.load(path) as cpu, lineside.load(path, engine="host", device=device) as model:
        model(frame, max_det=50)
        device.counters.reset()
        found = model(frame, max_det=50)
        assert len(found) == 50
        assert device.counters.bytes_to_host <= 65536 and device.counters.synchronisations == 1
        agree(found, cpu(frame, max_det=50))
    device.close()


def test_a_result_that_is_longer_than_usual_costs_a_second_copy(
    bundles: Callable[..., Path], device: HostDevice, model: Segmenter
) -> None:
    frame, options = np.full((1000, 1200, 3), 200, np.uint8), {"conf": 0.0, "iou": 1.0, "max_det": 1000}
    with lineside.load(bundles()) as cpu:
        agree(model(frame, **options), cpu(frame, **options))  # type: ignore[arg-type]
    device.counters.reset()
    agree(model(frame, **options), model(frame, **options))  # type: ignore[arg-type]
    counters = device.counters
    assert (counters.graph_launches, counters.synchronisations, counters.allocations) == (2, 4, 0)
    assert counters.bytes_to_host > 2 * 65536


@pytest.mark.parametrize("limits", [Limits(detections=3), Limits(words=10)])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_result_that_the_device_has_no_room_for_is_decoded_on_the_processor(
    bundles: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, limits: Limits, batch: int
) -> None:
    monkeypatch.setattr(frames, "FrameSteps", functools.partial(FrameSteps, limits=limits))
    path = bundles(batch=batch)
    with lineside.load(path) as cpu, lineside.load(path, engine="host") as model:
        for have, want in zip(
            model.many([scene(1), scene(2)], conf=0.05), cpu.many([scene(1), scene(2)], conf=0.05), strict=True
        ):
            assert len(want) > 3
            agree(have, want)
        assert len(model(np.zeros((64, 64, 3), np.uint8))) == 0
