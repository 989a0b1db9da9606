"""The three answers to "how often is the model too slow": one run, three definitions, all printed."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.simulator import Simulator
from lineside.pipelines.link import Policy
from lineside.pipelines.profile.report import Account, Profile, account
from lineside.runtime.errors import CheckFailed

MS = 1_000_000
PARTS = 5000
TAKT = 40 * MS
STALL = 600 * MS


@pytest.fixture(scope="module")
def services() -> list[int]:
    """A model of about 15 ms that stalls for 600 ms once in 200 parts."""
    rng = np.random.default_rng(7)
    times = np.clip(rng.normal(15, 2, PARTS), 8, 30) * MS
    times[100::200] += STALL
    return [int(time) for time in times]


def simulate(services: list[int], policy: Policy, *, closed: bool = False) -> Account:
    arrivals = [k * TAKT for k in range(PARTS)]
    if closed:  # The next part comes when the model is ready.
        arrivals = [0, *np.cumsum(services[:-1]).tolist()]
    flow = Simulator(arrivals, services.__getitem__, policy=policy, deadline_ns=TAKT).run()
    loop = "closed" if closed else "open"
    return account(flow, loop=loop, policy=policy.kind, takt_ns=TAKT, deadline_ns=TAKT)


@pytest.fixture(scope="module")
def profile(services: list[int]) -> Profile:
    latest, every = (simulate(services, policy) for policy in (Policy("latest"), Policy("every", PARTS)))
    closed = simulate(services, Policy("every", 1), closed=True)
    return Profile("m.bundle", "simulated", "parts", (1, 1), TAKT, TAKT, closed, (latest, every))


def test_service_times_alone_flatter(profile: Profile) -> None:
    closed = profile.closed
    assert closed.parts == PARTS
    assert closed.service_over_takt == pytest.approx(25 / PARTS)
    assert closed.stages["service"].p50 == pytest.approx(15, abs=0.5)
    assert closed.stages["service"].p99 < 25
    assert closed.stages["service"].max == pytest.approx(615, abs=10)


def test_from_the_trigger_every_part_behind_a_stall_is_late(profile: Profile, services: list[int]) -> None:
    every = profile.opened[1]
    # Straight from the definition: a part starts when it has come and the one before it is through.
    free, late, waits = 0, 0, []
    for k, service in enumerate(services):
        free = max(free, k * TAKT) + service
        late += free - k * TAKT > TAKT
        waits.append(free - k * TAKT)
    assert every.counts.late == late
    assert every.late == pytest.approx(0.117, abs=0.005)
    assert every.uninspected == 0
    for percent, value in ((50, every.stages["total"].p50), (99, every.stages["total"].p99)):
        assert value == pytest.approx(np.percentile(waits, percent, method="inverted_cdf") / MS, rel=0.002)


def test_keeping_the_newest_leaves_parts_uninspected(profile: Profile) -> None:
    latest = profile.opened[0]
    assert latest.late == pytest.approx(0.005, abs=0.0005)
    assert latest.uninspected == pytest.approx(350, abs=10)
    assert latest.never_inspected == pytest.approx(0.07, abs=0.002)
    assert latest.counts.dropped == {"inspect": latest.uninspected}
    assert latest.stages["total"].p99 < 40


def test_the_same_run_in_closed_loop_hides_what_the_open_loop_shows(profile: Profile) -> None:
    latest, every = profile.opened
    assert profile.closed.service_over_takt < latest.missed < 0.08
    assert every.missed > 20 * profile.closed.service_over_takt


def test_limits_bite(profile: Profile) -> None:
    profile.check(p99_ms=600, miss=0.12)
    with pytest.raises(CheckFailed, match=r"policy every: p99 is 5\d\d\.\d+ ms and may be 100"):
        profile.check(p99_ms=100)
    with pytest.raises(CheckFailed, match=r"policy latest: 7\.\d+% of 5000 parts"):
        profile.check(miss=0.001)


def test_how_late_the_late_ones_were(profile: Profile, services: list[int]) -> None:
    free, late = 0, []
    for k, service in enumerate(services):
        free = max(free, k * TAKT) + service
        late += [free - k * TAKT - TAKT] if free - k * TAKT > TAKT else []
    every = profile.opened[1]
    kept = every.punctuality.to_dict()
    assert kept["deadline_ms"] == 40 and kept["missed"] == {"count": len(late), "share": round(len(late) / PARTS, 6)}
    wanted = {"p50": 50, "p99": 99, "max": 100}
    for name, percent in wanted.items():
        value = np.percentile(late, percent, method="inverted_cdf") / MS
        assert kept["lateness_ms"][name] == pytest.approx(value, rel=0.002)
    assert every.stages["late by"].count == len(late) < every.stages["total"].count == PARTS
    latest = profile.opened[0].punctuality
    assert latest.missed == profile.opened[0].counts.late + profile.opened[0].uninspected


def test_where_none_is_late_nothing_is_said_about_how_late(services: list[int]) -> None:
    flow = Simulator([0, TAKT], lambda k: MS, policy=Policy("every", 2), deadline_ns=TAKT).run()
    kept = account(flow, loop="open", policy="every", takt_ns=TAKT, deadline_ns=TAKT).to_dict()
    assert kept["missed"] == {"count": 0, "share": 0.0} and kept["lateness_ms"] is None
    assert "late by" not in kept["stages"]


def test_profile_as_plain_values(profile: Profile) -> None:
    values = profile.to_dict()
    assert values["takt_ms"] == 40
    latest, every = values["open_loop"]
    assert latest["never_inspected"]["count"] == latest["never_inspected"]["dropped"]["inspect"]
    assert every["late"]["share"] == pytest.approx(0.117, abs=0.005)
    assert latest["inspected_in_time"] + latest["late"]["count"] + latest["never_inspected"]["count"] == PARTS
    assert set(every["stages"]["total"]) >= {"p50", "p90", "p99", "p999", "max", "deviation", "count"}
