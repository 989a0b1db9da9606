"""The kernels of a frame around the engine: what to allocate, to upload and to launch, and how to read what comes back.

For one picture. A batch has one of these for each of its pictures, with memory of its own each and the addresses of that
picture in the engine's input and outputs.

The order within a graph is: the parameters are copied to the device, `FrameSteps.letterbox`, the engine,
`FrameSteps.decode`, and the first `FrameSteps.first_bytes` of the result are copied back. That is all for usual frames;
`FrameSteps.needed` says when it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.blocks import Layout
from lineside.runtime.cuda.launches import (
    MASK_ROWS,
    SCAN_BLOCK,
    Addresses,
    decode_launches,
    letterbox_launches,
    row_bytes,
)
from lineside.runtime.cuda.parameters import PARAMETERS, Source, write_parameters
from lineside.runtime.cuda.plan import plan_of
from lineside.runtime.cuda.results import HEADER, RECORD, bytes_needed, read_result
from lineside.runtime.cuda.staging import Form
from lineside.runtime.cuda.tables import LEVEL, PLAN, level_rows, linear_axis, mask_axis, mask_axis_bytes
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption
from lineside.runtime.geometry import Letterbox
from lineside.runtime.kernels.kernel import Kernel, Launch
from lineside.runtime.kernels.limits import MOST_SHARED

__all__ = ["Addresses", "FrameSteps", "Limits"]

MOST_BANDS = 4
"""Of a mask that a block solves together: about as many pixel rows as it has threads, for pictures of 1080 lines at 640."""

STATIC_SHARED = 4 * MASK_ROWS
"""Bytes of shared memory that ``masks`` has of its own."""


@dataclass(frozen=True)
class Limits:
    """How much room the device has for a result. A frame beyond is decoded by the processor: see `FrameSteps.needed`.

    Attributes:
        detections: Most of them, after suppression.
        words: Most words of all masks together: one for each row of a mask, and one more for each further span of a row.
        first: Bytes of the result that are copied back with every frame.
    """

    detections: int = 2048
    words: int = 1 << 20
    first: int = 64_000

    def __post_init__(self) -> None:
        if self.detections < 1 or self.words < 0 or self.first < HEADER.itemsize:
            raise BadOption(
                f"{self}: there must be room for one detection, and {HEADER.itemsize} bytes or more are copied"
            )


class FrameSteps:
    """The kernels of one picture of a form.

    Args:
        head: The head contract.
        form: Kind and size of the picture.
        rows: Rows of an ``end2end`` head's table (``output_shapes[0][1]``); other heads need none.
        names: Class names; None: ``"0"``, ``"1"``, ...
        limits: Room for a result.

    Attributes:
        box: How the picture lies in the input.
        parameter_bytes: Of the parameters, which the host writes for every frame and copies to the device.
        table_bytes: Of the tables, which are uploaded once.
        work_bytes: Of memory that only the kernels use.
        result_bytes: Of the result on the device.
        first_bytes: Of its begin, which every frame copies back: at most `Limits.first`.

    Raises:
        BadOption: An ``end2end`` head without ``rows``.
    """

    def __init__(
        self,
        head: HeadContract,
        form: Form,
        *,
        rows: int | None = None,
        names: Sequence[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        if head.kind == "end2end" and (rows is None or rows < 1):
            raise BadOption("an end2end head needs the number of rows of its table: output_shapes[0][1] of the engine")
        self.head, self.form = head, form
        self.limits = limits or Limits()
        self.names = tuple(names) if names is not None else tuple(str(i) for i in range(head.classes))
        self.box = Letterbox.fit(form.size, head.input_size)
        self.anchors = (rows or 1) if head.kind == "end2end" else head.anchors
        self._blocks = -(-self.anchors // SCAN_BLOCK)
        places = min(self.limits.detections, self.anchors)
        self._bands = max(1, min(MOST_BANDS, (MOST_SHARED - STATIC_SHARED) // row_bytes(head) - 1))
        self._plan = plan_of(head, self.box, self.anchors, self._blocks, places, self.limits.words, self._bands)
        self._items = -(-head.protos_size[0] // self._bands)  # of a mask, at most
        self._tables, self._work = self._layouts(places)
        self.parameter_bytes = PARAMETERS.itemsize
        self.table_bytes = self._tables.nbytes
        self.work_bytes = self._work.nbytes
        masks = 4 * self.limits.words if head.coefficients else 0
        self.result_bytes = HEADER.itemsize + RECORD.itemsize * places + masks
        self.first_bytes = min(self.limits.first, self.result_bytes)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All that `letterbox` and `decode` launch: to be loaded before a capture."""
        at = Addresses(0, 0, 0, 0, 0, (0,) * len(self.head.output_names))
        return tuple(dict.fromkeys(launch.kernel for launch in (*self.letterbox(at), *self.decode(at))))

    def tables(self, outputs: Sequence[int]) -> npt.NDArray[np.uint8]:
        """What must lie at `Addresses.tables` before the first launch.

        Args:
            outputs: As `Addresses.outputs`.

        Returns:
            ``(table_bytes,)`` uint8.
        """
        head, box = self.head, self.box
        (image_h, image_w), (content_h, content_w) = box.image_size, box.content_size
        parts: dict[str, npt.NDArray[np.generic]] = {
            "plan": self._plan,
            "levels": level_rows(head, outputs, self.anchors),
            "rows": linear_axis(image_h, content_h),
            "columns": linear_axis(image_w, content_w),
        }
        if head.coefficients:
            (protos_h, protos_w), (input_h, input_w) = head.protos_size, box.input_size
            (scale_x, scale_y), (left, top) = box.scale_xy, box.pad
            parts["across"] = mask_axis(image_w, scale_x, left, content_w, input_w, protos_w)
            parts["down"] = mask_axis(image_h, scale_y, top, content_h, input_h, protos_h)
        block = np.zeros(self.table_bytes, np.uint8)
        for name, part in parts.items():
            raw = np.ascontiguousarray(part).view(np.uint8).reshape(-1)
            block[self._tables[name] : self._tables[name] + raw.size] = raw
        return block

    def write(
        self,
        block: npt.NDArray[np.uint8],
        source: Source,
        conf: float = 0.25,
        iou: float = 0.7,
        max_det: int = 300,
        masks: str = "native",
        agnostic: bool = False,
    ) -> None:
        """Writes the parameters of a frame, in memory of the host.

        Args:
            block: ``(parameter_bytes,)`` uint8.
            source: Where the picture lies on the device.
            conf: As for `lineside.runtime.decode`, and so are the others.
            iou: As there.
            max_det: As there.
            masks: As there.
            agnostic: As there.

        Raises:
            BadOption: An option is out of its range.
        """
        write_parameters(block, self.head, source, conf, iou, max_det, masks, agnostic)

    def letterbox(self, at: Addresses) -> list[Launch]:
        """What fills the engine's input, its padding too."""
        return letterbox_launches(self.form, self.box, self._tables, at)

    def decode(self, at: Addresses) -> list[Launch]:
        """What makes the result of the engine's outputs, in order."""
        most = int(self._plan["detections"][0]) * self._items
        return decode_launches(self.head, self._tables, self._work, at, self._blocks, most, self._bands)

    def needed(self, block: npt.NDArray[np.uint8]) -> int | None:
        """How much of the result must be on the host to be read.

        Args:
            block: Its begin, as every frame copies it back.

        Returns:
            Bytes. Up to `first_bytes`: they are there. More: so many must be copied from the begin of the result first.
            None: the device had no room for all of it, so the engine's outputs must be copied back, and
            `lineside.runtime.decode` with `box` gives the detections.
        """
        return bytes_needed(block)

    def read(self, block: npt.NDArray[np.uint8]) -> Detections:
        """The detections of a frame; exactly those of `lineside.runtime.decode`.

        Args:
            block: At least as many bytes of the result as `needed` says; nothing refers to them afterwards.

        Raises:
            NonFiniteOutput: A class score, a candidate's box or a detection's mask is NaN or infinite.
            ContractMismatch: A class index does not fit the head contract.
        """
        return read_result(block, self.names, self.box.image_size)

    def _layouts(self, places: int) -> tuple[Layout, Layout]:
        """Of the tables and of the work memory."""
        head, (image_h, image_w) = self.head, self.box.image_size
        (protos_h, protos_w), (content_h, content_w) = head.protos_size, self.box.content_size
        tables = {
            "plan": PLAN.itemsize,
            "levels": LEVEL.itemsize * (len(head.strides) if head.kind == "levels" else 1),
            "rows": 4 * content_h,
            "columns": 4 * content_w,
        }
        work = {
            "best": 4 * self.anchors,
            "counts": 4 * self._blocks,
            "errors": 4 * self._blocks,
            "found": RECORD.itemsize * self.anchors,
            "scores": 4 * self.anchors,
            "sorted": RECORD.itemsize * self.anchors,
            "kept": 4 * places,
            "dead": -(-self.anchors // 8) * 8,
            "items": 4 * (places + 1),
        }
        if head.coefficients:
            tables |= {"across": mask_axis_bytes(image_w, protos_w), "down": mask_axis_bytes(image_h, protos_h)}
            work["places"] = 4 * places * self._items
        return Layout(tables), Layout(work)
