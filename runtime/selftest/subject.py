"""What a selftest looks at: a bundle, the device under test, and the models that are opened once and used by many checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt

from lineside.runtime.bundle import Bundle, list_golden
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import EngineOptions
from lineside.runtime.errors import EngineError
from lineside.runtime.golden import Golden, read_golden
from lineside.runtime.lane import lane_of
from lineside.runtime.segmenter import Segmenter
from lineside.runtime.verify import FP32, OF_VARIANTS, Tolerance

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device
    from lineside.runtime.cuda.runner import DeviceRunner

__all__ = ["HOST", "Options", "Subject"]

Precision = Literal["fp32", "fp16", "int8"]

HOST = "host"
"""Engine that plays a GPU on the processor."""

REFERENCE = "onnxruntime"
"""Engine that everything is compared with, beside the golden files."""

ROOT = Path("/")


@dataclass(frozen=True)
class Options:
    """How a selftest is done.

    Attributes:
        engine: ``tensorrt`` or ``host``.
        precision: Of the engine under test; None: what the engine has.
        frames: Frames behind the latency table.
        size: Height and width of those frames, px.
        seconds: Longest time for the latency table.
        root: Folder that holds ``etc``, ``proc`` and ``sys``.
    """

    engine: str = "tensorrt"
    precision: Precision | None = None
    frames: int = 300
    size: tuple[int, int] = (1080, 1920)
    seconds: float = 60.0
    root: Path = ROOT


@dataclass
class Subject:
    """What is tested, opened as checks ask for it; `close` frees it all.

    Attributes:
        bundle: The bundle, its hashes verified.
        options: How it is done.
        device: The device under test, for kernels by themselves.
        precision: Of the engine under test: what was asked for, until an engine is there that knows better.
        variant: Name of the bundle's model that the engine under test is of, ``fp32`` or a variant; None for what the engine
            runs by itself.
        say: Told what is being done.
    """

    bundle: Bundle
    options: Options
    device: Device
    precision: Precision = "fp32"
    variant: str | None = None
    say: Callable[[str], None] = field(default=lambda text: None)

    def __post_init__(self) -> None:
        self.precision = self.options.precision or self.precision

    @property
    def real(self) -> bool:
        """Whether the device is a GPU."""
        return self.options.engine != HOST

    @property
    def asked_precision(self) -> Precision | None:
        """Precision that was asked for."""
        return self.options.precision

    @property
    def tolerance(self) -> Tolerance:
        """How far it may be from torch: as `verify` holds variants."""
        return OF_VARIANTS.get(self.precision, FP32)

    def runner(self) -> DeviceRunner:
        """The bundle on the engine under test, for whoever looks into it; the caller closes it.

        Raises:
            EngineError: It cannot be opened.
        """
        options = EngineOptions(lanes=1, device=self.device, precision=self.variant)
        return cast("DeviceRunner", open_engines(self.options.engine, self.bundle, options)[0])

    @cached_property
    def model(self) -> Segmenter:
        """The bundle on the engine under test, on `device`, whose counters see what it does.

        Raises:
            EngineError: It cannot be opened.
        """
        runner = self.runner()
        return Segmenter(self.bundle.manifest, [lane_of(runner, self.bundle.manifest)], runner.name)

    @cached_property
    def reference(self) -> Segmenter | None:
        """The bundle on the processor's engine; None where that is not there."""
        try:
            engines = open_engines(REFERENCE, self.bundle, EngineOptions(lanes=1))
        except EngineError:
            return None
        return Segmenter(self.bundle.manifest, [lane_of(one, self.bundle.manifest) for one in engines], REFERENCE)

    @cached_property
    def golden(self) -> tuple[Golden, ...]:
        """The golden files."""
        return tuple(read_golden(self.bundle, name) for name in list_golden(self.bundle))

    def frame(self, size: tuple[int, int], number: int = 0) -> npt.NDArray[np.uint8]:
        """A picture that the model finds something in: a golden one, repeated or cut to a size.

        Args:
            size: Height and width, px.
            number: Which golden picture, counted round and round.

        Returns:
            ``(H, W, 3)`` uint8 BGR.
        """
        if self.golden:
            pixels = self.golden[number % len(self.golden)].pixels[..., ::-1]
        else:
            shape = (*self.bundle.manifest.input.size, 3)
            pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        rows = np.arange(size[0]) * pixels.shape[0] // size[0]
        columns = np.arange(size[1]) * pixels.shape[1] // size[1]
        return np.ascontiguousarray(pixels[rows][:, columns])

    def close(self) -> None:
        """Closes models and device; what cannot be closed any more is let go."""
        for name in ("model", "reference"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
        self.device.close()
