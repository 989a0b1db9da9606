"""The operators' kernels, built for the processor, say what the original implementations said: the reference vectors.

The files hold float32 numbers that came from other programs on other machines, so what may differ is the order of sums and
the last bit of exp and log1p. The bounds are two to four times what was seen: a fault in an index or at a border is some
powers of ten larger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from lineside.runtime.engines.tensorrt.rewrite import rewrite
from lineside.runtime.kernels.host import host_function
from lineside.runtime.ops.mod_deform_conv2d import STANDARD_OPSET
from lineside.runtime.ops.op import DeviceOp
from lineside.runtime.ops.table import find_device_op

load_file = pytest.importorskip("safetensors.numpy", reason="the vectors are safetensors files").load_file

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

VECTORS = Path(__file__).resolve().parents[2] / "data" / "vectors"

SINGLE = 1e-6
"""Share of the largest magnitude. Seen: 3e-7, of sums of up to 32 products, each rounded to 6e-8 of its size."""

HALF = 2.0**-9
"""Seen: 8e-4. Each input and output is rounded to 2^-11 of its size, so a product of two inputs that is rounded once more is off
by 3 * 2^-11 at most; sums are float32."""


def vectors(family: str, wanted: Callable[[str], bool]) -> list[Any]:
    entries = json.loads((VECTORS / family / "manifest.json").read_text())["entries"]
    found = [pytest.param(family, entry, id=entry["case"]) for entry in entries if wanted(entry["case"])]
    assert found
    return found


def carafe(tensors: Tensors, hyper: dict[str, Any]) -> list[tuple[str, list[Array], list[Array]]]:
    inputs = [tensors["in.x"], tensors["in.mask"]]
    name = f"Carafe_k{hyper['kernel_size']}_up{hyper['up']}"
    return [(name + end, inputs, [tensors[f"out.y_{pad}_pad"]]) for end, pad in (("", "zero"), ("_reflect", "reflect"))]


def attention(tensors: Tensors, hyper: dict[str, Any]) -> list[tuple[str, list[Array], list[Array]]]:
    shapes = tensors["in.spatial_shapes"].astype(np.int32)
    starts = np.cumsum([0, *shapes.prod(1)[:-1]]).astype(np.int32)
    names = ("value", "", "", "sampling_locations", "attention_weights")
    inputs = [
        tensors[f"in.{name}"] if name else given for name, given in zip(names, (0, shapes, starts, 0, 0), strict=True)
    ]
    (wanted,) = [tensors["out.output"]]
    value = tensors["in.value"]
    return [(f"MSDeformAttn_l{len(shapes)}", inputs, [wanted.reshape(*wanted.shape[:2], *value.shape[2:])])]


def scan(tensors: Tensors, hyper: dict[str, Any]) -> list[tuple[str, list[Array], list[Array]]]:
    given = {key[3:]: value for key, value in tensors.items() if key.startswith("in.")}
    batch, _, length = given["u"].shape
    for name in ("B", "C"):
        if given[name].ndim == 2:  # of each channel, the same at every step
            given[name] = np.broadcast_to(given[name][None, :, :, None], (batch, *given[name].shape, length))
        elif given[name].ndim == 3:  # one group
            given[name] = given[name][:, None]
    flags = (("softplus", hyper["delta_softplus"]), ("bias", "delta_bias" in given), ("skip", "D" in given))
    words = [word for word, there in (*flags, ("gate", "z" in given), ("last", True)) if there]
    name = "_".join((f"SelectiveScan_n{given['A'].shape[1]}", *words))
    op = find_device_op(name)
    assert op is not None
    return [(name, [given[one] for one in op.inputs], [tensors["out.out"], tensors["out.last_state"]])]


MAKERS = {"freqfusion": carafe, "ms_deform_attn": attention, "selective_scan": scan}

WITH_KERNEL = (
    *vectors("freqfusion", lambda case: case.startswith("carafe")),
    *vectors("ms_deform_attn", lambda case: case.startswith("core")),
    *vectors("selective_scan", lambda case: case.startswith(("scan", "stability"))),
)


def computed(op: DeviceOp, inputs: Sequence[Array], half: bool) -> list[Array]:
    """Outputs of an operator's kernel."""

    def typed(names: Sequence[str], arrays: Sequence[Array]) -> list[Array]:
        return [
            np.ascontiguousarray(array, np.float16 if half and name in op.floating else array.dtype)
            for name, array in zip(names, arrays, strict=True)
        ]

    given = typed(op.inputs, inputs)
    made = typed(op.outputs, [np.full(shape, np.nan, np.float32) for shape in op.shapes(*(it.shape for it in given))])
    launch = op.launch([array.shape for array in given], [array.ctypes.data for array in (*given, *made)], half)
    host_function(launch.kernel)(launch)
    return made


def off(found: Array, wanted: Array) -> float:
    """The largest difference, as a share of the largest magnitude."""
    assert found.shape == wanted.shape
    return float(np.abs(found.astype(np.float64) - wanted).max() / np.abs(wanted).max())


IN_HALF_TOO = ("carafe_up2_k5", "core_1", "scan_1")
"""The others differ in nothing that the element type has to do with, and each costs a compilation."""

RUNS = [pytest.param(*it.values, False, id=f"{it.id}-fp32") for it in WITH_KERNEL]
RUNS += [pytest.param(*it.values, True, id=f"{it.id}-fp16") for it in WITH_KERNEL if it.id in IN_HALF_TOO]


@pytest.mark.parametrize(("family", "entry", "half"), RUNS)
def test_a_kernel_says_what_the_original_said(family: str, entry: dict[str, Any], half: bool) -> None:
    for name, inputs, wanted in MAKERS[family](load_file(VECTORS / family / entry["file"]), entry["hyper"]):
        op = find_device_op(name)
        assert op is not None and op.name == name
        for mine, theirs in zip(computed(op, inputs, half), wanted, strict=True):
            assert off(mine, theirs) <= (HALF if half else SINGLE), name


@pytest.mark.parametrize(("family", "entry"), vectors("modulated_deform_conv", lambda case: True))
def test_the_standard_operator_says_what_the_original_said(family: str, entry: dict[str, Any]) -> None:
    """There is no kernel of a deformable convolution: what TensorRT is given in its place is executed by onnxruntime."""
    pytest.importorskip("torch", reason="nodes are made by the operator's training side")
    from helpers.op_case import single_node
    from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d

    tensors, hyper = load_file(VECTORS / family / entry["file"]), entry["hyper"]
    pairs = {name: (hyper[name],) * 2 for name in ("kernel", "stride", "padding", "dilation")}
    op = ModDeformConv2d(**pairs, groups=hyper["groups"], deform_groups=hyper["deform_groups"])
    given = [tensors[f"in.{it}"] for it in ("input", "offset", "mask")]
    given += [tensors[f"param.{it}"] for it in ("weight", "bias") if f"param.{it}" in tensors]
    model = single_node(op, given)
    next(entry for entry in model.opset_import if not entry.domain).version = STANDARD_OPSET
    made = rewrite(model.SerializeToString(), (11, 4), plugins=True, standalone=False)
    assert made.native == (op.name,)
    session = ort.InferenceSession(made.onnx, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {node.name: array for node, array in zip(session.get_inputs(), given, strict=True)})
    assert off(found, tensors["out.output"]) <= SINGLE
