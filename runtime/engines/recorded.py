"""Replays recorded outputs instead of executing a model: for tests, demos and machines without an engine.

A recording is an ``.npz`` file with one array per output of the head contract, under the output's name, float16 or
float32, whose first axis counts pictures. The pictures that are shown to the engine do not matter: it answers with the
recorded ones in turn and starts over at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lineside.runtime.arrays import NotArrays, read_arrays
from lineside.runtime.bundle import Bundle, list_golden
from lineside.runtime.engines.base import Array, Engine, EngineOptions, match_outputs
from lineside.runtime.errors import ContractMismatch, EngineFailed, EngineUnavailable
from lineside.runtime.manifest import Manifest

__all__ = ["RecordedEngine", "Recording", "open_engines", "save_recording"]

MAX_BYTES = 2 << 30
"""Bytes that a recording may unpack to: a few hundred pictures."""


class Recording:
    """Recorded outputs that several lanes replay in turn.

    Args:
        outputs: One array per output, in the order of the head contract; the first axis counts pictures.
    """

    def __init__(self, outputs: Sequence[Array]) -> None:
        self._outputs = outputs
        self._next = 0
        self._turn = threading.Lock()

    def play(self, into: Sequence[Array]) -> None:
        """Copies the outputs of the next run into an engine's buffers, as many pictures as they have slots."""
        count = len(into[0])
        with self._turn:
            start, self._next = self._next, self._next + count
        for recorded, buffer in zip(self._outputs, into, strict=True):
            pictures = np.arange(start, start + count) % len(recorded)
            for slot, picture in enumerate(pictures):
                np.copyto(buffer[slot], recorded[picture])


class RecordedEngine:
    """One lane of a recording.

    Args:
        recording: What to replay.
        manifest: Contracts of the model.
        shapes: Shapes of the outputs, in the order of the head contract.
    """

    name = "recorded"
    reason = ""

    def __init__(self, recording: Recording, manifest: Manifest, shapes: Sequence[tuple[int, ...]]) -> None:
        self._recording: Recording | None = recording
        self._input = manifest.input.name
        self._buffer: Array = np.zeros(manifest.input.shape, np.float32)
        self._outputs: list[Array] = [np.zeros(shape, np.float32) for shape in shapes]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each output, in the order of the head contract."""
        return [array.shape for array in self._outputs]

    def buffers(self) -> dict[str, Array]:
        """Static input buffers by tensor name."""
        return {self._input: self._buffer}

    def infer(self, inputs: Mapping[str, Array], begun: Callable[[], None] | None = None) -> list[Array]:
        """Answers with the next recorded outputs; the next call overwrites them.

        Args:
            inputs: As in `Engine.infer`.
            begun: Called at once: lanes of a recording do not wait for each other.

        Raises:
            EngineFailed: The engine is closed.
        """
        if self._recording is None:
            raise EngineFailed("this model is closed: load the bundle again")
        given = inputs[self._input]
        if given is not self._buffer:
            np.copyto(self._buffer[: len(given)], given)
        if begun is not None:
            begun()
        outputs = [output[: len(given)] for output in self._outputs]
        self._recording.play(outputs)
        return outputs

    def close(self) -> None:
        """Lets go of the recording."""
        self._recording = None


def open_engines(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    """Opens a recording as an engine.

    Args:
        bundle: A verified bundle.
        options: ``recording`` names the file, else the bundle's golden outputs are replayed; ``lanes`` defaults to 1,
            so that the order of the answers is the order of the recording.

    Returns:
        One engine per lane.

    Raises:
        EngineUnavailable: There is no recording.
        ContractMismatch: The recording is of another model.
    """
    manifest = bundle.manifest
    arrays = _from_file(options.recording, manifest) if options.recording else _from_golden(bundle)
    batch = manifest.input.batch
    matched = match_outputs(manifest.head, batch, [(name, (batch, *a.shape[1:])) for name, a in arrays.items()])
    outputs = [arrays[name] for name, _ in matched]
    if len({len(array) for array in outputs}) != 1 or not len(outputs[0]):
        raise ContractMismatch("the outputs of a recording must all hold the same number of pictures: record it again")
    recording = Recording(outputs)
    shapes = [shape for _, shape in matched]
    return [RecordedEngine(recording, manifest, shapes) for _ in range(options.lanes or 1)]


def save_recording(path: str | Path, manifest: Manifest, runs: Sequence[Sequence[Array]]) -> None:
    """Writes outputs so that the engine ``recorded`` can replay them.

    Args:
        path: The ``.npz`` file to write.
        manifest: Contracts of the model that produced them.
        runs: For each run its outputs in the order of the head contract, as `Segmenter.infer` returns them.
    """
    names = manifest.head.output_names
    arrays = {name: np.concatenate([outputs[i] for outputs in runs]) for i, name in enumerate(names)}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _from_file(path: str, manifest: Manifest) -> dict[str, Array]:
    if not Path(path).is_file():
        raise EngineUnavailable(f"the recording {path} cannot be read (there is no such file): check the path")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise EngineUnavailable(f"the recording {path} cannot be read ({error.strerror}): check the path") from error
    arrays = _named(data, path, manifest)
    if not arrays:
        raise ContractMismatch(
            f"{path} holds none of the outputs {', '.join(manifest.head.output_names)}: it was recorded with another "
            "model; record it again with save_recording"
        )
    return arrays


def _from_golden(bundle: Bundle) -> dict[str, Array]:
    for name in list_golden(bundle):
        arrays = _named(bundle.read(name), name, bundle.manifest)
        if len(arrays) == len(bundle.manifest.head.output_names):
            return arrays
    raise EngineUnavailable(
        f"{bundle.path} holds no recorded outputs: name a recording with engine='recorded:FILE.npz', "
        "or use engine='onnxruntime'"
    )


def _named(data: bytes, where: str, manifest: Manifest) -> dict[str, Array]:
    """Those arrays of an .npz file that are named like outputs, as float32."""
    try:
        arrays = read_arrays(data, MAX_BYTES, manifest.head.output_names)
    except NotArrays as error:
        raise EngineUnavailable(f"{where} is not a readable .npz file ({error}): record it again") from error
    wrong = next((name for name, array in arrays.items() if array.dtype.kind != "f" or not array.ndim), None)
    if wrong is not None:
        raise ContractMismatch(
            f"{wrong} in {where} is {arrays[wrong].dtype} of shape {arrays[wrong].shape}, and a recording holds floats "
            "by picture: record it again with save_recording"
        )
    return {
        name: np.ascontiguousarray(arrays[name], np.float32) for name in manifest.head.output_names if name in arrays
    }
