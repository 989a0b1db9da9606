"""C functions of the system's own libraries, through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lineside.runtime.errors import MissingPackage

__all__ = ["Functions", "Signatures"]

Signatures = Mapping[str, tuple[Any, ...]]
"""Functions by their C names: what each returns, and then what it takes."""


class Functions:
    """C functions as attributes by their names.

    Args:
        libraries: Names of the libraries in which they are looked for, in turn.
        signatures: The functions.
        optional: Those that older versions do not have: None there.
        what: What the libraries are, for messages.
        install: How they are installed.
        needs: Which version has all functions.

    Raises:
        MissingPackage: A library is not installed, or too old.
    """

    def __init__(
        self,
        libraries: Sequence[str],
        signatures: Signatures,
        *,
        optional: Collection[str] = (),
        what: str,
        install: str,
        needs: str = "a later version",
    ) -> None:
        try:
            opened = [ctypes.CDLL(name) for name in libraries]
        except OSError as error:
            raise MissingPackage(f"{what} is not installed ({error}); install it with: {install}") from None
        for name, (returned, *taken) in signatures.items():
            function: Any = next((getattr(it, name) for it in opened if hasattr(it, name)), None)
            if function is not None:
                function.restype, function.argtypes = returned, taken
            elif name not in optional:
                raise MissingPackage(f"{what} here is too old: it has no {name}; {needs} is needed")
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no signature is given for the C function {name}")
