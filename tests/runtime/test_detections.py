"""Detections: columns that cannot be changed, chosen by index, handed to other tools."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from lineside.runtime.contract import HeadContract
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption, MissingPackage
from lineside.runtime.geometry import Letterbox
from lineside.runtime.masks import Mask
from lineside.runtime.postprocess import decode
from oracle.heads import outputs_of

SIZE = (70, 110)
NAMES = ("scratch", "dent", "stain")


def found_with(masks: str = "native") -> Detections:
    head = HeadContract(kind="flat", classes=3, coefficients=4, input_size=(64, 96))
    outputs = outputs_of(np.random.default_rng(3), head)
    return decode(outputs, head, Letterbox.fit(SIZE, (64, 96)), conf=0.5, iou=0.3, masks=masks, names=NAMES)


@pytest.fixture(scope="module")
def found() -> Detections:
    answer = found_with()
    assert len(answer) >= 5 and answer.masks is not None and sum(m.area > 0 for m in answer.masks) >= 3
    return answer


def test_columns_have_their_types(found: Detections) -> None:
    n = len(found)
    kinds = {
        "boxes": ((n, 4), "float32"),
        "scores": ((n,), "float32"),
        "classes": ((n,), "int32"),
        "anchors": ((n,), "int32"),
    }
    for name, (shape, dtype) in kinds.items():
        assert getattr(found, name).shape == shape and getattr(found, name).dtype == dtype
    assert (np.diff(found.scores) <= 0).all()
    assert found.names == NAMES and found.image_size == SIZE
    assert "no" in repr(found_with("none")) and f"Detections({n} in 110x70" in repr(found)


def test_nothing_can_be_changed(found: Detections) -> None:
    for name in ("boxes", "scores", "classes", "anchors"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[0] = 0
        with pytest.raises(AttributeError):
            setattr(found, name, None)


def test_arrays_that_were_handed_in_can_change_without_harm(found: Detections) -> None:
    columns = {name: getattr(found, name).copy() for name in ("boxes", "scores", "classes", "anchors")}
    mine = Detections(**columns, masks=None, names=NAMES, image_size=SIZE)
    for array in columns.values():
        array[:] = 0
    np.testing.assert_array_equal(mine.boxes, found.boxes)
    np.testing.assert_array_equal(mine.scores, found.scores)


@pytest.mark.parametrize("masks", ["native", "none"])
def test_rows_are_chosen_like_an_array(masks: str) -> None:
    found = found_with(masks)
    n = len(found)
    choices: list[tuple[Any, Any]] = [
        (0, [0]), (-1, [n - 1]), (np.int64(2), [2]), (slice(1, 4), [1, 2, 3]), (slice(None, None, -2), range(n)[::-2]),
        ([2, 0, 2], [2, 0, 2]), (np.array([4, -1]), [4, n - 1]), (np.arange(n) % 2 == 0, range(0, n, 2)),
        ([], []), (np.zeros(n, bool), []), (found.classes == 1, np.flatnonzero(found.classes == 1)),
    ]  # fmt: skip
    for index, rows in choices:
        part = found[index]
        rows = list(rows)
        assert isinstance(part, Detections) and len(part) == len(rows)
        for name in ("boxes", "scores", "classes", "anchors"):
            np.testing.assert_array_equal(getattr(part, name), getattr(found, name)[rows])
        assert (part.names, part.image_size) == (found.names, found.image_size)
        if found.masks is None:
            assert part.masks is None
        else:
            assert part.masks is not None
            assert [m.rle() for m in part.masks] == [found.masks[r].rle() for r in rows]


def test_iterating_gives_single_ones(found: Detections) -> None:
    singles = list(found)
    assert [len(one) for one in singles] == [1] * len(found)
    assert [one.scores[0] for one in singles] == found.scores.tolist()


@pytest.mark.parametrize("index", [10**6, -(10**6), [10**6], [True], "boxes", 1.5, None, [[0]], True])
def test_a_wrong_index_is_an_index_error(found: Detections, index: Any) -> None:
    with pytest.raises(IndexError):
        found[index]
    assert found.masks is not None
    with pytest.raises(IndexError):
        found.masks[index]


def test_columns_of_different_lengths_are_refused(found: Detections) -> None:
    columns = {name: getattr(found, name) for name in ("boxes", "scores", "classes", "anchors", "masks")}
    for name in ("boxes", "classes", "anchors", "masks"):
        with pytest.raises(BadOption, match=name):
            Detections(**{**columns, name: columns[name][:2]}, names=NAMES, image_size=SIZE)


@pytest.mark.parametrize("masks", ["native", "none"])
def test_to_dict_is_json_that_tells_all(masks: str) -> None:
    found = found_with(masks)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["image_size"] == list(SIZE) and told["names"] == list(NAMES) and len(told["detections"]) == len(found)
    for i, row in enumerate(told["detections"]):
        assert row["box"] == found.boxes[i].tolist() and row["score"] == float(found.scores[i])
        assert row["name"] == NAMES[row["class"]] == NAMES[found.classes[i]]
        if found.masks is None:
            assert "mask" not in row and "area" not in row
        else:
            mask = Mask.from_rle(row["mask"])
            assert row["area"] == found.masks[i].area and mask.iou(found.masks[i]) == 1


def test_to_coco_is_read_by_pycocotools(found: Detections) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools reads what is written")
    notes = json.loads(json.dumps(found.to_coco(7)))
    assert len(notes) == len(found)
    for i, note in enumerate(notes):
        x1, y1, x2, y2 = found.boxes[i].tolist()
        assert (note["image_id"], note["category_id"], note["iscrowd"]) == (7, int(found.classes[i]), 0)
        assert note["bbox"] == [x1, y1, max(0, x2 - x1), max(0, y2 - y1)] and note["score"] == float(found.scores[i])
        assert found.masks is not None
        np.testing.assert_array_equal(coco.decode(note["segmentation"]).astype(bool), found.masks[i].to_array())
        assert note["area"] == coco.area(note["segmentation"])


def test_to_coco_without_masks_has_the_area_of_the_box() -> None:
    for note in found_with("none").to_coco(1):
        assert note["segmentation"] == [] and note["area"] == note["bbox"][2] * note["bbox"][3]


@pytest.mark.parametrize("compact", [True, False])
def test_to_supervision_has_the_same_columns_and_masks(
    found: Detections, compact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision takes what is handed over")
    if not compact:  # as its versions before compact masks
        monkeypatch.delattr(supervision, "CompactMask", raising=False)
    for part in (found, found[:0], found_with("none")):
        theirs = part.to_supervision()
        np.testing.assert_array_equal(theirs.xyxy, part.boxes)
        np.testing.assert_array_equal(theirs.confidence, part.scores)
        np.testing.assert_array_equal(theirs.class_id, part.classes)
        assert list(theirs.data["class_name"]) == [NAMES[c] for c in part.classes]
        if part.masks is None:
            assert theirs.mask is None
            continue
        tables = np.asarray(theirs.mask)
        assert tables.shape == (len(part), *SIZE) and tables.dtype == np.bool_
        assert all(np.array_equal(t, m.to_array()) for t, m in zip(tables, part.masks, strict=True))


def test_to_supervision_says_what_to_install(found: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingPackage, match="pip install supervision"):
        found.to_supervision()
