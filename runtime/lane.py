"""What one caller of a model has to itself."""

from __future__ import annotations

from lineside.runtime.engines.base import Array, Engine
from lineside.runtime.manifest import Manifest
from lineside.runtime.postprocess import Postprocessor
from lineside.runtime.preprocess import Preprocessor

__all__ = ["Lane"]


class Lane:
    """Buffers, engine, and the memory of both native stages: one call at a time has them.

    Args:
        engine: Owned by the lane from now on.
        manifest: What the bundle says about itself.

    Attributes:
        tensor: The engine's input, float32 ``(batch, 3, h, w)``.
        slots: The same memory, one ``(3, h, w)`` per picture of the batch.
    """

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self.engine = engine
        self.tensor = engine.buffers()[manifest.input.name]
        self.slots = tuple(self.tensor)  # (3, h, w) each, a picture of the batch
        self.dynamic = manifest.input.dynamic
        self.preprocessor = Preprocessor(manifest.input.size)
        self.postprocessor = Postprocessor(manifest.head)

    def filled(self, count: int) -> Array:
        """The part of the input that is to be executed: all of it, unless the model leaves the batch free.

        Args:
            count: How many slots were filled.
        """
        return self.tensor[:count] if self.dynamic and count < len(self.slots) else self.tensor
