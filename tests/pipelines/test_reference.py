"""What is said of elements is what they take: on the command line, and in docs/elements.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.documents import ROOT
from lineside.pipelines.catalog import ELEMENTS, options_of
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.reference import as_markdown, described

NEEDED = {
    "path": "x", "location": "x.mp4", "url": "rtsp://10.0.0.7/x", "text": "videotestsrc", "bundle": "b.bundle",
}  # fmt: skip
"""A value for each option that has to be given."""


def test_the_document_is_what_the_options_say() -> None:
    assert (ROOT / "docs" / "elements.md").read_text() == as_markdown(), "run: python scripts/elements.py"


@pytest.mark.parametrize("name", ELEMENTS)
def test_every_option_is_described_and_its_default_is_what_it_takes(name: str) -> None:
    it = described(name)
    assert (it.name, it.role, it.says) == (name, ELEMENTS[name].role, ELEMENTS[name].says)
    needed = {option.name: NEEDED[option.name] for option in it.options if option.default is None}
    needed |= {"crop": "0,0,8,8"} if name == "roi" else {}  # one of three is to be given
    usual = options_of(name, needed, "test", text=True)
    assert [option.name for option in it.options] and {option.name for option in it.options} == set(
        usual.__struct_fields__
    )
    for option in it.options:
        assert len(option.says) > 5 and option.says.endswith((".", ")")) and option.kind != "anything", option
        if option.default:
            assert options_of(name, {**needed, option.name: option.default}, "test", text=True) == usual, option


def test_what_is_inherited_is_described_where_another_default_stands() -> None:
    rotate = {name: next(o for o in described(name).options if o.name == "rotate") for name in ("jsonl", "xlsx")}
    assert (rotate["jsonl"].default, rotate["xlsx"].default) == ("", "1d")
    assert rotate["jsonl"].says == rotate["xlsx"].says


def test_the_command_lists_the_elements_and_the_options_of_one(cli) -> None:
    listed = cli("elements", "--json")
    assert listed.returncode == 0 and [it["name"] for it in json.loads(listed.stdout)] == list(ELEMENTS)
    table = cli("elements").stdout
    assert all(name in table for name in ELEMENTS) and "a network camera" in table
    rtsp = cli("elements", "rtsp")
    assert rtsp.returncode == 0 and "a source: a network camera" in rtsp.stdout
    assert all(option.name in rtsp.stdout for option in described("rtsp").options) and "required" in rtsp.stdout
    options = json.loads(cli("elements", "jsonl", "--json").stdout)["options"]
    assert [it["name"] for it in options][:2] == ["path", "events"] and options[0]["default"] == "results.jsonl"


def test_an_element_of_ones_own_is_described_too(cli, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        'class Alarm:\n    """Rings."""\n    def __init__(self, above: int = 3, loud: bool = False) -> None: ...\n'
        "    def write(self, frame) -> None: ...\n"
    )
    done = cli("elements", "own.py:Alarm", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    it = json.loads(done.stdout)
    assert (it["role"], it["says"]) == ("sink", "Rings")
    assert [(o["name"], o["kind"], o["default"]) for o in it["options"]] == [
        ("above", "whole number", "3"), ("loud", "`true`, `false`", "false"),
    ]  # fmt: skip
    parse_launch("synthetic ! own.py:Alarm above=3 loud=false", folder=tmp_path)


def test_an_element_that_there_is_not(cli) -> None:
    done = cli("elements", "jsonll")
    assert done.returncode == 2 and done.stderr.startswith("error: there is no element 'jsonll'; there are: jsonl")
