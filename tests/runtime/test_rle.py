"""COCO run lengths, beside pycocotools."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.runtime.errors import BadOption
from lineside.runtime.masks import Mask, Masks

coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is what the run lengths are compared with")


def theirs(table: Any) -> str:
    encoded: str = coco.encode(np.asfortranarray(table.astype(np.uint8)))["counts"].decode("ascii")
    return encoded


@settings(max_examples=200)
@given(
    st.integers(0, 2**32), st.tuples(st.integers(1, 60), st.integers(1, 60)), st.sampled_from([0, 0.02, 0.5, 0.98, 1])
)
def test_equal_to_pycocotools_both_ways(seed: int, size: tuple[int, int], share: float) -> None:
    table = np.random.default_rng(seed).random(size) < share
    mask = Mask.from_array(table)
    rle = mask.rle()
    assert rle == {"size": list(size), "counts": theirs(table)}
    for form in (rle, {"size": size, "counts": rle["counts"].encode()}):
        np.testing.assert_array_equal(Mask.from_rle(form).spans, mask.spans)


def test_what_one_does_to_run_lengths_another_does_not_see() -> None:
    tables = [np.eye(4, 6, k, dtype=bool) for k in range(3)]
    masks = Masks.of([Mask.from_array(table) for table in tables], (4, 6))
    first = masks[1].rle()
    first["size"][0], first["counts"] = 9, ""
    again = masks[1].rle()
    assert again == {"size": [4, 6], "counts": theirs(tables[1])}
    assert masks[1].rle()["counts"] is again["counts"], "computed once"
    for other in (masks[::-1], pickle.loads(pickle.dumps(masks)), copy.deepcopy(masks)):
        assert sorted(mask.rle()["counts"] for mask in other) == sorted(map(theirs, tables))
        assert other[1].rle() == again


@pytest.mark.parametrize("rows, columns", [((5, 1000), (3, 900)), ((0, 3648), (0, 5472)), ((3647, 3648), (5471, 5472))])
def test_large_pictures(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    table = np.zeros((3648, 5472), bool)
    table[slice(*rows), slice(*columns)] = True
    mask = Mask.from_array(table)
    assert mask.rle()["counts"] == theirs(table)
    np.testing.assert_array_equal(Mask.from_rle(mask.rle()).spans, mask.spans)


@pytest.mark.parametrize(
    "counts", ["", "1", "P", "04\x10", "é", "5", "\u007f", "o" * 40, "0" * 3 + "l4", "N"], ids=lambda text: ascii(text)
)
def test_text_that_is_no_run_length_is_refused(counts: str) -> None:
    with pytest.raises(BadOption, match="run lengths"):
        Mask.from_rle({"size": [2, 2], "counts": counts})


@pytest.mark.parametrize(
    "rle", [{}, {"size": [2, 2]}, {"size": [2], "counts": "4"}, {"size": [2**40, 2], "counts": "4"}]
)
def test_what_is_not_even_a_run_length_is_refused(rle: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match="run lengths"):
        Mask.from_rle(rle)


@settings(max_examples=200)
@given(st.text(alphabet=[chr(c) for c in range(40, 120)], max_size=12), st.integers(1, 9), st.integers(1, 9))
def test_any_text_is_read_or_refused_and_never_runs_over(counts: str, height: int, width: int) -> None:
    try:
        mask = Mask.from_rle({"size": [height, width], "counts": counts})
    except BadOption:
        return
    assert Mask.from_rle(mask.rle()).to_array().tolist() == mask.to_array().tolist()
    assert mask.to_array().shape == (height, width)
