"""The reference for a foreign ONNX: the graph as it was given, in a session of its own, decoded on its own.

A graph in float32 runs without optimisations. Where the last bit decides (rows sorted in the graph, arithmetic in
float16 or whole numbers) the session optimises as the runtime's does, and only what is around the graph is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper

from lineside.export.parity.letterbox import letterboxed, place
from lineside.export.parity.plain_decode import decode_end2end, decode_flat, decode_levels
from lineside.export.parity.reference import Seen, to_picture
from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import EngineFailed

__all__ = ["OnnxReference", "plain_session", "with_outputs"]

Tensor = npt.NDArray[np.float32]


def plain_session(model: bytes, optimise: bool) -> Any:
    """An onnxruntime session on the CPU.

    Args:
        model: The file's content.
        optimise: Let onnxruntime optimise the graph.

    Raises:
        EngineFailed: onnxruntime refuses the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # two sessions share the cores
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        reason = str(error).strip().partition("\n")[0]
        raise EngineFailed(f"onnxruntime refuses the model ({reason}): export it again") from error


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """The content of a model file that puts out further tensors after its own, as float32.

    They are called as before, with ``/tap`` behind it.

    Args:
        model: The model; left as it was.
        names: Tensors of its graph.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in names:
        copy.graph.node.append(helper.make_node("Cast", [name], [f"{name}/tap"], to=TensorProto.FLOAT))
        copy.graph.output.append(onnx.ValueInfoProto(name=f"{name}/tap"))
    data: bytes = copy.SerializeToString()
    return data


class OnnxReference:
    """Runs an ONNX graph in a plain onnxruntime session.

    Args:
        model: The file's content.
        head: Head contract of its own outputs, ``flat`` or ``end2end``.
        batch: Pictures per run; the other slots stay empty.
        optimise: Let onnxruntime optimise the graph.
        levels: Head contract ``levels`` of a bundle that was cut from it; None where the bundle is the graph itself.
        taps: The graph's own names of the tensors of ``levels``, in order; it puts them out by `with_outputs`.
        from_taps: Decode those, not the graph's own output: for a tail in float16, whose rounding is measured apart.

    Raises:
        EngineFailed: onnxruntime refuses the model.
    """

    def __init__(
        self,
        model: bytes,
        head: HeadContract,
        batch: int,
        optimise: bool,
        levels: HeadContract | None = None,
        taps: Sequence[str] = (),
        from_taps: bool = False,
    ) -> None:
        self._session = plain_session(model, optimise)
        self._input = self._session.get_inputs()[0].name
        self._head, self._batch = head, batch
        self._levels, self._taps, self._from_taps = levels, tuple(taps), from_taps

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Seen:
        """Looks at one picture ``(H, W, 3)`` uint8 BGR."""
        placement = place((frame.shape[0], frame.shape[1]), self._head.input_size)
        pixels = letterboxed(frame, placement)
        tensor = np.zeros((self._batch, 3, *self._head.input_size), np.float32)
        tensor[0] = pixels.transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255)
        own, raw = self._run(tensor)
        if self._levels is not None and self._from_taps:
            parts = decode_levels(list(raw.values()), self._levels)
        else:
            parts = (decode_end2end if self._head.kind == "end2end" else decode_flat)(own[0][0], self._head)
        boxes = torch.from_numpy(parts[0])
        protos = own[1][0] if self._head.coefficients else np.zeros((0, 0, 0), np.float32)
        return Seen(
            placement=placement,
            pixels=pixels,
            raw=raw,
            input_boxes=boxes,
            boxes=to_picture(boxes, placement),
            scores=torch.from_numpy(parts[1]),
            coefficients=torch.from_numpy(parts[2]),
            protos=torch.from_numpy(protos),
            final=self._head.kind == "end2end",
        )

    def _run(self, tensor: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The graph's own outputs of the first slot, and the tensors to compare under the names of the contract."""
        names = [output.name for output in self._session.get_outputs()]
        found = dict(zip(names, self._session.run(None, {self._input: tensor}), strict=True))
        first = {name: np.asarray(value[:1], np.float32) for name, value in found.items()}
        own = [first[name] for name in names[: len(self._head.output_names)]]
        if self._levels is None:
            return own, dict(zip(self._head.output_names, own, strict=True))
        return own, dict(zip(self._levels.output_names, (first[f"{tap}/tap"] for tap in self._taps), strict=True))
