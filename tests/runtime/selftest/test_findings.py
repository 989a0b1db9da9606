"""What a selftest finds out about a machine, how it keeps what it found, and what its page looks like."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from helpers.selftested import JETSON, machine
from lineside.runtime.bundle import open_bundle
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption, DeviceLost, EngineFailed, EngineUnavailable
from lineside.runtime.selftest import run
from lineside.runtime.selftest.findings import Line, Report, Sample, Table, checked, failed, unchecked
from lineside.runtime.selftest.frames import compare
from lineside.runtime.selftest.page import page_of
from lineside.runtime.selftest.percentiles import percentiles
from lineside.runtime.selftest.resources import over_time
from lineside.runtime.selftest.run import one_check, selftest
from lineside.runtime.selftest.subject import Options, Subject
from lineside.runtime.selftest.table import CHECKS, TITLES, find_check
from lineside.runtime.selftest.trace import Trace
from lineside.runtime.selftest.writing import check_place, write_report

HOSTILE = "<script>alert('x')</script> & \"quotes\""


@pytest.fixture
def subject(repository: Path, tmp_path: Path):
    made = Subject(open_bundle(repository / "demo/bearing.bundle"), Options(engine="host", root=tmp_path), HostDevice())
    yield made
    made.close()


def by_name(findings) -> dict[str, Line]:
    return {one.name: one for one in findings}


class TestEnvironment:
    def test_a_jetson(self, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        machine(tmp_path / "root")
        tools = tmp_path / "bin"
        tools.mkdir()
        (tools / "nvpmodel").write_text("#!/bin/sh\necho 'NV Power Mode: MAXN'\necho 0\n")
        (tools / "nvpmodel").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        subject.options = Options("host", root=tmp_path / "root")
        found = by_name(find_check("environment")(subject))
        assert found["board"].text == "NVIDIA Jetson AGX Orin Developer Kit"
        assert found["JetPack"].text == "Jetson Linux 36.4.3, JetPack 6"
        assert found["power mode"].text == "MAXN"
        assert "17000000.gpu 1300 MHz" in found["clocks"].text and "governor schedutil" in found["clocks"].text
        assert found["temperatures"].text == "cpu-thermal 48.5 C, gpu-thermal 51.2 C"
        assert found["memory"].text == "62841 MB"
        assert {line.verdict for line in found.values()} == {"checked", "not checked"}

    def test_a_machine_that_shows_nothing(
        self, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        found = by_name(find_check("environment")(subject))
        for name in ("JetPack", "power mode", "clocks", "temperatures", "memory", "CUDA"):
            assert found[name].verdict == "not checked", name
            assert found[name].text.startswith("not checked, because "), found[name].text
        assert "host device" in found["device"].text


def test_samples_follow_the_machine(tmp_path: Path) -> None:
    root = machine(tmp_path)
    with Trace(root, every=3600) as trace:
        trace.check = "latency"
        (root / "sys/class/thermal/thermal_zone1/temp").write_text("70000\n")
    last = trace.samples[-1]
    assert last.check == "latency"
    assert last.values == {
        "cpu-thermal C": 48.53,
        "gpu-thermal C": 70.0,
        "17000000.gpu MHz": 1300.5,
        "cpu MHz": 2201.6,
        "process MB": 100.0,
        "process peak MB": 200.0,
        "free MB": 58593.75,
    }
    assert "sys/class/thermal/thermal_zone2/type" in JETSON  # it has no temperature, and costs no sample


def test_what_happened_over_time() -> None:
    samples = [
        Sample(seconds=1, check="", values={"gpu C": 40.0, "gpu MHz": 1300.0, "free MB": 500.0}),
        Sample(seconds=2, check="", values={"gpu C": 81.5, "gpu MHz": 900.0, "free MB": 300.0}),
    ]
    found = by_name(over_time(samples))
    assert found["temperatures over time"].text == "highest gpu 81.5 C"
    assert found["clocks over time"].text == "from gpu 900 to 1300 MHz"
    assert found["memory left on the machine"].figures == {"mb": 300.0}
    assert {line.verdict for line in over_time([])} == {"not checked"}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (EngineFailed("the device refuses: do this"), "the device refuses: do this"),
        (DeviceLost("gone"), "gone; what comes after it can fail for that alone"),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh"),
    ],
)
def test_an_error_is_the_last_line_of_its_check(subject: Subject, error: Exception, says: str) -> None:
    def check(subject: Subject):
        yield checked("first", "fine")
        raise error

    first, last = one_check("replay", check, subject)
    assert (first.verdict, last.verdict, last.text) == ("checked", "failed", says)
    assert {first.check, last.check} == {"replay"}


def test_every_check_has_a_function_and_a_title() -> None:
    assert list(CHECKS) == list(TITLES)


def test_a_check_that_is_not_there(subject: Subject) -> None:
    with pytest.raises(BadOption, match=r"no check 'speed'.*latency"):
        selftest(subject.bundle, subject.options, ["speed"])


def test_an_engine_that_is_no_gpu(subject: Subject) -> None:
    with pytest.raises(BadOption, match="tensorrt, host"):
        run.open_device("onnxruntime")


def test_percentiles_are_nearest_ranks() -> None:
    found = percentiles([float(value) for value in range(1000, 0, -1)])
    assert found == {"p50": 500.0, "p90": 900.0, "p99": 990.0, "p99.9": 999.0, "max": 1000.0}


def report(**changes) -> Report:
    made = Report(
        passed=False,
        bundle=HOSTILE,
        model_sha256="ab" * 32,
        engine="host",
        device="host device",
        real=False,
        lineside="0.1",
        created="2026-01-01T00:00:00+00:00",
        seconds=12.5,
        options={"frames": 10},
        lines=(
            Line(check="parity", name="masks", verdict="checked", text="IoU 0.99"),
            Line(check="kernels", name=HOSTILE, verdict="failed", text=HOSTILE),
            msgspec.structs.replace(unchecked("JetPack", "this is no Jetson"), check="environment"),
        ),
        tables=(
            Table(check="latency", title="Latency", columns=("stage", "p50"), rows=((HOSTILE, 1.25), ("b", None))),
        ),
        trace=tuple(
            Sample(seconds=at / 2, check="latency", values={"gpu C": 40.0 + at, "gpu MHz": 1300.0}) for at in range(20)
        ),
    )
    return msgspec.structs.replace(made, **changes)


class Text(HTMLParser):
    """Reads a page: its tags, its text, and whatever it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append(tag)
        self.loads += [value for key, value in attrs if key in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


class TestPage:
    def test_it_says_everything_and_loads_nothing(self) -> None:
        page = page_of(report())
        read = Text(page)
        assert "script" not in read.tags and not read.loads and "url(" not in page
        assert read.text.count(HOSTILE) >= 5  # title, heading, the failed line twice over, the table
        assert "FAILED" in read.text and "this is no Jetson" in read.text
        assert "1.25" in read.text and "ab" * 32 in read.text
        assert read.tags.count("polyline") == 2 and "Temperatures over time" in read.text

    def test_what_failed_stands_first(self) -> None:
        text = Text(page_of(report())).text
        assert text.index("What failed") < text.index("Environment")
        passing = report(passed=True, lines=(Line(check="parity", name="masks", verdict="checked", text="fine"),))
        assert "What failed" not in page_of(passing)

    def test_a_gpu_is_not_called_a_host_device(self) -> None:
        assert "in the place of a GPU" in page_of(report())
        assert "in the place of a GPU" not in page_of(report(real=True))


def test_both_files_are_written_and_read_back(tmp_path: Path) -> None:
    written = write_report(report(), tmp_path)
    read = msgspec.json.decode(written[0].read_bytes(), type=Report)
    assert read == report()
    assert re.match("<!doctype html>", written[1].read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["selftest.html", "selftest.json"]
    infinite = report(tables=(Table(title="t", columns=("a",), rows=((float("nan"),),)),))
    assert json.loads(write_report(infinite, tmp_path)[0].read_text())["tables"][0]["rows"] == [[None]]


def test_a_report_does_not_go_into_a_bundle(subject: Subject) -> None:
    with pytest.raises(BadOption, match="lies in the bundle"):
        check_place(subject.bundle.path / "reports", subject.bundle)


def test_a_report_does_not_go_below_a_file(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOption, match="is no folder"):
        check_place(tmp_path / "file" / "report", subject.bundle)
    check_place(tmp_path / "new" / "report", subject.bundle)
    assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_be_written_shows_before_the_work(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="--out /proc/new/report cannot be written"):
        check_place(Path("/proc/new/report"), subject.bundle)
    (tmp_path / "selftest.html").mkdir()
    with pytest.raises(BadOption, match="selftest.html is a folder"):
        check_place(tmp_path, subject.bundle)


def test_a_host_device_without_a_compiler_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineUnavailable, match=r"there is no C\+\+ compiler.*apt install g\+\+\)$"):
        run.open_device("host")


def test_a_line_that_failed_is_counted() -> None:
    assert (report().count("failed"), report().count("checked"), report().count("not checked")) == (1, 1, 1)
    made = failed("a", "b", x=np.float64(0.5), y=np.int64(2), z=None).figures
    assert made == {"x": 0.5, "y": 2, "z": None} and {type(value) for value in made.values()} == {
        float,
        int,
        type(None),
    }


def detections(*scores: float, shift: float = 0.0) -> Detections:
    """Boxes 20 px apart, all of one class, without masks."""
    at = np.arange(len(scores), dtype=np.float32)[:, None] * 20
    boxes = np.concatenate([at, at, at + 10, at + 10], 1) + np.float32(shift)
    zeros = np.zeros(len(scores), np.int32)
    return Detections(boxes, np.array(scores, np.float32), zeros, zeros, None, ("part",), (480, 640))


@pytest.mark.parametrize(
    ("mine", "verdict", "says"),
    [
        (detections(0.9, 0.8, 0.3), "checked", "3 detections"),
        (detections(0.9, 0.8, 0.3, shift=0.5), "failed", "boxes off by 0.5 px"),
        (detections(0.9, 0.85, 0.3), "failed", "scores by 0.05"),
        (detections(0.9, 0.8), "failed", "on one side only (2 and 3)"),
        (detections(0.9, 0.8, 0.3, 0.255), "checked", "4 detections"),  # it may have been just below the threshold
        (detections(0.9, 0.8, 0.3, 0.265), "failed", "on one side only (4 and 3)"),
        (detections(), "failed", "on one side only (0 and 3)"),
    ],
)
def test_detections_are_compared(mine: Detections, verdict: str, says: str) -> None:
    line = compare("frame", mine, detections(0.9, 0.8, 0.3), conf=0.25, box_px=0.1, score=0.01, iou=0.99)
    assert (line.verdict, says in line.text) == (verdict, True), line.text
