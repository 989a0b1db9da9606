"""Reads model yamls of the user's own more strictly than ultralytics does, and says in which line a fault stands.

A key that stands twice is no fault to a YAML reader: the last one counts, and a row of a model is lost without a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lineside.runtime.errors import WeightsError

__all__ = ["own_file", "read_yaml"]

UNPRINTABLE = re.compile(r"[^\x09\x0A\x0D\x20-\x7E\x85\xA0-\uD7FF\uE000-\uFFFD\U00010000-\U0010ffff]+")
"""What may not stand in YAML; ultralytics reads over it."""

SCALE = re.compile(r"(\d+)([nsmlx])(.+)?$")
"""The scale in the name of a model yaml, which its file may do without."""


def own_file(name: str | Path) -> Path | None:
    """The file of the user's own that ultralytics reads for the name of a model yaml; None where it has none.

    Args:
        name: Path of the file, with or without a scale of its own: ``yolo11s-mine.yaml`` may mean ``yolo11-mine.yaml``.
    """
    for path in (Path(name), Path(SCALE.sub(r"\1\3", str(name)))):
        if path.is_file() and path.suffix.lower() in {".yaml", ".yml"}:
            return path
    return None


def read_yaml(file: Path, name: str | Path | None = None) -> dict[Any, Any]:
    """Reads a file.

    Args:
        file: The file.
        name: What to call it in messages, its path where this is left out.

    Returns:
        The mapping that it holds.

    Raises:
        WeightsError: It cannot be read, is no YAML, holds something else, or has a key twice in one mapping.
    """
    name = name or file
    try:
        text = UNPRINTABLE.sub("", file.read_text(encoding="utf-8", errors="ignore"))
        found = yaml.load(text, Loader=_Strict)
    except OSError as error:
        raise WeightsError(f"The model yaml '{name}' cannot be read: {error.strerror or error}.") from error
    except RecursionError as error:
        raise WeightsError(f"The model yaml '{name}' is nested too deep to be read. Simplify it.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise WeightsError(
            f"The model yaml '{name}' is wrong{place}: {error.problem or error.context}. Correct it there."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"The model yaml '{name}' is no YAML: {first}. Correct it.") from error
    if not isinstance(found, dict) or not found:
        what = f"holds a {type(found).__name__} and no mapping" if found else "holds nothing"
        raise WeightsError(f"The model yaml '{name}' {what}. Take one of ultralytics' model yamls as a pattern.")
    return found


class _Strict(yaml.SafeLoader):
    """YAML as its standard wants it: a key may stand only once in a mapping."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        lines: dict[Any, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            value = self.construct_object(key, deep=True)
            if value in lines:
                first = lines[value]
                where = "the same line" if first == key.start_mark.line else f"line {first + 1}"
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {value!r} stands there a second time, after {where}, and only one of them "
                    "would count", key.start_mark
                )  # fmt: skip
            lines[value] = key.start_mark.line
        return super().construct_mapping(node, deep)
