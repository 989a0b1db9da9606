"""The bus: everybody hears everything, whoever else listens."""

from __future__ import annotations

import threading

import pytest

from lineside.pipelines.events import Bus, Event


def refusing(event: Event) -> None:
    raise OSError(f"no space left for {event.message}, nor for rtsp://ada:geheim@10.0.0.1/")


def leaving(event: Event) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bad", [refusing, leaving])
def test_those_who_still_listen_are_told_once_of_one_that_failed(bad: object, first: bool) -> None:
    bus, heard = Bus(), list[Event]()
    for listener in (bad, heard.append) if first else (heard.append, bad):
        bus.listen(listener)  # type: ignore[arg-type]
    for number in range(3):
        bus.emit("info", "line", "started", f"number {number}")
    assert [event.kind for event in heard] == ["started", "listener failed", "started", "started"]
    told = heard[1]
    assert told.level == "error" and bad.__name__ in told.message and "'started'" in told.message  # type: ignore[attr-defined]
    assert "geheim" not in told.message and ("no space left for number 0" in told.message) == (bad is refusing)


def test_listeners_that_fail_at_the_failure_of_another_are_told_of_too() -> None:
    bus, heard = Bus(), list[Event]()

    def proud(event: Event) -> None:
        if event.kind == "listener failed":
            raise ValueError("that cannot be")

    bus.listen(heard.append)
    bus.listen(refusing)
    bus.listen(proud)
    bus.emit("warning", "line", "lost", "the camera is gone")
    assert [event.kind for event in heard] == ["lost", "listener failed", "listener failed"]
    assert "refusing" in heard[1].message and "proud" in heard[2].message
    bus.emit("info", "line", "started", "it is back")
    assert [event.kind for event in heard[3:]] == ["started"]


def test_one_that_has_left_meanwhile_is_not_told_of() -> None:
    bus, heard = Bus(), list[Event]()

    def last_word(event: Event) -> None:
        leave()
        raise ValueError("too late")

    leave = bus.listen(last_word)
    bus.listen(heard.append)
    bus.emit("info", "line", "ended", "no more frames")
    assert [event.kind for event in heard] == ["ended"]


def test_threads_that_meet_the_same_failure_tell_it_once() -> None:
    bus, heard = Bus(), list[Event]()
    meet = threading.Barrier(4)

    def together(event: Event) -> None:
        if event.kind == "started":
            meet.wait(60)
            raise ValueError("all at once")

    bus.listen(heard.append)
    bus.listen(together)
    threads = [threading.Thread(target=bus.emit, args=("info", f"line {k}", "started", "open")) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [event.kind for event in heard].count("listener failed") == 1
    assert [event.kind for event in heard].count("started") == 4
