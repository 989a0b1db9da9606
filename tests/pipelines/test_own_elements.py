"""An element of one's own is one small function or class, wherever elements are named."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.documents import ROOT, blocks, commands
from helpers.media import pictures
from lineside.pipelines.build import build
from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.looks import BranchName
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.runtime.errors import StationError

OWN = '''
"""Elements of a line."""
import json

import numpy as np


def stripes(width: int = 64, count: int = 3):
    """Stripes, one picture after the other."""
    for number in range(count):
        yield np.full((48, width, 3), 10 * number, np.uint8)


def brighten(frame, by: int = 5) -> None:
    frame.show(frame.bgr() + np.uint8(by))


class Note:
    """Writes down what it sees."""

    takes_failed = True

    def __init__(self, path: str, digits: int = 1) -> None:
        self.file, self.digits = open(path, "w"), digits

    def write(self, frame) -> None:
        self.file.write(json.dumps([frame.sequence, frame.source, round(float(frame.bgr().mean()), self.digits)]) + "\\n")

    def close(self) -> None:
        self.file.close()


class Neither:
    pass


def odd(frame, what: "complex" = 1j) -> None:
    pass
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def test_a_source_a_transform_and_a_sink_of_ones_own(place: Path, bundle: Path) -> None:
    text = (
        f"own.py:stripes name=line width=96 count=4 ! own.py:brighten by=7 ! segment name=m bundle={bundle} ! "
        f"own.py:Note path={place}/seen.txt"
    )
    shape = shape_of(parse_launch(text, folder=place))
    assert [node.name for node in shape.sinks] == ["Note"] and [it.name for it in shape.branches[0].before] == [
        "brighten"
    ]
    runner = build(shape, place, Bus()).runner
    runner.start()
    assert runner.join(60)
    assert runner.snapshot()[BranchName("line", "m")].inspected == 4
    lines = [json.loads(line) for line in (place / "seen.txt").read_text().splitlines()]
    assert lines == [[k, "line", 10.0 * k + 7] for k in range(4)]


def test_it_works_in_a_station_file_beside_the_usual_ones(cli, place: Path, bundle: Path, tmp_path: Path) -> None:
    pictures(place / "parts", [(48, 64)] * 2)
    (place / "station.yaml").write_text(
        f"""
station: 1
elements:
  parts: {{pictures: {{path: parts}}}}
  model: {{segment: {{bundle: {bundle}}}}}
  note: {{"own.py:Note": {{path: {place}/seen.txt, digits: 0}}}}
links: parts ! model ! note
"""
    )
    (tmp_path / "elsewhere").mkdir()
    done = cli("station", place / "station.yaml", "--json", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["branches"][0]["counts"]["inspected"] == 2
    assert len((place / "seen.txt").read_text().splitlines()) == 2


def test_the_element_that_the_document_shows_works_with_the_command_that_it_shows(tmp_path: Path) -> None:
    """As its reader does it: the block into own.py, then the command below it."""
    document = ROOT / "docs" / "station.md"
    (block,) = [it for it in blocks(document) if "class Alarm" in it.text]
    (command,) = [it for _, it in commands(document) if "own.py:Alarm" in it]
    (tmp_path / "own.py").write_text(block.text)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    alone = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, "", ""), "a file of elements says nothing by itself"
    words = [sys.executable, "-m", *shlex.split(command), "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *said, report = done.stdout.splitlines()
    (branch,) = json.loads(report)["branches"]
    counts = branch["counts"]
    assert counts["inspected"] == counts["sinks"]["Alarm"]["written"] > 0
    found = [int(it.split()[1]) for it in said if re.fullmatch(r"line: \d+ objects", it)]
    assert len(found) == len(said) > 0 and sum(found) == counts["detections"]


def test_what_it_is_told_reaches_the_element_that_the_document_shows(tmp_path: Path) -> None:
    (block,) = [it for it in blocks(ROOT / "docs" / "station.md") if "class Alarm" in it.text]
    (tmp_path / "own.py").write_text(block.text)
    element = f"{tmp_path}/own.py:brighten"
    frame = Frame(np.full((4, 6, 3), 250, np.uint8))
    make(element, options_of(element, {"by": "3"}, "test", text=True), Place())(frame)
    assert np.unique(frame.bgr()).tolist() == [253]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("own.py:gone ! segment bundle=b ! jsonl", "has no function or class 'gone'"),
        ("nothing.py:stripes ! segment bundle=b ! jsonl", "there is no file"),
        ("own.py:Neither ! jsonl", "is no element: a source has frames"),
        ("own.py:stripes width=wide ! jsonl", r"at `column 1 \(own.py:stripes\).width`: expected `int`"),
        ("own.py:stripes depth=3 ! jsonl", "no use for `depth`.*known here: width, count"),
        ("own.py:stripes ! own.py:Note", "missing required field `path`"),
        ("own.py:stripes ! own.py:odd ! jsonl", "argument that cannot be read from a text"),
        ("broken.py:x ! jsonl", "cannot be loaded: ZeroDivisionError"),
        ("no.such.module:x ! jsonl", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_what_is_no_element_is_refused_with_a_sentence(text: str, says: str, place: Path) -> None:
    (place / "broken.py").write_text("1 / 0\n")
    with pytest.raises(StationError, match=says):
        shape_of(parse_launch(text, folder=place))
