"""Pictures and options that are none, at the API and at the command line."""

from __future__ import annotations

import copy
import pickle
import resource
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import lineside
from helpers.refusals import lineside as command
from helpers.refusals import refused, snapshot
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime import HeadContract, Letterbox, Segmenter, decode
from lineside.runtime.engines.recorded import save_recording
from lineside.runtime.errors import BadFrame, BadOption, EngineUnavailable, LinesideError, NonFiniteOutput

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("b") / "tiny.bundle")


@pytest.fixture(scope="module")
def model(folder: Path) -> Segmenter:
    return lineside.load(folder)


def scene(*size: int) -> Any:
    frame = np.zeros((*(size or (64, 64)), 3), np.uint8)
    frame[8:32, 8:40] = 255
    return frame


WRONG_FRAMES: dict[str, Any] = {
    "float": scene().astype(np.float32),
    "16 bits": scene().astype(np.uint16),
    "signed": scene().astype(np.int8),
    "bool": scene() > 0,
    "objects": np.array([[None]]),
    "text": np.array([["a"]]),
    "record": np.zeros((4, 4), [("a", "u1")]),
    "empty": scene()[:0],
    "no columns": scene()[:, :0],
    "one row of pixels": scene()[0, 0],
    "one channel": scene()[..., :1],
    "alpha": np.zeros((9, 9, 4), np.uint8),
    "two channels": scene()[..., :2],
    "planes first": scene().transpose(2, 0, 1),
    "a stack": scene()[None],
    "too long": np.zeros((1, 65536), np.uint8),
    "list": [[1, 2], [3, 4]],
    "path": "part.png",
    "nothing": None,
    "bytes": b"\xff\xd8",
}


@pytest.mark.parametrize("what", WRONG_FRAMES)
def test_a_frame_of_the_wrong_kind(model: Segmenter, what: str) -> None:
    for _ in range(model.lanes + 1):  # more often than there are lanes: none is lost
        with pytest.raises(BadFrame, match=r"must|one picture"):
            model(WRONG_FRAMES[what])
    assert len(model(scene()))


def test_twenty_megapixels_take_no_copy(model: Segmenter) -> None:
    frame = np.zeros((3648, 5472, 3), np.uint8)
    frame[1000:2000, 1000:3000] = 255
    model(frame, max_det=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = model(frame)
    assert found.image_size == (3648, 5472) and found.masks is not None and found.masks[0].area > 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 << 10, "in KiB; the frame has 58 MiB"


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "read-only": lambda f: np.frombuffer(f.tobytes(), np.uint8).reshape(f.shape),
    "every second pixel of a larger one": lambda f: np.repeat(np.repeat(f, 2, 0), 2, 1)[::2, ::2],
    "upside down in memory": lambda f: np.ascontiguousarray(f[::-1])[::-1],
    "mirrored in memory": lambda f: np.ascontiguousarray(f[:, ::-1])[:, ::-1],
    "RGB in memory": lambda f: np.ascontiguousarray(f[..., ::-1])[..., ::-1],
    "columns first": lambda f: np.asfortranarray(f),
    "planes in memory": lambda f: np.ascontiguousarray(f.transpose(2, 0, 1)).transpose(1, 2, 0),
    "without the alpha": lambda f: np.dstack([f, f[..., 0]])[..., :3],
    "not aligned": lambda f: np.frombuffer(b"x" + f.tobytes(), np.uint8, offset=1).reshape(f.shape),
    "a subclass": lambda f: f.view(type("Picture", (np.ndarray,), {})),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_and_stays_as_it_is(model: Segmenter, layout: str) -> None:
    rng = np.random.default_rng(0)
    frame = np.maximum(scene(60, 90), rng.integers(0, 60, (60, 90, 3), np.uint8))
    other = LAYOUTS[layout](frame.copy())
    want, found = model(frame, conf=0.01), model(other, conf=0.01)
    np.testing.assert_array_equal(found.boxes, want.boxes)
    np.testing.assert_array_equal(found.scores, want.scores)
    assert [mask.rle() for mask in found.masks or ()] == [mask.rle() for mask in want.masks or ()]
    np.testing.assert_array_equal(other, frame)


@pytest.mark.parametrize("one", [scene(), scene()[..., 0], scene()[..., :1]], ids=["colour", "grey", "one channel"])
def test_one_picture_is_not_many(model: Segmenter, one: Any) -> None:
    with pytest.raises(BadFrame, match="is one picture, not several: call the model with it, or put it into a list"):
        model.many(one)


@pytest.mark.parametrize("several", [5, None, "ab", iter([scene()]), {1: 2}])
def test_many_of_something_else(model: Segmenter, several: Any) -> None:
    with pytest.raises(BadFrame, match="several pictures come as a list of arrays"):
        model.many(several)


def test_a_stack_is_many(model: Segmenter) -> None:
    assert len(model.many(np.stack([scene()] * 2))) == 2
    assert len(model.many(np.stack([scene()[..., 0]] * 2))) == 2
    assert len(model.many(deque([scene()] * 3, maxlen=3))) == 3, "the last few of a line"


@pytest.mark.parametrize("tensor", [None, "x", [1], np.zeros(3)])
def test_a_prepared_input_of_the_wrong_kind(model: Segmenter, tensor: Any) -> None:
    with pytest.raises(BadFrame, match="the model takes"):
        model.infer(tensor)


# What comes out


def test_outputs_that_are_not_finite(folder: Path, model: Segmenter, tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        outputs = model.infer(np.ones((1, 3, 64, 64), np.float32))
        outputs[1][:] = value
        save_recording(tmp_path / "r.npz", model.manifest, [outputs])
        with pytest.raises(NonFiniteOutput, match="cannot be trusted"):
            lineside.load(folder, engine=f"recorded:{tmp_path / 'r.npz'}")(scene())
    cv2.imwrite(str(tmp_path / "part.png"), scene())
    answer = command(tmp_path, "run", folder, "part.png", "--engine", "recorded:r.npz", "--out", "out")
    assert answer.returncode == 2 and "cannot be trusted" in answer.stderr and "Traceback" not in answer.stderr


def test_copies_of_detections_cannot_be_written_to_either(model: Segmenter) -> None:
    found = model(scene())
    assert len(found) and found.masks is not None
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), copy.copy(found)):
        np.testing.assert_array_equal(other.boxes, found.boxes)
        assert [mask.rle() for mask in other.masks] == [mask.rle() for mask in found.masks]
        columns = [other.boxes, other.scores, other.classes, other.anchors, other.masks.spans, other.masks.offsets]
        for column in (*columns, other.masks[0].spans, pickle.loads(pickle.dumps(found.masks[0])).spans):
            with pytest.raises(ValueError, match="read-only"):
                column[...] = 0


def test_a_box_of_negative_size_is_what_torch_makes_of_it() -> None:
    torch = pytest.importorskip("torch")
    from torchvision.ops import nms

    head = HeadContract(kind="flat", classes=1, coefficients=0, input_size=(64, 64))
    rng = np.random.default_rng(0)
    output = np.zeros((1, 5, head.anchors), np.float32)
    output[0, :2] = rng.uniform(16, 48, (2, head.anchors))
    output[0, 2:4] = rng.uniform(-24, 24, (2, head.anchors))
    output[0, 4] = rng.permutation(head.anchors) / head.anchors
    found = decode([output], head, Letterbox.fit((64, 64), (64, 64)), conf=0.1, iou=0.4, max_det=10**6)
    centre, half = output[0, :2].T, output[0, 2:4].T / 2
    boxes = np.hstack([centre - half, centre + half])
    kept = np.flatnonzero(output[0, 4] > np.float32(0.1))
    order = kept[nms(torch.tensor(boxes[kept]), torch.tensor(output[0, 4, kept]), 0.4).numpy()]
    np.testing.assert_array_equal(found.anchors, order)
    np.testing.assert_array_equal(found.boxes, boxes[order].clip(0, 64))
    assert (found.boxes[:, 2] < found.boxes[:, 0]).any()
    assert all(min(note["bbox"]) >= 0 and note["area"] >= 0 for note in found.to_coco(1))


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 10**6},
        {"threads": 0},
        {"threads": True},
        {"threads": 1.5},
        {"threads": "2"},
        {"lanes": 10**6},
        {"lanes": -1},
        {"mode": "fast"},
        {"mode": None},
        {"engine": None},
        {"engine": 7},
        {"engine": "auto:y"},
        {"engine": "onnxruntime:fast"},
        {"engine": "recorded:"},
        {"mode": "throughput", "threads": 1000, "lanes": 200},
    ],
    ids=str,
)
def test_ways_of_running_that_do_not_exist(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match=rf"{list(options)[-1]}.*(give|choose|only)"):
        lineside.load(folder, **options)


@pytest.mark.parametrize("engine", ["", "tensorflow", "recorded:/nowhere.npz", "recorded:/", "recorded:/dev/zero"])
def test_engines_that_are_not_there(folder: Path, engine: str) -> None:
    with pytest.raises(EngineUnavailable, match="choose one of|check the path"):
        lineside.load(folder, engine=engine)


def test_as_many_threads_as_may_be(folder: Path) -> None:
    with lineside.load(folder, threads=300, lanes=100) as many:
        assert len(many(scene()))


@pytest.mark.parametrize(
    "options",
    [
        *({"conf": value} for value in (1.0, -0.1, float("nan"), float("inf"), "0.5", True, [0.5], 10**400)),
        *({"iou": value} for value in (1.1, -1e-9, float("nan"), "1", False, {})),
        *({"max_det": value} for value in (0, -1, 1.0, "3", True, float("inf"))),
        *({"masks": value} for value in ("polygon", "", b"native", True, ["native"], 1)),
    ],
    ids=lambda options: str(options)[:30],
)
def test_options_outside_their_range(model: Segmenter, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(BadOption, match=rf"^{name}="):
        model(scene(), **options)
    assert len(model(scene())), "the lane is free again"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--conf", "1"), "conf=1.0"),
        (("--conf", "nan"), "conf=nan"),
        (("--iou", "-1"), "iou=-1.0"),
        (("--max-det", "0"), "max_det=0"),
        (("--max-det", "1.5"), "--max-det"),
        (("--masks", "polygon"), "--masks"),
        (("--mode", "fast"), "--mode"),
        (("--threads", "1000000"), "threads=1000000 is not possible"),
        (("--threads", "0"), "threads=0"),
        (("--engine", "auto:y"), "engine='auto:y'"),
        (("--engine", "abacus"), "no engine 'abacus'"),
        (("--limit", "0"), "--limit"),
        (("--policy", "sometimes"), "sometimes"),
        (("--policy", "every:-1"), "every:-1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_of_run(folder: Path, tmp_path: Path, words: tuple[str, ...], says: str, capfd: Any) -> None:
    from lineside.cli import main

    cv2.imwrite(str(tmp_path / "part.png"), scene())
    before = snapshot(tmp_path)
    assert main(["run", str(folder), str(tmp_path / "part.png"), "--out", str(tmp_path / "out"), *words]) == 2
    out, errors = capfd.readouterr()
    assert out == "" and says in errors and errors.startswith("error: ") and errors.count("\n") == 1
    assert snapshot(tmp_path) == before


def test_options_of_verify(folder: Path) -> None:
    says = refused(folder.parent, "verify", folder, "--engine", "recorded")
    assert "nothing would be verified: use the engine onnxruntime" in says


@pytest.mark.parametrize(
    "arguments",
    [
        {"classes": 0},
        {"classes": 10**9},
        {"coefficients": -1},
        {"input_size": (64,)},
        {"input_size": (63, 64)},
        {"input_size": (2**40, 2**40)},
        {"strides": ()},
        {"strides": (32, 8)},
        {"reg_max": 0},
        {"kind": "pyramid"},
    ],
    ids=str,
)
def test_head_contracts_that_do_not_exist(arguments: dict[str, Any]) -> None:
    good: dict[str, Any] = {"kind": "flat", "classes": 1, "coefficients": 4, "input_size": (64, 64)}
    with pytest.raises(BadOption, match="head contract"):
        HeadContract(**{**good, **arguments})
    assert issubclass(BadOption, LinesideError)
