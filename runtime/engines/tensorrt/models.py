"""Which of a bundle's models TensorRT is to run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lineside.runtime.engines.tensorrt.sidecar import Precision
from lineside.runtime.errors import BadOption
from lineside.runtime.manifest import Manifest

__all__ = ["Model", "choose_model", "models"]

ENGINE = "tensorrt"


@dataclass(frozen=True)
class Model:
    """One model of a bundle.

    Attributes:
        precision: Its arithmetic.
        variant: Name of the variant; empty for the portable model.
        file: Its file in the bundle.
        reason: Why it was chosen.
        work: Share of its convolutions' work that it asks for in that precision; None where that is not known.
    """

    precision: Precision
    variant: str
    file: str
    reason: str = ""
    work: float | None = None


def models(manifest: Manifest) -> dict[Precision, Model]:
    """Every model of a bundle that TensorRT may run, by precision."""
    found: dict[Precision, Model] = {"fp32": Model("fp32", "", manifest.model)}
    for name, variant in manifest.variants.items():
        if ENGINE in variant.engines:
            found.setdefault(variant.precision, Model(variant.precision, name, variant.file, work=variant.work))
    return found


def choose_model(manifest: Manifest, precision: Precision | None) -> Model:
    """The model to build from.

    Args:
        manifest: The bundle.
        precision: What is asked for; None: fp16 where the bundle has it, else fp32. INT8 costs accuracy, so it is taken
            only where it is asked for.

    Raises:
        BadOption: The bundle has no model of that precision for TensorRT.
    """
    found = models(manifest)
    if precision is None:
        if "fp16" in found:
            return replace(found["fp16"], reason="the bundle has a variant in fp16")
        return replace(
            found["fp32"], reason="the bundle has no variant in fp16; export it again with --precision fp16 for one"
        )
    if precision not in found:
        raise BadOption(
            f"this bundle has no model in {precision} for TensorRT (it has {', '.join(sorted(found))}): export it again "
            f"with --precision {'int8-trt' if precision == 'int8' else precision}"
        )
    return replace(found[precision], reason="as asked")
