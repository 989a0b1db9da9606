"""The folders import each other one way only, and the lean ones import none of the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "onnx", "ultralytics", "cv2", "onnxruntime")

FORBIDDEN = {
    "runtime": (
        "lineside.export",
        "lineside.pipelines",
        "lineside.cli",
        "torch",
        "torchvision",
        "onnx",
        "ultralytics",
        "cv2",
    ),
    "pipelines": ("lineside.export", "lineside.cli", "torch", "torchvision", "onnx", "ultralytics"),
    "export": ("lineside.pipelines", "lineside.cli"),
    "configs": ("lineside.runtime", "lineside.export", "lineside.pipelines", "lineside.cli", *HEAVY),
}
"""What no file of a folder imports, not even inside a function."""

RUNTIME_IMPORTS = {*sys.stdlib_module_names, "numpy", "msgspec", "lineside"}
"""All that the runtime may import at the top of a module."""


def imports(file: Path, top_level: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports."""
    tree = ast.parse(file.read_text())
    for node in top_of(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            if isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def top_of(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, without those under ``if TYPE_CHECKING``."""
    waiting = list(tree.body)
    while waiting:
        statement = waiting.pop()
        yield statement
        if isinstance(statement, ast.Try):
            waiting += statement.body + [line for handler in statement.handlers for line in handler.body]
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.unparse(statement.test):
            waiting += statement.body + statement.orelse


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_imports_go_one_way(repository: Path, folder: str) -> None:
    files = sorted((repository / folder).rglob("*.py"))
    assert files
    broken = [
        f"{file.relative_to(repository)}:{line}: {name}"
        for file in files
        for line, name in imports(file)
        for package in FORBIDDEN[folder]
        if under(name, package)
    ]
    assert not broken, "forbidden imports:\n" + "\n".join(broken)


def test_the_runtime_needs_numpy_and_msgspec_only(repository: Path) -> None:
    broken = [
        f"{file.relative_to(repository)}:{line}: {name}"
        for file in sorted((repository / "runtime").rglob("*.py"))
        for line, name in imports(file, top_level=True)
        if name.split(".")[0] not in RUNTIME_IMPORTS
    ]
    assert not broken, "\n".join(broken)


def test_onnxruntime_is_imported_by_its_engine_only(repository: Path) -> None:
    engine = repository / "runtime/engines/onnxruntime.py"
    users = {
        file
        for folder in ("runtime", "pipelines")
        for file in (repository / folder).rglob("*.py")
        for _, name in imports(file)
        if under(name, "onnxruntime")
    }
    assert users == {engine}


def test_everything_lean_imports_with_the_heavy_libraries_blocked() -> None:
    script = f"""
        import importlib, pkgutil, sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {HEAVY!r}:
                    raise ImportError(f"{{name}} is blocked")

        sys.meta_path.insert(0, Block())
        import lineside.pipelines, lineside.runtime
        assert callable(lineside.load)
        modules = [module.name for module in pkgutil.walk_packages(lineside.runtime.__path__, "lineside.runtime.")]
        for name in modules:
            importlib.import_module(name)
        print(len(modules))
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) >= 10


def test_importing_lineside_loads_neither_the_command_line_nor_yaml() -> None:
    script = "import sys, lineside, lineside.runtime; lineside.load; print([m for m in ('typer', 'rich', 'yaml', 'onnxruntime', 'cv2', 'torch') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (answer.returncode, answer.stdout.strip()) == (0, "[]"), answer.stderr
