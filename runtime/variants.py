"""Which of a bundle's models an engine runs: the portable one, or a variant of another precision.

A variant names the engines it is meant for, and no other engine runs it: the INT8 form for TensorRT would be two to three
times slower than FP32 on a processor. Where a precision is asked for and another engine has to step in, that one takes the
variant meant for itself, and says so.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from lineside.runtime.bundle import Bundle
from lineside.runtime.errors import BadOption
from lineside.runtime.manifest import Manifest

__all__ = ["FP32", "check_precision", "engines_of", "named_variant", "with_variant"]

FP32 = "fp32"
"""The portable model, which every engine runs."""


def engines_of(manifest: Manifest, precision: str) -> tuple[str, ...] | None:
    """Names of the engines that a precision is meant for; None for all.

    Args:
        manifest: Of the bundle.
        precision: ``fp32``, or the name of a variant.

    Raises:
        BadOption: The bundle has no such precision.
    """
    if precision == FP32:
        return None
    variant = manifest.variants.get(precision)
    if variant is None:
        known = ", ".join((FP32, *sorted(manifest.variants)))
        raise BadOption(
            f"precision={precision!r} is none of this bundle's: it has {known}. Choose one of them, or export it again "
            "with `lineside export --precision`"
        )
    return variant.engines


def check_precision(manifest: Manifest, engine: str, precision: str | None) -> None:
    """Checks that an engine that was named may run the precision that was named; ``auto`` finds one itself.

    Args:
        manifest: Of the bundle.
        engine: Name of an engine, or ``auto``.
        precision: What was asked for; None for the engine's own choice.

    Raises:
        BadOption: The bundle has no such precision, or it is meant for other engines.
    """
    if precision is None:
        return
    meant = engines_of(manifest, precision)
    if meant is not None and engine not in ("auto", *meant):
        raise BadOption(
            f"precision={precision!r} of this bundle is meant for {' and '.join(meant)}, and engine={engine!r} was asked "
            f"for: leave one of them out, or export a variant for it"
        )


def named_variant(manifest: Manifest, engine: str, precision: str | None) -> tuple[str, str]:
    """The precision that an engine runs.

    Args:
        manifest: Of the bundle.
        engine: Name of an engine that runs files of the bundle.
        precision: What was asked for; None for the portable model.

    Returns:
        Name of the precision, ``fp32`` or one of the variants, and why it is another than was asked for; empty where it
        is not.

    Raises:
        BadOption: The bundle has no such precision.
    """
    meant = engines_of(manifest, precision or FP32)
    if precision is None or meant is None:
        return FP32, ""
    if engine in meant:
        return precision, ""
    wanted = manifest.variants[precision].precision
    own = (name for name, it in sorted(manifest.variants.items()) if engine in it.engines and it.precision == wanted)
    taken = next(own, FP32)
    return taken, f"{precision} is meant for {' and '.join(meant)}, so {engine} runs {taken}"


def with_variant(bundle: Bundle, engine: str, precision: str | None) -> tuple[Bundle, str]:
    """The bundle with the variant that an engine runs in the place of its model.

    Args:
        bundle: A verified bundle.
        engine: Name of an engine that runs files of the bundle.
        precision: What was asked for; None for the portable model.

    Returns:
        The bundle, and why it is another variant than was asked for; see `named_variant`.

    Raises:
        BadOption: The bundle has no such precision.
    """
    name, why = named_variant(bundle.manifest, engine, precision)
    if name == FP32:
        return bundle, why
    manifest = msgspec.structs.replace(bundle.manifest, model=bundle.manifest.variants[name].file)
    return replace(bundle, manifest=manifest), why
