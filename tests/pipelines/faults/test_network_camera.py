"""A station with a network camera that everything happens to, and one beside it that nothing happens to."""

from __future__ import annotations

import base64
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from helpers.gst import camera, needs
from helpers.station_process import PATIENCE, Running, healthy

pytestmark = pytest.mark.slow

USER, PASSWORD = "kim@line 1", "pa:ss/w@rd%41?#ü"
SECRETS = (
    PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), quote(PASSWORD.lower(), safe=""), USER, quote(USER, safe=""),
    "w@rd", "w%40rd", base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
)  # fmt: skip


class Rubbish:
    """A server that answers everything with noise, and hangs up.

    Attributes:
        answered: How often it did.
    """

    def __init__(self, port: int) -> None:
        self.answered = 0
        self._server = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x8f\x00RTSP/1.0 2000 Perhaps\r\n" + bytes(range(256)) * 40)
                self.answered += 1

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(PATIENCE)


@contextmanager
def rubbish(port: int) -> Iterator[Rubbish]:
    """Noise on a port."""
    server = Rubbish(port)
    try:
        yield server
    finally:
        server.close()


def test_a_network_camera_freezes_dies_talks_rubbish_refuses_and_comes_back(bundle: Path, tmp_path: Path) -> None:
    needs("rtspsrc", "jpegdec", "decodebin")
    with camera("jpeg", USER, PASSWORD) as (process, place):
        port = int(place.split(":")[1].split("/")[0])
        top = {"rtsp": {"url": f"rtsp://{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@{place}"}}
        with Running(tmp_path, bundle, {"top": top, "side": healthy(tmp_path)}) as station:
            station.more_from("top", 3)

            process.send_signal(signal.SIGSTOP)  # As when a cable is pulled: nobody says anything.
            station.hear("top", "source stalled", "no frame for 5 s")
            mark = station.hear("top", "source backoff", "no frame for 5 s").number
            process.send_signal(signal.SIGCONT)
            station.hear("top", "source running", after=mark)
            station.more_from("top", 3)
            station.more_from("side")

            mark = station.mark()
            process.kill()
            process.wait()
            mark = station.hear("top", "source backoff", after=mark).number
            with rubbish(port) as server:
                station.until(lambda: server.answered >= 1, "an answer of noise")
                mark = station.hear("top", "source backoff", f"rtsp://{place}", after=mark).number
            station.more_from("side")

            with camera("jpeg", USER, "another", port):
                station.hear("top", "source backoff", "check the user name and the password", after=mark)
            station.more_from("side")

            mark = station.mark()
            with camera("jpeg", USER, PASSWORD, port):
                station.hear("top", "source running", after=mark)
                station.more_from("top", 3)
                station.more_from("side")
                ended = station.end()

    ended.lawful()
    ended.all_of("side")
    assert ended.code == 1 and ended.report["stopped"] == "SIGTERM" and not ended.report["hanging"]
    assert ended.report["states"] == {"top": "ENDED", "side": "ENDED"}
    moves = ended.moves("top")
    assert moves[:5] == ["CONNECTING", "RUNNING", "STALLED", "BACKOFF", "CONNECTING"]
    assert moves[-2:] == ["RUNNING", "ENDED"] and moves.count("BACKOFF") >= 4
    assert ended.moves("side") == ["CONNECTING", "RUNNING", "ENDED"]
    shown_nowhere(tmp_path, ended.errors)


def shown_nowhere(folder: Path, errors: str) -> None:
    """No file of the station but its own holds the credentials, and neither does what it said."""
    files = [it for it in folder.rglob("*") if it.is_file() and it.name != "station.yaml"]
    assert len(files) >= 5 and "top" in errors
    for path in files:
        data = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in data, f"{path.name} holds {secret}"
