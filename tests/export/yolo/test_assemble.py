"""Models put together from a base and a change: numbers of the base in, a whole structure out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside.export.yolo.assemble import assemble
from lineside.runtime.errors import WeightsError

BASE: dict[str, Any] = {
    "nc": 80,
    "scales": {"n": [0.5, 0.25, 1024]},
    "backbone": [[-1, 1, "A", [1]], [-1, 1, "B", [2]], [-1, 2, "C", [3]], [-1, 1, "D", [4]]],
    "head": [[-1, 1, "Up", []], [[-1, 2], 1, "Cat", [1]], [-1, 1, "E", [5]], [[2, 3, 6], 1, "Segment", ["nc"]]],
}


def rows(change: dict[str, Any]) -> list[str]:
    """The whole structure, a short text per row: ``from block``."""
    made = assemble(change, BASE, "test.yaml")
    return [f"{row[0]} {row[2]}" for row in made["backbone"] + made["head"]]


def test_no_change_is_the_base() -> None:
    assert assemble({}, BASE, "test.yaml") == BASE


def test_a_row_in_place_of_another() -> None:
    assert rows({"replace": {2: [-1, 1, "X", []]}})[2] == "-1 X"


def test_several_rows_in_place_of_one_shift_what_comes_behind() -> None:
    change = {"replace": {2: [[-1, 1, "X", []], [[-1, 0], 1, "Y", []]]}}
    assert rows(change) == [
        "-1 A", "-1 B", "-1 X", "[-1, 0] Y", "-1 D", "-1 Up", "[-1, 3] Cat", "-1 E", "[3, 4, 7] Segment",
    ]  # fmt: skip


def test_rows_behind_a_layer_are_what_others_read() -> None:
    change = {"insert": {2: [[2, 1, "X", []], [[-1, -2], 1, "Y", []]]}}
    assert rows(change)[2:5] == ["-1 C", "2 X", "[-1, 2] Y"]
    assert rows(change)[-3:] == ["[-1, 4] Cat", "-1 E", "[4, 5, 8] Segment"]


def test_what_followed_a_removed_layer_reads_what_was_before_it() -> None:
    assert rows({"replace": {4: [[3, 2], 1, "Fuse", []]}, "remove": [5]})[4:] == [
        "[3, 2] Fuse", "-1 E", "[2, 3, 5] Segment",
    ]  # fmt: skip


def test_a_backbone_with_taps() -> None:
    assert rows({"backbone": {"row": [-1, 1, "Net", []], "taps": {2: 1, 3: 2}}}) == [
        "-1 Net", "0 Tap", "0 Tap", "-1 Up", "[-1, 1] Cat", "-1 E", "[1, 2, 5] Segment",
    ]  # fmt: skip


def test_a_head_of_several_rows() -> None:
    head = [[[2, 3, 6], 1, "Enc", []], [-1, 1, "Tap", [0]], [-2, 1, "Tap", [1]], [[-1, -2], 1, "Segment", ["nc"]]]
    assert rows({"head": head})[-4:] == ["[2, 3, 6] Enc", "-1 Tap", "7 Tap", "[-1, 8] Segment"]


def test_other_keys_win_over_the_base_and_neither_is_touched() -> None:
    change = {"nc": 3, "replace": {1: [-1, 1, "X", [{"k": 1}]]}}
    made = assemble(change, BASE, "test.yaml")
    made["backbone"][1][3][0]["k"] = 2
    assert made["nc"] == 3 and "replace" not in made and made["scales"] == BASE["scales"]
    assert change["replace"][1][3] == [{"k": 1}] and BASE["nc"] == 80 and BASE["backbone"][1][2] == "B"


@given(st.dictionaries(st.integers(0, 6), st.integers(1, 3), max_size=4), st.dictionaries(st.integers(0, 6), st.integers(1, 2), max_size=3))  # fmt: skip
def test_whatever_moves_everyone_reads_who_stands_for_what_he_read(
    replaced: dict[int, int], added: dict[int, int]
) -> None:
    """Each row gets a name of its own; a plain walk over the finished rows finds the names that were meant."""
    change = {
        "replace": {layer: [[-1, 1, f"R{layer}.{part}", []] for part in range(count)] for layer, count in replaced.items()},
        "insert": {layer: [[-1, 1, f"I{layer}.{part}", []] for part in range(count)] for layer, count in added.items()},
    }  # fmt: skip
    made = assemble(change, BASE, "test.yaml")
    finished = made["backbone"] + made["head"]
    names = [row[2] for row in finished]
    assert len(names) == 8 + sum(count - 1 for count in replaced.values()) + sum(added.values())

    def stands_for(layer: int) -> str:
        if layer in added:
            return f"I{layer}.{added[layer] - 1}"
        return (
            f"R{layer}.{replaced[layer] - 1}" if layer in replaced else str((BASE["backbone"] + BASE["head"])[layer][2])
        )

    read = {name: [names[place + s if s < 0 else s] for s in (row[0] if isinstance(row[0], list) else [row[0]])]
            for place, (name, row) in enumerate(zip(names, finished, strict=True)) if place}  # fmt: skip
    assert read["Segment"] == [stands_for(2), stands_for(3), stands_for(6)]
    if "Cat" in read:
        assert read["Cat"] == [stands_for(4), stands_for(2)]
    for name, sources in read.items():
        if name not in {"Segment", "Cat"}:
            assert sources == [names[names.index(name) - 1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"replace": {8: [-1, 1, "X", []]}}, "'replace' names layer 8, and the base has the layers 0 to 7"),
        ({"replace": {"2": [-1, 1, "X", []]}}, "'replace' names layer '2'"),
        ({"replace": [1]}, "'replace' is no mapping"),
        ({"replace": {2: [-1, "X", []]}}, "holds .*which is no row"),
        ({"replace": {2: [-1, 1, "X", {}]}}, "which is no row"),
        ({"replace": {2: [True, 1, "X", []]}}, "which is no row"),
        ({"replace": {2: [2, 1, "X", []]}}, "reads layer 2, which does not come before it"),
        ({"remove": [2]}, "a row at layer 5 reads layer 2, which is removed"),
        ({"remove": 2}, "'remove' is no list"),
        ({"remove": [2], "insert": {2: [-1, 1, "X", []]}}, "inserts behind layer 2, which it removes"),
        ({"backbone": {"row": [-1, 1, "X", []]}}, "no mapping with 'row' and 'taps'"),
        ({"backbone": {"row": [-1, 1, "X", []], "taps": {}}}, "'taps' says for no layer"),
        ({"backbone": {"row": [-1, 1, "X", []], "taps": {"a": 0}}}, "'taps' names layer 'a'"),
        ({"backbone": {"row": [-1, 1, "X", []], "taps": {2: 0.5}}}, "'taps' gives layer 2 the map 0.5"),
        ({"backbone": {"row": [-1, 1, "X", []], "taps": {2: -1}}}, "'taps' gives layer 2 the map -1"),
        (
            {"backbone": {"row": [-1, 1, "X", []], "taps": {2: 0}}, "replace": {1: [-1, 1, "Y", []]}},
            "both 'replace' and 'backbone' change layer 1",
        ),
        ({"remove": [1], "replace": {1: [-1, 1, "Y", []]}}, "both 'replace' and 'remove' change layer 1"),
        ({"head": [-1, 1, "X", []], "replace": {7: [-1, 1, "Y", []]}}, "both 'replace' and 'head' change layer 7"),
        ({"replaces": {1: [-1, 1, "X", []]}}, "it has the key 'replaces', which means nothing"),
        ({"replace": {1: [-1, 0, "X", []]}}, "repeats its block 0 times"),
        ({"replace": {1: [-1, True, "X", []]}}, "repeats its block True times"),
        ({"replace": {1: [-9, 1, "X", []]}}, "reads -9, further back than there are layers"),
        ({"head": 7}, "'head' holds 7"),
    ],
)
def test_a_change_that_does_not_fit(change: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsError, match=f"'mine.yaml' cannot be put together: .*{said}"):
        assemble(change, BASE, "mine.yaml")
