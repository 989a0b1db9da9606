"""NV12 and I420 that lie on the device are read where they lie, and give what the same picture of the processor gives."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lineside
from helpers.device_arrays import Dlpack, Interface
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.cuda.yuv import DeviceYuv
from lineside.runtime.errors import BadFrame
from lineside.runtime.segmenter import Segmenter
from lineside.runtime.yuv import Yuv

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there")

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("b") / "tiny.bundle")


@pytest.fixture(scope="module")
def device() -> Iterator[HostDevice]:
    made = HostDevice()
    yield made
    made.check_bounds()
    made.close()


@pytest.fixture(scope="module")
def model(path: Path, device: HostDevice) -> Iterator[Segmenter]:
    with lineside.load(path, engine="host", device=device) as made:
        yield made


def planes(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Luma with bright rectangles on dark noise, and chroma."""
    rng = np.random.default_rng(height)
    luma = rng.integers(16, 60, (height, width), dtype=np.uint8)
    luma[height // 8 : height // 2, width // 8 : width // 2] = 230
    luma[height // 2 + 4 :, width // 2 :] = 200
    return luma, rng.integers(100, 150, ((height + 1) // 2, (width + 1) // 2, 2), dtype=np.uint8)


def same(found: lineside.Detections, want: lineside.Detections) -> None:
    """Equal bit for bit: the path is the same, but for the upload."""
    assert len(want) and want.image_size == found.image_size
    np.testing.assert_array_equal(found.boxes, want.boxes)
    np.testing.assert_array_equal(found.scores, want.scores)
    assert [mask.to_array().sum() for mask in found.masks or ()] == [mask.to_array().sum() for mask in want.masks or ()]


@pytest.mark.parametrize("door", [Interface, Dlpack])
@pytest.mark.parametrize("size", [(240, 320), (239, 321)])
def test_planes_are_read_where_they_lie(
    device: HostDevice, model: Segmenter, door: Callable[..., Any], size: tuple[int, int]
) -> None:
    luma, chroma = planes(*size)
    u, v = chroma[..., 0].copy(), chroma[..., 1].copy()
    for kind, arrays, words in (
        ("NV12", (luma, chroma), ("bt709", "limited")),
        ("NV12", (luma[:, ::-1], chroma[:, ::-1]), ("bt601", "full")),
        ("NV12", (luma, chroma[..., ::-1]), ("bt601", "limited")),
        ("I420", (luma, u, v), ("bt709", "full")),
    ):
        want = model(Yuv(kind, arrays, *words), conf=0.05)  # type: ignore[arg-type]
        shown = DeviceYuv(kind, [door(device, array) for array in arrays], *words)  # type: ignore[arg-type]
        model(shown, conf=0.05)  # type: ignore[arg-type]
        device.counters.reset()
        same(model(shown, conf=0.05), want)  # type: ignore[arg-type]
        assert device.counters.bytes_to_device < 1024, "the parameters, and no pixel"


def test_one_array_with_the_chroma_below_the_luma(device: HostDevice, model: Segmenter) -> None:
    luma, chroma = planes(120, 160)
    room = np.zeros((180, 200), np.uint8)
    room[:, :160] = np.concatenate([luma, chroma.reshape(60, 160)])
    shown = DeviceYuv("NV12", [Interface(device, room[:, :160])])  # rows farther apart than they are long
    same(model(shown, conf=0.05), model(Yuv("NV12", (luma, chroma)), conf=0.05))  # type: ignore[arg-type]


def test_planes_that_are_still_being_made_are_waited_for(device: HostDevice, model: Segmenter) -> None:
    luma, chroma = planes(120, 160)
    making, want = device.stream(), model(Yuv("NV12", (luma, chroma)), conf=0.05)
    done, blank = Interface(device, chroma), Interface(device, np.zeros_like(chroma), stream=making.handle)
    begun: list[bool] = []

    def draw() -> None:
        begun.append(True)
        blank.held.inside()[:] = done.held.inside()

    go = threading.Event()
    device.call(making, "the maker", lambda: go.wait(10) and draw())
    threading.Timer(0.1, go.set).start()
    same(model(DeviceYuv("NV12", [Interface(device, luma), blank]), conf=0.05), want)  # type: ignore[arg-type]
    assert begun


def test_a_batch_of_planes_and_pictures(path: Path, device: HostDevice, model: Segmenter) -> None:
    luma, chroma = planes(120, 160)
    shown = DeviceYuv("NV12", [Interface(device, luma), Interface(device, chroma)])
    found = model.many([shown, luma, shown], conf=0.05)  # type: ignore[list-item]
    same(found[0], found[2])
    same(found[1], model(luma, conf=0.05))


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("NV12", []),
        ("NV12", [(8, 8)]),
        ("NV12", [(9, 7)]),
        ("NV12", [(8, 8), (4, 4)]),
        ("NV12", [(8, 8), (4, 4, 3)]),
        ("NV12", [(8, 8, 3), (4, 4, 2)]),
        ("NV12", [(9, 9), (4, 4, 2)]),
        ("I420", [(8, 8), (4, 4)]),
        ("I420", [(8, 8), (4, 4), (4, 5)]),
        ("I420", [(12, 8)]),
    ],
)
def test_planes_that_make_no_picture(
    device: HostDevice, model: Segmenter, kind: Any, shapes: list[tuple[int, ...]]
) -> None:
    picture = DeviceYuv(kind, [Interface(device, np.zeros(shape, np.uint8)) for shape in shapes])
    with pytest.raises(BadFrame, match="make no picture"):
        model(picture)  # type: ignore[arg-type]


def test_what_is_refused(path: Path, device: HostDevice, model: Segmenter) -> None:
    luma, chroma = planes(8, 8)
    with pytest.raises(BadFrame, match="use lineside.runtime.yuv.Yuv"):
        DeviceYuv("NV12", [luma, chroma])
    with pytest.raises(BadFrame, match="no matrix"):
        DeviceYuv("NV12", [], "bt2020")  # type: ignore[arg-type]
    short = Interface(device, chroma)
    short.__cuda_array_interface__["data"] = (4096, True)
    picture = DeviceYuv("NV12", [Interface(device, luma), short])
    with pytest.raises(BadFrame, match="out of reach"):
        model(picture)  # type: ignore[arg-type]
    for wrong in (chroma.astype(np.float32), chroma.astype(np.int8)):
        with pytest.raises(BadFrame, match="uint8"):
            model(DeviceYuv("NV12", [Interface(device, luma), Interface(device, wrong)]))  # type: ignore[arg-type]
    with lineside.load(path) as cpu, pytest.raises(BadFrame, match="numpy array"):
        cpu(picture)  # type: ignore[arg-type]
    with pytest.raises(BadFrame, match="numpy array"):
        model.raw(picture)  # type: ignore[arg-type]
