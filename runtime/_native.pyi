"""Types of the native core (runtime/native), which is compiled."""

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]
_Bytes = npt.NDArray[np.uint8]

class NonFinite(ValueError): ...
class OutOfContract(ValueError): ...

class Resampler:
    def __init__(
        self,
        *,
        image_h: int,
        image_w: int,
        content_h: int,
        content_w: int,
        input_h: int,
        input_w: int,
        left: int,
        top: int,
    ) -> None: ...
    @property
    def row_bytes(self) -> int: ...
    def run(self, frame: _Bytes, out: _Floats) -> None: ...
    def run_yuv(
        self, luma: _Bytes, u: _Bytes, v: _Bytes, bt709: bool, full: bool, out: _Floats, rows: _Bytes
    ) -> None: ...
    def fill_padding(self, out: _Floats) -> None: ...

def address(array: _Floats) -> int: ...

class Decoder:
    def __init__(
        self,
        kind: str,
        classes: int,
        coefficients: int,
        input_h: int,
        input_w: int,
        strides: list[int],
        reg_max: int,
    ) -> None: ...
    def run(
        self,
        outputs: list[_Floats],
        conf: float,
        iou: float,
        max_det: int,
        agnostic: bool,
        image_h: int,
        image_w: int,
        sx: float,
        sy: float,
        left: int,
        top: int,
        content_h: int,
        content_w: int,
        masks: int,
    ) -> tuple[_Floats, _Floats, _Ints, _Ints, _Ints | None, npt.NDArray[np.int64] | None]: ...

def yuv_to_bgr(luma: _Bytes, u: _Bytes, v: _Bytes, bt709: bool, full: bool, out: _Bytes) -> None: ...
def spans_area(spans: _Ints) -> int: ...
def spans_crop(spans: _Ints) -> tuple[int, int, _Bytes]: ...
def spans_dense(spans: _Ints, image_h: int, image_w: int) -> _Bytes: ...
def spans_polygons(spans: _Ints) -> list[_Floats]: ...
def spans_rle(spans: _Ints, image_h: int, image_w: int) -> str: ...
def spans_from_table(table: _Bytes) -> _Ints: ...
def spans_from_rle(counts: str, image_h: int, image_w: int) -> _Ints: ...
def spans_intersection(a: _Ints, b: _Ints) -> int: ...
