"""What goes into a model and what comes out of it: the two contracts that a bundle carries."""

from __future__ import annotations

import math
from typing import Literal, get_args

import msgspec

from lineside.runtime.errors import BadOption

__all__ = ["HeadContract", "HeadKind", "InputContract", "TensorShape"]

MAX_SIDE = 16384
MAX_BATCH = 1024
MAX_CHANNELS = 65536
"""Limits of the contracts: far beyond any model, and small enough that no product of them overflows or fills a memory."""

HeadKind = Literal["levels", "flat", "end2end"]
TensorShape = tuple[int, ...]


class InputContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one input tensor of a model, float32 ``(batch, 3, h, w)``.

    Attributes:
        name: Name of the tensor in the ONNX graph.
        size: Height and width in pixels; where the graph is dynamic, those of a load that names no others.
        batch: Pictures per run; where the graph is dynamic, the most.
        dynamic: Batch, height and width are free in the graph; both sides stay multiples of the greatest stride.
        dtype: Element type of the tensor.
        colour: Channel order of the tensor.
        scale: Factor from a pixel (0 to 255) to a tensor element.
        padding: Pixel value around the letterboxed picture.
        resize: How a picture is fitted: scaled, centred, padded.

    Raises:
        BadOption: The batch or a side is below 1 or absurdly large, or the scale or padding is not what the native
            core writes.
    """

    name: str
    size: tuple[int, int]
    batch: int = 1
    dynamic: bool = False
    dtype: Literal["float32"] = "float32"
    colour: Literal["RGB"] = "RGB"
    scale: float = 1 / 255
    padding: int = 114
    resize: Literal["letterbox"] = "letterbox"

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= MAX_BATCH or not all(1 <= side <= MAX_SIDE for side in self.size):
            raise BadOption(
                f"input contract with batch={self.batch} and size={self.size}: a batch is from 1 to {MAX_BATCH} and a "
                f"side from 1 to {MAX_SIDE}"
            )
        if not math.isclose(self.scale, 1 / 255) or self.padding != 114:
            raise BadOption(
                f"input contract with scale={self.scale} and padding={self.padding}: this version feeds models with "
                "scale 1/255 and padding 114; train or export the model so"
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the tensor."""
        return (self.batch, 3, *self.size)


class HeadContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the output tensors of a model are laid out.

    ``levels``: for each stride ascending ``box{s} (1, 4*reg_max, h, w)``, ``cls{s} (1, classes, h, w)`` logits and
    ``mc{s} (1, coefficients, h, w)``, then ``protos (1, coefficients, H/4, W/4)``: the decode tail is not in the graph.
    ``flat``: ``(1, 4+classes+coefficients, anchors)`` with xywh in input pixels and probabilities, then ``protos``.
    ``end2end``: ``(1, K, 6+coefficients)`` rows of xyxy in input pixels, score, class, coefficients, then ``protos``.
    A detection-only model has ``coefficients == 0`` and neither ``mc`` nor ``protos``.
    A model with a FocusPixel branch puts out ``focus (1, 1, H/focus, W/focus)`` logits behind everything else; decoding
    does not read it (see `lineside.runtime.focus`).

    Attributes:
        kind: Which of the three layouts.
        classes: Number of classes.
        coefficients: Mask coefficients per anchor; 0 for a model without masks.
        input_size: Height and width of the input in pixels.
        strides: Pixels per grid cell of each level, ascending.
        reg_max: Bins of the box distribution per side; 1 where a distance is predicted directly.
        focus: Pixels of the input per cell of the focus map, one of the strides; 0 for a model without one.

    Raises:
        BadOption: An unknown kind, a count that is not positive or absurdly large, an input size that is not a
            multiple of the strides, or a focus map that is not on one of the levels.
    """

    kind: HeadKind
    classes: int
    coefficients: int
    input_size: tuple[int, int]
    strides: tuple[int, ...] = (8, 16, 32)
    reg_max: int = 16
    focus: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(HeadKind):
            raise BadOption(f"head contract of kind {self.kind!r}: choose one of {', '.join(get_args(HeadKind))}")
        for name in ("input_size", "strides"):  # lists become tuples: a contract is a key in tables
            msgspec.structs.force_setattr(self, name, tuple(getattr(self, name)))
        if len(self.input_size) != 2:
            raise BadOption(f"head contract with input_size={self.input_size}: it must be (height, width)")
        if self.classes < 1 or self.coefficients < 0 or self.reg_max < 1:
            raise BadOption(
                f"head contract with classes={self.classes}, coefficients={self.coefficients}, reg_max={self.reg_max}: "
                "classes and reg_max must be at least 1 and coefficients at least 0"
            )
        if max(self.classes, self.coefficients, 4 * self.reg_max) > MAX_CHANNELS or max(self.input_size) > MAX_SIDE:
            raise BadOption(
                f"head contract with classes={self.classes}, coefficients={self.coefficients}, reg_max={self.reg_max}, "
                f"input_size={self.input_size}: at most {MAX_CHANNELS} channels and {MAX_SIDE} pixels a side"
            )
        if not self.strides or list(self.strides) != sorted(set(self.strides)) or self.strides[0] < 1:
            raise BadOption(f"head contract with strides={self.strides}: strides must be positive and ascending")
        if any(side < 4 or any(side % stride for stride in self.strides) for side in self.input_size):
            raise BadOption(
                f"head contract with input_size={self.input_size}: both sides must be multiples of {self.strides[-1]}"
            )
        if self.focus and (self.kind != "levels" or self.focus not in self.strides):
            raise BadOption(
                f"head contract of kind {self.kind!r} with focus={self.focus}: a focus map belongs to the kind 'levels' "
                f"and has one of its strides, {', '.join(map(str, self.strides))}"
            )

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each level's grid."""
        return tuple((self.input_size[0] // s, self.input_size[1] // s) for s in self.strides)

    @property
    def anchors(self) -> int:
        """Number of anchors over all levels."""
        return sum(math.prod(grid) for grid in self.grids)

    @property
    def protos_size(self) -> tuple[int, int]:
        """Rows and columns of the prototype planes."""
        return (self.input_size[0] // 4, self.input_size[1] // 4)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the output tensors, in order, as our exporter writes them."""
        tail = (*(("protos",) if self.coefficients else ()), *(("focus",) if self.focus else ()))
        if self.kind != "levels":
            return ("output0", *tail)
        kinds = ("box", "cls", "mc") if self.coefficients else ("box", "cls")
        return (*(f"{kind}{s}" for s in self.strides for kind in kinds), *tail)

    def output_shapes(self, batch: int = 1) -> tuple[tuple[int | None, ...], ...]:
        """Shapes of the output tensors, in the order of `output_names`.

        Args:
            batch: Pictures per run.

        Returns:
            One shape per output; None stands for the number of rows of ``end2end``, which each model chooses.
        """
        tail = ((batch, self.coefficients, *self.protos_size),) if self.coefficients else ()
        if self.focus:
            tail = (*tail, (batch, 1, *(side // self.focus for side in self.input_size)))
        if self.kind == "flat":
            return ((batch, 4 + self.classes + self.coefficients, self.anchors), *tail)
        if self.kind == "end2end":
            return ((batch, None, 6 + self.coefficients), *tail)
        widths = (4 * self.reg_max, self.classes, *((self.coefficients,) if self.coefficients else ()))
        return (*((batch, width, *grid) for grid in self.grids for width in widths), *tail)
