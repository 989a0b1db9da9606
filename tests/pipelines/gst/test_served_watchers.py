"""The sink ``rtsp-server``: clients hang, die and talk rubbish; nobody else notices, and nothing is done for nobody."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from helpers.gst import PATIENCE, until
from helpers.memory import anonymous
from helpers.served import ASK, asked, frame_of, needs_server, next_like, program, served, watching
from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.events import Event
from lineside.pipelines.gst.source import GstSource
from lineside.runtime.errors import SourceError


@pytest.fixture(autouse=True)
def installed() -> None:
    needs_server()


def test_nothing_is_encoded_while_nobody_watches() -> None:
    with served() as (sink, line):
        showing = sink.showings["top"]
        line.wait(50)
        assert (showing.given, showing.begun, showing.watched) == (0, 0, False)
        with watching(sink) as client:
            next_like(client, lambda it: True, "picture")
            assert showing.watched and showing.given > 0
        until(lambda: not showing.watched, "nobody watches")
        given = showing.given
        line.wait(50)
        assert (showing.given, showing.begun) == (given, 1)


def test_two_clients_share_an_encoder() -> None:
    with served() as (sink, _):
        with watching(sink) as one:
            next_like(one, lambda it: True, "picture")
            with watching(sink) as other:
                next_like(other, lambda it: True, "picture")
            next_like(one, lambda it: True, "picture after the other has gone")
            assert sink.showings["top"].begun == 1 and sink.showings["top"].watched
        until(lambda: not sink.showings["top"].watched, "nobody watches")


def test_no_more_watch_than_are_allowed() -> None:
    with served(watchers=1) as (sink, _), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        told = options_of("rtsp", {"url": f"rtsp://127.0.0.1:{sink.port}/top", "timeout": 120}, "test")
        other: GstSource = make("rtsp", told, Place(name="client"))
        with pytest.raises(SourceError, match="503"):
            other.open()
        other.close()
        next_like(client, lambda it: True, "picture")


def test_who_only_asks_leaves_nothing_behind() -> None:
    with served() as (sink, _):
        for number in range(5):
            assert asked(sink, ASK).startswith(b"RTSP/1.0 200 OK")
            until(lambda: not sink.showings["top"].watched, "nobody watches")
            assert sink.showings["top"].begun == number + 1


@pytest.mark.parametrize(
    "words",
    [
        bytes(5000),
        b"GET / HTTP/1.1\r\n\r\n",
        b"DESCRIBE * RTSP/1.0\r\n\r\n",
        b"DESCRIBE rtsp://127.0.0.1/" + b"a" * 50000 + b" RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        b"SETUP rtsp://127.0.0.1/top/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;multicast\r\n\r\n",
        b"ANNOUNCE rtsp://127.0.0.1/top RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    ],
)
def test_clients_that_talk_rubbish(words: bytes) -> None:
    with served() as (sink, _), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        assert b" 200 OK" not in asked(sink, words)
        next_like(client, lambda it: True, "picture after that")


def test_connections_that_say_nothing_do_not_use_up_the_descriptors() -> None:
    with served(watchers=2) as (sink, _), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        idle = [socket.create_connection(("127.0.0.1", sink.port), PATIENCE) for _ in range(60)]
        assert [it.recv(1) for it in idle[-20:]] == [b""] * 20, "those too many are closed"
        next_like(client, lambda it: True, "picture")
        for it in idle:
            it.close()

        def answered() -> bool:
            try:
                return asked(sink, ASK).startswith(b"RTSP/1.0 200 OK")
            except OSError:  # sent away at once: reset, or not even connected any more
                return False

        until(answered, "room for others again")


def test_closing_ends_whoever_talks_at_that_moment(capfd: pytest.CaptureFixture[str]) -> None:
    """A thread of the library that reads a connection which another one has closed reads it for ever, and says so."""
    words = b"OPTIONS rtsp://127.0.0.1/top RTSP/1.0\r\nCSeq: 1\r\n\r\n" * 50
    for _ in range(4):
        talked: list[int] = []
        with served(watchers=2) as (sink, line):

            def talk(port: int = sink.port, talked: list[int] = talked) -> None:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                    while True:
                        connection.sendall(words)
                        talked.append(len(connection.recv(65536)))

            talkers = [threading.Thread(target=talk) for _ in range(6)]
            for talker in talkers:
                talker.start()
            until(lambda talked=talked: len(talked) > 12, "answers")  # type: ignore[misc]
            line.end()
            sink.close()
            for talker in talkers:
                talker.join(PATIENCE)
            assert not any(talker.is_alive() for talker in talkers)
    assert "CRITICAL" not in capfd.readouterr().err


def test_a_client_that_is_killed_is_noticed() -> None:
    with served() as (sink, line), program(sink) as process:
        until(lambda: sink.showings["top"].given > 3, "pictures for the client")
        process.kill()
        until(lambda: not sink.showings["top"].watched, "nobody watches")
        line.wait(5)


@pytest.mark.slow
def test_a_client_that_hangs_holds_up_nobody_and_nothing_piles_up() -> None:
    """It keeps its connection and reads nothing; what does not fit into the socket is dropped."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), np.uint8)
    events: list[Event] = []
    with served(lambda number: frame_of(noise[number % 8]), events, bitrate=30000) as (sink, line):
        with program(sink) as process, watching(sink) as client:
            until(lambda: sink.showings["top"].given > 3, "pictures for the client")
            process.send_signal(signal.SIGSTOP)
            line.wait(400)  # fills the socket, and the pools of whoever handles a picture

            def grown() -> int:
                before, held = sink.showings["top"].given, anonymous()
                line.wait(200)
                next_like(client, lambda it: True, "picture for the other client")
                assert sink.showings["top"].given > before
                return anonymous() - held

            # What piles up does so every time; what other tests have left in this process may be touched again once.
            assert any(grown() < 8e6 for _ in range(3)), "two hundred pictures of 80 kB more would be 16 MB"
            line.end()
            begin = time.monotonic()
            sink.close()
            assert time.monotonic() - begin < PATIENCE and not [it for it in events if it.level == "error"]
            process.send_signal(signal.SIGCONT)


def test_closing_sends_watchers_away_and_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    events: list[Event] = []
    with served(events=events) as (sink, line), watching(sink) as client:
        next_like(client, lambda it: True, "picture")
        port = sink.port
        line.end()
        sink.close()
        assert [event.kind for event in events] == ["serving"], "nothing hung"
        until(lambda: not [it for it in set(threading.enumerate()) - before if "live" in it.name], "its threads end")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE)
        list(client.frames())  # come to an end


def test_who_comes_right_after_somebody_who_left_gets_pictures_too() -> None:
    """The first one leaves while its encoder is being started."""
    with served() as (sink, _):
        for number in range(8):
            with socket.create_connection(("127.0.0.1", sink.port), PATIENCE) as connection:
                connection.sendall(ASK)
                connection.settimeout(0.01 * number)
                with suppress(OSError):
                    connection.recv(1)
            with watching(sink) as client:
                next_like(client, lambda it: True, f"picture {number}")
