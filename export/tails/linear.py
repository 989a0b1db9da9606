"""Tensors whose every element is a known linear expression of atoms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "BIN",
    "DISTANCE",
    "KIND",
    "RAW",
    "SIGMOID",
    "Constant",
    "Linear",
    "UnknownTail",
    "added",
    "atoms_of",
    "atoms_only",
    "joined",
    "moved",
    "same",
    "scaled",
]

Constant = npt.NDArray[np.generic]
Atoms = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

KIND = 1 << 40
RAW, SIGMOID, BIN, DISTANCE = 0, KIND, 2 * KIND, 3 * KIND
"""Kinds of atoms; an atom is its kind plus the number of an element of a head tensor. A BIN is that element's share in a
softmax over its distribution, a DISTANCE the mean of the distribution that begins with that element."""

NONE = np.int64(1 << 60)
"""Stands where an element has fewer terms than others of its tensor."""


class UnknownTail(Exception):
    """The tail does something that is not in the formula; the message is a clause that says what."""


@dataclass(frozen=True)
class Linear:
    """A tensor of linear expressions; all arrays have the shape of the tensor.

    Attributes:
        atoms: Atom of each term, int64.
        factors: Factor of each term, float64.
        constant: What is added, float64.
    """

    atoms: tuple[Atoms, ...]
    factors: tuple[Numbers, ...]
    constant: Numbers

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.constant.shape


def atoms_of(atoms: Atoms) -> Linear:
    """A tensor whose elements are one atom each."""
    return Linear((atoms,), (np.ones(atoms.shape),), np.zeros(atoms.shape))


def atoms_only(value: Linear, kind: int) -> Atoms | None:
    """The element numbers of a tensor that holds one atom of that kind each and nothing else; None for any other."""
    if len(value.atoms) != 1 or bool(value.constant.any()) or bool((value.factors[0] != 1).any()):
        return None
    numbers = value.atoms[0] - kind
    return numbers if bool(((numbers >= 0) & (numbers < KIND)).all()) else None


def moved(value: Linear, move: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]) -> Linear:
    """The same elements in another place: ``move`` is applied to every array alike."""
    arrays = [move(array) for array in (*value.atoms, *value.factors, value.constant)]
    count = len(value.atoms)
    return Linear(tuple(arrays[:count]), tuple(arrays[count:-1]), arrays[-1])  # type: ignore[arg-type]


def scaled(value: Linear, factor: Constant) -> Linear:
    """Element by element times known numbers, with broadcasting."""
    numbers = np.asarray(factor, np.float64)
    shape = np.broadcast_shapes(value.shape, numbers.shape)
    return Linear(
        tuple(np.broadcast_to(atoms, shape) for atoms in value.atoms),
        tuple(factors * numbers for factors in value.factors),
        value.constant * numbers,
    )


def added(left: Linear | Constant, right: Linear | Constant) -> Linear:
    """The sum, element by element, with broadcasting."""
    terms = [_linear(side) for side in (left, right)]
    shape = np.broadcast_shapes(terms[0].shape, terms[1].shape)
    return Linear(
        tuple(np.broadcast_to(atoms, shape) for side in terms for atoms in side.atoms),
        tuple(np.broadcast_to(factors, shape) for side in terms for factors in side.factors),
        np.asarray(terms[0].constant + terms[1].constant),
    )


def joined(values: Sequence[Linear | Constant], axis: int) -> Linear:
    """Tensors side by side along an axis."""
    parts = [_linear(value) for value in values]
    most = max(len(part.atoms) for part in parts)
    padded = [_padded(part, most) for part in parts]
    return Linear(
        tuple(np.concatenate([part.atoms[i] for part in padded], axis) for i in range(most)),
        tuple(np.concatenate([part.factors[i] for part in padded], axis) for i in range(most)),
        np.concatenate([part.constant for part in padded], axis),
    )


def same(left: Linear, right: Linear) -> npt.NDArray[np.bool_]:
    """Where two tensors of one shape hold the same expression, exactly."""
    most = max(len(left.atoms), len(right.atoms))
    (mine, my_factors), (theirs, their_factors) = (_sorted(_padded(value, most)) for value in (left, right))
    equal = (mine == theirs).all(axis=0) & (my_factors == their_factors).all(axis=0)
    return np.asarray(equal & (left.constant == right.constant), np.bool_)


def _linear(value: Linear | Constant) -> Linear:
    return value if isinstance(value, Linear) else Linear((), (), np.asarray(value, np.float64))


def _padded(value: Linear, count: int) -> Linear:
    """With terms that are nothing, up to that many."""
    missing = count - len(value.atoms)
    nothing = (np.broadcast_to(NONE, value.shape),) * missing
    zeros = (np.broadcast_to(np.float64(0), value.shape),) * missing
    return Linear((*value.atoms, *nothing), (*value.factors, *zeros), value.constant)


def _sorted(value: Linear) -> tuple[Atoms, Numbers]:
    """Terms ``(count, *shape)`` by atom, those of one atom put together, empty ones last."""
    atoms, factors = np.stack(value.atoms), np.stack(value.factors)
    for _ in range(2):  # once to bring terms of one atom together, once more to move the empty ones away
        atoms = np.where(factors == 0, NONE, atoms)
        order = np.argsort(atoms, axis=0, kind="stable")
        atoms, factors = np.take_along_axis(atoms, order, 0), np.take_along_axis(factors, order, 0)
        for i in range(1, len(atoms)):
            again = atoms[i] == atoms[i - 1]
            factors[i] += np.where(again, factors[i - 1], 0)
            factors[i - 1] = np.where(again, 0, factors[i - 1])
    return np.where(factors == 0, NONE, atoms), factors
