"""What a station asks of its machine, and what is no machine's."""

from __future__ import annotations

import os

import pytest

from lineside.pipelines.station import parse_station
from lineside.pipelines.tails import Machine, apply_machine
from lineside.runtime.errors import BadOption, StationError


@pytest.mark.parametrize("cores", ["99999", "0-99999", "1-0", f"0,{os.cpu_count()}"])
def test_cores_that_the_machine_does_not_have(cores: str) -> None:
    with pytest.raises(BadOption, match=r"this machine has the cores 0 to \d+"):
        apply_machine(Machine(cores=cores), print)


@pytest.mark.parametrize("cores", ["0-99999999999", "9" * 5000, "a", "-1", "1-", ","])
def test_cores_that_are_none(cores: str) -> None:
    text = f"station: 1\nelements: {{}}\nlinks: []\nmachine: {{cores: '{cores}'}}"
    with pytest.raises(StationError, match=r"at `machine.cores`"):
        parse_station(text.encode(), "s.yaml")


def test_cores_that_it_has_are_taken() -> None:
    before = os.sched_getaffinity(0)
    first = min(before)
    try:
        assert apply_machine(Machine(cores=f"{first}-{first},{first}"), print) == [
            f"runs on cores {first}-{first},{first}"
        ]
        assert os.sched_getaffinity(0) == {first}
    finally:
        os.sched_setaffinity(0, before)
