"""``--set ELEMENT.OPTION=VALUE``: options of a station file, changed by whoever starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineside.pipelines.plan.data import Plan
from lineside.pipelines.plan.file import StationGraph, plan_of
from lineside.pipelines.station import parse_station
from lineside.runtime.errors import StationError

TEXT = b"""
station: 1
elements:
  line: {synthetic: {fps: 4, size: "64x48"}}
  top: {rtsp: {url: "rtsp://10.0.0.7/stream"}}
  model: {segment: {bundle: b.bundle}}
  lines: {jsonl: {path: lines.jsonl}}
  shots: {images: }
links: [line ! model ! lines, top ! model ! shots]
"""


def plan(*changes: str, text: bytes = TEXT) -> Plan:
    graph = parse_station(text, "line.yaml", Path(), changes)
    assert isinstance(graph, StationGraph)
    return plan_of(graph, "line.yaml")


def test_words_become_what_the_option_is() -> None:
    nodes = plan(
        "line.fps=2.5", "line.count=7", "lines.sync=each", "shots.draw=false", "shots.only=found", "model.conf=0.5",
        "top.url=rtsp://camera/x?a=b=c", "lines.rotate=1h", "lines.rotate=",
    ).nodes  # fmt: skip
    told = {name: node.options for name, node in nodes.items()}
    assert (told["line"].fps, told["line"].count, told["line"].size) == (2.5, 7, "64x48")  # type: ignore[attr-defined]
    assert (told["shots"].draw, told["shots"].only) == (False, "found")  # type: ignore[attr-defined]
    assert told["model"].conf == 0.5 and told["model"].bundle == "b.bundle"  # type: ignore[attr-defined]
    assert told["top"].url == "rtsp://camera/x?a=b=c"  # type: ignore[attr-defined]
    assert (told["lines"].path, told["lines"].sync, told["lines"].rotate) == ("lines.jsonl", "each", "")  # type: ignore[attr-defined]


def test_an_option_that_the_file_left_out_may_be_given() -> None:
    text = TEXT.replace(b"{bundle: b.bundle}", b"")
    with pytest.raises(StationError, match="bundle"):
        plan(text=text)
    assert plan("model.bundle=other.bundle", text=text).nodes["model"].options.bundle == "other.bundle"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("line.fps=fast", r"--set is wrong at `line\.fps`: expected `float`, got `str`"),
        ("line.fps=0", r"--set is wrong at `line\.fps`: expected `float` > 0"),
        ("shots.only=some", r"`shots\.only`.*allowed: all, found"),
        ("line.pace=5", r"--set has no use for `pace` in `line`; known here: .*fps"),
        ("lime.fps=5", r"--set lime\.fps: the station has no element 'lime'; there are: line, top, model"),
        ("line=5", r"--set line: write ELEMENT\.OPTION=VALUE"),
        ("line.fps", r"--set line\.fps: write"),
        (".fps=5", r"write"),
        ("line.=5", r"write"),
        ("lines.keep=30d", r"line\.yaml is wrong at `elements\.lines\.jsonl`: .*there are none"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(change: str, says: str) -> None:
    with pytest.raises(StationError, match=says):
        plan(change)


def test_values_are_not_repeated() -> None:
    for change in ("top.password.x=hush-hush", "top.url=rtsp://kim:hush-hush pw@c/1", "nobody.password=hush-hush"):
        with pytest.raises(StationError) as caught:
            plan(change)
        assert "hush-hush" not in str(caught.value)


def test_a_file_without_elements_has_nothing_to_change() -> None:
    with pytest.raises(StationError, match="names no elements"):
        parse_station(b"station: 1\nbundle: b\nsources: [x]\n", "line.yaml", Path(), ["a.b=c"])
