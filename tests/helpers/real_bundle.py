"""A bundle of the real yolo11n-seg architecture with random weights, as `lineside export` makes it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

SIZE = (160, 160)


@functools.cache
def real_bundle(size: tuple[int, int] = SIZE) -> Path:
    """Exports once per process and size; needs the export extra.

    Args:
        size: Height and width of the input, multiples of 32.

    Returns:
        The folder; do not write into it.
    """
    import torch

    from lineside.export.bundle import export_bundle

    torch.set_num_threads(1)  # more only wait for each other on a machine that runs tests
    folder = Path(tempfile.mkdtemp(prefix="lineside-real-"))
    return export_bundle("yolo11n-seg.yaml", folder / "real.bundle", imgsz=size, storage="fp16").path
