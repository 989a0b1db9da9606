from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

import lineside
from helpers.bright_scenes import bundle_maker, results_stay, scene
from helpers.threads import together
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime import Detections, Letterbox, decode
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import Array, EngineOptions
from lineside.runtime.engines.recorded import save_recording
from lineside.runtime.errors import BadFrame, BadOption, ContractMismatch, EngineFailed, NonFiniteOutput
from lineside.runtime.lane import lane_of
from lineside.runtime.manifest import Thresholds
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.segmenter import Segmenter
from lineside.runtime.yuv import Yuv

pytest.importorskip("onnxruntime")

Frame = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    return bundle_maker(tmp_path_factory)


@pytest.fixture
def model(bundles: Callable[..., Path]) -> Segmenter:
    return lineside.load(bundles())


def same(a: Detections, b: Detections) -> bool:
    return (
        np.array_equal(a.boxes, b.boxes)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.classes, b.classes)
        and (a.masks is None) == (b.masks is None)
        and (
            a.masks is None
            or all(np.array_equal(m.spans, n.spans) for m, n in zip(a.masks, b.masks or (), strict=True))
        )
    )


# What comes out


@pytest.mark.parametrize("kind", ["levels", "flat", "end2end"])
def test_a_call_is_letterbox_engine_and_decode(bundles: Callable[..., Path], kind: str) -> None:
    with lineside.load(bundles(kind)) as model:
        frame = scene()
        found = model(frame, conf=0.3, iou=0.5, max_det=7)
        tensor: Array = np.empty((1, 3, 64, 64), np.float32)
        box = Preprocessor((64, 64)).prepare(frame, tensor[0])
        assert box == Letterbox.fit((240, 320), (64, 64))
        outputs = model.infer(tensor)
        assert same(found, decode(outputs, model.manifest.head, box, conf=0.3, iou=0.5, max_det=7))
        assert 0 < len(found) <= 7 and found.names == ("part0", "part1") and found.image_size == (240, 320)
        assert found.masks is not None and found.masks[0].area > 100


def test_what_is_loaded_and_what_runs_it(bundles: Callable[..., Path], model: Segmenter) -> None:
    assert model.engine_name == "onnxruntime"
    assert model.manifest == open_bundle(bundles()).manifest
    assert model.lanes == 1
    assert lineside.load(str(bundles()), engine="onnxruntime", lanes=5).lanes == 5
    assert "tiny levels" in repr(model) and "onnxruntime" in repr(model)


def test_a_zip_gives_the_same_detections(bundles: Callable[..., Path], model: Segmenter, tmp_path: Path) -> None:
    import shutil

    path = shutil.make_archive(str(tmp_path / "tiny"), "zip", bundles())
    assert same(lineside.load(path)(scene()), model(scene()))


def test_grey_is_grey_three_times_and_strides_do_not_matter(model: Segmenter) -> None:
    frame = scene()
    grey = np.ascontiguousarray(frame[..., 0])
    assert same(model(grey, conf=0.01), model(np.stack([grey] * 3, axis=2), conf=0.01))
    flipped = np.ascontiguousarray(frame[:, ::-1])[:, ::-1]
    flipped.setflags(write=False)
    assert same(model(flipped), model(frame))


def yuv(frame: Frame) -> Yuv:
    """A grey picture of luma, with some chroma: the colours are others, the bright rectangle is still bright."""
    luma = frame[..., 1]
    chroma = 118 + np.arange(2 * ((luma.shape[0] + 1) // 2) * ((luma.shape[1] + 1) // 2), dtype=np.uint8) % 20
    return Yuv("NV12", (luma, chroma.reshape((luma.shape[0] + 1) // 2, -1, 2)), "bt709")


@pytest.mark.parametrize("size", [(240, 320), (239, 321)])
def test_luma_and_chroma_give_what_their_pixels_give(bundles: Callable[..., Path], size: tuple[int, int]) -> None:
    pictures = [yuv(scene(seed, size)) for seed in range(3)]
    with lineside.load(bundles(batch=2)) as model:
        wanted = [model(picture.to_bgr()) for picture in pictures]
        assert all(len(found) for found in wanted)
        for found in ([model(picture) for picture in pictures], model.many(pictures)):
            assert all(same(a, b) and a.image_size == size for a, b in zip(found, wanted, strict=True))
        raw, want = model.raw(pictures[0]), model.raw(pictures[0].to_bgr())
        assert raw.letterbox == want.letterbox
        assert all(np.array_equal(raw.outputs[name], want.outputs[name]) for name in want.outputs)
        with pytest.raises(BadFrame, match="one picture"):
            model.many(pictures[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("masks", ["native", "proto", "none"])
def test_kinds_of_masks(model: Segmenter, masks: str) -> None:
    found = model(scene(), masks=masks)
    assert len(found) and (found.masks is None) == (masks == "none")


@pytest.mark.parametrize("kind", ["levels", "flat", "end2end"])
@pytest.mark.parametrize("masks", ["native", "proto", "none"])
def test_a_detection_model_has_no_masks(bundles: Callable[..., Path], kind: str, masks: str) -> None:
    model = lineside.load(bundles(kind, coefficients=0))
    found = model(scene(), masks=masks)
    assert len(found) and found.masks is None


def test_the_bundle_gives_the_defaults(bundles: Callable[..., Path], model: Segmenter, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "b")
    manifest = msgspec.structs.replace(model.manifest, thresholds=Thresholds(conf=0.6, iou=0.45, max_det=3))
    write_manifest(path, manifest)
    strict, white = lineside.load(path), np.full((64, 64, 3), 255, np.uint8)
    assert len(strict(white)) == 3 < len(model(white))
    assert same(strict(white), model(white, conf=0.6, iou=0.45, max_det=3))
    assert same(strict(white, conf=0.25, iou=0.7, max_det=300), model(white))


def test_zero_is_a_value_and_not_the_default(model: Segmenter) -> None:
    dark, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    assert len(model(dark)) == 0 < len(model(dark, conf=0.0))
    assert len(model(white, iou=0.0)) < len(model(white, iou=0.4)) < len(model(white))


def test_agnostic_suppression(model: Segmenter) -> None:
    frame = scene()
    frame[frame > 200] = 255
    classes = model(frame, conf=0.01, max_det=1000)
    across = model(frame, conf=0.01, max_det=1000, agnostic=True)
    assert len(across) <= len(classes)


def test_results_stay_when_the_next_picture_comes(model: Segmenter) -> None:
    results_stay(model)


# Options and pictures that are refused


@pytest.mark.parametrize(
    "options",
    [{"conf": 1.0}, {"conf": -0.1}, {"iou": 1.1}, {"iou": -0.1}, {"max_det": 0}, {"masks": "polygon"}, {"conf": float("nan")}],
)  # fmt: skip
def test_options_outside_their_range(model: Segmenter, options: dict[str, object]) -> None:
    with pytest.raises(BadOption, match=next(iter(options))):
        model(scene(), **options)  # type: ignore[arg-type]
    assert len(model(scene())), "the lane is free again"


@pytest.mark.parametrize(
    "frame",
    [
        scene().astype(np.float32),
        scene()[None],
        scene()[:0],
        scene()[..., :1],
        np.zeros((9, 9, 4), np.uint8),
        None,
        "a.png",
    ],
)
def test_pictures_that_are_none(model: Segmenter, frame: object) -> None:
    for _ in range(model.lanes + 1):  # more often than there are lanes: none is lost
        with pytest.raises(BadFrame):
            model(frame)  # type: ignore[arg-type]
    assert len(model(scene()))


@pytest.mark.parametrize("options", [{"mode": "fast"}, {"threads": 0}, {"lanes": -1}, {"threads": 1.5}, {"lanes": "2"}])
def test_ways_of_running_that_do_not_exist(bundles: Callable[..., Path], options: dict[str, object]) -> None:
    with pytest.raises(BadOption, match=next(iter(options))):
        lineside.load(bundles(), **options)  # type: ignore[arg-type]


def test_an_output_that_is_not_finite(bundles: Callable[..., Path], model: Segmenter, tmp_path: Path) -> None:
    outputs = model.infer(np.ones((1, 3, 64, 64), np.float32))
    outputs[0][:] = np.nan
    save_recording(tmp_path / "r.npz", model.manifest, [outputs])
    broken = lineside.load(bundles(), engine=f"recorded:{tmp_path / 'r.npz'}")
    for _ in range(3):
        with pytest.raises(NonFiniteOutput):
            broken(scene())


# Batches


def test_many_is_one_by_one(bundles: Callable[..., Path], model: Segmenter) -> None:
    batched = lineside.load(bundles(batch=3))
    frames = [
        scene(seed, size) for seed, size in enumerate([(240, 320), (64, 64), (50, 400), (240, 320), (400, 50)] * 2)
    ]
    assert len(frames) % 3
    for found in (batched.many(frames, conf=0.1), [batched(frame, conf=0.1) for frame in frames]):
        assert len(found) == len(frames)
        for have, frame in zip(found, frames, strict=True):
            want = model(frame, conf=0.1)
            assert have.image_size == frame.shape[:2] and len(have) == len(want)
            np.testing.assert_allclose(have.boxes, want.boxes, atol=1e-3)
            np.testing.assert_allclose(have.scores, want.scores, atol=1e-5)
    assert batched.many([]) == []
    assert [len(found) for found in model.many(frames[:2])] == [len(model(frame)) for frame in frames[:2]]


def test_many_refuses_a_bad_picture_among_good_ones(bundles: Callable[..., Path]) -> None:
    batched = lineside.load(bundles(batch=3))
    with pytest.raises(BadFrame):
        batched.many([scene(), scene()[:0], scene()])
    assert len(batched.many([scene()] * 3)) == 3


# Stages


def test_stages_are_stamped_at_their_end(bundles: Callable[..., Path], model: Segmenter) -> None:
    stamps: list[str] = []
    model(scene(), stamp=stamps.append)
    assert stamps == ["preprocess", "wait", "infer", "postprocess"]
    stamps.clear()
    lineside.load(bundles(batch=2)).many([scene()] * 3, stamp=stamps.append)
    assert stamps == ["preprocess", "wait", "infer", "postprocess"] * 2
    stamps.clear()
    with pytest.raises(BadFrame):
        model(scene()[:0], stamp=stamps.append)
    assert stamps == []


def test_a_prepared_input_does_not_spoil_the_padding(model: Segmenter) -> None:
    frame = scene(size=(64, 200))
    want = model(frame, conf=0.001)
    for _ in range(model.lanes + 1):
        model.infer(np.ones((1, 3, 64, 64), np.float32))
    assert all(same(model(frame, conf=0.001), want) for _ in range(model.lanes + 1))


@pytest.mark.parametrize(
    "tensor", [np.ones((1, 3, 64, 32), np.float32), np.ones((1, 3, 64, 64)), np.ones((3, 64, 64), np.float32)]
)
def test_a_prepared_input_has_the_shape_of_the_contract(model: Segmenter, tensor: Array) -> None:
    with pytest.raises(BadFrame, match="float32"):
        model.infer(tensor)


def test_prepared_outputs_are_copies(model: Segmenter) -> None:
    ones = model.infer(np.ones((1, 3, 64, 64), np.float32))
    kept = [output.copy() for output in ones]
    model.infer(np.zeros((1, 3, 64, 64), np.float32))
    model(scene())
    assert all(np.array_equal(a, b) for a, b in zip(ones, kept, strict=True))


# Threads


@pytest.mark.parametrize("mode", ["latency", "throughput"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_any_number_of_threads_may_call(bundles: Callable[..., Path], mode: str, lanes: int) -> None:
    model = lineside.load(bundles(), mode=mode, lanes=lanes)  # type: ignore[arg-type]
    frames = [scene(seed, (100 + 20 * seed, 320 - 30 * seed)) for seed in range(6)]
    want = [model(frame) for frame in frames]
    wrong: list[int] = []

    def work(seed: int) -> None:
        wrong.extend(seed for _ in range(20) if not same(model(frames[seed]), want[seed]))

    assert together([lambda seed=seed: work(seed) for seed in range(6)]) == []  # type: ignore[misc]
    assert wrong == []


def test_two_lanes_overlap(bundles: Callable[..., Path]) -> None:
    model = lineside.load(bundles(), lanes=2)
    both = threading.Barrier(2, timeout=60)

    def stamp(stage: str) -> None:
        if stage == "preprocess":
            both.wait()  # passes only if the other call is as far at the same time

    assert together([lambda: len(model(scene(), stamp=stamp)) and None] * 2) == []


def test_one_lane_takes_turns(bundles: Callable[..., Path]) -> None:
    model = lineside.load(bundles(), lanes=1)
    inside = 0
    most = 0

    def stamp(stage: str) -> None:
        nonlocal inside, most
        inside += {"preprocess": 1, "postprocess": -1}.get(stage, 0)
        most = max(most, inside)

    assert together([lambda: [model(scene(), stamp=stamp) for _ in range(5)] and None] * 4) == []
    assert most == 1


def test_a_closed_model_says_so(bundles: Callable[..., Path]) -> None:
    with lineside.load(bundles()) as model:
        assert len(model(scene()))
    model.close()
    with pytest.raises(EngineFailed, match="closed"):
        model(scene())
    with pytest.raises(EngineFailed, match="closed"):
        model.infer(np.ones((1, 3, 64, 64), np.float32))


def test_closing_closes_every_lane_although_one_fails(
    bundles: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(bundles())
    engines = open_engines("onnxruntime", bundle, EngineOptions(lanes=3))
    closed: list[int] = []
    for number, engine in enumerate(engines):

        def close(number: int = number) -> None:
            closed.append(number)
            raise EngineFailed("it does not close")

        monkeypatch.setattr(engine, "close", close)
    model = Segmenter(bundle.manifest, [lane_of(engine, bundle.manifest) for engine in engines], "onnxruntime")
    with pytest.raises(EngineFailed, match="does not close"):
        model.close()
    assert sorted(closed) == [0, 1, 2]


def test_closing_waits_for_the_running_call_and_turns_the_waiting_one_away(bundles: Callable[..., Path]) -> None:
    model = lineside.load(bundles(), lanes=1)
    running, turned_away = threading.Event(), threading.Event()
    finished: list[int] = []

    def first(stage: str) -> None:
        if stage == "infer":
            running.set()
            assert turned_away.wait(60)

    def second() -> None:
        assert running.wait(60)
        try:
            with pytest.raises(EngineFailed, match="closed"):
                model(scene())  # the only lane is taken until this has been refused
        finally:
            turned_away.set()

    def close() -> None:
        assert running.wait(60)
        model.close()
        assert finished, "the running call has come to its end before"

    assert together([lambda: finished.append(len(model(scene(), stamp=first))), second, close]) == []
    assert finished[0] > 0


# Recordings


def test_a_recording_stands_in_for_the_engine(bundles: Callable[..., Path], model: Segmenter, tmp_path: Path) -> None:
    frames = [scene(seed) for seed in range(3)]
    runs = []
    for frame in frames:
        tensor: Array = np.empty((1, 3, 64, 64), np.float32)
        Preprocessor((64, 64)).prepare(frame, tensor[0])
        runs.append(model.infer(tensor))
    save_recording(tmp_path / "r.npz", model.manifest, runs)
    replay = lineside.load(bundles(), engine=f"recorded:{tmp_path / 'r.npz'}")
    assert (replay.engine_name, replay.lanes) == ("recorded", 1)
    for frame in (*frames, frames[0]):
        assert same(replay(np.zeros_like(frame)), model(frame))


def test_a_bundle_whose_model_is_another_is_not_half_loaded(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "b")
    manifest = open_bundle(path).manifest
    head = msgspec.structs.replace(manifest.head, classes=3)
    write_manifest(path, msgspec.structs.replace(manifest, head=head, names=("a", "b", "c")))
    with pytest.raises(ContractMismatch, match="export it again"):
        lineside.load(path)


# Memory


def peak_of(call: Callable[[], object]) -> int:
    """Most bytes that Python and numpy held beyond the start of the call."""
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layout", ["BGR", "NV12"])
@pytest.mark.parametrize("masks", ["native", "proto", "none"])
def test_the_steady_state_allocates_nothing_large(bundles: Callable[..., Path], masks: str, layout: str) -> None:
    model = lineside.load(bundles(size=(320, 320)))
    pixels = scene(size=(1080, 1920))
    frame = pixels if layout == "BGR" else yuv(pixels)
    assert len(model(frame, masks=masks, max_det=5)) == 5
    peak = peak_of(lambda: model(frame, masks=masks, max_det=5))
    assert peak < 64 * 1024, f"{peak} bytes: a frame of 1080p has 6.2 MB, an input of 320x320 has 1.2 MB"


def test_the_peak_is_noticed() -> None:
    assert peak_of(lambda: np.zeros(100_000, np.uint8)) >= 100_000


def test_no_array_of_objects_times_pixels_is_ever_made(bundles: Callable[..., Path]) -> None:
    model = lineside.load(bundles(size=(320, 320)))
    frame = np.full((1080, 1920, 3), 255, np.uint8)
    found = model(frame, max_det=300)
    assert len(found) == 300 and found.masks is not None and all(mask.area > 0 for mask in found.masks)
    peak = peak_of(lambda: model(frame, max_det=300))
    assert peak < 4 << 20, f"{peak} bytes: 300 masks of 1080p as arrays would take 622 MB"


def test_nor_does_the_native_core_make_one(bundles: Callable[..., Path]) -> None:
    script = f"""
import resource, numpy as np, lineside
model = lineside.load({str(bundles(size=(320, 320)))!r})
frame = np.full((1080, 1920, 3), 255, np.uint8)
model(frame, max_det=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(model(frame, max_det=300)) == 300
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) < 32 * 1024, "in KiB"
