"""The kernels of a frame on the processor, without device, streams or engine: one launch after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.parameters import Source
from lineside.runtime.cuda.staging import Form
from lineside.runtime.cuda.steps import Addresses, FrameSteps, Limits
from lineside.runtime.detections import Detections
from lineside.runtime.kernels.host import Execution, host_function

Array = npt.NDArray[Any]
ANYTHING = 0xCD
"""What memory is full of before somebody writes to it."""

GUARD = 256
"""Bytes behind each block that nobody may write to."""


def address_of(array: Array) -> int:
    """Where an array lies."""
    address: int = array.__array_interface__["data"][0]
    return address


class Bench:
    """The memory of one picture, and its kernels; arrays stand for buffers.

    Args:
        head: The head contract.
        form: Of the picture.
        outputs: Raw outputs, float32, one picture.
        limits: Room for a result.
        execution: How the threads of a block run.
    """

    def __init__(
        self,
        head: HeadContract,
        form: Form,
        outputs: Sequence[Array] = (),
        limits: Limits | None = None,
        execution: Execution = "fibres",
    ) -> None:
        rows = outputs[0].shape[1] if head.kind == "end2end" and outputs else 1
        self.steps = FrameSteps(head, form, rows=rows, limits=limits)
        self.outputs = [np.ascontiguousarray(output, np.float32) for output in outputs]
        self.execution: Execution = execution
        steps = self.steps
        sizes = (steps.parameter_bytes, steps.table_bytes, steps.work_bytes, steps.result_bytes)
        self._whole = [np.full(size + GUARD, ANYTHING, np.uint8) for size in sizes]
        self.blocks = [whole[:-GUARD] for whole in self._whole]
        self.input = np.full((3, *head.input_size), np.nan, np.float32)
        parameters, tables, work, result = (address_of(block) for block in self.blocks)
        pointers = tuple(address_of(output) for output in self.outputs) or (0,) * len(head.output_names)
        self.at = Addresses(parameters, tables, work, result, address_of(self.input), pointers)
        self.blocks[1][:] = steps.tables(pointers)

    @property
    def result(self) -> npt.NDArray[np.uint8]:
        """The whole result, as it lies on the device."""
        return self.blocks[3]

    def letterbox(self, source: Source) -> Array:
        """The input that the kernels make of a picture."""
        self.steps.write(self.blocks[0], source)
        self._run(self.steps.letterbox(self.at))
        return self.input

    def decode(self, **options: Any) -> Detections:
        """What the kernels find in the outputs, read from as many bytes as they say."""
        self.run(**options)
        needed = self.steps.needed(self.result[: self.steps.first_bytes])
        assert needed is not None, "the result does not fit"
        assert 0 < needed <= self.result.size, "it is as long as it says"
        return self.steps.read(self.result[: max(needed, self.steps.first_bytes)])

    def run(self, **options: Any) -> None:
        """Runs the kernels that decode."""
        nowhere = Source((0, 0, 0), (0, 0, 0), (0, 0, 0))
        self.steps.write(self.blocks[0], nowhere, **options)
        self._run(self.steps.decode(self.at))

    def _run(self, launches: Sequence[Any]) -> None:
        for launch in launches:
            host_function(launch.kernel, self.execution)(launch)
        assert all((whole[-GUARD:] == ANYTHING).all() for whole in self._whole), "written behind the end of a block"


def same(found: Detections, wanted: Detections) -> None:
    """Asserts that two detections are the same to the bit."""
    for name in ("boxes", "scores", "classes", "anchors"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), name
        assert a.flags.writeable == b.flags.writeable, name
    assert found.image_size == wanted.image_size and found.names == wanted.names
    assert (found.masks is None) == (wanted.masks is None)
    if found.masks is not None and wanted.masks is not None:
        np.testing.assert_array_equal(found.masks.offsets, wanted.masks.offsets)
        np.testing.assert_array_equal(found.masks.spans, wanted.masks.spans)
        assert found.masks.spans.dtype == wanted.masks.spans.dtype
        for name in ("spans", "offsets"):
            assert getattr(found.masks, name).flags.writeable == getattr(wanted.masks, name).flags.writeable, name
