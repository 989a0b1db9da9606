"""Forms of the linear recurrence behind the selective scan, in torch.

All compute ``h_t = a_t * h_{t-1} + b_t`` with ``h_{-1} = 0`` along the first axis, for ``0 <= a_t <= 1``. None forms a
quotient of products or ``exp`` of a positive sum, so none overflows however strong the decay is: a product of factors
of at most 1 can only vanish, and then what it multiplies has truly been forgotten.

The recurrence is associative (Blelloch, "Prefix Sums and Their Applications", 1990, §1.4.1): steps ``(a, b)`` and then
``(a', b')`` are the one step ``(a' a, a' b + b')``. Its gradient is the same recurrence backwards in time, so one
solver serves both ways.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["FORMS", "Form", "associative", "chunk_length", "pairwise", "plain", "recurrence_form", "two_level"]

PAIRWISE_CHUNK = 8
"""Steps of one chunk of `pairwise`; its work grows with them, the number of chunks shrinks."""


def plain(a: Tensor, b: Tensor) -> Tensor:
    """The recurrence as it is written, one step after the other: the reference.

    Args:
        a: Factors ``(L, ...)`` in [0, 1].
        b: What comes in ``(L, ...)``, same shape.

    Returns:
        All states ``(L, ...)``.
    """
    states = []
    state = torch.zeros_like(b[0])
    for factor, value in zip(a, b, strict=True):
        state = factor * state + value
        states.append(state)
    return torch.stack(states)


def pairwise(a: Tensor, b: Tensor) -> Tensor:
    """The recurrence by chunks, each through the products between all pairs of its steps; see `plain`.

    ``h_t = (prod_{k<=t} a_k) h_0 + sum_{i<=t} (prod_{i<k<=t} a_k) b_i`` within a chunk. The products are taken as they
    are, where the well-known cumulative-sum form divides one product by another and overflows.
    """
    length = len(a)
    lower = torch.ones(PAIRWISE_CHUNK, PAIRWISE_CHUNK, dtype=torch.bool, device=a.device).tril()
    shape = (PAIRWISE_CHUNK, PAIRWISE_CHUNK, *[1] * (a.ndim - 1))
    below, within = lower.tril(-1).view(shape), lower.view(shape)
    state, states = torch.zeros_like(b[0]), []
    for start in range(0, length, PAIRWISE_CHUNK):
        factors, values = a[start : start + PAIRWISE_CHUNK], b[start : start + PAIRWISE_CHUNK]
        n = len(factors)
        # Entry (t, i): a_t below the diagonal, else 1; its running product over t is that of a_{i+1} ... a_t.
        table = torch.where(below[:n, :n], factors.unsqueeze(1), 1.0).cumprod(0)
        chunk = torch.where(within[:n, :n], table, 0.0).mul(values).sum(1) + factors.cumprod(0) * state
        state = chunk[-1]
        states.append(chunk)
    return torch.cat(states)


def two_level(a: Tensor, b: Tensor) -> Tensor:
    """The recurrence with about ``2 sqrt(L)`` sequential steps: all chunks side by side, then their ends; see `plain`."""
    return _run(_solve_two_level, a, b)


def associative(a: Tensor, b: Tensor) -> Tensor:
    """The recurrence with about ``2 log2(L)`` sequential steps and work of order L; see `plain`.

    Neighbouring steps are joined to pairs, the half as long recurrence gives every second state, and one step from
    those gives the others.
    """
    return _run(_solve_associative, a, b)


Form = Callable[[Tensor, Tensor], Tensor]
"""States from factors and inputs; see `plain`."""

FORMS: dict[str, Form] = {"ref": plain, "easy": pairwise, "two-level": two_level, "associative": associative}
"""All forms by name; ``easy`` is the name that VMamba gave to its form by chunks."""


def recurrence_form(name: str) -> Form:
    """The form of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in FORMS:
        raise ValueError(f"there is no form {name!r} of the selective scan; there are {', '.join(FORMS)}")
    return FORMS[name]


Solver = Callable[[Tensor, Tensor, bool], Tensor]
"""States from factors and inputs, forwards or backwards in time; nothing in it is recorded for gradients."""


class _Recurrence(torch.autograd.Function):
    """The recurrence by a solver, with its gradient by the same solver the other way round."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, solver: Solver, reverse: bool) -> Tensor:
        """States of ``h_t = a_t h_{t-1} + b_t``, or with ``reverse`` of ``h_t = a_t h_{t+1} + b_t``."""
        states = solver(a, b, reverse)
        ctx.save_for_backward(a, states)
        ctx.solver, ctx.reverse = solver, reverse
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of ``b`` is ``g_t = grad_t + a_{t+1} g_{t+1}``, that of ``a`` is ``g_t h_{t-1}``."""
        a, states = ctx.saved_tensors
        total = _run(ctx.solver, _shifted(a, not ctx.reverse), grads[0], not ctx.reverse)
        return total * _shifted(states, ctx.reverse), total, None, None


def _run(solver: Solver, a: Tensor, b: Tensor, reverse: bool = False) -> Tensor:
    result: Tensor = _Recurrence.apply(a, b, solver, reverse)
    return result


def _shifted(values: Tensor, reverse: bool) -> Tensor:
    """Each entry's predecessor in time, or with ``reverse`` its successor; 0 where there is none."""
    none = torch.zeros_like(values[:1])
    return torch.cat((values[1:], none)) if reverse else torch.cat((none, values[:-1]))


def _solve_two_level(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """Solves chunk by chunk: what each chunk adds and keeps, the state that enters each, then all of them at once."""
    length, steps = len(a), chunk_length(len(a))
    chunks = -(-length // steps)
    factors, values = (_in_chunks(tensor, chunks, steps, fill) for tensor, fill in ((a, 1.0), (b, 0.0)))
    times, order = _both_ways(steps, reverse), _both_ways(chunks, reverse)
    added, kept = values[:, times[0]].clone(), factors.prod(1)
    for t in times[1:]:
        added.mul_(factors[:, t]).add_(values[:, t])
    entering = torch.zeros_like(added)
    for before, chunk in itertools.pairwise(order):
        torch.addcmul(added[before], kept[before], entering[before], out=entering[chunk])
    states = torch.empty_like(values)
    last = entering
    for t in times:
        last = torch.addcmul(values[:, t], factors[:, t], last, out=states[:, t])
    return states.flatten(0, 1)[:length]


def _in_chunks(values: Tensor, chunks: int, steps: int, fill: float) -> Tensor:
    """``(L, ...)`` as ``(chunks, steps, ...)``, filled up at the end."""
    missing = chunks * steps - len(values)
    if missing:
        values = torch.cat((values, values.new_full((missing, *values.shape[1:]), fill)))
    return values.reshape(chunks, steps, *values.shape[1:])


def _both_ways(count: int, reverse: bool) -> Sequence[int]:
    return range(count - 1, -1, -1) if reverse else range(count)


def chunk_length(length: int) -> int:
    """Steps of one chunk: about the square root, and a divisor of the length where one is near.

    Args:
        length: Number of steps, at least 1.
    """
    root = math.isqrt(length)
    near = range(root, max(1, 2 * root // 3) - 1, -1)
    return next((steps for steps in near if length % steps == 0), math.isqrt(length - 1) + 1)


def _solve_associative(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """Solves by joining neighbours; see `associative`."""
    if reverse:
        return _solve_associative(a.flip(0), b.flip(0), False).flip(0)
    length = len(a)
    if length == 1:
        return b.clone()
    states = torch.empty_like(b)
    even = length // 2 * 2
    first, second = slice(0, even, 2), slice(1, even, 2)
    states[second] = _solve_associative(a[second] * a[first], torch.addcmul(b[second], a[second], b[first]), False)
    states[0] = b[0]
    if length > 2:
        states[2::2] = torch.addcmul(b[2::2], a[2::2], states[1 : length - 1 : 2])
    return states
