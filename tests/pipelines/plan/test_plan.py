"""A launch string and a station file say the same thing, and what cannot be meant is refused with its place."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside.pipelines.link import Policy
from lineside.pipelines.plan.data import Plan, Takt, Wire
from lineside.pipelines.plan.describe import as_svg, as_text
from lineside.pipelines.plan.file import plan_of
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.plan.words import words
from lineside.pipelines.station import parse_station
from lineside.runtime.errors import StationError

ROW = (
    "synthetic name=top fps=5 ! queue policy=latest priority=2 ! segment name=model bundle=b.bundle conf=0.3 "
    '! tee name=t ! jsonl name=lines path="a line.jsonl"  t. ! queue policy=drop-oldest:9 ! csv  '
    "pictures name=side path=parts ! model."
)
FILE = """
station: 1
name: bearing line
elements:
  top: {synthetic: {fps: 5}}
  side: {pictures: {path: parts}}
  model: {segment: {bundle: b.bundle, conf: 0.3}}
  lines: {jsonl: {path: a line.jsonl}}
  csv: {csv: }
links:
  - top ! queue policy=latest priority=2 ! model ! tee ! lines
  - model ! queue policy=drop-oldest:9 ! csv
  - side ! model
takt: {deadline: 400ms, late: drop, sources: {side: 1s}}
"""


def from_file(text: str) -> Plan:
    graph = parse_station(text.encode(), "line.yaml")
    return plan_of(graph, "line.yaml")  # type: ignore[arg-type]


def test_a_launch_string_and_a_file_are_the_same_graph() -> None:
    row, file = parse_launch(ROW), from_file(FILE)
    assert dict(row.nodes) == dict(file.nodes)
    assert set(row.wires) == set(file.wires)
    assert set(row.wires) == {
        Wire("top", "model", Policy("latest"), 2),
        Wire("side", "model"),
        Wire("model", "lines"),
        Wire("model", "csv", Policy("drop-oldest", 9)),
    }
    assert file.takt == Takt(400_000_000, "drop", {"side": 1_000_000_000}) and file.name == "bearing line"


def test_what_a_plan_means() -> None:
    shape = shape_of(from_file(FILE))
    top, side = shape.branches
    assert (top.source.name, top.model.name, top.policy, top.priority) == ("top", "model", Policy("latest"), 2)
    assert (side.source.name, side.model.name, side.policy) == ("side", "model", None)
    assert [(it.sink.name, it.policy) for it in side.outlets] == [("lines", None), ("csv", Policy("drop-oldest", 9))]
    assert [shape.plan.takt.deadline_of(it.name) for it in shape.sources] == [400_000_000, 1_000_000_000]


def test_a_source_may_go_to_a_sink_without_a_model() -> None:
    shape = shape_of(parse_launch("synthetic ! tee name=t ! segment bundle=b ! jsonl  t. ! record path=kept"))
    assert [outlet.sink.name for outlet in shape.direct["synthetic"]] == ["record"]
    assert [outlet.sink.name for outlet in shape.branches[0].outlets] == ["jsonl"]


WRONG = [
    ("", "is empty"),
    ("fps=3", "begins with 'fps=3'"),
    ("! jsonl", "'!' at column 1 has no element"),
    ("synthetic ! ! jsonl", "'!' at column 13"),
    ("synthetic !", "ends with a '!'"),
    ("synthetc ! jsonl", "column 1: there is no element 'synthetc'; there are: synthetic"),
    ("synthetic fsp=3 ! jsonl", r"no use for `fsp` in `column 1 \(synthetic\)`; known here: .*size, fps"),
    ("synthetic fps=fast ! jsonl", r"at `column 1 \(synthetic\).fps`"),
    ("synthetic fps=1 fps=2 ! jsonl", "fps= stands twice"),
    ("synthetic ! segment ! jsonl", "missing required field `bundle`"),
    ("synthetic ! segment bundle=b masks=fine ! jsonl", "allowed: native, proto, none"),
    ("synthetic ! queue ! segment bundle=b ! jsonl", "policy"),
    ("synthetic ! queue policy=newest ! segment bundle=b ! jsonl", "write latest, every"),
    ("synthetic ! queue policy=latest ! queue policy=latest ! segment bundle=b ! jsonl", "two queues"),
    ("synthetic ! segment bundle=b ! t.", "'t.' at column 32"),
    ("synthetic name=a ! segment name=a bundle=b ! jsonl", "two elements have the name 'a'"),
    ("synthetic ! tee name=t", "'t' stands between elements"),
    ('synthetic ! segment bundle="b ! jsonl', "quote at column 28"),
    ("segment bundle=b ! jsonl", "has no source; begin with one, such as rtsp, file or synthetic"),
    ("video ! segment bundle=b ! jsonl", "has no source"),
    ("synthetic ! segment bundle=b", "'segment'.* leads nowhere"),
    ("synthetic ! segment bundle=b ! jsonl ! csv", "'jsonl'.* is a sink"),
    ("synthetic ! segment bundle=b ! jsonl  csv", "'csv'.* gets no frames"),
    ("synthetic ! pictures path=x ! jsonl", "'pictures'.* cannot take frames"),
    ("synthetic ! segment bundle=b ! segment bundle=c ! jsonl", "stands behind the model"),
    ("synthetic ! segment name=m bundle=b ! jsonl  m. ! jsonl.", "joined to 'jsonl' twice"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_a_launch_string_that_cannot_be_meant(text: str, says: str) -> None:
    with pytest.raises(StationError, match=says):
        shape_of(parse_launch(text))


FAULTS = [
    ("fps: 5", "fsp: 5", r"no use for `fsp` in `elements.top.synthetic`; known here: .*size, fps"),
    ("fps: 5", "fps: quick", "at `elements.top.synthetic.fps`"),
    ("{synthetic: {fps: 5}}", "{synthetic: {}, jsonl: {}}", "`elements.top`: write one kind"),
    ("synthetic:", "synthetik:", "at `elements.top`: there is no element 'synthetik'"),
    ("  top:", "  tee:", "wrong at `elements.tee`"),
    ("- side ! model", "- side ! modle", r"links\[2\] column 8: there is no element 'modle'"),
    ("400ms", "soon", "at `takt.deadline`: 'soon' is not a time"),
    ("late: drop", "late: never", "at `takt.late`.*allowed: .*keep"),
    ("sources: {side: 1s}", "sources: {sied: 1s}", "takt names 'sied'.*there are: top, side"),
    ("name: bearing line", "nmae: bearing line", "no use for `nmae`; known here: station, elements"),
]


@pytest.mark.parametrize(("old", "new", "says"), FAULTS, ids=[new for _, new, _ in FAULTS])
def test_a_file_that_cannot_be_meant(old: str, new: str, says: str) -> None:
    assert old in FILE
    with pytest.raises(StationError, match=rf"line\.yaml.*{says}"):
        shape_of(from_file(FILE.replace(old, new)), "line.yaml")


def test_a_plan_in_words_and_as_a_picture(tmp_path: Path) -> None:
    plan = from_file(FILE)
    text = as_text(shape_of(plan))
    assert "synthetic name=top fps=5" in text and "-[latest]-> segment name=model" in text
    assert "-[drop-oldest:9]-> csv" in text and "deadline side: 1000 ms, late results: drop" in text
    root = ElementTree.fromstring(as_svg(plan))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}g")) == len(plan.nodes)
    assert len(root.findall(f"{space}path")) == len(plan.wires)
    assert "http" not in as_svg(plan).replace("http://www.w3.org/2000/svg", "")


def test_credentials_are_not_described() -> None:
    plan = parse_launch("rtsp url=rtsp://worker:geheim@10.0.0.7/one ! segment bundle=b ! jsonl")
    for text in (as_text(shape_of(plan)), as_svg(plan)):
        assert "10.0.0.7" in text and "geheim" not in text and "worker" not in text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=6))
def test_quoted_words_come_out_as_they_went_in(parts: list[str]) -> None:
    quoted = " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)
    assert [word.text for word in words(quoted)] == parts
