"""Makes a whole model out of the change that a model yaml of ours holds, and the base that is installed.

A file of ``configs/models`` (or a user's own) names a model yaml of the installed ultralytics and says what is
different. Every number in it, be it a place or a ``from``, is the number of a layer of the **base**; what moves is moved
here. Channels are those of full width, as in ultralytics' yamls, and are scaled like them::

    base: yolo11-seg.yaml

    replace:                       # rows in place of a layer; whoever reads it reads the last of them
      8: [-1, 2, C3k2_SS2D, [1024, {state: 1, ratio: 1}]]
      4:                           # several rows
        - [-1, 1, First, [256]]
        - [-1, 1, Second, [256]]   # -1: the row above
    insert:                        # rows behind a layer; whoever reads it reads the last of them
      10: [-1, 1, Attention, []]   # -1 or 10: the layer itself
    remove: [12]                   # who read it with -1 reads what lies before; nobody may read it by its number
    backbone:                      # a block that returns several maps, in place of layer 0 up to the last tap
      row: [-1, 1, RMTBackbone, [{dims: [32, 64, 96, 128]}]]
      taps: {4: 1, 6: 2, 8: 3}     # layer 4 is its map 1 (counted from 0) ...
    head: [[16, 19, 22], 1, Segment_DyHead, [nc, 32, 256, 64, 1]]   # in place of the last layer; a row or several

A negative ``from`` counts rows back: first those written above it at the same place, then layers of the base. So a head
that reads what an encoder returns::

    head:
      - [[16, 19, 22], 1, MSDeformEncoder, [64, 4, 4]]
      - [-1, 1, Tap, [0]]
      - [-2, 1, Tap, [1]]
      - [-3, 1, Tap, [2]]
      - [[-3, -2, -1], 1, Segment, [nc, 32, 256]]

Other keys that ultralytics' yamls know (``nc``, ``activation``, ``reg_max`` ...) take the place of the base's; ``scale``
is the letter of one of its scales, for a file without one in its name. The result is such a yaml as a dict, with nothing
in it that points back here, so that a checkpoint or a safetensors file that holds it holds the whole model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from lineside.runtime.errors import WeightsError

__all__ = ["assemble"]

CHANGES = frozenset({"base", "replace", "insert", "remove", "backbone", "head"})
"""Keys that say what is different."""

OTHERS = frozenset({"nc", "scales", "depth_multiple", "width_multiple", "activation", "reg_max", "end2end", "inplace"})
"""Keys that ultralytics reads in a model yaml of a detection or segmentation model, beside those that the base has."""

Row = list[Any]


@dataclass
class _Place:
    """What stands at the place of a layer of the base.

    Attributes:
        rows: Rows, in order; none for a layer that was removed.
        kept: How many of them are the base's own or replace it; those behind were inserted.
    """

    rows: list[Row]
    kept: int = field(default=1)


def assemble(change: Mapping[str, Any], base: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Applies a change to a base.

    Args:
        change: What a model yaml with ``base`` holds.
        base: The structure that it names: ultralytics' model yaml as a dict.
        name: What to call the change in messages.

    Returns:
        The structure of the whole model.

    Raises:
        WeightsError: The change does not fit the base, or does not have the form described above.
    """
    _check_keys(change, base, name)
    rows = [*base["backbone"], *base["head"]]
    places = [_Place([copy.deepcopy(list(row))]) for row in rows]
    _apply(change, places, name)
    starts, total = [], 0
    for place in places:
        starts.append(total)
        total += len(place.rows)
    finished = [
        [_resolved(row, layer, number, places, starts, name) for number, row in enumerate(place.rows)]
        for layer, place in enumerate(places)
    ]
    border = len(base["backbone"])
    result = {key: copy.deepcopy(value) for key, value in base.items() if key not in {"backbone", "head"}}
    result |= {key: copy.deepcopy(value) for key, value in change.items() if key not in CHANGES}
    result["backbone"] = [row for place in finished[:border] for row in place]
    result["head"] = [row for place in finished[border:] for row in place]
    if not result["backbone"] or not result["head"]:
        _refuse(name, "it leaves no layer of the backbone or of the head")
    return result


def _check_keys(change: Mapping[str, Any], base: Mapping[str, Any], name: str) -> None:
    """A word with a typing error would leave the base as it is, and nobody would notice."""
    strange = [key for key in change if key not in CHANGES | OTHERS | set(base)]
    if strange:
        allowed = ", ".join(sorted(CHANGES - {"base"}))
        _refuse(name, f"it has the key {strange[0]!r}, which means nothing; what is different stands under {allowed}")


def _apply(change: Mapping[str, Any], places: list[_Place], name: str) -> None:
    """Puts the rows of the change where they belong."""
    backbone, taken = change.get("backbone"), -1
    if backbone is not None:
        taken = _put_backbone(backbone, places, name)
    removed = _removed(change.get("remove"), name)
    for layer in removed:
        _at(places, layer, "remove", name).rows = []
    for layer, rows in _mapping(change.get("replace"), "replace", name).items():
        place = _at(places, layer, "replace", name)
        if layer <= taken or layer in removed or (layer == len(places) - 1 and change.get("head") is not None):
            other = "backbone" if layer <= taken else "remove" if layer in removed else "head"
            _refuse(name, f"both 'replace' and '{other}' change layer {layer}, and one of them would be lost")
        place.rows = _rows(rows, f"replace: {layer}", name)
        place.kept = len(place.rows)
    if change.get("head") is not None:
        places[-1].rows = _rows(change["head"], "head", name)
        places[-1].kept = len(places[-1].rows)
    for layer, rows in _mapping(change.get("insert"), "insert", name).items():
        place = _at(places, layer, "insert", name)
        if not place.rows:
            _refuse(name, f"it inserts behind layer {layer}, which it removes")
        place.kept = len(place.rows)
        place.rows = place.rows + _rows(rows, f"insert: {layer}", name)


def _put_backbone(backbone: Any, places: list[_Place], name: str) -> int:
    """Puts one block and its taps in the place of the first layers; returns the last of them."""
    if not isinstance(backbone, Mapping) or set(backbone) != {"row", "taps"}:
        _refuse(name, "'backbone' is no mapping with 'row' and 'taps'")
    taps = _mapping(backbone["taps"], "taps", name)
    for layer, which in taps.items():
        _at(places, layer, "taps", name)
        if isinstance(which, bool) or not isinstance(which, int) or which < 0:
            _refuse(name, f"'taps' gives layer {layer} the map {which!r}, and maps are counted from 0")
    if not taps or min(taps) < 1:
        _refuse(name, "'taps' says for no layer behind the first which map of the backbone stands for it")
    for place in places[: max(taps) + 1]:
        place.rows = []
    places[0].rows = _rows(backbone["row"], "backbone", name)
    places[0].kept = len(places[0].rows)
    for layer, which in taps.items():
        places[layer].rows = [[0, 1, "Tap", [which]]]
    return int(max(taps))


def _at(places: list[_Place], layer: Any, key: str, name: str) -> _Place:
    """The place of a layer of the base."""
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < len(places):
        _refuse(name, f"'{key}' names layer {layer!r}, and the base has the layers 0 to {len(places) - 1}")
    return places[layer]


def _mapping(value: Any, key: str, name: str) -> Mapping[Any, Any]:
    """A part of the change that is a mapping from layers, empty where it is left out."""
    if value is not None and not isinstance(value, Mapping):
        _refuse(name, f"'{key}' is no mapping from layers of the base")
    return value or {}


def _removed(value: Any, name: str) -> Sequence[Any]:
    """The layers to remove."""
    if value is not None and not isinstance(value, list):
        _refuse(name, "'remove' is no list of layers of the base")
    return value or []


def _rows(value: Any, key: str, name: str) -> list[Row]:
    """One row or several."""
    several = isinstance(value, list) and value and all(isinstance(row, list) and len(row) == 4 for row in value)
    rows = value if several else [value]
    for row in rows:
        form = isinstance(row, list) and len(row) == 4 and isinstance(row[3], list) and isinstance(row[1], int)
        sources = (row[0] if isinstance(row[0], list) else [row[0]]) if form else []
        if not sources or not all(isinstance(source, int) and not isinstance(source, bool) for source in sources):
            _refuse(name, f"'{key}' holds {str(row)[:80]}, which is no row [from, repeats, block, arguments]")
        if isinstance(row[1], bool) or row[1] < 1:
            _refuse(name, f"'{key}' holds {str(row)[:80]}, which repeats its block {row[1]} times; 1 is the least")
    return copy.deepcopy(rows)


def _resolved(row: Row, layer: int, number: int, places: list[_Place], starts: list[int], name: str) -> Row:
    """A row with the numbers that layers have in the whole model."""
    sources = row[0] if isinstance(row[0], list) else [row[0]]
    own = starts[layer] + number
    found = [_source(source, layer, number, own, places, starts, name) for source in sources]
    return [found if isinstance(row[0], list) else found[0], *row[1:]]


def _source(source: int, layer: int, number: int, own: int, places: list[_Place], starts: list[int], name: str) -> int:
    """Where in the whole model a row reads; -1 for the row before it, where it was written with a minus."""
    if source < 0:
        above = number + source
        found = starts[layer] + above if above >= 0 else _before(layer + above, places, starts)
        if layer + above < -1:
            _refuse(name, f"a row at layer {layer} reads {source}, further back than there are layers")
        if found is None and own:
            _refuse(name, f"a row at layer {layer} reads the picture, because the layers before it are removed")
        return -1 if found is None or found == own - 1 else found
    if source == layer and number >= places[layer].kept:
        return starts[layer] + places[layer].kept - 1
    if source >= layer:
        _refuse(name, f"a row at layer {layer} reads layer {source}, which does not come before it")
    if not places[source].rows:
        _refuse(name, f"a row at layer {layer} reads layer {source}, which is removed")
    return starts[source] + len(places[source].rows) - 1


def _before(layer: int, places: list[_Place], starts: list[int]) -> int | None:
    """The last row at a layer of the base, or at the nearest before it that is left; None for the picture."""
    while layer >= 0 and not places[layer].rows:
        layer -= 1
    return starts[layer] + len(places[layer].rows) - 1 if layer >= 0 else None


def _refuse(name: str, why: str) -> NoReturn:
    """Raises what is wrong with a change."""
    raise WeightsError(
        f"The model yaml '{name}' cannot be put together: {why}. Its numbers are those of the layers of its base; "
        "a row is [from, repeats, block, arguments]."
    )
