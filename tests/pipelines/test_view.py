"""The operator page without a browser: what travels, what is refused, what is bounded."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import httpx
import numpy as np
import openpyxl
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import lineside
from helpers.tiny_bundle import tiny_bundle
from helpers.viewing import PARTS, PATIENCE, Watcher, camera, picture, station, threads_of_the_view, watch
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.settings import Settings, Thresholds
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.view import start_view
from lineside.runtime.errors import BadOption, BundleError, MissingPackage

WHITE = (255, 255, 255)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two good bundles in one folder, and between them a broken one."""
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle(folder / "first.bundle")
    broken = tiny_bundle(folder / "broken.bundle")
    (broken / "model.onnx").write_bytes(b"no model")
    tiny_bundle(folder / "second.bundle", classes=1)
    return [folder / "first.bundle"]


def drawn(head: dict) -> list[np.ndarray]:
    """The mask of each object of a message, drawn as the page draws it."""
    width, height = head["size"]
    masks = []
    for item in head["objects"]:
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.reshape(line, (-1, 2)).astype(np.int32) for line in item["outlines"]], 1)
        masks.append(mask.astype(bool))
    return masks


def test_picture_and_what_is_drawn_over_it_arrive_in_one_message(bundles):
    with station(bundles) as at, at.watch() as page:
        head, pixels = page.picture()
    with lineside.load(bundles[0]) as model:
        found = model(PARTS)
    assert pixels.shape == PARTS.shape
    assert np.abs(pixels.astype(int) - PARTS).mean() < 3
    assert head["source"] == "parts.png" and head["size"] == [640, 640]
    assert len(found) == 3
    for i, item in enumerate(head["objects"]):
        assert (item["class"], item["name"]) == (found.classes[i], found.names[found.classes[i]])
        assert item["score"] == pytest.approx(found.scores[i], abs=1e-6)
        assert item["box"] == pytest.approx(found.boxes[i], abs=0.06)
        assert item["area"] == found.masks[i].area
        truth = found.masks[i].to_array()
        mask = drawn(head)[i]
        assert (mask & truth).sum() / (mask | truth).sum() > 0.97


def test_the_newest_frame_is_held_and_handed_back_when_a_newer_one_comes(bundles):
    """The source uses its buffers again: a page that opens late must not see the next part's pixels."""
    given_back: list[int] = []

    def frame_of(number: int) -> Frame:
        def recycle(pixels: np.ndarray) -> None:
            given_back.append(number)
            pixels[:] = 255

        frame = Frame(PARTS.copy(), source="camera", captured=1, recycle=recycle)
        frame.sequence, frame.detections = number, found
        return frame

    with lineside.load(bundles[0]) as model:
        found = model(PARTS)
    with station(bundles, Memory([PARTS], 1)) as at, at.watch() as page:
        assert at.graph.join(PATIENCE)
        page.picture()
        for number in (7, 8):
            frame = frame_of(number)
            at.view.sink.write(frame)
            frame.release()
        assert given_back == [7]
        with at.watch() as late:
            head, pixels = late.picture()
        assert head["sequence"] == 8
        assert np.abs(pixels.astype(int) - PARTS).mean() < 3
        at.view.close()
        assert given_back == [7, 8]


def test_wide_pictures_are_shrunk_for_the_wire_only(bundles):
    wide = cv2.resize(PARTS, (2560, 2560), interpolation=cv2.INTER_NEAREST)
    with station(bundles, Memory([wide], 1)) as at, at.watch() as page:
        head, pixels = page.picture()
    assert pixels.shape == (1280, 1280, 3)
    assert head["size"] == [2560, 2560]
    assert max(item["box"][2] for item in head["objects"]) > 1280


def test_grey_pictures_and_detection_models_are_shown_too(tmp_path):
    bundle = tiny_bundle(tmp_path / "boxes.bundle", coefficients=0)
    grey = picture((1, 1, WHITE))[..., 0]
    with station([bundle], Memory([grey], 1)) as at, at.watch() as page:
        head, pixels = page.picture()
    assert pixels.shape == (640, 640, 3)
    assert [(item["area"], item["outlines"]) for item in head["objects"]] == [(None, [])]


def test_a_page_that_does_not_acknowledge_is_sent_nothing_and_loses_pictures(bundles):
    with station(bundles, camera(takt_ms=10)) as at, at.watch() as page:
        first, _ = page.picture()
        refuse_pictures_for(page, 20)
        page.acknowledge(first)
        second, _ = page.picture()
        assert second["version"] >= first["version"] + 20
        assert at.graph.flow.counters.snapshot().sinks["view"].dropped == 0


def test_an_old_acknowledgement_gives_no_right_to_a_picture(bundles):
    with station(bundles, camera(takt_ms=10)) as at, at.watch() as page:
        first, _ = page.picture()
        page.acknowledge(first)
        page.picture()
        page.acknowledge(first)
        refuse_pictures_for(page, 20)


def refuse_pictures_for(page: Watcher, frames: int) -> None:
    """Fails if a picture comes before so many more frames have been inspected."""
    end = page.state()["counters"]["inspected"] + frames
    while page.state()["counters"]["inspected"] < end:
        assert not page.read(), "a picture came that nobody had asked for"


def test_a_page_that_reads_nothing_at_all_does_not_slow_the_inspection(bundles):
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    with station(bundles, Memory([noise], 120)) as at:
        with at.watch():
            assert at.graph.join(PATIENCE)
            counts = at.graph.flow.counters.snapshot()
    assert (counts.entered, counts.inspected) == (120, 120)
    assert counts.sinks["view"].written == 120


def test_settings_are_checked_applied_at_the_next_frame_and_told_to_everybody(bundles):
    with station(bundles, camera()) as at, at.watch() as page, at.watch() as other, at.http() as http:
        assert other.state()["settings"] == {"conf": 0.25, "iou": 0.7}
        head, _ = page.picture()
        assert len(head["objects"]) == 3
        answer = http.patch("/api/settings", json={"conf": 0.85})
        assert (answer.status_code, answer.json()) == (200, {"conf": 0.85, "iou": 0.7})
        assert at.settings.thresholds.conf == 0.85
        page.acknowledge(head)
        page.until(lambda head: len(head["objects"]) == 2)
        other.state(lambda state: state["settings"]["conf"] == 0.85)


@pytest.mark.parametrize(
    "body",
    [
        '{"conf": 1}',
        '{"conf": -0.1}',
        '{"iou": 1.01}',
        '{"conf": "0.5"}',
        '{"conf": null}',
        '{"conf": NaN}',
        '{"conf": 0.5, "iou": 7}',
        '{"max_det": 5}',
        "[0.5]",
        "",
        '{"conf": 0.5' + " " * 5000 + "}",
    ],
)
def test_settings_out_of_range_change_nothing(page_at_rest, body):
    at, http = page_at_rest
    before = at.settings.thresholds
    answer = http.patch("/api/settings", content=body)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert at.settings.thresholds is before


@pytest.fixture(scope="module")
def page_at_rest(bundles):
    """A page of one still picture whose run has ended."""
    with station(bundles) as at, at.http() as http:
        yield at, http


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://{}", "http://localhost:1", "http://{}.evil"]
)
def test_writes_and_sockets_of_other_sites_are_refused(page_at_rest, origin):
    at, _ = page_at_rest
    strange = origin.format(f"127.0.0.1:{at.port}")
    before = at.settings.thresholds
    with at.http(origin=strange) as http:
        assert http.patch("/api/settings", json={"conf": 0.5}).status_code == 403
        assert http.post("/api/bundle", json={"id": "1"}).status_code == 403
        assert http.get("/api/settings").status_code == 200
    assert at.settings.thresholds is before
    with pytest.raises(InvalidStatus) as refusal:
        with connect(f"ws://127.0.0.1:{at.port}/ws", additional_headers={"Origin": strange} if strange else {}):
            pass
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/", "/static/view.js", "/api/state", "/api/results.xlsx"])
def test_names_that_only_resolve_to_this_machine_are_refused(page_at_rest, path):
    at, _ = page_at_rest
    for host in ("rebound.example", f"rebound.example:{at.port}", "127.0.0.1.evil", "127.0.0.1:x", ""):
        with at.http(host=host, origin=f"http://{host}") as http:
            assert http.get(path).status_code in (400, 421), host
    with at.http(host=f"localhost:{at.port}") as http:
        assert http.get(path).status_code == 200


def test_a_socket_under_a_foreign_name_is_refused(page_at_rest):
    at, _ = page_at_rest
    with socket.create_connection(("127.0.0.1", at.port)) as plain:
        plain.sendall(
            b"GET /ws HTTP/1.1\r\nHost: rebound.example\r\nOrigin: http://rebound.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert plain.recv(64).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("path", ["/", "/static/view.js", "/api/state", "/nothing", "/static/../app.py"])
def test_every_answer_carries_the_security_headers(page_at_rest, path):
    _, http = page_at_rest
    for headers in ({}, {"host": "rebound.example"}):
        answer = http.get(path, headers=headers)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' blob:;") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_the_page_names_nothing_outside_itself(page_at_rest):
    _, http = page_at_rest
    for path in ("/", "/static/view.js", "/static/words.js", "/static/view.css", "/static/icon.svg"):
        text = http.get(path).text.replace("http://www.w3.org/2000/svg", "")
        for scheme in ("http://", "https://", "@import", "cdn"):
            assert scheme not in text, (path, scheme)


@pytest.mark.parametrize("words", ["{}", '{"ack": "1"}', "x", '{"ack": 1, "conf": 0}', b"\x00"])
def test_a_socket_that_says_anything_but_acknowledgements_is_closed(page_at_rest, words):
    at, http = page_at_rest
    with at.watch() as page:
        page.send(words)
        with pytest.raises(ConnectionClosed):
            while True:
                page.read()
    assert http.get("/api/state").status_code == 200


def test_after_the_end_a_still_picture_is_inspected_again_for_every_change(bundles):
    with station(bundles) as at, at.watch() as page, at.http() as http:
        head, _ = page.picture()
        assert at.graph.join(PATIENCE)
        page.state(lambda state: state["status"] == "ended")
        for conf, count in ((0.85, 2), (0.97, 0), (0.1, 3)):
            page.acknowledge(head)
            http.patch("/api/settings", json={"conf": conf}).raise_for_status()
            head, pixels = page.picture()
            assert len(head["objects"]) == count
            assert pixels.shape == PARTS.shape
            rows = workbook(http)["Detections"].max_row - 1
            assert rows == count, "the workbook must show what the page shows"
        assert http.get("/api/state").json()["counters"]["inspected"] == 1


def test_a_change_too_late_for_the_last_frame_is_made_up_for_at_the_end(bundles):
    settings = Settings()
    frame = Frame(PARTS, source="camera", captured=1)
    frame.sequence = 0
    with lineside.load(bundles[0]) as model:
        frame.detections = model(PARTS)
    page = start_view(settings, Snapshot, Bus(), bundles=bundles)
    try:
        page.sink.open(StreamInfo("camera", "camera"))
        page.sink.write(frame)
        settings.update(conf=0.85)
        page.sink.close()
        with watch(page) as watcher:
            watcher.until(lambda head: len(head["objects"]) == 2)
            assert watcher.state(lambda state: state["status"] == "ended")["counters"]["inspected"] == 0
    finally:
        page.close()


def test_the_bundle_changes_while_the_camera_runs(bundles):
    with station(bundles, camera()) as at, at.watch() as page, at.http() as http:
        listed = {entry["name"]: entry["id"] for entry in page.state()["bundles"]}
        assert set(listed) == {"first", "second", "broken"}
        assert http.post("/api/bundle", json={"id": listed["second"]}).status_code == 202
        page.state(lambda state: state["bundle"] == "second")
        page.until(lambda head: {item["class"] for item in head["objects"]} == {0})  # it knows one class only


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_a_bundle_that_cannot_be_loaded_leaves_the_old_one(bundles, ended):
    with station(bundles, None if ended else camera()) as at, at.watch() as page, at.http() as http:
        assert at.graph.join(PATIENCE if ended else 0) is ended
        head, _ = page.picture()
        listed = {entry["name"]: entry["id"] for entry in page.state()["bundles"]}
        http.post("/api/bundle", json={"id": listed["broken"]}).raise_for_status()
        state = page.state(lambda state: state["notice"] is not None and state["loading"] is None)
        assert state["bundle"] == "first"
        assert state["notice"]["kind"] == "error" and "model.onnx" in state["notice"]["text"]
        page.acknowledge(head)
        http.patch("/api/settings", json={"conf": 0.85}).raise_for_status()
        page.until(lambda head: len(head["objects"]) == 2)


def test_after_the_end_another_bundle_looks_at_the_last_picture(bundles):
    with station(bundles) as at, at.watch() as page, at.http() as http:
        head, _ = page.picture()
        assert at.graph.join(PATIENCE)
        listed = {entry["name"]: entry["id"] for entry in page.state()["bundles"]}
        page.acknowledge(head)
        http.post("/api/bundle", json={"id": listed["second"]}).raise_for_status()
        head, _ = page.picture()
        assert {item["class"] for item in head["objects"]} == {0}
        assert http.get("/api/state").json()["bundle"] == "second"


@pytest.mark.parametrize("key", ["99", "-1", "", "../first.bundle", "²"])
def test_only_listed_bundles_can_be_chosen(page_at_rest, key):
    _, http = page_at_rest
    assert http.post("/api/bundle", json={"id": key}).status_code == 422
    assert http.get("/api/state").json()["loading"] is None


def test_bundles_exported_later_are_offered_to_the_next_page(tmp_path):
    with station([tiny_bundle(tmp_path / "one.bundle")]) as at:
        with at.watch() as page:
            assert [entry["name"] for entry in page.state()["bundles"]] == ["one"]
        tiny_bundle(tmp_path / "two.bundle")
        with at.watch() as page:
            assert [entry["name"] for entry in page.state()["bundles"]] == ["one", "two"]


def test_thresholds_nobody_set_are_those_of_the_bundle_and_given_ones_stay(bundles):
    with station(bundles, settings=Settings(Thresholds(iou=0.4))) as at, at.http() as http:
        assert http.get("/api/settings").json() == {"conf": 0.25, "iou": 0.4}


def workbook(http: httpx.Client) -> openpyxl.Workbook:
    answer = http.get("/api/results.xlsx")
    answer.raise_for_status()
    assert "lineside-results.xlsx" in answer.headers["content-disposition"]
    return openpyxl.load_workbook(io.BytesIO(answer.content))


def test_the_workbook_holds_every_object_of_every_frame(bundles):
    pictures = [PARTS, picture(), picture((2, 2, WHITE))]
    with lineside.load(bundles[0]) as model:
        found = [model(each) for each in pictures]
    names = ["a.png", "b.png", "=c.png"]
    with station(bundles, Memory(pictures, 3, names=names)) as at, at.http() as http:
        assert at.graph.join(PATIENCE)
        book = workbook(http)
    rows = list(book["Detections"].iter_rows(min_row=2, values_only=True))
    truth = [(frame, i) for frame, each in enumerate(found) for i in range(len(each))]
    assert len(rows) == len(truth) == 4
    for row, (frame, i) in zip(rows, truth, strict=True):
        assert row[:2] == (frame, names[frame])
        assert row[3] == found[frame].names[found[frame].classes[i]]
        assert row[4:9] == pytest.approx([found[frame].scores[i], *found[frame].boxes[i]], abs=1e-4)
        assert row[11] == found[frame].masks[i].area
    summary = dict(book["Summary"].iter_rows(values_only=True))
    assert (summary["Bundle"], summary["Frames inspected"], summary["Run"]) == ("first", 3, "ended")


def test_one_picture_is_encoded_once_for_all_pages_and_never_for_none(bundles, monkeypatch):
    encoded = []
    real = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *words: encoded.append(threading.current_thread().name) or real(*words))
    with station(bundles, Memory([PARTS], 50)) as at:
        assert at.graph.join(PATIENCE)
        assert encoded == []
        with at.watch() as one:
            head, _ = one.picture()
            with at.watch() as other:
                assert other.picture()[0]["version"] == head["version"]
                before = len(encoded)
                one.acknowledge(head)
                other.acknowledge(head)
                with at.http() as http:
                    http.patch("/api/settings", json={"conf": 0.85}).raise_for_status()
                version = one.picture()[0]["version"]
                assert other.picture()[0]["version"] == version > head["version"]
    assert len(encoded) - before <= 2  # one where both were ready; two where one page was quicker than the other
    assert set(encoded) == {"lineside-view-painter"}


def view(bundles: list[Path], **words: object):
    return start_view(Settings(), Snapshot, Bus(), bundles=bundles, **words)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_any_address_but_loopback_is_refused(bundles, host):
    with pytest.raises(BadOption, match=r"127\.0\.0\.1"):
        view(bundles, host=host)


def test_ports_that_cannot_be_used_are_named(bundles):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadOption, match=str(port)):
            view(bundles, port=port)
    with pytest.raises(BadOption, match="70000"):
        view(bundles, port=70000)


def test_only_loopback_is_listened_on(bundles):
    with station(bundles) as at:
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        mine = [words[1] for words in listening if words[3] == "0A" and int(words[1].split(":")[1], 16) == at.port]
    assert [address.split(":")[0] for address in mine] == ["0100007F"]


def test_a_page_needs_a_bundle_that_opens(bundles, tmp_path):
    before = threads_of_the_view()
    with pytest.raises(BadOption):
        view([])
    with pytest.raises(BundleError):
        view([tmp_path / "nothing.bundle"])
    with pytest.raises(BundleError):
        view([bundles[0].with_name("broken.bundle")])
    assert threads_of_the_view() == before


def test_a_missing_package_is_named_with_its_remedy(bundles, monkeypatch):
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(MissingPackage, match=r"xlsxwriter.*lineside\[station\]"):
        view(bundles)


def test_closing_ends_every_connection_and_thread_and_may_be_done_twice(bundles):
    before = threads_of_the_view()
    with station(bundles, camera()) as at, at.watch() as page:
        page.picture()
        assert len(threads_of_the_view()) == len(before) + 3
        at.view.close()
        assert threads_of_the_view() == before
        with pytest.raises(ConnectionClosed):
            while True:
                page.read()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", at.port))
        at.view.close()


def test_the_command_serves_the_page_until_it_is_interrupted(bundles, tmp_path):
    cv2.imwrite(str(tmp_path / "part.png"), PARTS)
    words = ["run", str(bundles[0]), str(tmp_path / "part.png"), "--view", "--no-save"]
    command = [sys.executable, "-m", "lineside", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = next(line for line in process.stderr if "http://" in line)
            url = re.search(r"http://127\.0\.0\.1:\d+/", said)[0]
            next(line for line in process.stderr if "until Ctrl-C" in line)
            state = httpx.get(f"{url}api/state", timeout=PATIENCE).json()
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE)
        finally:
            process.kill()
    assert (state["status"], state["counters"]["inspected"], state["bundle"]) == ("ended", 1, "first")
    assert code == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
