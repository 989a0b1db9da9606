"""What is known of the models of the zoo."""

from __future__ import annotations

import msgspec

__all__ = ["Entry", "Machine", "Training", "Zoo"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One model.

    Attributes:
        name: Short name, such as ``edge``; ``base`` for ultralytics' own.
        model: Name to give to `lineside train` and `lineside export`.
        parameters: Numbers in the model as exported: normalisation folded, branches merged.
        gflops: Floating-point operations of one picture, 1e9; convolutions and matrix products, two for each
            multiplication with its addition. Sampling, exponentials and normalisations are not counted.
        nodes: Nodes of the exported graph, without the bodies of custom ops.
        bytes: Size of the file with float32 weights.
        custom_ops: Names of the operators of ours in it.
        latency_ms: Median time of one run of the graph, ms.
        relative: Median over the rounds of its time over the base's in the same round.
        accuracy: Figures of a training, by name, each with ``mean`` and ``ci``; None where the model was not trained.
    """

    name: str
    model: str
    parameters: int
    gflops: float
    nodes: int
    bytes: int
    custom_ops: tuple[str, ...]
    latency_ms: float
    relative: float
    accuracy: dict[str, dict[str, object]] | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured.

    Attributes:
        processor: Name of the processor.
        threads: Threads of a run.
        onnxruntime: Its version.
        torch: Its version.
        foreign_load: Share of the machine that other processes used meanwhile, 0 to 1.
    """

    processor: str
    threads: int
    onnxruntime: str
    torch: str
    foreign_load: float


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """On what the figures of accuracy were trained and measured; it has nothing to do with the size of the latencies.

    Attributes:
        task: Kind of the drawn pictures.
        pictures: Pictures to train on.
        size: Side of a picture and of the input, px.
        epochs: Passes over them.
        fresh: Pictures that no run has seen, on which all were measured.
    """

    task: str
    pictures: int
    size: int
    epochs: int
    fresh: int


class Zoo(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        scale: Scale of the models, such as ``n``.
        imgsz: Height and width of the input in pixels.
        rounds: Rounds in which every model ran once, in a new order each.
        machine: Where.
        entries: The base first.
        training: Where the accuracy of its entries comes from; None where none has any.
    """

    scale: str
    imgsz: tuple[int, int]
    rounds: int
    machine: Machine
    entries: tuple[Entry, ...]
    training: Training | None = None
