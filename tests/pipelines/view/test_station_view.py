"""The page of a station without a browser: what every branch shows, what may be changed, what is bounded and refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from helpers.obedient import Command, Viewed, row, viewed
from helpers.viewing import GREEN, PALE, RED, Watcher, picture, threads_of_the_view
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import DECIDED, Frame
from lineside.pipelines.plan.data import Takt
from lineside.pipelines.view import hub, painter
from lineside.pipelines.view.chronicle import LONGEST, MOST_EVENTS, TOGETHER, Chronicle
from lineside.pipelines.view.meter import Meter
from lineside.pipelines.view.station import StationView
from lineside.runtime.errors import BadOption, SinkError

PATIENCE = 120.0
"""Longest wait for anything, in seconds; reached only where a test fails."""

TWO = row("top", "side")


def until(at: Viewed, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first state of the page that is as wanted."""
    end = time.monotonic() + PATIENCE
    while not wanted(state := at.state()):
        assert time.monotonic() < end, state
    return state


def branch(state: dict[str, Any], source: str, model: str = "m") -> dict[str, Any]:
    (found,) = [it for it in state["branches"] if (it["source"], it["model"]) == (source, model)]
    return found


def lawful(counters: dict[str, Any]) -> bool:
    """Whether what entered is accounted for."""
    parts = ("inspected", "late", "incomplete", "never_inspected", "failed", "in_flight")
    return counters["entered"] == sum(counters[it] for it in parts) + sum(counters["dropped"].values())


def test_every_camera_is_shown_by_itself_large_or_small(place: Path, cameras: dict[str, Command]) -> None:
    cameras["side"].shown = picture((6, 6, GREEN))
    with viewed(TWO, place) as at:
        assert at.said == [f"page: {at.url}"]
        for number, (name, found) in enumerate([("top", ["part0", "part1"]), ("side", ["part1"])]):
            for size, width in (("small", hub.SMALL.width), ("large", 640)):
                with at.watch(f"/{number}?size={size}") as page:
                    head, pixels = page.picture()
                assert (head["source"], [it["name"] for it in head["objects"]]) == (name, found)
                assert pixels.shape == (width, width, 3) and head["size"] == [640, 640]
                assert 0 <= head["age"] < PATIENCE


def test_counts_of_every_branch_add_up_at_any_moment(place: Path, cameras: dict[str, Command]) -> None:
    with viewed(TWO, place) as at, at.watch() as page:
        for _ in range(6):
            page.read()
            state = page.state(lambda told: told["type"] == "station")
            assert all(lawful(it["counters"]) and it["counters"]["balanced"] for it in state["branches"])
        state = until(at, lambda now: all(it["sinks"]["page"]["written"] > 3 for it in now["branches"]))
        for it in state["branches"]:
            assert it["sinks"]["page"]["dropped"] == it["sinks"]["page"]["failed"] == 0
            assert it["counters"]["detections"] >= 2 * it["counters"]["inspected"] > 0
            assert it["fps"] is None or it["fps"] > 0
        assert (state["station"], state["status"]) == ("station", "running")


def test_a_camera_that_dies_shows_its_age_and_its_state_and_comes_back(
    place: Path, cameras: dict[str, Command]
) -> None:
    with viewed(TWO, place) as at:
        until(at, lambda now: all(it["age"] is not None for it in now["branches"]))
        cameras["top"].dead.set()
        dead = until(at, lambda now: branch(now, "top")["state"] == "BACKOFF" and branch(now, "top")["age"] > 3)
        assert branch(dead, "top")["age"] > branch(dead, "top")["patience"]
        assert dead["sources"]["side"] == "RUNNING"
        with at.watch("/0") as page:  # who looks now sees the last picture, and how old it is
            head, _ = page.picture()
        assert head["source"] == "top" and head["age"] > 3
        inspected = branch(dead, "side")["counters"]["inspected"]
        until(at, lambda now: branch(now, "side")["counters"]["inspected"] > inspected + 5)
        said = next(it for it in at.state()["events"] if it["kind"] == "source backoff")
        assert (said["element"], said["level"]) == ("top", "warning") and said["count"] > 1
        assert "the cable" in said["text"] and "rtsp://***@10.0.0.7" in said["text"] and "geheim" not in said["text"]
        cameras["top"].dead.clear()
        back = until(at, lambda now: branch(now, "top")["state"] == "RUNNING" and branch(now, "top")["age"] < 3)
        assert back["events"][0]["when"] >= back["events"][-1]["since"]


def test_a_camera_that_freezes_is_said_to(place: Path, cameras: dict[str, Command]) -> None:
    with viewed(TWO, place) as at, at.watch() as page:
        page.state(lambda now: now["type"] == "station" and branch(now, "side")["age"] is not None)
        cameras["side"].frozen.set()
        page.state(lambda now: now["type"] == "events" and "source stalled" in {it["kind"] for it in now["events"]})
        until(at, lambda now: branch(now, "side")["age"] > branch(now, "side")["patience"])


def test_a_slider_acts_on_the_next_frames_of_its_model_only(place: Path, cameras: dict[str, Command]) -> None:
    cameras["top"].shown = picture((1, 1, RED), (3, 6, PALE))
    text = (
        "helpers.obedient:Camera name=top told=top ! tee name=t ! segment name=strict bundle=tiny.bundle ! view name=page "
        " t. ! segment name=mild bundle=tiny.bundle conf=0.3 ! page."
    )
    with viewed(text, place) as at, at.http() as http, at.watch("/0") as one, at.watch("/1") as other:
        models = at.state()["models"]
        assert [(it["name"], it["settings"]) for it in models] == [
            ("strict", {"conf": 0.25, "iou": 0.7}),
            ("mild", {"conf": 0.3, "iou": 0.7}),
        ]
        assert len(one.picture()[0]["objects"]) == len(other.picture()[0]["objects"]) == 2
        answer = http.patch("/api/models/0", json={"conf": 0.85})
        assert (answer.status_code, answer.json()) == (200, {"conf": 0.85, "iou": 0.7})
        assert at.built.models["strict"].settings.thresholds.conf == 0.85
        assert fewer(at, "/0") == 1
        assert fewer(at, "/1", of=2) == 2
        assert http.get("/api/models/0").json()["conf"] == 0.85 and http.get("/api/models/1").json()["conf"] == 0.3
        events = until(at, lambda now: "settings changed" in {it["kind"] for it in now["events"]})["events"]
        (said,) = [it for it in events if it["kind"] == "settings changed"]
        assert (said["element"], said["text"]) == ("strict", "strict: conf 0.25 -> 0.85, set on the page")


def fewer(at: Viewed, path: str, of: int = 1) -> int:
    """How many objects the pictures of a branch come to hold."""
    with at.watch(path) as page:
        head = page.until(lambda head: len(head["objects"]) == of)
        page.acknowledge(head)
        return len(page.picture()[0]["objects"])


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory, place: Path):
    """A page whose station shows one picture and has no more."""
    with viewed("synthetic count=1 fps=100 ! segment name=m bundle=tiny.bundle ! view name=page", place) as at:
        until(at, lambda now: now["status"] == "ended")
        yield at


@pytest.mark.parametrize(
    "body", ['{"conf": 1}', '{"iou": -0.1}', '{"conf": "0.5"}', '{"masks": "none"}', "[]", "", "{"]
)
def test_settings_that_cannot_be_are_refused(at_rest: Viewed, body: str) -> None:
    before = at_rest.built.models["m"].settings.thresholds
    with at_rest.http() as http:
        answer = http.patch("/api/models/0", content=body)
        assert answer.status_code == 422 and answer.json()["error"]
        assert http.patch("/api/models/7", json={"conf": 0.5}).status_code == 404
    assert at_rest.built.models["m"].settings.thresholds is before


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1"])
def test_other_sites_can_neither_change_nor_watch(at_rest: Viewed, origin: str) -> None:
    with at_rest.http(origin=origin) as http:
        assert http.patch("/api/models/0", json={"conf": 0.5}).status_code == 403
        assert "content-security-policy" in http.get("/api/station").headers
    for path in ("/ws", "/ws/0"):
        with pytest.raises(InvalidStatus) as refusal:
            connect(f"ws://127.0.0.1:{at_rest.port}{path}", additional_headers={"Origin": origin})
        assert refusal.value.response.status_code == 403
    with at_rest.http(host="rebound.example") as http:
        assert [http.get(path).status_code for path in ("/", "/api/station", "/static/station.js")] == [421] * 3


def test_a_camera_that_there_is_not_cannot_be_watched(at_rest: Viewed) -> None:
    for path in ("/1", "/x", "/-1", "/²", f"/{'9' * 5000}"):
        with pytest.raises(InvalidStatus) as refused, at_rest.watch(path):
            pass
        assert refused.value.response.status_code == 403
        with at_rest.http() as http:
            assert http.get(f"/api/models{path}").status_code == 404


def test_no_file_of_the_page_names_anything_outside(at_rest: Viewed) -> None:
    static = Path(hub.__file__).parent / "static"
    with at_rest.http() as http:
        for path in ["/", *(f"/static/{file.name}" for file in static.iterdir())]:
            text = http.get(path).raise_for_status().text.replace("http://www.w3.org/2000/svg", "")
            assert not any(words in text for words in ("http://", "https://", "@import", "cdn")), path


def test_a_page_that_never_acknowledges_holds_up_nobody(place: Path, cameras: dict[str, Command]) -> None:
    with viewed(TWO, place) as at, at.watch("/0") as deaf, at.watch("/0") as one, at.watch("/1") as other:
        first, _ = deaf.picture()
        for page in (one, other):
            head = page.until(lambda head: head["version"] >= first["version"] + 20)
            assert head["age"] < PATIENCE
        for it in at.state()["branches"]:
            assert it["sinks"]["page"]["dropped"] == 0
        deaf.acknowledge(first)
        assert deaf.picture()[0]["version"] >= first["version"] + 20  # nothing of what came between had queued


def test_nothing_is_encoded_while_nobody_watches_and_only_what_is_watched(
    place: Path, cameras: dict[str, Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[tuple[str, int]] = []
    real = cv2.imencode

    def counting(kind: str, pixels: Any, options: Any) -> Any:
        encoded.append((threading.current_thread().name, pixels.shape[1]))
        return real(kind, pixels, options)

    monkeypatch.setattr(cv2, "imencode", counting)
    with viewed(TWO, place) as at:
        until(at, lambda now: all(it["counters"]["inspected"] > 5 for it in now["branches"]))
        assert encoded == []
        with at.watch("/1?size=small") as page:
            page.acknowledge(page.picture()[0])
            page.picture()
        assert set(encoded) == {("lineside-view-painter", hub.SMALL.width)}
        until(at, lambda now: all(it["counters"]["inspected"] > 20 for it in now["branches"]))
        assert len(encoded) <= 3


def test_so_many_pages_and_no_more(
    place: Path, cameras: dict[str, Command], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(hub, "MOST_CLIENTS", 2)
    with viewed(TWO, place) as at, at.watch("/0") as one:
        with at.watch("/0") as other:
            assert one.picture()[0] and other.picture()[0]
            with at.watch("/0") as third, pytest.raises(ConnectionClosed) as refused:
                third.picture()
            assert refused.value.rcvd.code == 1013
        until_open(at)


def until_open(at: Viewed) -> None:
    """Waits until a page has its place again that another one has left."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with at.watch("/0") as page:
            try:
                page.picture()
                return
            except ConnectionClosed:
                continue
    raise AssertionError("no place is given back")


def test_every_frame_is_given_back(place: Path, cameras: dict[str, Command]) -> None:
    with viewed(TWO, place) as at, at.watch("/0"):
        until(at, lambda now: all(it["counters"]["inspected"] > 5 for it in now["branches"]))
        assert cameras["top"].out <= 6  # in the queue, in the model, on the page
    assert [it.out for it in cameras.values()] == [0, 0]


def test_the_deadline_of_a_branch_is_told_with_what_missed_it(place: Path, cameras: dict[str, Command]) -> None:
    with viewed(TWO, place, takt=Takt(None, per_source={"top": 1_000})) as at:
        state = until(at, lambda now: (branch(now, "top")["takt"] or {}).get("missed", 0) > 3)
        takt = branch(state, "top")["takt"]
        counters = branch(state, "top")["counters"]
        assert takt["deadline"] == 0.001 and counters["inspected"] == 0
        assert takt["missed"] == counters["entered"] - counters["in_flight"]
        assert takt["lateness"]["p99"] >= takt["lateness"]["p50"] > 0
        assert branch(state, "side")["takt"] is None


def test_a_camera_without_a_model_is_shown_too(place: Path, cameras: dict[str, Command]) -> None:
    with viewed("helpers.obedient:Camera name=top told=top ! view name=page", place) as at, at.watch("/0") as page:
        head, _ = page.picture()
        assert head["objects"] == []
        state = until(at, lambda now: branch(now, "top", "")["fps"])
        assert branch(state, "top", "")["counters"] is None and state["models"] == []


def test_pages_are_told_that_the_station_has_ended_and_then_let_go(place: Path) -> None:
    before = threads_of_the_view()
    text = "synthetic name=line count=3 fps=20 ! segment name=m bundle=tiny.bundle ! view name=page"
    with viewed(text, place) as at:
        stack = at.watch()
        page = stack.__enter__()
        state = page.state(lambda now: now.get("status") == "ended")
        assert state["sources"] == {"line": "ENDED"} and lawful(branch(state, "line")["counters"])
    with pytest.raises(ConnectionClosed) as gone:
        read_on(page)
    assert gone.value.rcvd.code == 1001
    assert threads_of_the_view() == before


def read_on(page: Watcher) -> None:
    while True:
        page.read()


def test_a_port_that_is_taken_is_said_before_anything_begins(place: Path, at_rest: Viewed) -> None:
    text = f"synthetic ! segment bundle=tiny.bundle ! view port={at_rest.port}"
    with pytest.raises(BadOption, match=str(at_rest.port)), viewed(text, place):
        pass


def test_a_page_without_a_station_says_so() -> None:
    from lineside.pipelines.elements import StreamInfo

    with pytest.raises(SinkError, match="page: .*station"):
        StationView(0, "page", old=2.0).open(StreamInfo("x", "camera"))


def test_painting_rests_as_long_as_its_share_of_a_core_says(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rests, over = [0.0], list[float](), threading.Event()
    monkeypatch.setattr(painter, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Slow:
        """Pictures of which each takes a tenth of a second."""

        painted = 0

        def due(self) -> float | None:
            if self.painted == 3:
                over.set()
            return None if over.is_set() else 0.0

        def paint(self) -> None:
            now[0] += 0.1
            self.painted += 1

    it = painter.Painter(share=0.25)
    monkeypatch.setattr(it.changed, "wait_for", lambda done, timeout: rests.append(timeout) or done())
    it.serve(Slow())
    it.start()
    assert over.wait(PATIENCE)
    it.close()
    assert rests == pytest.approx([0.3, 0.3, 0.3])


def test_the_period_of_a_camera_is_its_usual_gap_whatever_the_pauses() -> None:
    meter = Meter()
    assert meter.period() is None
    for moment in [0, 5, 10, 15, 900, 905, 910]:
        frame = Frame(None, captured=1)
        frame.stamp(DECIDED, moment * 10**9)
        meter.take(frame)
    assert meter.period() == 5.0


happened = st.lists(
    st.tuples(st.sampled_from([("info", "a"), ("error", "a"), ("info", "b")]), st.integers(0, 200)), max_size=20
)


@given(steps=happened)
def test_the_chronicle_counts_what_repeats_and_forgets_nothing_of_the_rest(steps) -> None:
    chronicle, when = Chronicle(), 0.0
    truth: list[list[Any]] = []  # kind, since, when, count; the newest last
    for (level, element), pause in steps:
        when += pause
        key = (level, element, "x")
        old = next((it for it in reversed(truth) if it[0] == key), None)
        if old is not None and when - old[2] < TOGETHER:
            truth.remove(old)
            truth.append([key, old[1], when, old[3] + 1])
        else:
            truth.append([key, when, when, 1])
        chronicle.hear(Event(*key, "it", when=when))
    told = [[(it["level"], it["element"], it["kind"]), it["since"], it["when"], it["count"]] for it in chronicle.told()]
    assert told == truth[::-1]


def test_the_chronicle_is_bounded_and_tells_no_secrets() -> None:
    chronicle, bus = Chronicle(), Bus()
    bus.listen(chronicle.hear)
    for number in range(3 * MOST_EVENTS):
        bus.emit("error", f"camera {number}", "lost", "x" * 5000)
    bus.emit("info", "last", "word", "rtsp://me:geheim@10.0.0.7/ is back")
    told = chronicle.told()
    assert len(told) == MOST_EVENTS and max(len(it["text"]) for it in told) == LONGEST
    assert told[0]["text"] == "rtsp://***@10.0.0.7/ is back"
    assert told[1]["element"] == f"camera {3 * MOST_EVENTS - 1}"
