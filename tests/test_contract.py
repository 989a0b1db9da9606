"""The public contract: what programs outside this repository rely on, walked on finished bundles through the public doors.

Promises: the calls and results of `lineside.load`, the exact rule of `decode` on planted outputs, the commands and their
exit codes. The demo bundles must keep it, and so must a bundle that was exported a minute ago from random weights.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lineside
from lineside.runtime import HeadContract, Letterbox, decode
from lineside.runtime.errors import BadFrame, LinesideError, NonFiniteOutput

COMMANDS = ("demo", "synth", "train", "export", "import", "verify", "inspect", "run")
SIZE = (717, 1283)
"""Height and width of a picture whose letterbox has two different gains: 640/1283 and 358/717."""
GAINS = (640 / 1283, 358 / 717)
PAD = (0, 141)
ANCHOR = (100, 320, 320, 100, 60, 0, 0.9, 0)
"""Index, centre and size in input pixels, class, score, and the prototype that its mask copies."""


# ---- decode: raw arrays in, exact answers out ---------------------------------------------------------------------------


def planted(*anchors: tuple[float, ...], classes: int = 1) -> np.ndarray:
    """Output (1, 4 + classes + 32, 8400) of a ``flat`` head that says exactly these anchors."""
    output = np.zeros((1, 4 + classes + 32, 8400), np.float32)
    for index, x, y, w, h, kind, score, prototype in anchors:
        output[0, :4, int(index)] = x, y, w, h
        output[0, 4 + int(kind), int(index)] = score
        output[0, 4 + classes + int(prototype), int(index)] = 1
    return output


def ramps() -> np.ndarray:
    """Prototypes: 0 turns positive from column 79.3 on, 1 from row 79.3 on, 2 never."""
    protos = np.zeros((1, 32, 160, 160), np.float32)
    protos[0, 0] = np.arange(160)[None] - 79.3
    protos[0, 1] = np.arange(160)[:, None] - 79.3
    protos[0, 2] = -1
    return protos


def found(output: np.ndarray, classes: int = 1, **options: Any) -> Any:
    head = HeadContract(kind="flat", classes=classes, coefficients=32, input_size=(640, 640))
    box = Letterbox.fit(image_size=SIZE, input_size=(640, 640))
    return decode(
        [output, ramps()], head, box, **{"conf": 0.25, "iou": 0.7, "max_det": 300, "masks": "native"} | options
    )


def first(limit: float, gain: float, pad: int) -> int:
    """First picture column (row) whose sample lies beyond a prototype coordinate: ``((X + .5) * gain + pad) / 4 - .5 > limit``."""
    return next(x for x in range(SIZE[1]) if ((x + 0.5) * gain + pad) / 4 - 0.5 > limit)


def test_letterbox_of_an_uneven_picture() -> None:
    box = Letterbox.fit(image_size=SIZE, input_size=(640, 640))
    assert box.scale == pytest.approx(640 / 1283)
    assert tuple(box.scale_xy) == pytest.approx(GAINS)
    assert tuple(box.pad) == PAD


def test_decode_places_the_box_with_one_gain_per_axis() -> None:
    answer = found(planted(ANCHOR))
    corners = [
        (270 - PAD[0]) / GAINS[0],
        (290 - PAD[1]) / GAINS[1],
        (370 - PAD[0]) / GAINS[0],
        (350 - PAD[1]) / GAINS[1],
    ]
    np.testing.assert_allclose(answer.boxes, [corners], atol=0.01)
    assert answer.scores.tolist() == pytest.approx([0.9])
    assert answer.classes.tolist() == [0]
    assert answer.names == ("0",)


def test_masks_of_ramps_are_exact_to_the_pixel() -> None:
    x1, y1, x2, y2 = found(planted(ANCHOR)).boxes[0]
    columns, rows = np.arange(SIZE[1]), np.arange(SIZE[0])[:, None]
    box = (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)
    for prototype, bright in (
        (0, columns >= first(79.3, GAINS[0], PAD[0])),
        (1, rows >= first(79.3, GAINS[1], PAD[1])),
    ):
        mask = found(planted((*ANCHOR[:7], prototype))).masks[0]
        np.testing.assert_array_equal(mask.to_array(), box & bright)
        assert mask.area == np.count_nonzero(box & bright)


def test_an_empty_mask_stays() -> None:
    answer = found(planted((*ANCHOR[:7], 2)))
    assert len(answer) == 1
    assert answer.masks[0].area == 0
    assert answer.masks[0].crop()[2].shape == (0, 0)


def test_nms_strict_conf_order_classes_and_max_det() -> None:
    near = planted(ANCHOR, (200, 322, 320, 100, 60, 0, 0.8, 0))
    assert (len(found(near)), len(found(near, iou=0.99))) == (1, 2)
    two = planted(
        ANCHOR,
        (200, 320, 320, 100, 60, 1, 0.95, 0),
        (300, 100, 320, 50, 50, 0, 0.2, 0),
        (400, 500, 320, 50, 50, 1, 0.25, 0),
        classes=2,
    )
    assert found(two, 2).classes.tolist() == [1, 0]
    assert len(found(two, 2, max_det=1)) == 1
    assert len(found(two, 2, conf=0.1)) == 4


def test_a_non_finite_candidate_is_refused() -> None:
    output = planted(ANCHOR)
    output[0, 2, 100] = np.nan
    with pytest.raises(NonFiniteOutput):
        found(output)


def test_without_masks_the_boxes_are_the_same() -> None:
    bare = found(planted(ANCHOR), masks="none")
    assert bare.masks is None
    np.testing.assert_array_equal(bare.boxes, found(planted(ANCHOR)).boxes)


# ---- a loaded model -----------------------------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = {"conf": 1e-6, "iou": 0.7, "max_det": 50}


@pytest.fixture(scope="module")
def random_bundle(tmp_path_factory: pytest.TempPathFactory, cli: Any) -> Path:
    """A bundle that was just exported from yolo11n-seg with random weights."""
    target = tmp_path_factory.mktemp("contract") / "random.bundle"
    answer = cli("export", "yolo11n-seg.yaml", "-o", target)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return target


@pytest.fixture(params=["bearing", "tube", pytest.param("random", marks=pytest.mark.slow)])
def bundle(request: pytest.FixtureRequest, repository: Path) -> Path:
    if request.param == "random":
        return request.getfixturevalue("random_bundle")  # type: ignore[no-any-return]
    return repository / "demo" / f"{request.param}.bundle"


@pytest.fixture
def frame() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    noise.setflags(write=False)
    return noise


def test_results_of_a_loaded_model(bundle: Path, frame: np.ndarray) -> None:
    with lineside.load(bundle, engine="auto") as model:
        assert model.engine_name == "onnxruntime"
        answer = model(frame, masks="native", **OPTIONS)
    n = len(answer)
    assert 0 < n <= 50
    assert (answer.boxes.shape, answer.boxes.dtype) == ((n, 4), np.float32)
    assert (answer.scores.shape, answer.scores.dtype) == ((n,), np.float32)
    assert (answer.classes.shape, answer.classes.dtype) == ((n,), np.int32)
    assert (answer.boxes >= 0).all()
    assert (answer.boxes[:, [0, 2]] <= SIZE[1]).all()
    assert (answer.boxes[:, [1, 3]] <= SIZE[0]).all()
    assert (answer.boxes[:, 2:] >= answer.boxes[:, :2]).all()
    assert (np.diff(answer.scores) <= 0).all()
    assert isinstance(answer.names, tuple)
    assert answer.image_size == SIZE
    json.dumps(answer.to_dict())
    annotations = answer.to_coco(7)
    assert len(annotations) == n
    assert all(
        note["image_id"] == 7 and {"bbox", "score", "category_id", "segmentation"} <= set(note) for note in annotations
    )
    for mask in answer.masks:
        agree(mask)


def agree(mask: Any) -> None:
    """All forms of a mask say the same."""
    from pycocotools import mask as coco

    full = mask.to_array()
    assert (full.shape, full.dtype) == (SIZE, np.bool_)
    x0, y0, crop = mask.crop()
    again = np.zeros(SIZE, bool)
    again[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] = crop
    np.testing.assert_array_equal(again, full)
    assert mask.area == np.count_nonzero(full)
    polygons = mask.polygons()
    assert polygons or mask.area <= 20
    assert all(polygon.ndim == 2 and len(polygon) >= 3 and polygon.shape[1] == 2 for polygon in polygons)
    rle = mask.rle()
    assert list(rle["size"]) == list(SIZE)
    np.testing.assert_array_equal(coco.decode(rle).astype(bool), full)


def test_layout_in_memory_does_not_matter_but_the_colours_do(bundle: Path, frame: np.ndarray) -> None:
    flipped = np.ascontiguousarray(frame[:, ::-1])[:, ::-1]
    wide = np.zeros((SIZE[0], 1300, 4), np.uint8)
    wide[:, : SIZE[1], :3] = frame
    grey = np.ascontiguousarray(frame[..., 0])
    with lineside.load(bundle) as model:
        plain = model(frame, **OPTIONS)
        for view in (flipped, wide[:, : SIZE[1], :3]):
            np.testing.assert_array_equal(model(view, **OPTIONS).boxes, plain.boxes)
        assert not np.array_equal(model(frame[..., ::-1], **OPTIONS).scores, plain.scores)
        np.testing.assert_array_equal(
            model(grey, **OPTIONS).boxes, model(np.repeat(grey[..., None], 3, axis=2), **OPTIONS).boxes
        )


def test_frames_that_are_no_pictures_are_refused(demo_bundle: Path, frame: np.ndarray) -> None:
    with lineside.load(demo_bundle) as model:
        for bad in (frame.astype(np.float32), frame[None], frame[:0], frame[..., :1], np.zeros((9, 9, 4), np.uint8)):
            with pytest.raises(BadFrame, match=r".{20,}"):
                model(bad)


def test_a_bundle_that_is_not_there_is_refused() -> None:
    with pytest.raises(LinesideError, match=r".{20,}"):
        lineside.load("/nonexistent.bundle")


# ---- the commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(cli: Any, command: str) -> None:
    answer = cli(command, "--help")
    assert answer.returncode == 0, answer.stderr
    assert f"lineside {command}" in answer.stdout


def test_inspect_and_verify(bundle: Path, cli: Any) -> None:
    shown = cli("inspect", bundle, "--json")
    assert isinstance(json.loads(shown.stdout), dict)
    verified = cli("verify", bundle)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_verify_sees_one_changed_byte(demo_bundle: Path, cli: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy.bundle"
    shutil.copytree(demo_bundle, copy)
    model = bytearray((copy / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 255
    (copy / "model.onnx").write_bytes(model)
    answer = cli("verify", copy)
    assert answer.returncode in (1, 2)
    assert "model.onnx" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_run_on_a_broken_bundle_says_so(cli: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.bundle"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    answer = cli("run", broken, tmp_path)
    assert answer.returncode == 2
    assert len(answer.stderr) > 20
    assert "Traceback" not in answer.stdout + answer.stderr


@pytest.mark.slow
def test_the_house_contract_beside_the_checkout(bundle: Path, repository: Path) -> None:
    """Runs the house's own walk through the contract, where it lies beside this checkout."""
    check = repository.parent / "shared" / "contract" / "check.py"
    if not check.is_file():
        pytest.skip("no ../shared/contract/check.py here: the tests above cover the same promises")
    answer = subprocess.run([sys.executable, check, bundle], capture_output=True, text=True, timeout=600)
    promises = [line for line in answer.stdout.splitlines() if line.startswith(("ok ", "NO "))]
    # It takes a numpy True, which comparisons of arrays give, for a broken promise, and then shows [True] as the answer.
    broken = [line for line in promises if line.startswith("NO ") and not line.endswith("[True]")]
    assert not broken, answer.stdout + answer.stderr
    assert len(promises) >= 35
