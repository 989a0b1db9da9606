"""Elements of the user's own: a function or a small class in a file, named ``file.py:name`` where an element is named.

::

    def brighten(frame: Frame, gain: float = 1.2) -> None:      # a transform
        frame.show(np.clip(frame.bgr() * gain, 0, 255).astype(np.uint8))

    def stripes(width: int = 640) -> Iterator[np.ndarray]:       # a source: it yields pictures or frames
        ...

    class Button:                                               # a source that is triggered, see `Triggered`
        live = True
        def trigger(self, part: str | None, encoder: int | None) -> None: ...
        def frames(self) -> Iterator[np.ndarray]: ...

    class Alarm:                                                # a sink: it has write(frame)
        def __init__(self, above: int = 3) -> None: ...
        def write(self, frame: Frame) -> None: ...

What it is told is read from its arguments: their names, types and defaults. A class may have the rest of what
`lineside.pipelines.elements` describes (``open``, ``close``, ``stop``, ``fit``), and says by attributes what else is to be known:
``live``, ``ordered``, ``shows``, ``each``, ``takes_failed``, ``lanes``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
import time
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import msgspec.inspect
import numpy as np

from lineside.pipelines.catalog import Kind, Options, Place, Role
from lineside.pipelines.elements import FAULTS, StreamInfo, reason
from lineside.pipelines.frame import Frame
from lineside.runtime.errors import BadOption, StationError
from lineside.runtime.yuv import Yuv

__all__ = ["is_own", "kind_of_own", "located", "make_own", "options_of_own"]


def is_own(element: str) -> bool:
    """Whether a kind of element is the user's own, by its name."""
    return ":" in element


def located(element: str, folder: Path) -> str:
    """The name of an element with the whole path of its file, which is good in every process and folder.

    Args:
        element: Kind of element.
        folder: What relative paths start from.
    """
    file, colon, name = element.rpartition(":")
    if not colon or not file.endswith(".py"):
        return element
    return f"{(folder / Path(file).expanduser()).absolute()}:{name}"


@functools.cache
def _thing(element: str) -> Any:
    """The function or class that a name stands for; runs the user's file."""
    file, _, name = element.rpartition(":")
    try:
        if file.endswith(".py"):
            if not Path(file).is_file():
                raise StationError(f"there is no file {file}, which '{element}' names")
            spec = importlib.util.spec_from_file_location(f"lineside_own_{abs(hash(file))}", file)
            assert spec is not None and spec.loader is not None, "a .py file has a loader"
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(file)
    except StationError:
        raise
    except Exception as error:  # whatever the user's file does
        raise StationError(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, name, None)):
        raise StationError(f"{file} has no function or class '{name}'")
    return getattr(module, name)


def kind_of_own(element: str) -> Kind:
    """What an element of the user's own is.

    Args:
        element: ``file.py:name`` or ``package.module:name``.

    Raises:
        StationError: There is no such thing, or it is none of source, transform and sink.
    """
    thing = _thing(element)
    says = (inspect.getdoc(thing) or "an element of your own").splitlines()[0].rstrip(".")
    flags = {flag: bool(getattr(thing, flag, False)) for flag in ("live", "ordered", "shows", "each")}
    return Kind(_role(thing, element), element, element, says, **flags)


def _role(thing: Any, element: str) -> Role:
    if not inspect.isclass(thing):
        return "source" if inspect.isgeneratorfunction(thing) else "transform"
    roles: dict[str, Role] = {"frames": "source", "write": "sink", "__call__": "transform"}
    found = [role for method, role in roles.items() if any(method in vars(base) for base in thing.__mro__)]
    if not found:
        raise StationError(
            f"'{element}' is no element: a source has frames(), a transform __call__(frame), a sink write(frame)"
        )
    return found[0]


@functools.cache
def options_of_own(element: str) -> type[Options]:
    """What an element of the user's own is told, read from its arguments.

    Raises:
        StationError: An argument has a type that no text can stand for.
    """
    thing = _thing(element)
    function = thing.__init__ if inspect.isclass(thing) else thing
    arguments = list(inspect.signature(function).parameters.values())
    if inspect.isclass(thing) or not inspect.isgeneratorfunction(thing):
        arguments = arguments[1:]  # self, or the frame
    try:
        hints = typing.get_type_hints(function)
        fields: list[Any] = []
        for it in arguments:
            if it.kind in (it.VAR_POSITIONAL, it.VAR_KEYWORD):
                continue
            kind = hints.get(it.name, Any)
            fields.append((it.name, kind) if it.default is it.empty else (it.name, kind, it.default))
        struct = msgspec.defstruct(
            "Own", fields, bases=(Options,), frozen=True, kw_only=True, forbid_unknown_fields=True
        )
        info = msgspec.inspect.type_info(struct)
        assert isinstance(info, msgspec.inspect.StructType), "a struct was defined"
        for field in info.fields:
            if isinstance(field.type, msgspec.inspect.CustomType):
                raise TypeError(f"{field.name} is of {field.type.cls.__name__}")
    except (TypeError, NameError) as error:
        raise StationError(f"'{element}' has an argument that cannot be read from a text: {error}") from error
    return cast("type[Options]", struct)


def make_own(element: str, options: Options, place: Place) -> Any:
    """Makes an element of the user's own, with what it leaves out filled in.

    Args:
        element: ``file.py:name`` or ``package.module:name``.
        options: What it is told.
        place: Where it stands.
    """
    thing, told = _thing(element), msgspec.structs.asdict(options)
    kind = kind_of_own(element)
    if kind.role == "source":
        kind_of_source = _OwnTriggered if callable(getattr(thing, "trigger", None)) else _OwnSource
        return kind_of_source(thing, told, place.name, kind.live)
    made = thing(**told) if inspect.isclass(thing) else functools.partial(thing, **told)
    if kind.role == "sink":
        return _OwnSink(made, place.name)
    return _OwnFitting(made) if callable(getattr(made, "fit", None)) else _OwnTransform(made)


def _call(made: Any, method: str, *arguments: Any) -> None:
    """Calls a method where there is one."""
    found = getattr(made, method, None)
    if callable(found):
        found(*arguments)


class _OwnSource:
    """A source that may yield plain pictures."""

    def __init__(self, thing: Callable[..., Any], told: dict[str, Any], name: str, live: bool) -> None:
        self._made: Any = thing(**told) if inspect.isclass(thing) else None
        frames = functools.partial(thing, **told) if self._made is None else cast("Any", self._made).frames
        self._frames: Callable[[], Iterator[Any]] = frames
        self._name, self._live = name, live
        self._stopped = False

    def open(self) -> StreamInfo:
        opened = self._made.open() if self._made is not None and hasattr(self._made, "open") else None
        if isinstance(opened, StreamInfo):
            return opened
        waits = isinstance(self, _OwnTriggered)
        return StreamInfo(self._name, "camera" if self._live else "memory", self._live, waits=waits)

    def frames(self) -> Iterator[Frame]:
        begin = time.monotonic_ns()
        for it in self._frames():
            if self._stopped:
                return
            now = time.monotonic_ns()
            yield it if isinstance(it, Frame) else Frame(_picture(it), pts=(now - begin) / 1e9, captured=now)

    def stop(self) -> None:
        self._stopped = True
        _call(self._made, "stop")

    def close(self) -> None:
        _call(self._made, "close")


class _OwnTriggered(_OwnSource):
    """A source that takes a picture when it is told to: it has ``trigger(part, encoder)``."""

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        self._made.trigger(part, encoder)


def _picture(it: Any) -> Any:
    """A picture as a frame takes it; what is none is told by the model that is to look at it."""
    return it if isinstance(it, Yuv) else np.asarray(it)


class _OwnTransform:
    """A transform that is only called."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self.lanes = int(getattr(made, "lanes", 1))

    def open(self) -> None:
        _call(self._made, "open")

    def __call__(self, frame: Frame) -> None:
        self._made(frame)

    def close(self) -> None:
        _call(self._made, "close")


class _OwnFitting(_OwnTransform):
    """A transform that says what the stream is behind it, or that it does not fit: it has ``fit(stream)``."""

    def fit(self, stream: StreamInfo) -> StreamInfo:
        try:
            behind = self._made.fit(stream)
        except FAULTS as error:
            raise BadOption(reason(error)) from error
        return behind if isinstance(behind, StreamInfo) else stream


class _OwnSink:
    """A sink that only writes."""

    def __init__(self, made: Any, name: str) -> None:
        self._made = made
        self.name = name
        self.takes_failed = bool(getattr(made, "takes_failed", False))

    def open(self, stream: StreamInfo) -> None:
        _call(self._made, "open", stream)

    def write(self, frame: Frame) -> None:
        self._made.write(frame)

    def close(self, missing: int = 0) -> None:
        found = getattr(self._made, "close", None)
        if callable(found):
            found(missing) if inspect.signature(found).parameters else found()
