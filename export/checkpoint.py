"""Reads a ``.pt`` checkpoint: with the user's blocks in reach, restricted on request, every failure in one sentence."""

from __future__ import annotations

import hashlib
import importlib
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineside.export.blocks import NO_BLOCKS, UserBlocks
from lineside.export.class_paths import OURS, ClassPath, class_paths, foreign, installed, missing
from lineside.export.hostile_names import hostile
from lineside.export.structures import FETCHING
from lineside.export.yolo.register import require_known
from lineside.runtime.errors import WeightsError

__all__ = ["model_of", "pickle_warning", "read_checkpoint", "safe_copy", "warn_of_pickle"]

MOST_NAMES = 8
"""So many names of classes are put into a message."""


def pickle_warning(weights: str | Path, remedy: str = ", or use --safe") -> str | None:
    """What to tell before a checkpoint is loaded without restriction, in one line.

    Args:
        weights: Any kind of weights.
        remedy: What else there is to do, where there is something.

    Returns:
        The line; None where the weights are no ``.pt`` file, which is the only kind that can hold code.
    """
    path = Path(weights)
    if path.suffix.lower() != ".pt" or not path.is_file():
        return None
    strange = foreign(class_paths(path))
    named = f", and this one names {_names(strange)} beside ultralytics' own classes" if strange else ""
    return (
        f"warning: {path} is a pickle: loading it runs whatever code its author put in{named}. Load only files that "
        f"you trust{remedy}"
    )


def warn_of_pickle(weights: str | Path, remedy: str = ", or use --safe") -> None:
    """Prints `pickle_warning` to stderr."""
    from lineside.export.ultra import prepare

    prepare()
    text = pickle_warning(weights, remedy)
    if text is not None:
        print(text, file=sys.stderr, flush=True)


def safe_copy(path: str | Path) -> Path | None:
    """The safetensors file beside a checkpoint, where it is the copy of this very checkpoint.

    Args:
        path: A ``.pt`` file.

    Returns:
        The file of the same name with the ending ``.safetensors``, if the hash in its metadata is that of the checkpoint;
        None otherwise. What the copy holds is as harmless as any safetensors file, whoever made it.
    """
    path = Path(path)
    copy = path.with_suffix(".safetensors")
    if path.suffix.lower() != ".pt" or not path.is_file() or not copy.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(copy), framework="np") as file:
            source = (file.metadata() or {}).get("source_sha256")
    except (SafetensorError, OSError):
        return None
    return copy if hashlib.sha256(path.read_bytes()).hexdigest() == source else None


def read_checkpoint(path: str | Path, safe: bool, blocks: UserBlocks = NO_BLOCKS) -> Mapping[str, Any]:
    """Loads a checkpoint.

    With ``safe`` nothing but tensors, plain data, the classes of torch and ultralytics, and the torch modules that
    the user's own files define can come out of it; whatever else it names is refused before it is looked up.

    Args:
        path: The ``.pt`` file.
        safe: Load it restricted.
        blocks: The user's blocks, found by class name wherever the checkpoint looks for them.

    Returns:
        What the checkpoint holds.

    Raises:
        MissingPackage: It holds blocks of Lineside's, and the installed ultralytics is none that they are known to fit.
        WeightsError: The file is missing, damaged, no checkpoint, refused by ``safe``, names what no model needs
            (`lineside.export.hostile_names`), or names blocks that are not here.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file '{path}'. Give the path of a .pt checkpoint.")
    tasks = importlib.import_module("ultralytics.nn.tasks")
    if safe and not tasks._SafeLoad.SUPPORTED:
        raise WeightsError("--safe needs torch 2.6 or newer: install it, or leave --safe out for a file that you trust")
    paths = class_paths(path)
    fetching = tuple(it for it in paths if it.name in FETCHING)
    if safe and fetching:
        raise WeightsError(
            f"'{path}' is refused by --safe, nothing of it was run: it names {_names(fetching)}, which fetches weights "
            "from the network. Leave --safe out if you trust whoever made the weights."
        )
    if not safe and (unsafe := hostile(paths)):
        raise WeightsError(
            f"'{path}' is refused, nothing of it was run: it names {_names(unsafe)}, which no model needs and which could "
            "do anything to this computer. Do not use this file; ask whoever made it for the weights alone."
        )
    if any(it.module.startswith(OURS) for it in paths):
        require_known()
    with installed(blocks, paths, safe):
        if not safe:
            absent = missing(paths)
            if absent:
                raise WeightsError(
                    f"'{path}' needs blocks that are not here: {_names(absent)}; {blocks.described()}. {_remedy(absent)}"
                )
        try:
            checkpoint, _ = tasks.torch_safe_load(str(path), safe_only=safe)
        except Exception as error:  # a pickle can fail in any way
            raise WeightsError(_reason(path, error, safe, blocks)) from error
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(
            f"'{path}' holds no model, only {type(checkpoint).__name__} data. Give the best.pt that training wrote."
        )
    return checkpoint


def model_of(checkpoint: Mapping[str, Any], path: str | Path) -> Any:
    """The model in a checkpoint; the averaged weights (EMA) come before the raw ones.

    Raises:
        WeightsError: It holds none, or one with quantisation inside.
    """
    import torch

    model = checkpoint.get("ema") or checkpoint.get("model")
    if isinstance(model, torch.nn.Module):
        if checkpoint.get("modelopt"):
            raise WeightsError(
                f"'{path}' was trained with quantisation inside (modelopt). Give the float checkpoint it came from."
            )
        return model
    values = list((model if isinstance(model, Mapping) else checkpoint).values())
    if values and all(isinstance(value, torch.Tensor) for value in values):
        raise WeightsError(
            f"'{path}' is a state_dict, {len(values)} tensors without the model that they belong to. Load it into its "
            "model and give what model.save() writes, or the best.pt that training wrote."
        )
    raise WeightsError(f"'{path}' holds no model, only {', '.join(map(str, list(checkpoint)[:4])) or 'nothing'}. "
                       "Give the best.pt that training wrote.")  # fmt: skip


def _remedy(absent: tuple[ClassPath, ...]) -> str:
    """What to do about blocks that a checkpoint names and nobody has."""
    if all(path.module.startswith(OURS) for path in absent):
        return "Lineside had them when this was trained: install that version, or one that is newer."
    from lineside.export.yolo.table import is_ours

    known = sorted({path.name for path in absent if is_ours(path.name)})
    text = "Give the file or package that defines them with --modules"
    if known:
        text += (
            f"; Lineside's own {', '.join(known)} does for a model yaml, but a pickle wants the very code that it was "
            "trained with"
        )
    return text + "."


def _names(paths: tuple[Any, ...]) -> str:
    """Class paths in a row."""
    more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
    return ", ".join(map(str, paths[:MOST_NAMES])) + more


def _reason(path: Path, error: Exception, safe: bool, blocks: UserBlocks) -> str:
    """Why a checkpoint cannot be loaded, in one sentence, and what to do."""
    if not path.stat().st_size:
        return f"'{path}' is empty. Copy it again."
    text = _plain(error)
    if "TorchScript" in text:
        return f"'{path}' is a TorchScript archive and no checkpoint. Give the best.pt that it was exported from."
    refused = "outside the supported" in text or isinstance(error, pickle.UnpicklingError)
    if safe and refused and zipfile.is_zipfile(path):
        strange = foreign(class_paths(path))
        what = f"it names {_names(strange)}" if strange else "it holds more than tensors and ultralytics' own classes"
        return (
            f"'{path}' is refused by --safe, nothing of it was run: {what}; {blocks.described()}. Give the file that "
            "defines these blocks with --modules, or leave --safe out if you trust whoever made the weights."
        )
    if "not a loadable checkpoint" in text or isinstance(error, (EOFError, pickle.UnpicklingError)):
        return f"'{path}' cannot be loaded: it is truncated, damaged or no checkpoint at all. Copy it again."
    return f"'{path}' cannot be loaded as an ultralytics checkpoint: {text}"


def _plain(error: Exception) -> str:
    """The first line of a foreign error's text, without its decoration."""
    text = (str(error).splitlines() or [""])[0].strip()
    return text.encode("ascii", "ignore").decode().removeprefix("ERROR").strip() or type(error).__name__
