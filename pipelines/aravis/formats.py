"""Pixel formats of industrial cameras: which are taken, and how they become what a `Frame` has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lineside.pipelines.frame import Pixels

__all__ = ["FORMATS", "Format", "copied", "demosaiced", "refusal", "reversed_channels"]

Work = Literal["", "RG", "GR", "GB", "BG", "RGB"]


@dataclass(frozen=True)
class Format:
    """A pixel format that is taken.

    Attributes:
        name: Its name in GenICam's naming convention.
        channels: Bytes per pixel as the camera sends them.
        work: What is to be done to it: nothing, demosaicing (the two colours that its first row begins with), or turning
            RGB round.
    """

    name: str
    channels: int = 1
    work: Work = ""


FORMATS: dict[int, Format] = {
    0x01080001: Format("Mono8"),
    0x01080008: Format("BayerGR8", work="GR"),
    0x01080009: Format("BayerRG8", work="RG"),
    0x0108000A: Format("BayerGB8", work="GB"),
    0x0108000B: Format("BayerBG8", work="BG"),
    0x02180014: Format("RGB8", 3, "RGB"),
    0x02180015: Format("BGR8", 3),
}
"""By their numbers in the GenICam Pixel Format Naming Convention: those of 8 bits per sample, of which nothing gets lost."""


def refusal(code: int, name: str, offered: list[str]) -> str:
    """Why a pixel format is not taken, and which would be.

    Args:
        code: Its number; bits 16 to 23 are the bits of a pixel.
        name: What the camera calls it.
        offered: What the camera can send.
    """
    known = {it.name for it in FORMATS.values()}
    usable = [it for it in offered if it in known]
    bits = (code >> 16) & 0xFF
    why = "pictures have 8 bits per sample here, and bits are not dropped silently" if 8 < bits < 24 or bits > 24 else (
        "it is none of those known here"
    )  # fmt: skip
    say = f"the camera offers {', '.join(usable)}" if usable else f"known are {', '.join(sorted(known))}"
    return f"the pixel format {name or hex(code)} ({bits} bits a pixel) is not taken: {why}. Set format=…; {say}"


def demosaiced(first: str) -> Callable[[Pixels, Pixels], None]:
    """What turns a Bayer mosaic into BGR.

    The rule: OpenCV's bilinear demosaicing. The colour that a pixel's filter let through is kept as it is; each of the
    two others is the rounded mean of its nearest neighbours of that colour, two or four. The outermost rows and columns
    repeat those next to them.

    Args:
        first: Colours of the first two pixels of the first row, such as ``RG``.

    Returns:
        A function of the mosaic ``(H, W)`` uint8 and the array for the result ``(H, W, 3)`` uint8.
    """
    import cv2

    # OpenCV names a mosaic by the second row's second and third pixels.
    code = {
        "RG": cv2.COLOR_BayerBG2BGR,
        "GR": cv2.COLOR_BayerGB2BGR,
        "GB": cv2.COLOR_BayerGR2BGR,
        "BG": cv2.COLOR_BayerRG2BGR,
    }[first]

    def work(mosaic: Pixels, out: Pixels) -> None:
        cv2.cvtColor(mosaic, code, dst=out)

    return work


def copied(pixels: Pixels, out: Pixels) -> None:
    """Copies a picture as it is."""
    out[...] = pixels


def reversed_channels(rgb: Pixels, out: Pixels) -> None:
    """Turns ``(H, W, 3)`` RGB into BGR."""
    out[...] = rgb[..., ::-1]
