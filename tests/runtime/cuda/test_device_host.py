"""The host device does what a GPU does and refuses what a GPU refuses; kernels have tests of their own."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from lineside.runtime.cuda import host_stream
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.errors import DeviceLost, EngineFailed


@pytest.fixture
def device() -> Iterator[HostDevice]:
    made = HostDevice()
    yield made
    made.close()


def put(device: HostDevice, data: bytes) -> tuple[int, Callable[[], bytes]]:
    """Device memory with some bytes in it, and a way to read them back."""
    stream = device.stream()
    pinned, there = device.allocate(len(data), "pinned"), device.allocate(len(data))
    pinned.host()[:] = np.frombuffer(data, np.uint8)
    device.copy(stream, there, pinned, len(data))
    device.synchronize(stream)

    def read() -> bytes:
        device.copy(stream, pinned, there, len(data))
        device.synchronize(stream)
        return pinned.host().tobytes()

    return there.address, read


# Memory


def test_bytes_go_to_the_device_and_come_back(device: HostDevice) -> None:
    stream = device.stream()
    _, read = put(device, b"a picture")
    assert read() == b"a picture"
    assert device.counters.allocations == 2
    assert device.counters.bytes_to_device == device.counters.bytes_to_host == 9
    there = device.allocate(16)
    device.fill(stream, there, 7, 16)
    device.copy(stream, back := device.allocate(16, "pinned"), there, 16)
    device.synchronize(stream)
    assert back.host().tolist() == [7] * 16
    device.counters.reset()
    assert device.counters.bytes_to_host == device.counters.synchronisations == 0


@pytest.mark.parametrize("where", ["device", "pinned", "mapped"])
def test_memory_is_aligned_and_not_cleared(device: HostDevice, where: str) -> None:
    buffers = [device.allocate(size, where) for size in (1, 100, 4097)]  # type: ignore[arg-type]
    assert all(buffer.address % 256 == 0 and buffer.where == where for buffer in buffers)
    assert [buffer.nbytes for buffer in buffers] == [1, 100, 4097]
    if where != "device":
        assert buffers[0].host()[0] != 0


def test_the_host_cannot_reach_device_memory(device: HostDevice) -> None:
    with pytest.raises(EngineFailed, match="copy it to pinned memory"):
        device.allocate(4).host()


def test_mapped_memory_is_one_memory(device: HostDevice) -> None:
    stream, shared, there = device.stream(), device.allocate(3, "mapped"), device.allocate(3)
    shared.host()[:] = (1, 2, 3)
    device.copy(stream, there, shared.address, 3)
    device.fill(stream, shared, 9, 2)
    device.synchronize(stream)
    assert shared.host().tolist() == [9, 9, 3]


@pytest.mark.parametrize("nbytes", [0, -1])
def test_no_memory_of_no_size(device: HostDevice, nbytes: int) -> None:
    with pytest.raises(EngineFailed, match="at least one"):
        device.allocate(nbytes)


def test_out_of_memory_is_told_and_passes() -> None:
    device = HostDevice(memory=1000)
    first = device.allocate(600)
    with pytest.raises(EngineFailed, match=r"out of memory: 600 bytes .* 600 of 1000 are taken; choose fewer lanes"):
        device.allocate(600)
    first.free()
    first.free()
    assert device.allocate(1000).nbytes == device.memory_used == 1000


@pytest.mark.parametrize("offset", [0, 1])
def test_copies_out_of_range_are_refused_at_once(device: HostDevice, offset: int) -> None:
    stream, small, large = device.stream(), device.allocate(8), device.allocate(64, "pinned")
    for target, source in ((small.address + offset, large), (large, small.address + offset)):
        device.copy(stream, target, source, 8 - offset)
        with pytest.raises(EngineFailed, match="out of range, or freed"):
            device.copy(stream, target, source, 9 - offset)
    with pytest.raises(EngineFailed, match="out of range"):
        device.fill(stream, small, 0, 9)
    device.synchronize(stream)


def test_memory_that_was_freed_is_refused(device: HostDevice) -> None:
    stream, one, two = device.stream(), device.allocate(8, "pinned"), device.allocate(8)
    one.free()
    with pytest.raises(EngineFailed, match="freed"):
        device.copy(stream, two, one, 8)
    with pytest.raises(EngineFailed, match="freed"):
        one.host()


def test_memory_freed_under_a_copy_loses_the_device(device: HostDevice) -> None:
    stream, one, two = device.stream(), device.allocate(8, "pinned"), device.allocate(8)
    go = threading.Event()
    device.call(stream, "a pause", lambda: void(go.wait(10)))
    device.copy(stream, two, one, 8)
    one.free()
    go.set()
    with pytest.raises(DeviceLost, match="illegal address"):
        device.synchronize(stream)


def void(_: object) -> None:
    """For functions that return something where nothing is wanted."""


def test_a_write_beside_a_buffer_is_seen(device: HostDevice) -> None:
    buffer = device.allocate(100)
    device.check_bounds()
    ctypes.memset(buffer.address + 100, 0, 1)
    with pytest.raises(EngineFailed, match="writes outside"):
        device.check_bounds()


# Streams


def test_a_stream_works_in_order_and_beside_the_host(device: HostDevice) -> None:
    stream, go, seen = device.stream(), threading.Event(), list[int]()
    device.call(stream, "a pause", lambda: void(go.wait(10)))
    for number in range(50):
        device.call(stream, "a note", lambda number=number: seen.append(number))  # type: ignore[misc]
    assert seen == []  # the host is here although the stream has not begun
    go.set()
    device.synchronize(stream)
    assert seen == list(range(50))
    assert device.counters.synchronisations == 1


def test_streams_run_beside_each_other_unless_one_waits_for_a_mark(device: HostDevice) -> None:
    first, second, go, seen = device.stream(), device.stream(), threading.Event(), list[str]()
    device.call(first, "a pause", lambda: void(go.wait(10)))
    device.call(first, "a note", lambda: seen.append("first"))
    mark = device.record(first)
    device.call(second, "a note", lambda: seen.append("beside"))
    device.synchronize(second)
    assert seen == ["beside"]
    device.wait(second, mark)
    device.call(second, "a note", lambda: seen.append("behind"))
    with pytest.raises(EngineFailed, match="not reached yet"):
        device.elapsed(mark, mark)
    go.set()
    device.synchronize(second)
    assert seen == ["beside", "first", "behind"]
    end = device.record(second)
    device.synchronize(second)
    assert device.elapsed(mark, end) >= 0


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("host-stream")}


def test_a_stream_that_nobody_holds_ends_its_thread(device: HostDevice) -> None:
    before = workers()
    streams = [device.stream() for _ in range(5)]
    made = workers() - before
    assert len(made) == 5
    del streams
    gc.collect()
    for thread in made:
        thread.join(5)
    assert not made & workers()


# Graphs


def test_a_graph_runs_when_it_is_launched_and_as_often(device: HostDevice) -> None:
    stream, source, target = device.stream(), device.allocate(4, "pinned"), device.allocate(4)
    back = device.allocate(4, "pinned")

    def record() -> None:
        device.copy(stream, target, source, 4)
        device.copy(stream, back, target, 4)

    graph = device.capture(stream, record)
    device.synchronize(stream)
    assert device.counters.bytes_to_host == device.counters.bytes_to_device == device.counters.graph_launches == 0
    for value in (1, 2, 3):
        source.host()[:] = value
        graph.launch(stream)
        device.synchronize(stream)
        assert back.host().tolist() == [value] * 4
    assert device.counters.graph_launches == 3 and device.counters.launches == 0
    assert device.counters.bytes_to_host == device.counters.bytes_to_device == 12
    graph.free()
    with pytest.raises(EngineFailed, match="freed"):
        graph.launch(stream)


@pytest.mark.parametrize("what", ["allocate", "synchronise", "stream", "mark", "capture"])
def test_what_a_capture_does_not_allow(device: HostDevice, what: str) -> None:
    stream = device.stream()
    forbidden: dict[str, Callable[[], object]] = {
        "allocate": lambda: device.allocate(1),
        "synchronise": lambda: device.synchronize(stream),
        "stream": device.stream,
        "mark": lambda: device.record(stream),
        "capture": lambda: device.capture(stream, lambda: None),
    }
    with pytest.raises(EngineFailed, match="while a graph is captured: do it before"):
        device.capture(stream, lambda: void(forbidden[what]()))

    def swallow() -> None:
        with pytest.raises(EngineFailed):
            forbidden[what]()

    with pytest.raises(EngineFailed, match="void"):
        device.capture(stream, swallow)
    forbidden[what]()  # and nothing of it stays
    device.synchronize(stream)


def test_another_thread_may_allocate_while_one_captures(device: HostDevice) -> None:
    stream, done = device.stream(), list[int]()

    def record() -> None:
        other = threading.Thread(target=lambda: done.append(device.allocate(8).nbytes))
        other.start()
        other.join(10)

    device.capture(stream, record)
    assert done == [8]


def test_a_busy_stream_is_not_captured(device: HostDevice) -> None:
    stream, go = device.stream(), threading.Event()
    device.call(stream, "a pause", lambda: void(go.wait(10)))
    with pytest.raises(EngineFailed, match="synchronise it first"):
        device.capture(stream, lambda: None)
    go.set()
    device.synchronize(stream)


# Faults


def test_what_fails_as_an_engine_does_is_told_once_and_the_device_works_on(device: HostDevice) -> None:
    stream, seen = device.stream(), list[int]()

    def refuse() -> None:
        raise EngineFailed("the model refused: try another")

    device.call(stream, "the engine", refuse)
    device.call(stream, "what follows", lambda: seen.append(1))
    with pytest.raises(EngineFailed, match="the model refused: try another"):
        device.synchronize(stream)
    assert seen == []
    device.synchronize(stream)
    device.call(stream, "a note", lambda: seen.append(2))
    device.synchronize(stream)
    assert seen == [2]


def lose(device: HostDevice, in_graph: bool) -> None:
    stream = device.stream()

    def crash() -> None:
        raise RuntimeError("a misaligned address")

    if in_graph:
        device.capture(stream, lambda: device.call(stream, "the kernel masks", crash)).launch(stream)
    else:
        device.call(stream, "the kernel masks", crash)
    with pytest.raises(
        DeviceLost, match=r"lost while it ran the kernel masks \(a misaligned address\).*load the bundle"
    ):
        device.synchronize(stream)


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_lost_device_says_the_same_to_everything_until_it_is_closed(device: HostDevice, in_graph: bool) -> None:
    other, buffer = device.stream(), device.allocate(8)
    graph = device.capture(other, lambda: device.fill(other, buffer, 0, 8))
    lose(device, in_graph)
    for ask in (
        lambda: device.allocate(1),
        lambda: device.synchronize(other),
        lambda: device.fill(other, buffer, 0, 8),
        lambda: device.copy(other, buffer, buffer, 8),
        lambda: graph.launch(other),
        lambda: device.record(other),
        lambda: device.capture(other, lambda: None),
        device.stream,
    ):
        with pytest.raises(DeviceLost, match="lost while it ran the kernel masks"):
            ask()
    device.close()
    with pytest.raises(EngineFailed, match="closed"):
        device.allocate(1)
    assert device.buffers == 0


def test_whoever_waits_for_another_stream_hears_of_the_loss(device: HostDevice) -> None:
    waiting, never = device.stream(), host_stream.HostEvent()
    device.wait(waiting, never)
    lose(device, in_graph=False)
    with pytest.raises(DeviceLost):
        device.synchronize(waiting)


def test_work_that_does_not_end_loses_the_device_and_close_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_stream, "PATIENCE", 0.2)
    monkeypatch.setattr(HostDevice, "close_patience", 0.1)
    device, go = HostDevice(), threading.Event()
    stream, buffer = device.stream(), device.allocate(8)
    device.call(stream, "a kernel without end", lambda: void(go.wait(60)))
    with pytest.raises(DeviceLost, match=r"not done after"):
        device.synchronize(stream)
    device.close()
    del buffer, device
    go.set()


def test_a_closed_device_refuses_and_a_second_close_does_nothing() -> None:
    device = HostDevice()
    before = workers()
    stream = device.stream()
    (made,) = workers() - before
    device.close()
    device.close()
    assert not made.is_alive()
    with pytest.raises(EngineFailed, match="load the bundle again"):
        device.synchronize(stream)


def test_things_of_another_device_are_refused(device: HostDevice) -> None:
    class Other:
        handle = 5

    with pytest.raises(EngineFailed, match="another device"):
        device.synchronize(Other())
    with pytest.raises(EngineFailed, match="another device"):
        device.wait(device.stream(), Other())
    with pytest.raises(EngineFailed, match="another device"):
        device.elapsed(Other(), Other())
    with pytest.raises(EngineFailed, match="none of this device"):
        device.adopt(12345)
    stream = device.stream()
    assert device.adopt(stream.handle) is stream
