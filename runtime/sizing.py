"""Another input size for a bundle whose graph leaves it free."""

from __future__ import annotations

import dataclasses

import msgspec

from lineside.runtime.bundle import Bundle
from lineside.runtime.errors import BadOption
from lineside.runtime.geometry import Size
from lineside.runtime.manifest import Manifest

__all__ = ["at_size", "resized", "size_of"]


def size_of(imgsz: object) -> Size:
    """Reads an input size: one number for a square, or height and width.

    Raises:
        BadOption: It is neither.
    """
    sides = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    if (
        not isinstance(sides, (tuple, list))
        or len(sides) != 2
        or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    ):
        raise BadOption(f"imgsz={imgsz!r} is no input size: give one number, such as 640, or (height, width)")
    return sides[0], sides[1]


def resized(manifest: Manifest, size: Size, batch: int | None = None) -> Manifest:
    """The manifest of a dynamic bundle at another size.

    Args:
        manifest: What the bundle says about itself.
        size: Height and width of the input, in pixels.
        batch: Most pictures per run; the manifest's own when None.

    Returns:
        The same with both contracts at that size.

    Raises:
        BadOption: The bundle is static and has another size, or the size is not a multiple of the greatest stride.
    """
    batch = manifest.input.batch if batch is None else batch
    own, asked = ("x".join(map(str, it)) for it in (manifest.input.size, size))
    if not manifest.input.dynamic:
        if (size, batch) == (manifest.input.size, manifest.input.batch):
            return manifest
        raise BadOption(
            f"an input of {asked} (HxW): this bundle's is {own} and cannot be changed; leave imgsz out, or export the "
            "bundle again with --dynamic"
        )
    stride = manifest.head.strides[-1]
    if any(side % stride for side in size):
        raise BadOption(
            f"an input of {asked} (HxW): both sides must be multiples of {stride}, this model's greatest stride"
        )
    return msgspec.structs.replace(
        manifest,
        input=msgspec.structs.replace(manifest.input, size=size, batch=batch),
        head=msgspec.structs.replace(manifest.head, input_size=size),
    )


def at_size(bundle: Bundle, imgsz: object) -> Bundle:
    """A verified bundle at another input size; the files behind it are the same.

    Args:
        bundle: A verified bundle.
        imgsz: One number, or height and width, in pixels; None: the bundle's own size.

    Raises:
        BadOption: As for `size_of` and `resized`.
    """
    if imgsz is None:
        return bundle
    return dataclasses.replace(bundle, manifest=resized(bundle.manifest, size_of(imgsz)))
