"""The text of a station file as plain values: YAML without what could do harm, every complaint with its line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lineside.pipelines.secrets import redacted
from lineside.runtime.errors import StationError

__all__ = ["MAX_BYTES", "discreet", "read_text", "tree_of"]

MAX_BYTES = 1 << 20
"""A station file is a page of text."""


@contextmanager
def discreet() -> Iterator[None]:
    """A text may hold credentials in any place, also where none belong: what is wrong with it is said without them.

    Raises:
        StationError: The block has raised one; without credentials.
    """
    try:
        yield
    except StationError as error:
        raise StationError(redacted(str(error))) from None


def read_text(path: str | os.PathLike[str]) -> bytes:
    """The text of a station file.

    Raises:
        StationError: There is no such file, or it is none.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise StationError(f"{path} is no file but a device or a pipe: give the path of a station file")
        if path.stat().st_size > MAX_BYTES:
            raise StationError(f"{path} has more than {MAX_BYTES} bytes: a station file is a page of YAML")
        return path.read_bytes()
    except OSError as error:
        raise StationError(f"{path} cannot be read ({error.strerror}): give the path of a station file") from error


def tree_of(data: bytes, name: str) -> Any:
    """Reads YAML.

    Args:
        data: The text, UTF-8.
        name: What the text is called in messages.

    Raises:
        StationError: It is no YAML, or uses what is not read here.
    """
    try:
        return yaml.load(data.decode("utf-8-sig"), Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        why = redacted(error.problem or error.context or "")
        raise StationError(f"{name}{line} is not the YAML of a station: {why}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StationError(f"{name} is not the YAML of a station: {_first_line(error)}") from None


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors: a few of them can stand for more text than any memory holds, and no station needs them."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not read here", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """As YAML 1.2 wants it: a key may stand only once."""
        seen: set[str] = set()
        for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _first_line(error: Exception) -> str:
    return redacted((str(error).splitlines() or [""])[0]) or type(error).__name__
