"""Pictures that lie on the device are read where they lie, through both doors that libraries have for their memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from helpers.device_arrays import Dlpack, Interface
from lineside.runtime.cuda.arrays import DevicePicture, device_picture, on_device
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.errors import BadFrame
from lineside.runtime.preprocess import MAX_SIDE

SCENE = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
VIEWS = {
    "whole": SCENE,
    "grey": SCENE[..., 0].copy(),
    "part": SCENE[2:9, 3:8],
    "every second": SCENE[::2, ::3],
    "upside down": SCENE[::-1],
    "mirrored": SCENE[:, ::-1],
    "RGB read as BGR": SCENE[..., ::-1],
    "planes": np.ascontiguousarray(SCENE.transpose(2, 0, 1)).transpose(1, 2, 0),
    "one pixel": SCENE[:1, :1],
}


@pytest.fixture
def device() -> Iterator[HostDevice]:
    made = HostDevice()
    yield made
    made.close()


def seen(picture: DevicePicture) -> npt.NDArray[np.uint8]:
    """What a kernel would read."""
    low, nbytes = picture.span
    memory = np.frombuffer(ctypes.string_at(low, nbytes), np.uint8)
    return np.ndarray(picture.shape, np.uint8, memory, picture.address - low, picture.strides)


@pytest.mark.parametrize("door", [Interface, Dlpack])
@pytest.mark.parametrize("view", VIEWS)
def test_pixels_are_found_where_they_lie(device: HostDevice, door: type, view: str) -> None:
    array, stream = VIEWS[view], device.stream()
    frame = door(device, array)
    allocations = device.counters.allocations
    assert on_device(frame)
    picture = device_picture(frame, device, stream)
    np.testing.assert_array_equal(seen(picture), array)
    assert device.counters.allocations == allocations
    assert device.counters.bytes_to_device == device.counters.bytes_to_host == 0


def test_the_older_interface_and_its_streams(device: HostDevice) -> None:
    stream = device.stream()
    assert device_picture(Interface(device, SCENE, version=2), device, stream).stream == 1, "the legacy default stream"
    device.before = stream
    assert device_picture(Interface(device, SCENE, version=2), device, stream).stream == stream.handle
    device.before = None
    assert device_picture(Interface(device, SCENE, stream=stream.handle), device, stream).stream == stream.handle
    assert device_picture(Interface(device, SCENE, stream=None), device, stream).stream is None


def test_dlpack_is_asked_for_our_stream_so_that_the_maker_lets_it_wait(device: HostDevice) -> None:
    stream, frame = device.stream(), Dlpack(device, SCENE)
    picture = device_picture(frame, device, stream)
    assert frame.streams == [stream.handle] and picture.stream is None


def test_who_names_no_stream_at_the_first_door_is_asked_at_the_second(device: HostDevice) -> None:
    stream, frame = device.stream(), Dlpack(device, SCENE)
    first = Interface(device, SCENE, version=2).__cuda_array_interface__
    frame.__cuda_array_interface__ = first  # type: ignore[attr-defined]  # both doors, as torch has them
    assert on_device(frame)
    np.testing.assert_array_equal(seen(device_picture(frame, device, stream)), SCENE)
    assert frame.streams == [stream.handle]
    first["version"] = 3  # says by its silence that there is nothing to wait for
    device_picture(frame, device, stream)
    assert frame.streams == [stream.handle]


def test_what_keeps_the_memory_is_held(device: HostDevice) -> None:
    frame = Interface(device, SCENE)
    assert device_picture(frame, device, device.stream()).owner is frame


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), None, 5, "a.png", object()])
def test_what_does_not_lie_on_a_device(frame: object) -> None:
    assert not on_device(frame)


def test_a_tensor_of_the_processor_does_not_lie_on_a_device(device: HostDevice) -> None:
    assert not on_device(Dlpack(device, SCENE, kind=1))


def test_an_object_that_breaks_when_it_is_asked() -> None:
    class Broken:
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            raise RuntimeError("it wants a gradient")

    with pytest.raises(BadFrame, match="it wants a gradient"):
        on_device(Broken())


@pytest.mark.parametrize("door", [Interface, Dlpack])
@pytest.mark.parametrize(
    ("array", "told"),
    [
        (SCENE.astype(np.float32), "uint8"),
        (SCENE[None], "shape"),
        (SCENE[..., :2], "shape"),
        (np.zeros((1, MAX_SIDE + 1), np.uint8), "between 1 and"),
        (SCENE[0, 0], "shape"),
    ],
)
def test_pictures_that_are_none(device: HostDevice, door: type, array: npt.NDArray[Any], told: str) -> None:
    with pytest.raises(BadFrame, match=told):
        device_picture(door(device, array), device, device.stream())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 1}, "2 or newer"),
        ({"mask": object()}, "mask"),
        ({"stream": 0}, "stream 0"),
        ({"data": None}, "cannot be read"),
        ({"shape": "abc"}, "cannot be read"),
        ({"strides": (1,)}, "version"),
        ({"data": (4096, True)}, "out of reach"),
    ],
)
def test_interfaces_that_are_wrong(device: HostDevice, change: dict[str, Any], told: str) -> None:
    frame = Interface(device, SCENE)
    frame.__cuda_array_interface__ |= change
    with pytest.raises(BadFrame, match=told):
        device_picture(frame, device, device.stream())


def test_memory_that_ends_before_the_picture_does(device: HostDevice) -> None:
    frame = Interface(device, SCENE)
    frame.__cuda_array_interface__["shape"] = (13, 10, 3)
    with pytest.raises(BadFrame, match="out of reach"):
        device_picture(frame, device, device.stream())


def test_a_capsule_that_was_used_up(device: HostDevice) -> None:
    frame = Dlpack(device, SCENE)
    frame.name = b"used_dltensor"
    with pytest.raises(BadFrame, match="capsule"):
        device_picture(frame, device, device.stream())


def test_a_real_capsule_is_read_and_frees_itself(device: HostDevice) -> None:
    """numpy's own capsules lie in the processor's memory, so its address is out of reach; the layout is the real one."""

    class Numpy:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, stream: int | None = None) -> object:
            return SCENE[2:9, 3:8].__dlpack__()

    class Everywhere(HostDevice):
        def reaches(self, address: int, nbytes: int) -> bool:
            return True

    with pytest.raises(BadFrame, match="out of reach"):
        device_picture(Numpy(), device, device.stream())
    everywhere = Everywhere()
    picture = device_picture(Numpy(), everywhere, everywhere.stream())
    np.testing.assert_array_equal(seen(picture), SCENE[2:9, 3:8])
    everywhere.close()
