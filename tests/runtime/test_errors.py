from __future__ import annotations

import re

import pytest

from lineside.runtime import errors
from lineside.runtime.errors import LinesideError


def leaves() -> dict[str, type[LinesideError]]:
    return {name: getattr(errors, name) for name in errors.__all__}


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above = ["LinesideError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ((?:│   |    )*)[├└]── (\w+)", line):
            depth = len(match[1]) // 4 + 1
            above[depth:] = [match[2]]
            drawn[match[2]] = above[depth - 1]
    real = {name: kind.__bases__[0].__name__ for name, kind in leaves().items() if kind is not LinesideError}
    assert drawn == real


def test_every_error_of_the_module_is_public() -> None:
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("kind", leaves().values())
def test_exit_codes_and_documentation(kind: type[LinesideError]) -> None:
    assert kind.exit_code == (1 if issubclass(kind, errors.CheckFailed) else 2)
    assert kind.__doc__
    assert str(kind("what, why, what to do")) == "what, why, what to do"


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.BadFrame, ValueError),
        (errors.BadOption, ValueError),
        (errors.NonFiniteOutput, ArithmeticError),
        (errors.MissingPackage, ImportError),
    ],
)
def test_code_that_catches_the_usual_types_catches_these(kind: type[LinesideError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)
