"""Reads ``.npz`` archives of unknown origin: golden files and recordings."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NotArrays", "read_arrays"]

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy writes; the readers of other methods unpack without a bound."""


class NotArrays(ValueError):
    """The bytes are no archive of arrays, or of more than is allowed."""


def read_arrays(data: bytes, limit: int, names: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Reads the arrays of an archive; sizes are checked before anything is unpacked or allocated.

    Args:
        data: Content of the ``.npz`` file.
        limit: Most bytes that its members may have together, unpacked.
        names: Which arrays are wanted, where they are there; all when None.

    Returns:
        The arrays by name; never of objects.

    Raises:
        NotArrays: It is no such archive, is damaged, is larger than ``limit``, or holds arrays of objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
        if any(entry.compress_type not in METHODS for entry in entries):
            raise NotArrays("it is packed with another method than deflate")
        total = sum(entry.file_size for entry in entries)
        if total > limit:
            raise NotArrays(f"it unpacks to {total} bytes, and {limit} are allowed")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            wanted = {entry.filename.removesuffix(".npy"): entry for entry in entries}
            return {name: _read(archive, entry) for name, entry in wanted.items() if names is None or name in names}
    except NotArrays:
        raise
    except Exception as error:  # zipfile, zlib and numpy's parser of headers raise two dozen kinds between them
        raise NotArrays(str(error) or type(error).__name__) from error


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One array; its header may not promise more than the member holds."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise NotArrays(f"{entry.filename} has the format version {version}")
        shape, _, dtype = read(file)
        count = 1
        for side in shape:
            count *= side
        if dtype.hasobject or any(side < 0 for side in shape) or count * dtype.itemsize > entry.file_size:
            raise NotArrays(f"{entry.filename} promises {dtype} of shape {shape}, which it cannot hold")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
