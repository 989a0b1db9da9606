"""The station measured, in one run: tables on the terminal, the figures as JSON in ``benchmarks/results/``.

    python benchmarks/station.py [--quick] [--only line,sources [--keep]] [--frames 1000000] [--out FILE] [--readme]

Each part runs in a process of its own, one after the other, as those of ``runtime.py`` do:

line      one raw 1080p camera in memory beside the engine alone; how soon an idle engine begins
sources   2, 4 and 8 sources beside one; three cameras beside a dead and a slow one
soak      a million frames (``--frames``) through a station that writes them down: memory, threads, descriptors, queues
tails     each control of the ``machine`` section on and off
beside    ultralytics' stream mode, an OpenCV loop and Roboflow's pipeline on the same network camera
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine
from peers.environments import ONLY_READY, STREAMS, attempt, versions
from report import FULL, table, write_between
from station_rows import ROWS

from runtime import TRIES, quietest

HERE = Path(__file__).resolve().parent
MARKS = ("<!-- station -->", "<!-- end of station -->")
PARTS = tuple(ROWS)
ENVIRONMENTS = ("ultralytics", "onnx-predictor-yolo", *STREAMS)
MODELS = {"line", "beside"}
"""Parts that need the model of ``models.py``."""
FRAMES = 1_000_000


def calls(quick: bool, frames: int) -> dict[str, str]:
    """How each part is called; with ``quick`` enough to see that all works, too little to be quoted.

    Args:
        quick: Whether to be quick.
        frames: Frames of the part ``soak``.
    """
    if not quick:
        return {
            "line": "station_line.measure()",
            "sources": "station_sources.measure()",
            "soak": f"station_soak.measure({frames})",
            "tails": "station_tails.measure()",
            "beside": "station_beside.measure()",
        }
    return {
        "line": "station_line.measure(seconds=2, frames=30, quick=True)",
        "sources": "station_sources.measure(seconds=0.5, rounds=1, counts=(1, 2))",
        "soak": f"station_soak.measure({min(frames, 2000)})",
        "tails": "station_tails.measure(seconds=1, rounds=1, names=('off', 'priority'))",
        "beside": "station_beside.measure(seconds=3, rounds=1, freeze=3, after=30, quick=True)",
    }


def prepare(wanted: list[str], quick: bool, install: bool) -> None:
    """Makes what the parts need before any clock runs.

    The model is made in a process of its own, which has torch in it. A peer whose environment cannot be made is told with
    the part's figures.
    """
    if not quick and MODELS & set(wanted):
        answer = subprocess.run([sys.executable, str(HERE / "models.py")], stdout=subprocess.DEVNULL)
        if answer.returncode:
            raise SystemExit("error: models.py failed; its own words are above")
    if not install:
        os.environ[ONLY_READY] = "1"
    for name in ENVIRONMENTS if install and "beside" in wanted else ():
        attempt(name)


def options(words: list[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a moment of each: shows that everything works")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument(
        "--keep", action="store_true", help="keep the file's figures of the parts that are not measured"
    )
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames of the part soak")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "station.json")
    parser.add_argument("--readme", action="store_true", help="also put the table into benchmarks/README.md")
    parser.add_argument("--tries", type=int, default=TRIES, help="how often a part is measured on a busy machine")
    parser.add_argument(
        "--install",
        action=argparse.BooleanOptionalAction,
        help="make the environments of peers that are not there yet (gigabytes); the default, but not with --quick",
    )
    found = parser.parse_args(words)
    found.wanted = found.only.split(",")
    unknown = [part for part in found.wanted if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if found.keep and not found.out.exists():
        parser.error(f"--keep: there is no {found.out} to keep figures of")
    if found.frames < 100:
        parser.error("--frames takes a number from 100 on")
    return found


def main(words: list[str] | None = None) -> None:
    """Runs the parts, writes the JSON and prints the table."""
    wanted = options(words)
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "quick": wanted.quick,
        "machine": machine(),
        "parts": {},
    }
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    prepare(wanted.wanted, wanted.quick, not wanted.quick if wanted.install is None else wanted.install)
    results["peers"] = {name: versions(name) for name in ENVIRONMENTS}
    if wanted.keep:
        results["parts"] = json.loads(wanted.out.read_text())["parts"]
    called = calls(wanted.quick, wanted.frames)
    for part in wanted.wanted:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        # A part of many minutes is not begun anew because somebody looked at the machine meanwhile; the table says it.
        tries = 1 if wanted.quick or part in ("soak", "tails", "beside") else wanted.tries
        results["parts"][part] = quietest(part, called[part], tries)
        results["parts"][part]["seconds_of_part"] = round(time.monotonic() - began)
        wanted.out.write_text(json.dumps(results, indent=2) + "\n")
    text = table(results, of=ROWS)
    print(text)
    if wanted.readme:
        write_between(FULL, text, MARKS)
    print(f"\nall figures: {wanted.out}")


if __name__ == "__main__":
    main()
