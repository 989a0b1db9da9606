"""All benchmarks of the runtime in one run: a table on the terminal, the figures as JSON in ``benchmarks/results/``.

    python benchmarks/runtime.py [--quick] [--only letterbox,graph] [--out FILE] [--readme]

Each part runs in a process of its own, one after the other, so that no thread pool of one waits beside another.
Within a part the candidates take turns (see ``measure.py``), peers in environments and processes of their own (see
``peers/``). A part during which others used the machine is measured again, and the quietest one is kept.
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

from measure import BLAS_OVERRIDES, NOISY, machine
from peers.environments import ONLY_READY, versions
from peers.environments import PEERS as ENVIRONMENTS
from report import loudest, table, write_readmes

HERE = Path(__file__).resolve().parent
CALLS = {
    "letterbox": ("letterbox.measure()", "letterbox.measure(rounds=12)"),
    "postprocess": ("postprocess.measure()", "postprocess.measure(rounds=5, share=1.0, counts=(5, 50))"),
    "agreement": ("agreement.measure()", "agreement.measure(sizes=((640, 640), (717, 1283)), frames=0)"),
    "graph": ("graph.measure()", "graph.measure(seconds=5)"),
    "loop": ("loop.measure_all()", "loop.measure_all(seconds=6)"),
    "start": ("start.measure()", "start.measure(rounds=2)"),
    "size": ("size.measure()", "size.measure()"),
}
"""How each part is called, and how with ``--quick``: enough to see that all works, too little to be quoted."""
PARTS = tuple(CALLS)
PEERS = {"postprocess", "agreement", "start", "size"}
"""Parts that need the environments of ``peers/``."""
MODELS = {"graph", "loop", "start"}
"""Parts that need the model of ``models.py``."""
TRIES = 3
"""How often a part is measured at most, until nobody else uses the machine meanwhile."""


def prepare(wanted: list[str], install: bool) -> None:
    """Makes what the parts need before any clock runs: environments of the peers, and the model."""
    steps = [("models.py", MODELS), *([("peers/environments.py", PEERS)] if install else [])]
    for script, parts in steps:
        if parts & set(wanted):
            answer = subprocess.run([sys.executable, str(HERE / script)], stdout=subprocess.DEVNULL)
            if answer.returncode:
                raise SystemExit(f"error: {script} failed; its own words are above")


def run_part(name: str, call: str) -> dict[str, Any]:
    """Runs one part, the call of a function of a module, in a process of its own and returns its figures."""
    script = f"""
import json, sys
sys.path.insert(0, {str(HERE)!r})
import {call.partition(".")[0]}
figures = {call}
print(json.dumps(figures))
"""
    environment = {key: value for key, value in os.environ.items() if key not in BLAS_OVERRIDES}
    answer = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    if answer.returncode:
        raise SystemExit(f"error: the part {name} failed; its own words are above")
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return figures


def quietest(name: str, call: str, tries: int) -> dict[str, Any]:
    """Runs a part until the machine was quiet meanwhile, and returns the quietest; ``tries`` tells the load of all."""
    found = []
    for _ in range(tries):
        found.append(run_part(name, call))
        if loudest(found[-1]) <= NOISY:
            break
    return {**min(found, key=loudest), "tries": [round(loudest(figures), 3) for figures in found]}


def main() -> None:
    """Runs the parts, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that everything works")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "runtime.json")
    parser.add_argument("--readme", action="store_true", help="also put the tables into the readmes")
    parser.add_argument("--tries", type=int, default=TRIES, help="how often a part is measured on a busy machine")
    parser.add_argument(
        "--install",
        action=argparse.BooleanOptionalAction,
        help="make the environments of peers that are not there yet (2 to 7 GB); the default, but not with --quick",
    )
    options = parser.parse_args()
    wanted = options.only.split(",")
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "quick": options.quick,
        "machine": machine(),
        "parts": {},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    install = not options.quick if options.install is None else options.install
    if not install:
        os.environ[ONLY_READY] = "1"
    prepare(wanted, install)
    results["peers"] = {name: versions(name) for name in ENVIRONMENTS}
    for part in wanted:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        results["parts"][part] = quietest(part, CALLS[part][options.quick], 1 if options.quick else options.tries)
        results["parts"][part]["seconds"] = round(time.monotonic() - began)
        options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    if options.readme:
        write_readmes(results)
    print(f"\nall figures: {options.out}")


if __name__ == "__main__":
    main()
