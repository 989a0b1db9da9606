"""The seam between the runtime and whatever executes a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import ContractMismatch

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device

__all__ = ["Array", "Engine", "EngineOptions", "Mismatch", "Mode", "match_outputs"]

Array = npt.NDArray[np.float32]
Mode = Literal["latency", "throughput"]
Mismatch = Literal["refuse", "rebuild", "fallback"]


@dataclass(frozen=True)
class EngineOptions:
    """How a model is executed.

    Attributes:
        mode: ``latency``: one picture at a time on all threads. ``throughput``: as many pictures at a time as there are
            lanes, each on its own threads.
        threads: Threads of one run; chosen by mode and machine when None.
        lanes: Number of engines to open; chosen by mode and machine when None.
        recording: File that the engine ``recorded`` replays, the bundle's golden outputs when None; the engine ``host``
            replays it instead of executing the model.
        device: What the engines of devices execute on, of the caller's own: it is not closed with the model. None: they
            open one themselves.
        on_mismatch: What the engine ``tensorrt`` does where no engine was built for this machine: ``refuse``, ``rebuild``
            (minutes), or ``fallback`` to onnxruntime.
        precision: ``fp32`` or the name of one of the bundle's variants; None: what the engine runs by itself. An engine
            that steps in for another takes the variant meant for itself, see `lineside.runtime.variants`.
    """

    mode: Mode = "latency"
    threads: int | None = None
    lanes: int | None = None
    recording: str | None = None
    device: Device | None = None
    on_mismatch: Mismatch = "refuse"
    precision: str | None = None


class Engine(Protocol):
    """Executes a model on its own static buffers; one thread at a time may use it.

    Several engines of one model (lanes) may share weights and threads among themselves.

    Attributes:
        name: Name in the table of engines.
        reason: Why this one runs the model, where that was not as asked for; else empty.
    """

    name: str
    reason: str

    def buffers(self) -> dict[str, Array]:
        """Static input buffers by tensor name, float32 ``(batch, 3, h, w)``, C-contiguous; the same arrays each time."""

    def infer(self, inputs: Mapping[str, Array], begun: Callable[[], None] | None = None) -> list[Array]:
        """Executes the model once.

        Args:
            inputs: A tensor for each input name. A static buffer is used as it is, any other array is copied into it.
                A dynamic model also takes the first slots of a buffer, or fewer pictures than the batch, and executes
                no more than those.
            begun: Called when the wait for another lane of the same model is over and the execution begins.

        Returns:
            The outputs in the order of the head contract, float32, C-contiguous, for as many pictures as were given.
            The next call overwrites them.

        Raises:
            EngineFailed: The engine refused to run, or is closed.
        """

    def close(self) -> None:
        """Frees what the engine holds; a second call does nothing."""


def match_outputs(
    head: HeadContract, batch: int, found: Sequence[tuple[str, Sequence[int | str | None]]]
) -> list[tuple[str, tuple[int, ...]]]:
    """Matches a model's outputs with its head contract, by name, else by order, and checks their shapes.

    Args:
        head: The contract.
        batch: Pictures per run.
        found: Name and shape of each output of the model; a dimension that is not a number is free.

    Returns:
        Name and static shape of each output, in the order of the contract.

    Raises:
        ContractMismatch: Number or shapes of the outputs are not those of the contract.
    """
    names, shapes = head.output_names, head.output_shapes(batch)
    by_name = dict(found)
    ordered = [(name, by_name[name]) for name in names] if set(names) <= set(by_name) else list(found)
    if len(ordered) != len(names):
        raise ContractMismatch(
            f"the model has {len(ordered)} outputs ({', '.join(name for name, _ in ordered)}) and its head contract "
            f"{head.kind!r} has {len(names)} ({', '.join(names)}): the manifest belongs to another model; export it again"
        )
    matched = []
    for (name, actual), wanted in zip(ordered, shapes, strict=True):
        merged = _merge(actual, wanted)
        if merged is None:
            raise ContractMismatch(
                f"output {name!r} of the model has shape {_show(actual)} and its head contract {head.kind!r} says "
                f"{_show(wanted)}: the manifest belongs to another model; export it again, with static shapes"
            )
        matched.append((name, merged))
    return matched


def _merge(actual: Sequence[int | str | None], wanted: Sequence[int | None]) -> tuple[int, ...] | None:
    """The one shape that fits both, or None where they contradict each other or leave a dimension open."""
    if len(actual) != len(wanted):
        return None
    merged = []
    for have, want in zip(actual, wanted, strict=True):
        size = have if isinstance(have, int) else want
        if size is None or (want is not None and size != want):
            return None
        merged.append(size)
    return tuple(merged)


def _show(shape: Sequence[int | str | None]) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"
