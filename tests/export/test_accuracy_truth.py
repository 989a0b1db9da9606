"""Labels become the objects that they mean."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside.export.accuracy.classes import match_classes
from lineside.export.accuracy.frames import read_frame
from lineside.export.accuracy.truth import Truth, filled, label_truth, mask_truth, read_objects
from lineside.runtime.errors import DatasetError
from lineside.runtime.masks import Mask

SIZE = (40, 50)


def labelled(folder: Path, text: str, with_masks: bool = True, size: tuple[int, int] = SIZE) -> Truth:
    picture = folder / "images" / "a.png"
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_text(text)
    return label_truth([picture], [size], 3, with_masks)


def line(kind: int, *points: tuple[float, float], size: tuple[int, int] = SIZE) -> str:
    return f"{kind} " + " ".join(f"{x / size[1]:.9f} {y / size[0]:.9f}" for x, y in points) + "\n"


SQUARE = ((10, 10), (20, 10), (20, 25), (10, 25))


class TestOutlines:
    def test_pixels_and_box(self, tmp_path: Path) -> None:
        truth = labelled(tmp_path, line(2, *SQUARE))
        table = Mask.from_rle(truth.masks[0]).to_array()
        want = np.zeros(SIZE, bool)
        want[10:25, 10:20] = True
        assert np.array_equal(table, want)
        assert truth.kinds.tolist() == [2]
        assert truth.boxes[0] == pytest.approx([10, 10, 20, 25], abs=1e-6)
        assert truth.areas.tolist() == [150]

    @given(seed=st.integers(0, 2**31), corners=st.integers(3, 12))
    def test_a_pixel_belongs_to_the_object_when_its_centre_lies_inside(self, seed: int, corners: int) -> None:
        rng = np.random.default_rng(seed)
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(3, 18, corners)
        points = np.stack([25 + radii * np.cos(angles), 20 + radii * np.sin(angles)], 1)
        table = Mask.from_rle(filled(points, SIZE)).to_array()
        outline = points.astype(np.float32)[:, None]
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                distance = cv2.pointPolygonTest(outline, (x + 0.5, y + 0.5), True)
                if abs(distance) > 0.3:  # points are rounded to a fifth of a pixel
                    assert table[y, x] == (distance > 0), (x, y, distance)

    def test_parts_joined_by_a_bridge_there_and_back(self, tmp_path: Path) -> None:
        path = [(5, 5), (12, 5), (12, 12), (5, 12), (5, 5), (30, 30), (38, 30), (38, 38), (30, 38), (30, 30), (5, 5)]
        truth = labelled(tmp_path, line(0, *path))
        table = Mask.from_rle(truth.masks[0]).to_array()
        want = np.zeros(SIZE, bool)
        want[5:12, 5:12] = want[30:38, 30:38] = True
        assert np.array_equal(table, want)
        assert len(truth) == 1

    def test_an_object_too_thin_for_any_pixel_is_told(self, tmp_path: Path) -> None:
        truth = labelled(tmp_path, line(0, (10.6, 3), (10.9, 3), (10.9, 30)) + line(0, *SQUARE))
        assert truth.unseen == 1
        assert truth.areas.tolist() == [0, 150]

    def test_the_same_line_twice_is_one_object(self, tmp_path: Path) -> None:
        assert len(labelled(tmp_path, line(0, *SQUARE) * 2 + "\n" + line(1, *SQUARE))) == 2

    def test_points_a_hair_outside_the_picture(self, tmp_path: Path) -> None:
        truth = labelled(tmp_path, "0 -0.000009 0 1.000009 0 1 1 0 1\n")
        assert truth.areas.tolist() == [SIZE[0] * SIZE[1]]
        assert truth.boxes[0].tolist() == [0, 0, 50, 40]

    def test_a_line_of_four_numbers_is_a_box(self, tmp_path: Path) -> None:
        truth = labelled(tmp_path, "1 0.5 0.5 0.2 0.5\n", with_masks=False)
        assert truth.masks is None
        assert truth.boxes[0] == pytest.approx([20, 10, 30, 30])
        assert truth.areas == pytest.approx([200])
        assert truth.unseen == 0

    def test_a_picture_without_a_label_file_is_empty(self, tmp_path: Path) -> None:
        assert read_objects(tmp_path / "images" / "none.png") == []
        assert len(label_truth([tmp_path / "images" / "none.png"], [SIZE], 1, True)) == 0


def test_masks_that_are_there_already() -> None:
    table = np.zeros(SIZE, bool)
    table[3:9, 4:7] = True
    truth = mask_truth([[], [table]], [SIZE, SIZE])
    assert truth.pictures.tolist() == [1]
    assert truth.boxes.tolist() == [[4, 3, 7, 9]]
    assert truth.areas.tolist() == [18]


class TestFrames:
    def test_grey_and_sixteen_bits_become_what_the_runtime_takes(self, tmp_path: Path) -> None:
        grey = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
        cv2.imwrite(str(tmp_path / "grey.png"), grey)
        cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 256)
        for name in ("grey.png", "deep.png"):
            frame = read_frame(tmp_path / name)
            assert frame.dtype == np.uint8
            assert np.array_equal(frame, np.repeat(grey[..., None], 3, 2))

    @pytest.mark.parametrize("content", [None, b"", b"no picture"])
    def test_a_picture_that_went_away(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.png"):
            read_frame(tmp_path / "a.png")


class TestClasses:
    def test_by_name_in_any_order(self) -> None:
        assert match_classes(("cat", "dog", "bird"), ("bird", "cat")) == [1, None, 0]

    def test_a_model_without_names_is_matched_by_number(self) -> None:
        assert match_classes(("0", "1", "2"), ("bird", "cat")) == [0, 1, None]
        assert match_classes(("class0", "class1"), ("bird", "cat")) == [0, 1]

    def test_a_class_that_the_model_does_not_know(self) -> None:
        with pytest.raises(DatasetError, match=r"class 'horse' and the model has 'cat', 'dog'"):
            match_classes(("cat", "dog"), ("cat", "horse"))
        with pytest.raises(DatasetError, match="class 'a' and the model has '0'"):
            match_classes(("0",), ("a", "b"))

    def test_one_name_for_two_classes(self) -> None:
        with pytest.raises(DatasetError, match="two classes named 'cat'"):
            match_classes(("cat", "dog"), ("cat", "cat"))
