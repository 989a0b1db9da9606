"""A GigE Vision camera that is none, for trying a station without one: ``python -m lineside.pipelines.aravis.simulated``.

Aravis' own simulator, which speaks the whole protocol, with pictures of a folder in the place of its test pattern. It runs
in a process of its own, because a program and its camera would share one lease.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint32, c_void_p, memmove
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lineside.pipelines.foreign import Functions
from lineside.pipelines.frame import Pixels
from lineside.pipelines.gst.structs import Value
from lineside.pipelines.units import parse_time
from lineside.runtime.errors import BadOption, LinesideError, SourceError

__all__ = ["Simulated", "main", "simulated"]

_LIBRARIES = ("libgobject-2.0.so.0", "libaravis-0.8.so.0")
_FILL = CFUNCTYPE(None, c_void_p, c_void_p, c_uint32, c_uint32, c_uint32)
"""``ArvFakeCameraFillPattern``: buffer, data, exposure, gain, pixel format."""
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    # name: what it returns, what it takes
    "g_object_unref": (None, c_void_p),
    "g_object_set_property": (None, c_void_p, c_char_p, POINTER(Value)),
    "g_value_init": (c_void_p, POINTER(Value), c_size_t),
    "g_value_set_double": (None, POINTER(Value), c_double),
    "arv_gv_fake_camera_new": (c_void_p, c_char_p, c_char_p),
    "arv_gv_fake_camera_is_running": (c_int, c_void_p),
    "arv_gv_fake_camera_get_fake_camera": (c_void_p, c_void_p),
    "arv_fake_camera_set_fill_pattern": (None, c_void_p, _FILL, c_void_p),
    "arv_buffer_get_data": (c_void_p, c_void_p, c_void_p),
    "arv_buffer_get_image_width": (c_int, c_void_p),
    "arv_buffer_get_image_height": (c_int, c_void_p),
}
_EIGHT_BITS = 0x0108 << 16
"""Pixel formats that begin with this have a byte per pixel."""
_DOUBLE = 15 << 2
"""``G_TYPE_DOUBLE``."""


@dataclass(frozen=True)
class Simulated:
    """A camera that is none.

    Attributes:
        name: Its identification.
        lose: From now on it loses that part of its packets, in [0, 1], as a bad cable does.
    """

    name: str
    lose: Callable[[float], None]


class _Reel:
    """Pictures in turn, grey, in the size that the camera is set to."""

    def __init__(self, pictures: list[Pixels]) -> None:
        self._pictures = itertools.cycle(pictures)

    def next(self, size: tuple[int, int]) -> Pixels:
        """The next picture.

        Args:
            size: Height and width.

        Returns:
            ``(H, W)`` uint8.
        """
        from lineside.pipelines.sources.opencv import opencv

        cv2, picture = opencv(), next(self._pictures)
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        if grey.shape == size:
            return grey
        return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]


@contextlib.contextmanager
def simulated(address: str, serial: str, pictures: list[Pixels]) -> Iterator[Simulated]:
    """A camera for as long as the block runs.

    Args:
        address: Address or network interface of this machine that it answers at.
        serial: Its serial number.
        pictures: What it shows, in turn; its own test pattern where there are none.

    Yields:
        The camera.

    Raises:
        MissingPackage: Aravis is not installed.
        SourceError: No camera can be simulated there: its port is taken, or the address is none of this machine.
    """
    arv = Functions(
        _LIBRARIES,
        _SIGNATURES,
        what="Aravis, which simulates the camera,",
        install="apt-get install libaravis-0.8-0",
        needs="version 0.8.20 or later",
    )
    camera = arv.arv_gv_fake_camera_new(address.encode(), serial.encode())
    if not camera or not arv.arv_gv_fake_camera_is_running(camera):
        raise SourceError(
            f"no camera can be simulated at {address}: it is no address or interface of this machine, or one is simulated "
            "there already"
        )
    reel = _Reel(pictures)

    def fill(buffer: int, data: int, exposure: int, gain: int, form: int) -> None:
        place = arv.arv_buffer_get_data(buffer, None)
        height, width = arv.arv_buffer_get_image_height(buffer), arv.arv_buffer_get_image_width(buffer)
        if form & 0xFFFF0000 == _EIGHT_BITS:  # the camera has seen to it that so many bytes have room there
            memmove(place, np.ascontiguousarray(reel.next((height, width))).ctypes.data, height * width)

    def lose(part: float) -> None:
        value = Value()
        arv.g_value_init(byref(value), _DOUBLE)
        arv.g_value_set_double(byref(value), part)
        arv.g_object_set_property(camera, b"gvsp-lost-ratio", byref(value))

    shown = _FILL(fill)
    if pictures:
        arv.arv_fake_camera_set_fill_pattern(arv.arv_gv_fake_camera_get_fake_camera(camera), shown, None)
    try:
        yield Simulated(f"Aravis-Fake-{serial}", lose)
    finally:
        arv.g_object_unref(camera)  # which ends its threads, and with them the calls of `shown`


def main(words: list[str] | None = None) -> int:
    """The program.

    Args:
        words: Its command line.

    Returns:
        Exit code: 2 where no camera can be simulated.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lineside.pipelines.aravis.simulated", description="A GigE Vision camera that is none."
    )
    parser.add_argument("pictures", nargs="?", help="folder of the pictures that it shows; a test pattern without")
    parser.add_argument("--address", default="127.0.0.1", help="address of this machine [127.0.0.1]")
    parser.add_argument("--serial", default="GV01", help="serial number [GV01]")
    parser.add_argument("--loss", default="0", help="part of its packets that it loses, e.g. 0.01 [0]")
    parser.add_argument("--duration", help="end after so long, e.g. 10m; until Ctrl-C without")
    told = parser.parse_args(words)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        seconds = parse_time(told.duration) / 1e9 if told.duration else None
        loss = _part(told.loss)
        with simulated(told.address, told.serial, _pictures(told.pictures)) as camera:
            camera.lose(loss)
            print(f"{camera.name} answers at {told.address}, until Ctrl-C", flush=True)
            ended.wait(seconds)
    except LinesideError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _part(text: str) -> float:
    """A part of a whole.

    Raises:
        BadOption: It is none.
    """
    with contextlib.suppress(ValueError):
        if 0 <= (part := float(text)) <= 1:
            return part
    raise BadOption(f"--loss {text} is no part of the packets; write a number from 0 to 1, such as 0.01")


def _pictures(folder: str | None) -> list[Pixels]:
    """The pictures of a folder.

    Raises:
        SourceError: There are none.
    """
    from lineside.pipelines.sources.find import find
    from lineside.pipelines.sources.pictures import read_picture

    if folder is None:
        return []
    return [read_picture(it.what) for it in find([str(Path(folder))]) if it.kind == "picture"]


if __name__ == "__main__":
    sys.exit(main())
