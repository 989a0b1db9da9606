"""Sizes of inputs, as every command takes them."""

from __future__ import annotations

import re

from lineside.runtime.errors import BadOption

__all__ = ["input_size"]


def input_size(text: str | None, option: str = "--imgsz") -> tuple[int, int] | None:
    """Reads ``640`` or ``480x640`` as height and width in pixels; None stays None.

    Args:
        text: What was given.
        option: Where, for the message.

    Raises:
        BadOption: It is neither, or a side is not from 32 to 8192.
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(re.fullmatch("[0-9]{2,4}", side) and 32 <= int(side) <= 8192 for side in sides):
        raise BadOption(
            f"{option} {text[:20]}: give one number, such as 640, or HxW, such as 480x640; sides from 32 to 8192"
        )
    return int(sides[0]), int(sides[-1])
