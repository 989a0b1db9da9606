"""Reads which modules and names a pickle looks up, by following what its instructions do to the stack; runs nothing."""

from __future__ import annotations

import _compat_pickle  # the very tables that pickle goes by
import pickletools
from collections.abc import Iterator
from typing import IO

__all__ = ["COMPUTED", "pickled_names"]

COMPUTED = "?"
"""Stands for a module and a name that the pickle makes up while it is loaded."""

GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})

_MARK = object()
_OTHER = object()
"""What lies on the stack and is no text."""


def pickled_names(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """Module and name of everything that one pickle looks up, in its order, by the names that Python 3 has for them.

    Decoys on the stack do not mislead it: of each instruction it knows what it takes and what it leaves behind.

    Args:
        stream: Where the pickle begins; stands behind it afterwards.

    Raises:
        ValueError: It is no pickle, or a damaged one; what came before has been given.
    """
    stack: list[object] = []
    memo: dict[int, object] = {}
    protocol = 0
    for code, argument, _ in pickletools.genops(stream):
        if code.name == "PROTO":
            protocol = int(argument or 0)
        elif code.name in {"GLOBAL", "INST"}:
            module, _, name = str(argument).partition(" ")
            yield _renamed(module, name) if protocol < 3 else (module, name)
        elif code.name == "STACK_GLOBAL":
            named = stack[-2:]
            texts = [text for text in named if isinstance(text, str)]
            module, name = texts if len(texts) == 2 else (COMPUTED, COMPUTED)
            yield _renamed(module, name) if protocol < 3 else (module, name)
        elif code.name in PUTS or code.name == "MEMOIZE":
            memo[len(memo) if code.name == "MEMOIZE" else int(argument or 0)] = stack[-1] if stack else _OTHER
        _step(stack, memo, code, argument)


def _renamed(module: str, name: str) -> tuple[str, str]:
    """What Python 3 looks up for a name of Python 2: pickles of old protocols say ``commands`` where they mean subprocess."""
    found: tuple[str, str] | None = _compat_pickle.NAME_MAPPING.get((module, name))
    return found or (_compat_pickle.IMPORT_MAPPING.get(module, module), name)


def _step(stack: list[object], memo: dict[int, object], code: pickletools.OpcodeInfo, argument: object) -> None:
    """Does to the stack what an instruction does to it."""
    if code.name in GETS:
        stack.append(memo.get(int(str(argument)), _OTHER))
        return
    if code.name == "DUP":
        stack.append(stack[-1] if stack else _OTHER)
        return
    before = code.stack_before
    if code.name == "MEMOIZE":
        return
    if pickletools.markobject in before:
        while stack and stack.pop() is not _MARK:
            pass
        before = before[: before.index(pickletools.markobject)]
    del stack[max(len(stack) - len(before), 0) :]
    for kind in code.stack_after:
        text = isinstance(argument, str) and code.name not in {"GLOBAL", "INST"}
        stack.append(_MARK if kind is pickletools.markobject else argument if text else _OTHER)
