"""Names in a pickle that no model needs: what starts programs, runs text, opens files, or loads another pickle.

A list of what is known to be misused, and no proof that the rest is harmless: a pickle without any of these names can
still run whatever its author put into a class of his own.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from lineside.export.class_paths import FAMILIAR, ClassPath, resolve
from lineside.export.pickle_names import COMPUTED

__all__ = ["hostile"]

SYSTEM = (
    "_ctypes", "_frozen_importlib", "_imp", "_io.FileIO", "_io.open", "_pickle", "_posixsubprocess", "_socket", "_thread",
    "_winapi", "antigravity", "asyncio", "bdb", "cProfile.run", "code.InteractiveConsole", "code.InteractiveInterpreter",
    "code.interact", "codecs.open", "codeop", "ctypes", "dbm", "distutils", "doctest", "ensurepip", "fileinput", "ftplib",
    "gc", "http.client", "http.server", "imaplib", "imp", "importlib", "io.FileIO", "io.open", "linecache", "marshal",
    "multiprocessing", "nt", "os", "pdb", "pickle", "pip", "pkg_resources", "pkgutil", "poplib", "posix", "profile.run",
    "pty", "runpy", "setuptools", "shelve", "shutil", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess",
    "sys", "telnetlib", "tempfile", "timeit.Timer", "timeit.repeat", "timeit.timeit", "trace.Trace", "types.CodeType",
    "types.FunctionType", "urllib.request", "webbrowser", "xmlrpc", "zipimport",
)  # fmt: skip
"""What of Python's own library reaches the system; a module stands for all that is in it."""

TEXT = (
    "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "exit", "globals", "help", "input", "locals", "open",
    "quit", "setattr", "vars",
)  # fmt: skip
"""Built-in functions of that kind."""

LOADERS = (
    "numpy.DataSource", "numpy.distutils", "numpy.f2py", "numpy.fromfile", "numpy.genfromtxt", "numpy.lib._npyio_impl",
    "numpy.lib.format", "numpy.lib.npyio", "numpy.load", "numpy.loadtxt", "numpy.memmap", "numpy.testing", "torch._dynamo",
    "torch._inductor", "torch._ops", "torch.classes", "torch.distributed.elastic", "torch.distributed.launch",
    "torch.distributed.rpc", "torch.distributed.run", "torch.hub", "torch.jit._serialization", "torch.jit.load",
    "torch.load", "torch.ops", "torch.package", "torch.serialization._legacy_load", "torch.serialization._load",
    "torch.serialization.load", "torch.storage._load_from_bytes", "torch.testing", "torch.utils.collect_env",
    "torch.utils.cpp_extension", "torch.utils.model_zoo", "ultralytics.hub", "ultralytics.nn.tasks.attempt_load",
    "ultralytics.nn.tasks.load_checkpoint", "ultralytics.nn.tasks.torch_safe_load", "ultralytics.utils.checks",
    "ultralytics.utils.downloads", "ultralytics.utils.patches",
)  # fmt: skip
"""The same in packages of which a checkpoint names classes."""

UNSAFE = (*SYSTEM, *LOADERS, *(f"builtins.{name}" for name in TEXT))


def hostile(paths: Iterable[ClassPath]) -> tuple[ClassPath, ...]:
    """Those of some class paths that no model needs.

    Imports nothing but torch, torchvision, ultralytics and numpy, and looks at what a name really leads to there:
    ``torch.serialization.os.system`` is ``os.system``.

    Args:
        paths: What a pickle names.
    """
    return tuple(path for path in paths if _is_hostile(path))


def _is_hostile(path: ClassPath) -> bool:
    inner = path.name.split(".")
    if path.module == COMPUTED or _within(str(path)) or any(it[:2] == it[-2:] == "__" for it in inner):
        return True
    root = path.module.partition(".")[0]
    if root not in FAMILIAR:
        return False
    if root == "pathlib" and len(inner) > 1:
        return True  # a method: it writes and removes files
    found = resolve(path)
    origin = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    return isinstance(found, ModuleType) or _within(origin)


def _within(name: str) -> bool:
    """Whether a dotted name is one of `UNSAFE`, or inside one."""
    return any(name == unsafe or name.startswith(f"{unsafe}.") for unsafe in UNSAFE)
