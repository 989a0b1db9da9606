"""Controls of the slowest frames: each is seen in the system once it is applied, and a refusal stops nothing."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.documents import ROOT
from lineside.pipelines.tails import Machine, apply_machine
from lineside.runtime.errors import BadOption

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these controls are Linux's")

CORE = max(os.sched_getaffinity(0))
SYS_NICE, IPC_LOCK = 23, 14
PR_CAPBSET_DROP = 24

PROBE = """
import gc, json, os, sys, threading
import numpy  # Brings threads of its own.
import msgspec
from lineside.pipelines.tails import Machine, apply_machine, settle_garbage

def locked():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmLck")).split()[1])

waiting, end = threading.Event(), threading.Event()
early = threading.Thread(target=lambda: (waiting.set(), end.wait()))
early.start()
waiting.wait()
before = locked()
machine, said = msgspec.json.decode(sys.argv[1], type=Machine), []
done = apply_machine(machine, said.append)
after = locked()
settle_garbage(machine)
late = threading.Thread(target=end.wait)
late.start()
threads = {"main": 0, "early": early.native_id, "late": late.native_id}
more = bytearray(50_000_000)  # Never touched, so that only a lock brings it into memory.
found = {
    "said": said, "done": done, "before": before, "locked": after, "later": locked(), "frozen": gc.get_freeze_count(),
    "cores": {name: sorted(os.sched_getaffinity(it)) for name, it in threads.items()},
    "classes": {name: [os.sched_getscheduler(it), os.sched_getparam(it).sched_priority] for name, it in threads.items()},
}
end.set()
print(json.dumps(found))
"""


def without_rights() -> None:
    """Takes the rights from the next program, also from root's."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in (SYS_NICE, IPC_LOCK):
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # Who may not drop it has not got it.
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))


def probe(machine: dict[str, Any], *, rights: bool = True) -> dict[str, Any]:
    """What the system says of a process that was set up so."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(machine)], capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=None if rights else without_rights,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nothing_is_changed_that_is_not_named() -> None:
    found = probe({})
    assert found["done"] == found["said"] == [] and found["frozen"] == 0 and found["later"] == found["before"]
    assert set(map(tuple, found["cores"].values())) == {tuple(sorted(os.sched_getaffinity(0)))}
    assert {tuple(it) for it in found["classes"].values()} == {(os.SCHED_OTHER, 0)}


def test_cores_hold_for_threads_that_are_there_and_those_to_come() -> None:
    found = probe({"cores": str(CORE)})
    assert found["done"] == [f"runs on cores {CORE}"] and found["said"] == []
    assert found["cores"] == {"main": [CORE], "early": [CORE], "late": [CORE]}


@pytest.mark.parametrize("text", ["0-1,3", "2,0", "1"])
def test_cores_as_people_write_them(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cores: asked.append(cores))
    apply_machine(Machine(cores=text), lambda message: None)
    assert asked[0] == {"0-1,3": {0, 1, 3}, "2,0": {0, 2}, "1": {1}}[text]


@pytest.mark.parametrize("text", ["99999", "3-1"])
def test_a_core_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match=f"cores={text}: this machine has the cores 0 to"):
        apply_machine(Machine(cores=text), lambda message: None)


def test_realtime_priority_holds_for_every_thread() -> None:
    found = probe({"priority": 1})
    if found["said"]:
        pytest.skip(f"this user may not: {found['said'][0]}")
    assert found["done"] == ["runs with realtime priority 1"]
    assert set(map(tuple, found["classes"].values())) == {(os.SCHED_FIFO, 1)} and len(found["classes"]) == 3


def test_locked_memory_is_locked_also_where_it_comes_later() -> None:
    found = probe({"memory": "lock"})
    if found["said"]:
        pytest.skip(f"this user may not: {found['said'][0]}")
    assert found["done"] == ["keeps its memory locked"]
    assert found["before"] == 0 and found["locked"] > 10_000, "kB"
    assert found["later"] > found["locked"] + 40_000, "what was allocated afterwards is locked too"


def test_the_garbage_collector_leaves_alone_what_is_there() -> None:
    found = probe({"garbage": "freeze"})
    assert found["frozen"] > 1000 and found["said"] == []


def test_what_the_system_refuses_is_said_and_the_rest_is_done() -> None:
    found = probe({"cores": str(CORE), "priority": 50, "memory": "lock", "garbage": "freeze"}, rights=False)
    assert found["done"] == [f"runs on cores {CORE}"] and found["cores"]["late"] == [CORE] and found["frozen"] > 1000
    assert found["classes"]["main"] == [os.SCHED_OTHER, 0] and found["later"] == 0
    priority, memory = found["said"]
    assert priority == (
        "the system does not allow that this station runs with realtime priority 50 (Operation not permitted); it goes on "
        "without"
    )
    assert (
        "keeps its memory locked (no more than 0.0655 MB may be locked; set that limit (memlock) to unlimited)"
        in memory
    )


ENCODER = """
import json, os, sys, time
from pathlib import Path
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.sinks.film import Film
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.reels import Fragments
from lineside.pipelines.tails import Machine, apply_machine

said = []
apply_machine(Machine(priority=1), said.append)
import numpy as np
from lineside.pipelines.frame import Frame
folder = Path(sys.argv[1])
film = Film(Fragments(folder / "film.mp4", Rules(), (sys.argv[2], "none")))
film.open(StreamInfo("top", "camera", fps=10.0))
film.write(Frame(np.zeros((8, 8, 3), np.uint8)))
while not (folder / "number").exists():
    time.sleep(0.01)
encoder = int((folder / "number").read_text())
found = [said, os.sched_getscheduler(0), os.sched_getscheduler(encoder)]
film.close()
print(json.dumps(found))
"""


def test_an_encoder_is_not_in_realtime(tmp_path: Path) -> None:
    """It would hold up the inspection on the very cores that both have."""
    program = tmp_path / "encoder"
    program.write_text(f'#!/bin/sh\ncd "{tmp_path}" && echo $$ > its && mv its number\nexec cat > /dev/null\n')
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", ENCODER, str(tmp_path), str(program)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, ours, theirs = json.loads(done.stdout)
    if said:
        pytest.skip(f"this user may not: {said[0]}")
    assert (ours, theirs) == (os.SCHED_FIFO, os.SCHED_OTHER)


STATION = """
station: 1
elements:
  top: {{synthetic: {{path: "{pictures}", fps: 50, count: 3}}}}
  model: {{segment: {{bundle: "{bundle}"}}}}
  seen: {{"own.py:Seen": {{}}}}
links: [top ! queue policy=every:9 ! model ! seen]
machine: {{cores: "{core}", memory: lock, garbage: freeze{more}}}
"""
SEEN = '''
import gc, json, os

class Seen:
    """A sink that looks at its own thread."""

    def write(self, frame) -> None:
        locked = next(line for line in open("/proc/self/status") if line.startswith("VmLck"))
        found = [sorted(os.sched_getaffinity(0)), int(locked.split()[1]), gc.get_freeze_count(), os.sched_getscheduler(0)]
        with open("seen.json", "w") as file:
            json.dump(found, file)
'''


@pytest.mark.parametrize("rights", [True, False])
def test_a_station_has_what_its_file_asks_for_or_says_what_it_has_not(tmp_path: Path, rights: bool) -> None:
    more = (
        "" if rights else ", priority: 5"
    )  # A whole station in realtime would hold up what else runs on this machine.
    words = {"pictures": ROOT / "demo" / "pictures" / "bearing", "bundle": ROOT / "demo" / "bearing.bundle"}
    (tmp_path / "station.yaml").write_text(STATION.format(core=CORE, more=more, **words))
    (tmp_path / "own.py").write_text(SEEN)
    done = subprocess.run(
        [sys.executable, "-m", "lineside", "station", "station.yaml", "--json"], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, check=False, preexec_fn=None if rights else without_rights,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["complete"] and report["branches"][0]["counts"]["inspected"] == 3
    cores, locked, frozen, policy = json.loads((tmp_path / "seen.json").read_text())
    assert cores == [CORE] and frozen > 1000 and policy == os.SCHED_OTHER
    refused = "does not allow that this station keeps its memory locked" in done.stderr
    assert refused is (locked == 0) and (rights or refused)
    assert ("runs with realtime priority 5 (Operation not permitted); it goes on without" in done.stderr) is not rights
