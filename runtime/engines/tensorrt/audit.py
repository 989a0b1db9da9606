"""Does the engine compute in the precision that was asked for? Read from TensorRT's engine inspector after a build.

The inspector lists the layers of the plan as JSON, with the element type of each input and output. The work of a
convolution is its multiplications: weights times places of the output. TensorRT fuses some parts of a model into one
layer that says nothing of its inside; what is in there is not seen, and the audit says how many such layers there are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from lineside.runtime.errors import CheckFailed

__all__ = ["KEPT", "SHARES", "Audit", "audit", "check_audit"]

KEPT = 0.9
"""Of the convolution work that a model asks for in a precision, at least so much has to run in it, or in a coarser one: some
kernels exist in float alone, such as those of unusual groups."""

SHARES: Mapping[str, float] = {"fp32": 0.0, "fp16": 0.85, "int8": 0.4}
"""Least share of the whole convolution work, where it is not known what the model asks for. The first convolutions and the
head of an int8 model stay in float, and they are large: our base, ``edge`` and both demo models ask for 44 to 47 % in int8,
and for 96 to 98 % in fp16. Float32 has no lower bound, since everything is at least as coarse."""

Type = Literal["fp32", "fp16", "int8"]

TYPES: tuple[tuple[Type, re.Pattern[str]], ...] = (
    ("int8", re.compile(r"\b(?:int8|fp8|e4m3)", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(?:half|fp16|float16|bf16|bfloat16)", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(?:float|fp32|float32|tf32)\b", re.IGNORECASE)),
)
"""How the inspector writes element types, which differs by version: ``Half``, ``FP16``, ``Row major linear FP16 format``,
``Thirty-two wide channel vectorized row major Int8 format``, ``Float``."""

COARSENESS: Mapping[str, int] = {"fp32": 0, "fp16": 1, "int8": 2}

CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
OPAQUE = re.compile(r"myelin|foreignnode|kgen", re.IGNORECASE)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What the layers of a plan say.

    Attributes:
        layers: Layers of the plan.
        convolutions: Convolutions among them, of which the inspector tells size and type.
        opaque: Layers that TensorRT fused out of several and tells nothing of.
        work: Share of the multiplications of all convolutions seen, by element type.
        share: Share that runs in the precision asked for or a coarser one; None where no convolution is seen.
        least: The share that was demanded.
    """

    layers: int
    convolutions: int
    opaque: int
    work: dict[str, float]
    share: float | None
    least: float

    @property
    def passed(self) -> bool:
        """Whether enough was seen in the right precision; what cannot be seen does not fail."""
        return self.share is None or self.share >= self.least

    def sentence(self, precision: str) -> str:
        """The result for people.

        Args:
            precision: What was asked for.
        """
        unseen = f"; {self.opaque} fused layers tell nothing of their inside" if self.opaque else ""
        if self.share is None:
            return f"which precision its convolutions run in is not known: TensorRT shows none of them{unseen}"
        parts = ", ".join(f"{100 * part:.0f}% {name}" for name, part in sorted(self.work.items()))
        return f"convolution work asked for in {precision}: {parts}, over {self.convolutions} convolutions{unseen}"


def audit(inspected: str, precision: str, least: float | None = None, asked: float | None = None) -> Audit:
    """Reads what the engine inspector says of all layers.

    Args:
        inspected: JSON of ``EngineInspector.get_engine_information``, of any version from 10.3 to 11.
        precision: ``fp32``, ``fp16`` or ``int8``.
        least: Least share of the convolution work; None for `KEPT` of what is asked for.
        asked: Share of it that the model asks for in that precision, as its bundle says; None where that is not known:
            then `SHARES` says the least.

    Raises:
        CheckFailed: It is not JSON, or lists no layers.
    """
    if least is None:
        least = SHARES[precision] if asked is None else KEPT * asked
    try:
        layers = json.loads(inspected)["Layers"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckFailed(
            f"what TensorRT's engine inspector says cannot be read ({type(error).__name__}: {error}), so nothing shows "
            "which precision the engine runs in: report this with the version of TensorRT"
        ) from error
    detailed = [layer for layer in layers if isinstance(layer, dict)]
    seen = [found for found in map(_convolution, detailed) if found is not None]
    total = sum(work for _, work in seen)
    parts: dict[str, float] = {}
    for kind, work in seen:
        parts[kind] = parts.get(kind, 0.0) + work / total
    wanted = COARSENESS[precision]
    return Audit(
        layers=len(layers),
        convolutions=len(seen),
        opaque=len(layers) - len(detailed) + sum(_opaque(layer) for layer in detailed),
        work={kind: round(part, 4) for kind, part in parts.items()},
        share=sum(part for kind, part in parts.items() if COARSENESS[kind] >= wanted) if seen else None,
        least=least,
    )


def check_audit(found: Audit, precision: str) -> None:
    """Refuses an engine that computes too much in another precision than was asked for.

    Args:
        found: What the audit of the engine found.
        precision: What was asked for: ``fp32``, ``fp16`` or ``int8``.

    Raises:
        CheckFailed: Less than the share demanded runs in it.
    """
    if not found.passed:
        raise CheckFailed(
            f"the engine does not compute in {precision} as asked ({found.sentence(precision)}; at least "
            f"{100 * found.least:.0f}% are demanded): it was not kept; look at `lineside doctor` for what keeps the model "
            "from it, or allow less with --least"
        )


def _opaque(layer: Mapping[str, Any]) -> bool:
    return bool(OPAQUE.search(str(layer.get("LayerType", ""))) or "ForeignNode" in str(layer.get("Name", "")))


def _convolution(layer: Mapping[str, Any]) -> tuple[str, float] | None:
    """Element type and multiplications of a convolution; None for everything else and where they are not told."""
    kinds = f"{layer.get('ParameterType', '')} {layer.get('LayerType', '')}"
    if not CONVOLUTION.search(kinds) or _opaque(layer):
        return None
    weights, outputs, inputs = layer.get("Weights"), layer.get("Outputs"), layer.get("Inputs")
    if not (
        isinstance(weights, dict)
        and isinstance(outputs, list)
        and isinstance(inputs, list)
        and all(isinstance(tensors[0], dict) if tensors else False for tensors in (inputs, outputs))
    ):
        return None
    kind = _type(inputs[0])
    sides, count = outputs[0].get("Dimensions"), weights.get("Count")
    if kind is None or not isinstance(count, int) or not isinstance(sides, list) or len(sides) < 3:
        return None
    transposed = "deconv" in kinds.lower()
    places = inputs[0].get("Dimensions") if transposed else sides
    if not isinstance(places, list) or not all(isinstance(side, int) and side >= 0 for side in (*places, *sides)):
        return None
    return kind, float(count * places[0] * math.prod(places[2:])) or 1.0


def _type(tensor: Mapping[str, Any]) -> Type | None:
    """Element type of a tensor as the inspector writes it."""
    text = str(tensor.get("Format/Datatype", tensor.get("Datatype", tensor.get("Format", ""))))
    return next((kind for kind, pattern in TYPES if pattern.search(text)), None)
