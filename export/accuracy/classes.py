"""Which class of a model is which class of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from lineside.runtime.errors import DatasetError

__all__ = ["match_classes"]


def match_classes(model: Sequence[str], data: Sequence[str]) -> list[int | None]:
    """Finds the classes of a data set among those of a model, by name.

    A model that names its classes ``0``, ``1`` … (a foreign file without names) is matched by number.

    Args:
        model: Names in the order of the model.
        data: Names in the order of the data set.

    Returns:
        For each class of the model its number in the data set, or None where the set does not know it.

    Raises:
        DatasetError: The set has a class that the model has not, or a name stands for two classes.
    """
    if len(data) <= len(model) and all(name in (str(i), f"class{i}") for i, name in enumerate(model)):
        return [index if index < len(data) else None for index in range(len(model))]
    for who, names in (("model", model), ("data set", data)):
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise DatasetError(f"the {who} has two classes named '{twice[0]}': give each class a name of its own")
    if unknown := [name for name in data if name not in model]:
        raise DatasetError(
            f"the data set has the class '{unknown[0]}' and the model has {_shown(model)}: "
            "a figure over classes that cannot be found says nothing; give a data.yaml with the names of the model"
        )
    numbers = {name: index for index, name in enumerate(data)}
    return [numbers.get(name) for name in model]


def _shown(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(f"'{name}'" for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
