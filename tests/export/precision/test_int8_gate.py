"""Gates of variants: a sound graph passes, one whose scales are wrong does not, and values that outgrow FP16 are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from lineside.export.parity.gate import run_gate
from lineside.export.parity.letterbox import letterboxed, place
from lineside.export.parity.plain_decode import decode_levels
from lineside.export.parity.plain_onnx import plain_session
from lineside.export.parity.reference import Seen, to_picture
from lineside.export.parity.result import ParityReport
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import Picture
from lineside.export.precision.add import add_variants
from lineside.export.precision.calibrate import letterboxed_inputs, observe
from lineside.export.precision.choice import BUDGETS, PrecisionChoice
from lineside.export.precision.graph import plain_copy
from lineside.export.precision.quantise import METHOD, ranges_of, to_int8
from lineside.export.precision.ranges import Ranges
from lineside.export.precision.stand_in import stand_in
from lineside.export.synth import pictures
from lineside.runtime.bundle import open_bundle

BEARING = Path(__file__).resolve().parents[3] / "demo" / "bearing.bundle"


class Plain:
    """The FP32 graph of the demo, decoded on its own."""

    def __init__(self, model: Path = BEARING / "model.onnx") -> None:
        self._head = open_bundle(BEARING).manifest.head
        self._session = plain_session(model.read_bytes(), optimise=True)

    def __call__(self, frame: np.ndarray) -> Seen:
        at = place((frame.shape[0], frame.shape[1]), self._head.input_size)
        pixels = letterboxed(frame, at)
        tensor = (pixels.transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255))[None]
        names = list(self._head.output_names)
        found = self._session.run(names, {self._session.get_inputs()[0].name: tensor})
        corners, scores, coefficients = decode_levels(found, self._head)
        boxes = torch.from_numpy(corners)
        return Seen(
            placement=at,
            pixels=pixels,
            raw=dict(zip(names, found, strict=True)),
            input_boxes=boxes,
            boxes=to_picture(boxes, at),
            scores=torch.from_numpy(scores),
            coefficients=torch.from_numpy(coefficients),
            protos=torch.from_numpy(found[-1][0]),
        )


@pytest.fixture(scope="module")
def ranges() -> Ranges:
    inputs = letterboxed_inputs(pictures("bearing", 12, 320, seed=412), (320, 320))
    return ranges_of(observe(onnx.load(BEARING / "model.onnx"), inputs), METHOD["int8-trt"])


def gated(ranges: Ranges, folder: Path) -> ParityReport:
    """The gate's report of the demo in signed bytes with these ranges."""
    manifest = open_bundle(BEARING).manifest
    graph = to_int8(onnx.load(BEARING / "model.onnx"), "int8-trt", ranges)
    shipped = Shipped(open_bundle(stand_in(folder, manifest, graph)))
    shown = [Picture(str(at), frame) for at, frame in enumerate(pictures("bearing", 8, 320, seed=411))]
    try:
        budget = BUDGETS["int8-trt"]
        return run_gate(shipped, Plain(), manifest.head, shown, budget, described="FP32", pictures_from="drawn")
    finally:
        shipped.close()


def test_a_sound_graph_passes(ranges: Ranges, tmp_path: Path) -> None:
    report = gated(ranges, tmp_path)
    assert report.passed, [verdict.reason for verdict in report.verdicts]
    assert min(measure.cosine for picture in report.pictures for measure in picture.raw) > 0.98


def test_scales_that_are_three_times_too_wide_are_refused(ranges: Ranges, tmp_path: Path) -> None:
    assert not gated({name: (3 * low, 3 * high) for name, (low, high) in ranges.items()}, tmp_path).passed


def test_one_tensor_that_is_cut_off_is_refused(ranges: Ranges, tmp_path: Path) -> None:
    graph = onnx.load(BEARING / "model.onnx").graph
    source = [node for node in graph.node if node.op_type == "Conv"][12].input[0]
    low, high = ranges[source]
    assert not gated({**ranges, source: (low / 32, high / 32)}, tmp_path).passed


def test_values_that_outgrow_fp16_keep_fp32_and_are_named(tmp_path: Path) -> None:
    """One convolution makes its values 3e5 times as large, the next takes that back."""
    path = tmp_path / "model.onnx"
    model = plain_copy(onnx.load(BEARING / "model.onnx"))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    first, second = [node for node in model.graph.node if node.op_type == "Conv"][:2]
    for name, factor in ((first.input[1], 3e5), (first.input[2], 3e5), (second.input[1], 1 / 3e5)):
        values = numpy_helper.to_array(stored[name]) * np.float32(factor)
        stored[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    manifest = open_bundle(BEARING).manifest
    shown = [Picture(str(at), frame) for at, frame in enumerate(pictures("bearing", 8, 320, seed=411))]
    (tmp_path / "reports").mkdir()
    written, report = add_variants(
        tmp_path, tmp_path / "never.bundle", manifest, Plain(path), shown, PrecisionChoice(names=("fp16",)),
        described="FP32", pictures_from="drawn",
    )  # fmt: skip
    assert tuple(written.variants) == ("fp16",)
    assert f"beyond 16384, most '{first.output[0]}'" in report.variants[0].computed
