"""The page of a station from the command line: where its address is said, how it ends, what is left on stdout."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

PATIENCE = 300.0
ROW = "synthetic name=line fps=5 ! segment name=m bundle={bundle} ! tee name=t ! jsonl path=lines.jsonl  t. ! view name=page"


def test_its_address_is_said_and_the_report_stays_one_document(bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lineside", "launch", ROW.format(bundle=bundle), "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = next(line for line in process.stderr if line.startswith("page: "))
        found = re.fullmatch(r"page: (http://127\.0\.0\.1:\d+/)\n", said)
        assert found is not None
        state = httpx.get(f"{found[1]}api/station", timeout=PATIENCE).raise_for_status().json()
        assert [(it["source"], it["model"]) for it in state["branches"]] == [("line", "m")]
        assert "<title>Lineside</title>" in httpx.get(found[1], timeout=PATIENCE).text
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in errors, errors
    counts = json.loads(out)["branches"][0]["counts"]
    assert counts["sinks"]["page"]["written"] == counts["inspected"] + counts["late"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(found[1])


def test_a_station_that_ends_by_itself_ends_the_page(cli, bundle: Path, tmp_path: Path) -> None:
    done = cli("launch", ROW.format(bundle=bundle).replace("fps=5", "fps=20 count=2"), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["complete"] and "page: http://127.0.0.1:" in done.stderr


def test_a_port_that_is_taken_ends_in_one_sentence(cli, bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        row = ROW.format(bundle=bundle).replace("name=page", f"name=page port={port}")
        done = cli("launch", row, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and f"port {port} cannot be used" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.glob("lines*"))
