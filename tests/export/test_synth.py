"""Synthetic pictures, sets and lines: the same every time, labelled where something was really drawn."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from lineside.export.datasets import check_dataset
from lineside.export.synth import Drawing, draw, labelled, pictures, texture
from lineside.export.synth.bearing import SMALLEST, blob, draw_bearing
from lineside.export.synth.dataset import write_dataset
from lineside.export.synth.line import Line, frames, write_line
from lineside.export.synth.raster import Sprite, clip_polygon, coverage, polygon_area, rotate
from lineside.runtime.errors import BadOption

TASKS = ("bearing", "tube")


def filled(polygon: NDArray[np.float32], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels whose centre lies in an outline, by scikit-image: another rasteriser than the product's."""
    mask = polygon2mask((height, width), polygon[:, ::-1] - 0.5)  # type: ignore[no-untyped-call]
    return np.asarray(mask, np.bool_)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("task", TASKS)
def test_a_picture_depends_on_seed_and_index_only(task: str) -> None:
    five = labelled(task, 5, 96, seed=4)
    again = labelled(task, 3, 96, seed=4)
    for first, second in zip(five[:3], again, strict=True):
        assert np.array_equal(first.image, second.image)
        assert len(first.polygons) == len(second.polygons)
        assert all(np.array_equal(a, b) for a, b in zip(first.polygons, second.polygons, strict=True))
    other = labelled(task, 3, 96, seed=5)
    assert not any(np.array_equal(a.image, b.image) for a, b in zip(again, other, strict=True))
    assert not np.array_equal(five[0].image, five[1].image)


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_bgr_bytes_of_the_size_asked_for(task: str) -> None:
    for image in pictures(task, 3, 128, seed=0):
        assert image.shape == (128, 128, 3)
        assert image.dtype == np.uint8
        assert image.std() > 10


@pytest.mark.parametrize("task", TASKS)
def test_outlines_match_the_masks_that_were_drawn(task: str) -> None:
    drawings = labelled(task, 20, 224, seed=8)
    scores = [
        iou(filled(polygon, 224, 224), mask > 0.5)
        for drawing in drawings
        for polygon, mask in zip(drawing.polygons, drawing.masks, strict=True)
    ]
    assert len(scores) >= 20
    assert min(scores) > 0.8  # a pixel more or less on an object of 6 px
    assert np.mean(scores) > 0.95


def test_a_bearing_differs_from_a_good_one_in_its_defects_and_nowhere_else() -> None:
    seen = 0
    for seed in range(8):
        good = draw_bearing(90, np.random.default_rng(seed), defects=0)
        bad = draw_bearing(90, np.random.default_rng(seed), defects=4)
        assert not good.polygons
        change = np.abs(bad.colour - good.colour).max(axis=2)
        labelled_area = np.max([*bad.masks, np.zeros_like(change)], axis=0)
        assert change[labelled_area == 0].max() == 0
        for mask in bad.masks:
            seen += 1
            assert change[mask > 0.5].mean() > 10  # visible, in grey levels
    assert seen >= 16


def test_defects_go_down_to_six_pixels_and_not_below() -> None:
    sizes = np.array(
        [
            np.sqrt(polygon_area(polygon))
            for seed in range(40)
            for polygon in draw_bearing(130, np.random.default_rng(seed), defects=5).polygons
        ]
    )
    assert sizes.min() >= SMALLEST - 0.01
    assert sizes.min() < SMALLEST + 1
    assert (sizes >= 16).sum() > 20


@pytest.mark.parametrize("task", TASKS)
def test_some_pictures_hold_nothing_to_find(task: str) -> None:
    counts = [len(drawing.polygons) for drawing in labelled(task, 40, 96, seed=2)]
    assert 0 < counts.count(0) < 25
    assert max(counts) >= 3


def test_backgrounds_are_photographs_only_where_scikit_image_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pictures("tube", 12, 64, seed=1)
    with_photos = [drawing.image for drawing in labelled("tube", 12, 64, seed=1)]
    changed = [not np.array_equal(a, b) for a, b in zip(plain, with_photos, strict=True)]
    assert any(changed)
    assert not all(changed)
    texture.photographs.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    try:
        without = [drawing.image for drawing in labelled("tube", 12, 64, seed=1)]
    finally:
        texture.photographs.cache_clear()
    assert all(np.array_equal(a, b) for a, b in zip(plain, without, strict=True))


@pytest.mark.parametrize(("task", "size"), [("gear", 320), ("tube", 63)])
def test_unknown_tasks_and_tiny_pictures_are_refused(task: str, size: int) -> None:
    with pytest.raises(BadOption, match=r"gear|63"):
        labelled(task, 1, size, seed=0)


@given(
    seed=st.integers(0, 2**32),
    size=st.floats(5, 40),
    elongation=st.floats(1, 8),
    x=st.floats(-20, 80),
    y=st.floats(-20, 60),
)
def test_clipping_keeps_exactly_what_lies_in_the_picture(
    seed: int, size: float, elongation: float, x: float, y: float
) -> None:
    polygon = blob(np.random.default_rng(seed), size, elongation, 0.3) + np.array([x, y], np.float32)
    assert polygon_area(polygon) == pytest.approx(size**2, rel=1e-3)
    cut = clip_polygon(polygon, 40, 60)
    if len(cut):
        assert cut.min() >= 0
        assert cut[:, 0].max() <= 60
        assert cut[:, 1].max() <= 40
    inside = coverage(polygon, 40, 60).sum()
    area = polygon_area(cut) if len(cut) >= 3 else 0.0
    assert area == pytest.approx(inside, abs=float(0.15 * np.ptp(polygon, axis=0).sum()) + 1)


def test_a_turned_sprite_keeps_its_outlines_on_its_masks() -> None:
    shape = np.array([[12, 8], [40, 8], [40, 70], [12, 70]], np.float32)
    sprite = Sprite(np.ones((80, 50, 3), np.float32), np.ones((80, 50), np.float32), [shape], [coverage(shape, 80, 50)])
    for angle in (0.0, 0.2, -1.1, 2.5):
        turned = rotate(sprite, angle)
        height, width = turned.alpha.shape
        assert iou(filled(turned.polygons[0], height, width), turned.masks[0] > 0.5) > 0.97


def test_a_set_is_whole_movable_and_the_same_every_time(tmp_path: Path) -> None:
    data = write_dataset("bearing", tmp_path / "one", 4, 2, 64, seed=6)
    write_dataset("bearing", tmp_path / "two", 4, 2, 64, seed=6)
    for file in sorted(path for path in data.parent.rglob("*") if path.is_file()):
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(data.parent)).read_bytes()
    assert str(tmp_path) not in data.read_text()
    moved = Path(shutil.move(data.parent, tmp_path / "elsewhere"))
    report = check_dataset(moved / "data.yaml")
    assert not report.faults
    assert report.names == ("Defect",)
    assert (report.splits["train"].pictures, report.splits["val"].pictures) == (4, 2)
    train = {path.read_bytes() for path in (moved / "images/train").iterdir()}
    assert not train & {path.read_bytes() for path in (moved / "images/val").iterdir()}


def test_labels_on_disk_are_the_outlines_that_were_drawn(tmp_path: Path) -> None:
    data = write_dataset("tube", tmp_path / "set", 6, 1, 160, seed=3)
    checked = 0
    for index in range(6):
        drawing = labelled_of_set(index)
        label = data.parent / "labels/train" / f"tube_{index:05d}.txt"
        lines = label.read_text().splitlines()
        assert len(lines) == len(drawing.polygons)
        picture = cv2.imread(str(data.parent / "images/train" / f"tube_{index:05d}.jpg"))
        assert picture is not None
        assert picture.shape == (160, 160, 3)
        for line, mask in zip(lines, drawing.masks, strict=True):
            number, *values = line.split()
            assert number == "0"
            outline = np.array(values, float).reshape(-1, 2).astype(np.float32) * 160
            assert iou(filled(outline, 160, 160), mask > 0.5) > 0.9
            checked += 1
    assert checked >= 6


def labelled_of_set(index: int) -> Drawing:
    """The training picture of that index of the set with seed 3."""
    return draw("tube", 160, np.random.default_rng([3, 0, index]))


def test_a_full_folder_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("keep")
    with pytest.raises(BadOption, match="not an empty folder"):
        write_dataset("tube", tmp_path / "set", 1, 1, 64)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine.txt"]


def test_an_interrupted_set_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset("tube", tmp_path / "set", 3, 3, 64, on_step=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_line_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_line(Line(width=128, height=64, seconds=1), tmp_path / "line.mp4", on_step=interrupt)
    assert list(tmp_path.iterdir()) == []


SHORT = Line("bearing", parts_per_minute=60, fps=12, seconds=4, width=320, height=180, seed=5)


def test_the_truth_of_a_line_fits_the_frames_of_its_video(tmp_path: Path) -> None:
    video, truth_file = write_line(SHORT, tmp_path / "line.mp4")
    truth = json.loads(truth_file.read_text())
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    whole = 0
    for record, drawn in zip(truth["frames"], frames(SHORT), strict=True):
        read, image = capture.read()
        assert read
        error = np.mean((image.astype(float) - drawn.image.astype(float)) ** 2)
        assert error < 60, "the video does not show what was drawn"
        # A ring is much brighter than the belt; rails and belt edges are left out.
        bright = (image[30:150].min(axis=2) > 105).any(axis=0)
        covered = np.zeros(320, bool)
        for part in record["parts"]:
            x0, _, x1, _ = part["box"]
            covered[x0:x1] = True
            whole += part["whole"]
            if part["whole"]:
                assert np.flatnonzero(bright[x0:x1])[[0, -1]] == pytest.approx([0, x1 - x0 - 1], abs=8)
        assert not bright[~covered].any()
    assert not capture.read()[0]
    assert whole > 20


def test_parts_pass_at_the_rate_asked_for(tmp_path: Path) -> None:
    _, truth_file = write_line(SHORT, tmp_path / "line.mp4")
    truth = json.loads(truth_file.read_text())
    entered = [part["first_frame"] for part in truth["parts"]]
    assert [part["id"] for part in truth["parts"]] == list(range(4))
    assert np.diff(entered) == pytest.approx([12, 12, 12], abs=1)
    lefts = [
        part["box"][0] for record in truth["frames"] for part in record["parts"] if part["id"] == 0 and part["whole"]
    ]
    assert np.diff(lefts) == pytest.approx(np.full(len(lefts) - 1, SHORT.speed / 12), abs=1)


def test_objects_of_a_line_lie_where_its_truth_says() -> None:
    line = Line("tube", parts_per_minute=90, fps=10, seconds=3, width=256, height=192, seed=1)
    checked = 0
    for frame in frames(line):
        for part in frame.parts:
            for item in part["objects"]:
                inside = filled(np.array(item["polygon"], np.float32), 192, 256)
                if inside.sum() < 100:
                    continue
                blue, _, red = (frame.image[..., channel][inside].mean() for channel in range(3))
                assert red > 1.7 * blue  # blood
                checked += 1
    assert checked > 10


def test_lines_are_the_same_every_time_and_of_any_length() -> None:
    short, long = (Line(width=128, height=64, fps=5, seconds=seconds, seed=9) for seconds in (1.0, 2.0))
    for first, second in zip(frames(short), list(frames(long))[:5], strict=True):
        assert np.array_equal(first.image, second.image)
        assert first.parts == second.parts


@pytest.mark.parametrize(
    "wrong", [{"fps": 0.0}, {"width": 321}, {"height": 32}, {"parts_per_minute": -1.0}, {"task": "gear"}, {"seed": -1}]
)
def test_impossible_lines_are_refused(wrong: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(BadOption):
        write_line(Line(**wrong), tmp_path / "line.mp4")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_line_is_not_written_over_another(tmp_path: Path) -> None:
    line = Line(width=128, height=64, fps=5, seconds=0.4)
    write_line(line, tmp_path / "line.mp4")
    with pytest.raises(BadOption, match="--overwrite"):
        write_line(line, tmp_path / "line.mp4")
    write_line(line, tmp_path / "line.mp4", overwrite=True)
    with pytest.raises(BadOption, match=r"\.mp4"):
        write_line(line, tmp_path / "line.avi")


def test_the_command_draws_sets_and_lines(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    made = cli("synth", "tube", tmp_path / "set", "--train", 2, "--val", 1, "--size", 64, "--seed", 1, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == {"data": str(tmp_path / "set" / "data.yaml"), "train": 2, "val": 1}
    assert "drawing: 100%" in made.stderr
    made = cli("synth", "line", tmp_path / "l.mp4", "--task", "tube", "--seconds", 0.5, "--width", 128, "--height", 96)
    assert made.returncode == 0, made.stderr
    assert json.loads((tmp_path / "l.json").read_text())["classes"] == ["capp"]
    again = cli("synth", "tube", tmp_path / "set")
    assert again.returncode == 2
    assert again.stderr.startswith("error: ")
    assert "Traceback" not in again.stderr
