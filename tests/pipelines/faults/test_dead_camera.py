"""Four cameras, of which one was never there: the other three know nothing of it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from helpers.gst import needs
from helpers.station_process import Running, healthy

pytestmark = pytest.mark.slow


def test_of_four_cameras_one_is_dead(bundle: Path, tmp_path: Path) -> None:
    needs("rtspsrc")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    sources = {name: healthy(tmp_path, fps=10) for name in ("north", "east", "south")}
    sources["west"] = {"rtsp": {"url": f"rtsp://127.0.0.1:{port}/line"}}
    with Running(tmp_path, bundle, sources, lossless=("north", "east", "south")) as station:
        mark = station.hear("west", "source backoff").number
        mark = station.hear("west", "source backoff", after=mark).number
        for name in ("north", "east", "south"):
            station.more_from(name)
        station.hear("west", "source backoff", after=mark)
        ended = station.end()
    ended.lawful()
    for name in ("north", "east", "south"):
        ended.all_of(name)
        assert ended.moves(name) == ["CONNECTING", "RUNNING", "ENDED"]
    assert ended.counts("west")["entered"] == 0
    assert ended.moves("west")[:4] == ["CONNECTING", "BACKOFF", "CONNECTING", "BACKOFF"]
    assert ended.code == 1 and any("reachable" in it for it in ended.report["problems"])
