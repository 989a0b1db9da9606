"""``lineside station FILE --json`` with more patience for a camera that connects, for machines with much else to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lineside.cli.live import tell
from lineside.pipelines.operate import operate
from lineside.pipelines.plan.file import StationGraph, plan_of
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.station import read_station
from lineside.pipelines.watch.supervised import Limits

LIMITS = Limits(connect=30.0, grace=10.0)


def main(name: str) -> int:
    """Runs a station to its end; its exit code."""
    folder = Path(name).parent
    graph = read_station(name)
    assert isinstance(graph, StationGraph)
    report = operate(shape_of(plan_of(graph, name, folder), name), folder, tell, limits=LIMITS)
    print(json.dumps(report.to_dict()), flush=True)
    return 0 if report.complete else 1


if __name__ == "__main__":  # A capture in a process of its own imports this file too.
    sys.exit(main(sys.argv[1]))
