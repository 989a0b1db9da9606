"""From the path of a bundle to a model that can be called."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import EngineOptions, Mismatch, Mode
from lineside.runtime.errors import BadOption
from lineside.runtime.lane import lane_of
from lineside.runtime.segmenter import Segmenter
from lineside.runtime.sizing import at_size
from lineside.runtime.variants import check_precision

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device

__all__ = ["load"]

WITH_RECORDING = ("recorded", "host")
"""Engines that replay a file."""

ON_MISMATCH: tuple[Mismatch, ...] = ("refuse", "rebuild", "fallback")
"""What the engine ``tensorrt`` may do where no engine was built for this machine."""

MAX_THREADS = 1024
MAX_LANES = 256
"""Beyond these no machine gains anything, and threads by the million make a load last for ever."""


def load(
    path: str | os.PathLike[str],
    engine: str = "auto",
    *,
    mode: Mode = "latency",
    threads: int | None = None,
    lanes: int | None = None,
    imgsz: int | tuple[int, int] | None = None,
    device: Device | None = None,
    precision: str | None = None,
) -> Segmenter:
    """Loads a bundle.

    Args:
        path: A bundle: a folder, or the same tree in a .zip file.
        engine: ``auto``, ``onnxruntime``, ``recorded`` (replays the bundle's golden outputs) or ``recorded:FILE.npz``;
            ``host``, which takes the path of a GPU on the processor, or ``host:FILE.npz``; ``tensorrt``, which runs what
            `lineside build` made for this machine and refuses where there is nothing, ``tensorrt:rebuild``, which builds
            it then (minutes), or ``tensorrt:fallback``, which takes onnxruntime then and warns. ``auto`` takes TensorRT
            where an engine for this machine is there, else onnxruntime, with a warning where there is a GPU.
        mode: ``latency`` answers one picture as soon as possible; ``throughput`` runs several pictures side by side.
        threads: Threads of one run, at most 1024; None: all physical cores for ``latency``, one for ``throughput``.
        lanes: How many threads may call the model at once, at most 256; None: one for ``latency`` (a run has
            all cores), one per physical core for ``throughput``. There lanes times threads may be 1024 at most.
        imgsz: Input size in pixels, one number or (height, width), multiples of the model's greatest stride; only for a
            bundle that was exported with ``--dynamic``. None: the bundle's own.
        device: What the engines of devices execute on, where it is not to be opened for this model alone; the caller
            closes it after the model. Others do not look at it.
        precision: ``fp32`` or one of the bundle's variants, such as ``int8-cpu``; None: FP32 with onnxruntime, what was
            built with TensorRT. A variant is run by the engines that it is meant for alone; where ``auto`` or a fallback
            ends at another one, that runs the variant of its own, and ``engine_reason`` says so.

    Returns:
        The model, ready to be called.

    Raises:
        BundleError: The bundle is not usable; its subclasses say why.
        EngineError: The engine is not there, too old, or refuses the model.
        BadOption: ``mode``, ``threads``, ``lanes``, ``imgsz``, ``device`` or ``precision`` is none of the above, or the
            engine does not run that precision.
    """
    name, options = _options(engine, mode, threads, lanes)
    if device is not None and not hasattr(device, "allocate"):
        raise BadOption(
            f"device={device!r} is no device: leave it out, and the engine opens the machine's own; or give one that was "
            "opened, such as a HostDevice"
        )
    options = replace(options, device=device, precision=precision)
    bundle = at_size(open_bundle(path), imgsz)
    check_precision(bundle.manifest, name, precision)
    engines = open_engines(name, bundle, options)
    try:
        found = [lane_of(engine, bundle.manifest) for engine in engines]
    except BaseException:
        for one in engines:
            one.close()
        raise
    return Segmenter(bundle.manifest, found, engines[0].name, engines[0].reason)


def _options(engine: object, mode: Mode, threads: int | None, lanes: int | None) -> tuple[str, EngineOptions]:
    """Name of the engine, and how it is to run; what is outside its range is refused before anything is opened."""
    if not isinstance(engine, str):
        raise BadOption(f"engine={engine!r} is no name: give 'auto', 'onnxruntime' or 'recorded:FILE.npz'")
    if mode not in ("latency", "throughput"):
        raise BadOption(f"mode={mode!r} is not known: choose 'latency' or 'throughput'")
    for what, count, most in (("threads", threads, MAX_THREADS), ("lanes", lanes, MAX_LANES)):
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most):
            raise BadOption(
                f"{what}={count!r} is not possible: give a number from 1 to {most}, or None to let it be chosen"
            )
    if mode == "throughput" and (threads or 1) * (lanes or 1) > MAX_THREADS:
        raise BadOption(
            f"threads={threads} in each of lanes={lanes} is more than {MAX_THREADS} threads: give fewer of either"
        )
    name, colon, recording = engine.partition(":")
    if name == "tensorrt" and colon:
        policy = next((known for known in ON_MISMATCH if known == recording), None)
        if policy is None:
            raise BadOption(f"engine={engine!r} is not known: choose tensorrt:{', tensorrt:'.join(ON_MISMATCH)}")
        return name, EngineOptions(mode=mode, threads=threads, lanes=lanes, on_mismatch=policy)
    if colon and (name not in WITH_RECORDING or not recording):
        raise BadOption(
            f"engine={engine!r} is not known: only 'recorded' and 'host' take a file, as in 'recorded:FILE.npz'"
        )
    return name, EngineOptions(mode=mode, threads=threads, lanes=lanes, recording=recording or None)
