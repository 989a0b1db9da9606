"""Builds the layers of a model whose structure names blocks of ours.

ultralytics' parser knows its own blocks only, and what it does for each (channels scaled with the width, repeats with
the depth, flags for the larger scales) is nobody else's to repeat. So rows of its blocks are built by that very parser,
one at a time: a structure of ``Index`` rows that stand for the layers the row reads, the row, and a ``BatchNorm2d`` that
tells how many channels came out. Rows of ours are built here.

A block of ours says how its row ``[from, repeats, BLOCK, arguments]`` is read, by the class attribute ``lineside_args``,
a tuple of these names; their values come first, in that order, then the rest of the row's arguments. A mapping as last
argument becomes keyword arguments:

========== =============================================================================================
name       value
========== =============================================================================================
c1         channels of the layer that the row reads; a tuple where that layer returns several maps
c2         first argument of the row, at most ``max_channels``, times the width, a multiple of 8
n          repeats, scaled with the depth; without it the block is repeated, as ultralytics does
channels   list with the channels of every layer in ``from``
width      width factor of the scale
depth      depth factor of the scale
scale      letter of the scale: n, s, m, l, x
========== =============================================================================================

A block without ``c2`` tells its output by the attribute ``out_channels`` of the instance: a number, or a tuple for a
block that returns a list of maps. Heads are subclasses of ultralytics' ``Segment`` with rows ``[nc, nm, npr, ...]`` and
are called as ``Head(nc, nm, npr scaled, ..., reg_max=, end2end=, ch=channels)``.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Detect

from lineside.export.yolo.table import block_class, is_ours
from lineside.runtime.errors import WeightsError

__all__ = ["Parser", "modern", "names_our_blocks", "parse"]

Parser = Callable[..., tuple[nn.Sequential, list[int]]]
"""``ultralytics.nn.tasks.parse_model``."""

Channels = int | tuple[int, ...]
"""Channels of the map that a layer returns, or of each of its maps."""

MODERN = frozenset({"C3k2", "A2C2f", "C2fCIB"})
"""Blocks whose presence makes ultralytics build its heads in the newer way; see `modern`."""


@dataclass(frozen=True)
class Scale:
    """What a structure says about the size of a model.

    Attributes:
        letter: Scale, of ``nsmlx``; empty for none.
        depth: Factor of the repeats.
        width: Factor of the channels.
        max_channels: Channels of a row are cut off there before they are scaled.
    """

    letter: str
    depth: float
    width: float
    max_channels: float

    @classmethod
    def of(cls, structure: Mapping[str, Any]) -> Scale:
        """Reads it; the first scale counts where none is chosen."""
        scales = structure.get("scales")
        if not scales:
            depth, width = structure.get("depth_multiple", 1.0), structure.get("width_multiple", 1.0)
            return cls(str(structure.get("scale") or ""), depth, width, math.inf)
        letter = structure.get("scale") or next(iter(scales))
        factors = scales.get(letter) if isinstance(scales, Mapping) else None
        if not isinstance(factors, Sequence) or len(factors) != 3:
            raise WeightsError(
                f"The model is to have the scale {letter!r}, and 'scales' says {factors!r} of it. Give it three numbers, "
                "[depth, width, most channels], or take another letter in the name of the model yaml."
            )
        return cls(str(letter), *factors)

    def channels(self, wanted: float) -> int:
        """Channels of a layer for what its row asks for: a multiple of 8."""
        return math.ceil(min(wanted, self.max_channels) * self.width / 8) * 8

    def repeats(self, wanted: int) -> int:
        """Repeats of a layer for what its row asks for."""
        return max(round(wanted * self.depth), 1) if wanted > 1 else wanted


def names_our_blocks(structure: Mapping[str, Any]) -> bool:
    """Whether a row of a structure names a block of ours that neither ultralytics nor the user has under that name."""
    rows = [*structure["backbone"], *structure["head"]]
    return "legacy" in structure or any(is_ours(row[2]) and row[2] not in vars(tasks) for row in rows)


def modern(structure: Mapping[str, Any]) -> bool:
    """Whether heads of a structure get the class branch of YOLO11 and later, and not that of YOLOv8 and before.

    ultralytics decides by the blocks: with one of `MODERN` in the structure the head is of the newer form. An assembled
    structure whose rows would say something else than its base carries the answer as ``legacy``.
    """
    rows = [*structure["backbone"], *structure["head"]]
    return any(row[2] in MODERN or str(row[2]).startswith("C3k2_") for row in rows)


def parse(structure: Mapping[str, Any], ch: int, verbose: bool, native: Parser) -> tuple[nn.Sequential, list[int]]:
    """Builds the layers of a structure, as ultralytics' parser does.

    Args:
        structure: A model yaml as a dict.
        ch: Channels of the picture.
        verbose: Log a line per layer.
        native: ultralytics' own parser.

    Returns:
        The layers, and the sorted indices of those whose output later layers read.

    Raises:
        WeightsError: A block of ours cannot be built with what its row says.
    """
    rows = [*structure["backbone"], *structure["head"]]
    scale, legacy = Scale.of(structure), bool(structure.get("legacy", not modern(structure)))
    layers: list[nn.Module] = []
    channels: list[Channels] = []
    save: list[int] = []
    with _activation(structure, native):
        for index, row in enumerate(rows):
            sources = row[0] if isinstance(row[0], list) else [row[0]]
            inputs = [_channels_of(channels, source, index, ch) for source in sources]
            if is_ours(row[2]) and row[2] not in vars(tasks):
                layer, out = _own_layer(row, index, inputs, structure, scale, legacy)
                if isinstance(layer, Detect) and index != len(rows) - 1:
                    _refuse(row[2], index, "a head is the last layer of a model")
            else:
                layer, out = _native_layer(row, index, inputs, structure, legacy, native)
            layer.i, layer.f = index, row[0]
            if verbose:
                tasks.LOGGER.info(f"{index:>3} {row[0]!s:>14} {layer.np:>10,} parameters  {layer.type}  {row[3]}")
            save.extend(source % index for source in sources if source != -1)
            layers.append(layer)
            channels.append(out)
    return nn.Sequential(*layers), sorted(save)


def _channels_of(channels: Sequence[Channels], source: int, index: int, ch: int) -> Channels:
    """Channels of the layer that a row reads; those of the picture for the first row."""
    if source == -1 and not channels:
        return ch
    if not -index <= source < index:
        raise WeightsError(
            f"Layer {index} of the model yaml reads layer {source}, which does not come before it. Correct its 'from'."
        )
    return channels[source]


def _own_layer(
    row: Sequence[Any],
    index: int,
    inputs: list[Channels],
    structure: Mapping[str, Any],
    scale: Scale,
    legacy: bool,
) -> tuple[Any, Channels]:
    """Builds the layer of a row that names a block of ours."""
    source, wanted, name, given = row[0], row[1], row[2], row[3]
    try:
        block = block_class(name)
    except ImportError as error:
        raise WeightsError(f"The block {name} of layer {index} cannot be imported: {error}") from error
    arguments = [_value(argument, structure) for argument in copy.deepcopy(given)]
    if issubclass(block, Detect):
        return _named(_head(source, block, name, index, arguments, inputs, structure, scale, legacy)), 0
    declared: tuple[str, ...] = getattr(block, "lineside_args", ())
    repeats = scale.repeats(wanted)
    values: dict[str, Any] = {
        "c1": inputs[0], "n": repeats, "channels": inputs,
        "width": scale.width, "depth": scale.depth, "scale": scale.letter,
    }  # fmt: skip
    if "c1" in declared and isinstance(source, list):
        _refuse(name, index, f"it reads one layer, and its 'from' is {source}")
    if "c2" in declared:
        full = arguments.pop(0) if arguments else None
        if not _is_count(full):
            _refuse(name, index, "its first argument is the number of channels at full width, a whole number")
        values["c2"] = scale.channels(full)
    keywords = arguments.pop() if arguments and isinstance(arguments[-1], Mapping) else {}
    if "n" in declared:
        repeats = 1
    leading = [values[word] for word in declared]
    try:
        built = [block(*leading, *arguments, **keywords) for _ in range(repeats)]
    except Exception as error:  # a row can hold anything
        _refuse(name, index, f"with the arguments {given}: {error}", error)
    out = values["c2"] if "c2" in declared else getattr(built[-1], "out_channels")  # noqa: B009 - no mypy type
    return _named(built[0] if len(built) == 1 else nn.Sequential(*built), block), out


def _head(
    source: Any,
    block: type,
    name: str,
    index: int,
    arguments: list[Any],
    inputs: list[Channels],
    structure: Mapping[str, Any],
    scale: Scale,
    legacy: bool,
) -> Any:
    """Builds a head of ours."""
    several = [number for number in inputs if not isinstance(number, int)]
    if not isinstance(source, list) or several:
        _refuse(name, index, f"a head reads a list of layers that return one map each, and its 'from' is {source}")
    if len(arguments) < 3:
        _refuse(name, index, f"its arguments are [nc, mask coefficients, prototype channels, ...], not {arguments}")
    if not all(_is_count(argument) for argument in arguments[:3]):
        _refuse(
            name, index, f"its classes, mask coefficients and prototype channels are {arguments[:3]}, no whole numbers"
        )
    keywords = dict(arguments.pop()) if isinstance(arguments[-1], Mapping) else {}
    arguments[2] = scale.channels(arguments[2])
    tail = {"reg_max": structure.get("reg_max", 16), "end2end": structure.get("end2end"), "ch": inputs}
    setattr(block, "legacy", legacy)  # noqa: B010 - where ultralytics keeps it, for its own heads too
    try:
        return block(*arguments, **keywords, **tail)
    except Exception as error:  # a row can hold anything
        _refuse(name, index, f"with the arguments {arguments}: {error}", error)


def _native_layer(
    row: Sequence[Any],
    index: int,
    inputs: list[Channels],
    structure: Mapping[str, Any],
    legacy: bool,
    native: Parser,
) -> tuple[Any, Channels]:
    """Builds the layer of a row of ultralytics' own, or of the user's, through ultralytics' parser."""
    source, wanted, name, arguments = copy.deepcopy(list(row[:4]))
    several = [tuple(number) for number in inputs if not isinstance(number, int)]
    if several and name != "Index":
        raise WeightsError(
            f"Layer {index} of the model yaml ({name}) reads a layer that returns {len(several[0])} maps. "
            f"Pick one with a row of its own: [LAYER, 1, Tap, [0]]."
        )
    block = vars(tasks).get(name)
    head = isinstance(block, type) and issubclass(block, Detect)
    stand_ins = [[-1, 1, "Index", [number]] for number in inputs]
    extra = [[0, 1, "C3k2", [8]]] if head and not legacy else []
    reads = list(range(len(inputs))) if isinstance(source, list) else 0
    rest = [] if head else [[-1, 1, "nn.BatchNorm2d", []]]
    few = {key: value for key, value in structure.items() if key != "activation"}
    few |= {"backbone": stand_ins, "head": [*extra, [reads, wanted, name, arguments], *rest]}
    try:
        built, _ = native(few, ch=3, verbose=False)
    except Exception as error:  # a row can hold anything
        if isinstance(error, KeyError) and error.args == (name,):
            raise  # a block that nobody has: whoever knows the files that were given says which are missing
        _refuse(name, index, f"with the arguments {arguments}: {(str(error).splitlines() or [''])[0]}", error)
    layer, probe = built[len(stand_ins) + len(extra)], built[-1]
    return layer, int(probe.num_features) if isinstance(probe, nn.BatchNorm2d) and not head else 0


def _named(layer: Any, block: type | None = None) -> Any:
    """A layer with the marks that ultralytics leaves on each."""
    kind = block or type(layer)
    layer.np = sum(parameter.numel() for parameter in layer.parameters())
    layer.type = f"{kind.__module__}.{kind.__qualname__}"
    return layer


def _is_count(value: Any) -> TypeGuard[int]:
    """Whether a value of a row is a number of things."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _value(argument: Any, structure: Mapping[str, Any]) -> Any:
    """An argument of a row: ``nc`` stands for the number of classes, a text that is a Python literal for its value."""
    if argument == "nc":
        return structure.get("nc")
    if isinstance(argument, str):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(argument)
    return argument


@contextlib.contextmanager
def _activation(structure: Mapping[str, Any], native: Parser) -> Iterator[None]:
    """Makes the activation that a structure names the usual one while its layers are built; one instance for all."""
    usual = Conv.default_act
    if structure.get("activation"):
        one = {"nc": 1, "activation": structure["activation"], "backbone": [[-1, 1, "Conv", [8, 1, 1]]], "head": []}
        Conv.default_act = native(one, ch=3, verbose=False)[0][0].act
    try:
        yield
    finally:
        Conv.default_act = usual


def _refuse(name: str, index: int, why: str, error: Exception | None = None) -> NoReturn:
    """Raises what is wrong with a row."""
    raise WeightsError(f"Layer {index} of the model, {name}, cannot be built: {why}. Correct that row.") from error
