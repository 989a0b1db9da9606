"""Our kernels on the device beside the processor: those of operators, and those of the frame.

An operator's kernel is held against its body, the function of standard operators that the bundle brings, executed by
onnxruntime: two programs that share no line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.errors import EngineError, EngineUnavailable
from lineside.runtime.ops.table import find_device_op
from lineside.runtime.postprocess import Postprocessor
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.selftest.bench import Bench
from lineside.runtime.selftest.bodies import rounded, run_body
from lineside.runtime.selftest.examples import example
from lineside.runtime.selftest.findings import Finding, Line, checked, failed, unchecked
from lineside.runtime.selftest.frames import compare, pictures
from lineside.runtime.selftest.subject import Subject

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device
    from lineside.runtime.ops.op import DeviceOp

__all__ = ["check", "launched"]

ONE_STEP = 1.001
"""Greatest difference of a letterboxed value, in steps of a pixel's 255; rounding of the scale is allowed for."""

MANY = 0.01
"""Threshold at which most anchors of a golden picture are candidates."""

LIMITS = {False: 2e-4, True: 4e-3}
"""Greatest difference, relative to the greatest value, in FP32 and with FP16 inputs and outputs."""


def check(subject: Subject) -> Iterator[Finding]:
    """The frame's kernels, and every operator of the bundle in both element types."""
    yield from _letterboxes(subject)
    yield from _decoding(subject)
    names = subject.bundle.manifest.custom_ops
    if not names:
        yield unchecked("operators", "this model has no operators of its own")
    for name in names:
        op = find_device_op(name)
        if op is None:
            yield unchecked(name, "this version of Lineside does not know the operator")
        elif op.device_kernel(False) is None:
            yield unchecked(name, "it has no kernel of ours: TensorRT's own, or the body, is used")
        else:
            for half in (False, True):
                yield _operator(subject, op, half)


def _letterboxes(subject: Subject) -> Iterator[Line]:
    """The letterbox of every kind of picture beside the native core's, value by value."""
    size = subject.bundle.manifest.input.size
    shapes = _shapes(subject)
    for name, picture in pictures(subject):
        wanted = np.empty((3, *size), np.float32)
        Preprocessor(size).prepare(picture, wanted)
        with (
            subject.device.current(),
            closing(Bench(subject.device, subject.bundle.manifest, picture, shapes)) as bench,
        ):
            found = bench.letterboxed(picture)
        apart = float(np.abs(found.astype(np.float64) - wanted).max()) * 255
        line = checked if apart <= ONE_STEP else failed  # NaN fails
        yield line(f"letterbox, {name}", f"differs by {apart:.3g} of 255 at most (1 may be)", apart=apart)


def _decoding(subject: Subject) -> Iterator[Line]:
    """Scan, suppression and masks beside the native core's, on recorded outputs."""
    manifest = subject.bundle.manifest
    golden = next((one for one in subject.golden if one.outputs), None)
    name = "candidates, suppression, masks"
    if golden is None:
        yield unchecked(name, "no golden file of the bundle holds raw outputs")
        return
    outputs = [golden.outputs[key].astype(np.float32) for key in manifest.head.output_names if key in golden.outputs]
    if len(outputs) != len(manifest.head.output_names):
        yield unchecked(name, "the golden file does not hold every output")
        return
    for conf, word in ((golden.conf, ""), (MANY, ", many")):
        for size in (golden.image_size, (1080, 1920)):
            picture = subject.frame(size)
            with (
                subject.device.current(),
                closing(Bench(subject.device, manifest, picture, [one.shape for one in outputs])) as bench,
            ):
                found = bench.decoded(picture, outputs, conf, golden.iou, golden.max_det)
                box = bench.steps.box
            wanted = Postprocessor(manifest.head).run(
                outputs,
                box,
                conf=conf,
                iou=golden.iou,
                max_det=golden.max_det,
                masks="native",
                agnostic=False,
                names=manifest.names,
            )
            what = f"{name}{word}, {size[1]}x{size[0]}"
            if found is None:
                yield unchecked(what, f"the device has no room for {len(wanted)} detections, and the processor decodes")
            else:
                yield compare(what, found, wanted, conf, box_px=0.01, score=1e-5, iou=0.999)


def _shapes(subject: Subject) -> Sequence[tuple[int, ...]]:
    """Shapes of the outputs; sides that the contract leaves open count as one."""
    return [tuple(side or 1 for side in shape) for shape in subject.bundle.manifest.head.output_shapes(1)]


def _operator(subject: Subject, op: DeviceOp, half: bool) -> Line:
    name = f"{op.name}, {'FP16' if half else 'FP32'}"
    inputs = example(op)
    if inputs is None:
        return unchecked(name, "there are no inputs to try it with")
    floating = op.floating if half else frozenset()
    inputs = rounded(inputs, op.inputs, floating)
    try:
        wanted = run_body(subject.bundle.read(subject.bundle.manifest.model), op, inputs)
    except EngineUnavailable as error:
        return unchecked(name, f"its body cannot be run ({error})")
    if wanted is None:
        return unchecked(name, "the bundle brings no body for it")
    try:
        found = launched(subject.device, op, inputs, half)
    except EngineError as error:
        return failed(name, str(error))
    apart = max(
        float(np.abs(one.astype(np.float64) - other).max() / max(1e-6, np.abs(other).max()))
        for one, other in zip(found, wanted, strict=True)
    )
    limit = LIMITS[half]
    line = checked if apart <= limit else failed  # NaN fails
    return line(name, f"differs from its body by {apart:.2g} of the greatest value (at most {limit:g})", apart=apart)


def launched(
    device: Device, op: DeviceOp, inputs: Sequence[npt.NDArray[Any]], half: bool
) -> list[npt.NDArray[np.float32]]:
    """What an operator's kernel computes on a device.

    Args:
        device: The device.
        op: The operator.
        inputs: Its inputs, float32 and int32.
        half: Whether those that may be are handed over in FP16, and outputs come so.

    Returns:
        The outputs in float32.

    Raises:
        EngineError: The kernel cannot be built or launched.
    """
    shapes = [tuple(one.shape) for one in inputs]
    floating = op.floating if half else frozenset()
    given = [
        np.ascontiguousarray(one.astype(np.float16) if name in floating else one)
        for one, name in zip(inputs, op.inputs, strict=False)
    ]
    results = [
        np.empty(shape, np.float16 if name in floating else np.float32)
        for name, shape in zip(op.outputs, op.shapes(*shapes), strict=True)
    ]
    with device.current():
        stream = device.stream()
        held = [device.allocate(max(1, one.nbytes), "pinned") for one in (*given, *results)]
        memory = [device.allocate(max(1, one.nbytes)) for one in (*given, *results)]
        try:
            for array, source, target in zip(given, held, memory, strict=False):
                source.host()[: array.nbytes] = array.reshape(-1).view(np.uint8)
                device.copy(stream, target, source, array.nbytes)
            for array, target in zip(results, memory[len(given) :], strict=True):
                device.fill(stream, target, 0xFF, array.nbytes)  # NaN, so that what is not written shows
            device.launch(stream, op.launch(shapes, [one.address for one in memory], half))
            for array, source, target in zip(results, memory[len(given) :], held[len(given) :], strict=True):
                device.copy(stream, target, source, array.nbytes)
            device.synchronize(stream)
            for array, source in zip(results, held[len(given) :], strict=True):
                array.reshape(-1).view(np.uint8)[:] = source.host()[: array.nbytes]
        finally:
            for one in (*held, *memory):
                one.free()
    return [one.astype(np.float32) for one in results]
