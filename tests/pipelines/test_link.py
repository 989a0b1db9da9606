"""The queue between two elements, against a list."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.simulator import PIXELS
from lineside.pipelines.frame import Frame
from lineside.pipelines.link import Link, Policy
from lineside.runtime.errors import BadOption


@given(
    kind=st.sampled_from(["latest", "every", "drop-oldest"]),
    depth=st.integers(1, 5),
    moves=st.lists(st.booleans(), max_size=60),
)
def test_a_link_is_a_bounded_list(kind, depth, moves) -> None:
    policy = Policy(kind, 1 if kind == "latest" else depth)
    gone: list[Frame] = []
    link = Link("l", policy, gone.append)
    model: list[Frame] = []
    expected_gone: list[Frame] = []
    for put in moves:
        if put:
            frame = Frame(PIXELS)
            fits = len(model) < policy.depth
            assert link.offer(frame) is (fits or kind != "every")
            if not fits and kind != "every":
                expected_gone.append(model.pop(0))
            if fits or kind != "every":
                model.append(frame)
        else:
            assert link.poll() is (model.pop(0) if model else None)
        assert len(link) == len(model) and link.full == (len(model) == policy.depth)
    assert gone == expected_gone
    assert link.abandon() == model
    assert link.get() is None and not link.offer(Frame(PIXELS)) and not link.put(Frame(PIXELS))


def test_every_holds_the_sender_back_until_there_is_a_place() -> None:
    link = Link("l", Policy("every", 1), lambda frame: None)
    first, second = Frame(PIXELS), Frame(PIXELS)
    link.put(first)
    put: list[bool] = []
    sender = threading.Thread(target=lambda: put.append(link.put(second)))
    sender.start()
    assert link.get() is first
    assert link.get() is second
    sender.join(10)
    assert put == [True]


def test_closing_wakes_a_sender_and_lets_the_rest_through() -> None:
    link = Link("l", Policy("every", 1), lambda frame: None)
    first = Frame(PIXELS)
    link.put(first)
    put: list[bool] = []
    sender = threading.Thread(target=lambda: put.append(link.put(Frame(PIXELS))))
    sender.start()
    link.close()
    sender.join(10)
    assert put == [False]
    assert link.get() is first and link.get() is None


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest", Policy("latest")),
        ("every", Policy("every", 4)),
        ("every:9", Policy("every", 9)),
        ("drop-oldest 3", Policy("drop-oldest", 3)),
    ],
)
def test_policies_as_written(text: str, policy: Policy) -> None:
    assert Policy.parse(text) == policy
    assert Policy.parse(str(policy)) == policy


@pytest.mark.parametrize("text", ["", "newest", "latest:3", "every:0", "every:-1", "drop-oldest:x"])
def test_policies_that_are_none(text: str) -> None:
    with pytest.raises(BadOption):
        Policy.parse(text)
