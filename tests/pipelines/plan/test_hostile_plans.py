"""Plans that nobody means well: names that meet, ways that cannot be told apart, graphs without end, secrets misplaced."""

from __future__ import annotations

import datetime
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lineside.pipelines.catalog import ELEMENTS, Options, options_of
from lineside.pipelines.plan.describe import as_svg, as_text
from lineside.pipelines.plan.file import plan_of
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.plan.text import tree_of
from lineside.pipelines.station import parse_station
from lineside.runtime.errors import StationError

TAIL = "segment name=m bundle=b ! jsonl name=j"

WRONG = [
    # Two ways to one end: frames of one would take the other's queue, which then nobody closes.
    (f"synthetic ! tee name=t ! {TAIL}  t. ! roi crop=0,0,9,9 ! m.", "'m'.* is reached from 'synthetic' by two ways"),
    (f"synthetic ! {TAIL}  m. ! overlay ! j.", "'j'.* is reached from 'm' by two ways"),
    ("synthetic ! tee name=t ! record name=r path=p  t. ! roi crop=0,0,9,9 ! r.", "'r'.* by two ways"),
    # Names become parts of files' names.
    (f"synthetic name=a/b ! {TAIL}", "the name 'a/b' at column 1 is none"),
    (f"synthetic name=.. ! {TAIL}", "the name '..' .* is none"),
    (f"synthetic name='' ! {TAIL}", "the name '' .* is none"),
    (f"synthetic name=größe ! {TAIL}", "is none"),
    (f"synthetic name={'x' * 101} ! {TAIL}", "is none"),
    # One film for each source: the second element has the name of the first one's film.
    (
        "synthetic name=a ! tee name=t ! segment name=m bundle=b ! video name=v path=f.mp4  t. ! jsonl name=v-a  "
        "synthetic name=b ! m.",
        "'v'.* needs the name 'v-a' for 'a', which is taken",
    ),
    # Two that write over each other.
    (f"synthetic ! {TAIL}  m. ! csv name=c path=./results.jsonl", "'c'.* writes to './results.jsonl', and so does 'j'"),
    (f"synthetic ! {TAIL}  m. ! jsonl name=k", "'k'.* writes to 'results.jsonl', and so does 'j'"),
    ("synthetic ! coco path=c", "'coco'.* writes down what a model found, and there is no model"),
    # Circles, also behind something that is none.
    (
        f"synthetic ! {TAIL}  roi name=a crop=0,0,1,1 ! roi name=b crop=0,0,1,1 ! a.  b. ! csv",
        "'[ab]'.* own frames back",
    ),
    (f"synthetic ! {TAIL}  roi name=a crop=0,0,1,1 ! a.  a. ! csv", "'a'.* own frames back"),
    # Without end.
    ("synthetic ! " + "roi crop=0,0,9,9 ! " * 600 + TAIL, "more than 500 elements"),
    ("synthetic ! " + "tee ! " * 600 + TAIL, "more than 500 elements"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[says[:40] for _, says in WRONG])
def test_a_plan_that_cannot_work_is_refused(text: str, says: str) -> None:
    with pytest.raises(StationError, match=says):
        shape_of(parse_launch(text))


def test_as_many_elements_as_may_be_one_behind_the_other() -> None:
    text = "synthetic ! " + "tee ! roi crop=0,0,9,9 ! " * 240 + TAIL
    shape = shape_of(parse_launch(text))
    assert len(shape.branches[0].before) == 240
    assert "jsonl" in as_text(shape) and as_svg(shape.plan).count("<rect") == 243


def test_ways_that_grow_with_each_element_end_in_a_sentence() -> None:
    """Sixty rows of two, each joined to both of the next: 2^60 ways."""
    rows = ["synthetic ! roi name=a0 crop=0,0,1,1", "synthetic. ! roi name=b0 crop=0,0,1,1"]
    for k in range(60):
        rows.append(f"a{k}. ! roi name=a{k + 1} crop=0,0,1,1  b{k}. ! a{k + 1}.")
        rows.append(f"a{k}. ! roi name=b{k + 1} crop=0,0,1,1  b{k}. ! b{k + 1}.")
    rows.append(f"a60. ! {TAIL}  b60. ! m.")
    with pytest.raises(StationError, match="by two ways"):
        shape_of(parse_launch("  ".join(rows)))


def test_a_long_file_is_read_in_a_moment() -> None:
    keys = "\n".join(f"k{number}: 1" for number in range(20_000))
    assert len(tree_of(keys.encode(), "s.yaml")) == 20_000
    with pytest.raises(StationError, match="the key 'k7' stands twice"):
        tree_of(f"{keys}\nk7: 2".encode(), "s.yaml")


SECRETS = [
    "url=rtsp://ada:geheim@10.0.0.1/s ! jsonl",
    "synthetic ! url=rtsp://ada:geheim@10.0.0.1/s",
    "rtsp://ada:geheim@10.0.0.1/s ! jsonl",
    "synthetic masks=rtsp://ada:geheim@10.0.0.1/s ! jsonl",
    "synthetic ! segment bundle=b masks=rtsp://ada:geheim@10.0.0.1/s ! jsonl",
    "synthetic ! queue policy=rtsp://ada:geheim@10.0.0.1/s ! jsonl",
    "rtsp name=rtsp://ada:geheim@10.0.0.1/s url=rtsp://x ! jsonl",
    "password=geheim ! jsonl",
    "synthetic ! password=geheim ! jsonl",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_in_the_wrong_place_is_not_repeated(text: str) -> None:
    with pytest.raises(StationError) as caught:
        shape_of(parse_launch(text))
    assert "geheim" not in str(caught.value)
    with pytest.raises(StationError) as caught:
        plan_of(parse_station(f"station: 1\nelements: {{}}\nlinks: ['{text}']".encode(), "s.yaml"), "s.yaml")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "station: 1\nelements: {top: {rtsp: {transport: 'rtsp://ada:geheim@x/'}}}\nlinks: top ! jsonl",
        "station: 1\nelements: {top: {'rtsp://ada:geheim@x/': {}}}\nlinks: top ! jsonl",
        "station: 1\nelements: {'rtsp://ada:geheim@x/': {rtsp: {}}}\nlinks: top ! jsonl",
        "station: 1\n'rtsp://ada:geheim@x/': 1\n'rtsp://ada:geheim@x/': 2",
        "station: 1\nelements: {}\nlinks: []\ntakt: {deadline: 'rtsp://ada:geheim@x/'}",
        "station: 1\nelements: {}\nlinks: []\ntakt: {late: 'rtsp://ada:geheim@x/'}",
        "station: 1\nbundle: b\nsources: [a]\nsegment: {masks: 'rtsp://ada:geheim@x/'}",
    ],
)
def test_a_secret_in_the_wrong_place_of_a_file_is_not_repeated(text: str) -> None:
    with pytest.raises(StationError) as caught:
        parse_station(text.encode(), "s.yaml")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("change", ["rtsp://ada:geheim@x", "rtsp://ada:geheim@x/=1", "top.url.rtsp://ada:geheim@x=1"])
def test_a_secret_in_the_wrong_place_of_a_change_is_not_repeated(change: str) -> None:
    text = "station: 1\nelements: {top: {rtsp: {url: 'rtsp://x'}}}\nlinks: top ! segment bundle=b ! jsonl"
    with pytest.raises(StationError) as caught:
        parse_station(text.encode(), "s.yaml", changes=[change])
    assert "geheim" not in str(caught.value)


def test_a_picture_of_a_plan_is_one_whatever_its_names_are() -> None:
    text = (
        'station: 1\nname: "line \\x01 \\udcff < & \\uffff"\nelements: {top: {pictures: {path: "\\udcff"}}}\n'
        "links: top ! segment bundle=b ! jsonl"
    )
    plan = plan_of(parse_station(text.encode(), "s.yaml"), "s.yaml")  # type: ignore[arg-type]
    assert ElementTree.fromstring(as_svg(plan).encode()) is not None
    assert r"path=\udcff" in as_text(shape_of(plan)).encode().decode()


ODD: list[Any] = [
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 2**64, -(2**70), 10**400, 0.0, -0.5, 0.5, 1e308, float("nan"), float("inf"),
    "", " ", "x", "0", "-1", "1e999", "nan", "inf", "true", "none", "never", "5s", "-5s", "9" * 400 + "s", "1e9d", "64x48",
    "0x0", "99999x99999", "0,0,0,0", "1,2,3,4", "-1,-2,3,4", "1,2,3", "a,b", "0.5%", "1GB", "-1GB", "9" * 400 + "TB", "\0",
    "a\0b", "\udcff", "ä" * 300, "x" * 5000, "../..", "/", "/dev/null", "~", "~nobody/x", "rtsp://", "rtsp://u:p@h/", "!",
    "(", "[", "*" * 30, "{}", "%s", "%d" * 50, "%(", "${x}", "#", [], [1], ["x"] * 3, [[0, 0], [1, 1], [0, 1]], {}, {"a": 1},
    {"a": {"b": [None]}}, datetime.date(2026, 1, 1), b"\xff", {1, 2}, object,
]  # fmt: skip
values = st.one_of(st.sampled_from(ODD), st.text(max_size=6), st.integers(), st.floats())
words = st.one_of(st.sampled_from([it for it in ODD if isinstance(it, str)]), st.text(max_size=6))
PROPERTIES = ("patience_ns", "size", "thresholds")


def told(element: str, said: dict[str, Any], text: bool) -> Options | None:
    """The options; None where they are refused as they should be."""
    try:
        return options_of(element, said, "s.yaml", at="elements.x", text=text)
    except StationError as error:
        assert str(error).startswith("s.yaml ")
        return None


@pytest.mark.parametrize("element", sorted(ELEMENTS))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_options_of_any_kind_are_taken_or_refused_in_a_sentence(element: str, data: st.DataObject) -> None:
    names = known(element)
    key = st.sampled_from([*names, "no such option"]) if names else st.just("x")
    told(element, data.draw(st.dictionaries(key, values, max_size=4)), text=False)
    told(element, data.draw(st.dictionaries(key, words, max_size=4)), text=True)


def known(element: str) -> list[str]:
    """Names of the options of an element, as its own refusal lists them."""
    with pytest.raises(StationError) as caught:
        options_of(element, {"no such option": 1}, "s.yaml")
    _, _, names = str(caught.value).partition("known here: ")
    return [name for name in names.split(", ") if name != "nothing"]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
@example("tee . ! .")
@example(". ! . ! .")
@example("synthetic ! t.  tee name=t ! t.")
def test_any_text_is_a_plan_or_refused_in_a_sentence(text: str) -> None:
    with suppress(StationError):
        shape_of(parse_launch(text))
    with suppress(StationError):
        parse_station(text.encode("utf-8", "ignore"), "s.yaml")


row = st.lists(
    st.sampled_from(
        ["!", "!", "tee", "tee name=t", "t.", "queue policy=latest", "synthetic", "synthetic name=s", "s.", "roi crop=0,0,1,1",
         "segment bundle=b", "segment name=m bundle=b", "m.", "jsonl", "jsonl name=j", "j.", "track", "overlay", "name=x"]
    ),
    max_size=14,
).map(" ".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(row, st.lists(row, max_size=2))
def test_any_row_of_elements_is_a_plan_or_refused_in_a_sentence(first: str, others: list[str]) -> None:
    try:
        shape = shape_of(parse_launch("  ".join([first, *others])))
    except StationError:
        return
    assert as_text(shape) and as_svg(shape.plan)
    for branch in shape.branches:  # each end has one way to it
        assert len({it.sink.name for it in branch.outlets}) == len(branch.outlets)
    assert len({(it.source.name, it.model.name) for it in shape.branches}) == len(shape.branches)


def test_a_text_with_nul_is_refused_with_its_place(tmp_path: Path) -> None:
    text = 'station: 1\nelements: {j: {jsonl: {path: "a\\0b"}}}\nlinks: synthetic ! segment bundle=b ! j'
    with pytest.raises(StationError, match=r"s\.yaml is wrong at `elements.j.jsonl.path`: .*NUL"):
        parse_station(text.encode(), "s.yaml", tmp_path)
