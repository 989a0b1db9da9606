"""The stage clock's statistics against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.pipelines.frame import CAPTURE, DECIDED, DONE, READ, TAKEN, TRIGGER, Frame
from lineside.pipelines.stages import SERVICE, TO_DECISION, TOTAL, StageClock


def frame(**stamps: int) -> Frame:
    made = Frame(None)
    made.clock.update(stamps)
    return made


@settings(max_examples=25)
@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=40))
def test_statistics_of_one_stage(spans: list[int]) -> None:
    clock = StageClock()
    for span in spans:
        clock.record(frame(**{TAKEN: 5, DECIDED: 5 + span}))
    row = clock.stats()[SERVICE]
    # Below a microsecond the histogram keeps no digits.
    close = {"rel": 0.002, "abs": 0.0011}
    assert row.count == len(spans)
    assert row.mean == pytest.approx(np.mean(spans) / 1e6, rel=1e-9)
    assert row.deviation == pytest.approx(np.std(spans) / 1e6, rel=1e-6, abs=1e-6)
    for percent, value in ((50, row.p50), (90, row.p90), (99, row.p99), (99.9, row.p999), (100, row.max)):
        rank = max(1, int(percent / 100 * len(spans) + 0.5))
        assert value == pytest.approx(sorted(spans)[rank - 1] / 1e6, **close)


def test_share_above_a_limit() -> None:
    clock = StageClock()
    for span in (1, 39, 39, 41, 600):
        clock.record(frame(**{TAKEN: 0, DECIDED: span * 1_000_000}))
    assert clock.share_above(SERVICE, 40_000_000) == 0.4
    assert clock.share_above(SERVICE, 700_000_000) == 0.0
    assert clock.share_above(TOTAL, 1) == 0.0, "nothing was recorded there"


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 10**11), max_size=20), max_size=4))
def test_several_clocks_together_are_one_that_saw_it_all(parts: list[list[int]]) -> None:
    apart, whole = [StageClock() for _ in parts], StageClock()
    for clock, spans in zip(apart, parts, strict=True):
        for span in spans:
            for each in (clock, whole):
                each.record(frame(**{TAKEN: 5, DECIDED: 5 + span}))
    assert StageClock.together(apart).stats() == whole.stats()


def test_time_counts_from_the_trigger_where_there_is_one() -> None:
    clock = StageClock()
    clock.record(frame(**{TRIGGER: 0, CAPTURE: 30_000_000, READ: 30_000_000, TAKEN: 40_000_000, DONE: 50_000_000}))
    stats = clock.stats()
    assert stats["arrival"].max == pytest.approx(30, rel=0.002)
    assert stats["queue"].max == pytest.approx(10, rel=0.002)
    assert stats[TOTAL].max == pytest.approx(50, rel=0.002)
    assert TO_DECISION not in stats and SERVICE not in stats


def test_the_wait_for_a_shared_engine_is_not_inference() -> None:
    clock = StageClock()
    clock.record(frame(preprocess=0, wait=20_000_000, infer=50_000_000))
    stats = clock.stats()
    assert stats["wait"].max == pytest.approx(20, rel=0.002)
    assert stats["infer"].max == pytest.approx(30, rel=0.002)


def test_memory_is_fixed_and_nothing_is_out_of_range() -> None:
    clock = StageClock()
    for span in (-5, 0, 10**18):
        clock.record(frame(**{TAKEN: 1, DECIDED: 1 + span}))
    row = clock.stats()[SERVICE]
    assert row.count == 3 and row.max == pytest.approx(3_600_000, rel=0.002)
