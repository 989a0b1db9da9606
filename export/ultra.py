"""The one door to ultralytics: offline, without auto-install, with its settings in a folder of ours.

Everything in ``export/`` that needs ultralytics calls `prepare` first, so that no run of Lineside ever installs a
package, opens a connection or writes into the settings that a user keeps for ultralytics itself.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lineside.export.blocks import NO_BLOCKS, UserBlocks
from lineside.export.building import construct
from lineside.export.checkpoint import model_of, read_checkpoint, safe_copy
from lineside.export.structures import check_structure
from lineside.runtime.errors import LinesideError, MissingPackage, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from torch import nn

__all__ = ["TASKS", "is_structure", "load_model", "model_yaml", "prepare"]

TASKS = {"segment": "SegmentationModel", "detect": "DetectionModel"}
"""Tasks of the models that can be loaded, and the class in ``ultralytics.nn.tasks`` that a yaml of each is built with."""


def prepare() -> ModuleType:
    """Imports ultralytics with downloads, auto-install and shared settings switched off.

    Sets ``YOLO_OFFLINE=1`` and ``YOLO_AUTOINSTALL=false`` for this process; and unless the caller has set them,
    ``YOLO_VERBOSE=false`` and ``YOLO_CONFIG_DIR`` to ``lineside/ultralytics`` in the user's cache folder.

    Returns:
        The module ``ultralytics`` (from the distribution ``ultralytics`` or ``ultralytics-opencv-headless``).

    Raises:
        MissingPackage: ultralytics, or a package it cannot start without, is not installed.
    """
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ.setdefault("YOLO_VERBOSE", "false")  # its log goes to stdout, where our results go
    os.environ.setdefault("YOLO_CONFIG_DIR", str(_config_folder()))
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    was_imported = "ultralytics" in sys.modules
    try:
        module = importlib.import_module("ultralytics")
        if was_imported:
            # It read the environment when it was first imported; two constants must follow by hand.
            setattr(importlib.import_module("ultralytics.utils"), "AUTOINSTALL", False)  # noqa: B010
            setattr(importlib.import_module("ultralytics.utils.checks"), "AUTOINSTALL", False)  # noqa: B010
    except ImportError as error:
        raise MissingPackage(
            f"Training and export need ultralytics and torch, and importing them failed ({error}). "
            "Install them with: pip install 'lineside[export]'"
        ) from error
    return module


def load_model(
    weights: str | Path,
    safe: bool = False,
    seed: int = 0,
    tasks: Sequence[str] = tuple(TASKS),
    blocks: UserBlocks = NO_BLOCKS,
) -> nn.Module:
    """Loads a YOLO segmentation or detection model, or builds one with random weights from a model yaml.

    A ``.pt`` file is a pickle: loading it runs code that its author chose. Load only files that you trust, or pass
    ``safe=True``: then the weights come from the safetensors copy beside it (`lineside.export.checkpoint.safe_copy`) and
    nothing is unpickled; without one only the classes of ultralytics, of Lineside and the user's own blocks are admitted.
    A ``.safetensors`` file holds numbers and a model yaml only, and is safe by its format.

    Args:
        weights: A ``.pt`` checkpoint, a ``.safetensors`` file of `lineside.export.train`, or a model yaml: a file, or a name that ultralytics ships such as
            ``yolo11n-seg.yaml``.
        safe: Load the checkpoint without running foreign code.
        seed: Seed of the random weights; used for a yaml only.
        tasks: Tasks to accept, of `TASKS`.
        blocks: The user's own blocks, which a checkpoint or a yaml may name.

    Returns:
        The model, float32, in eval mode, on the CPU. ``names`` is a dict of class index to name, ``task`` its task.

    Raises:
        BadOption: A block declares arguments that cannot be filled in.
        MissingPackage: ultralytics is not installed.
        WeightsError: The file is missing, unreadable, refused by ``safe``, names blocks that are not here, or is a
            model for another task.
    """
    prepare()
    path = Path(weights)
    path = (safe_copy(path) if safe else None) or path
    if is_structure(path):
        model = _build(str(weights), seed, blocks)
    elif path.suffix.lower() == ".pt":
        model = model_of(read_checkpoint(path, safe, blocks), path)
    elif path.suffix.lower() == ".safetensors":
        model = _from_safetensors(path, blocks)
    else:
        raise WeightsError(
            f"'{weights}' is no .pt checkpoint, no .safetensors file and no model yaml. "
            "Give the best.pt of a training run, or a name such as yolo11n-seg.yaml."
        )
    task = importlib.import_module("ultralytics.nn.tasks").guess_model_task(model)
    if task not in tasks:
        raise WeightsError(
            f"'{weights}' is a model for the task '{task}', and this needs one for {' or '.join(tasks)}. "
            "Give a *-seg model."
        )
    model.task = task
    return cast("nn.Module", model.float().eval())


def is_structure(weights: str | Path) -> bool:
    """Whether weights are a model yaml: a structure that nobody trained."""
    return Path(weights).suffix.lower() in {".yaml", ".yml"}


def model_yaml(model: nn.Module) -> dict[str, Any]:
    """The structure a model was built from: ultralytics' model yaml as a plain dict (``nc``, ``backbone``, ``head``)."""
    return dict(getattr(model, "yaml", {}))


def _config_folder() -> Path:
    """Folder for ultralytics' own settings, inside the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "lineside" / "ultralytics"


def _build(name: str, seed: int, blocks: UserBlocks) -> Any:
    """Builds the model of a yaml with seeded random weights."""
    tasks = importlib.import_module("ultralytics.nn.tasks")
    try:
        config = tasks.yaml_model_load(name)
    except LinesideError:
        raise
    except OSError as error:
        raise WeightsError(
            f"There is no model yaml '{name}', neither as a file nor in ultralytics ({_first_line(error)}). "
            f"A name that works: yolo11n-seg.yaml{_own_names(name)}."
        ) from error
    except Exception as error:  # whatever a YAML file can hold instead of a dict
        raise WeightsError(
            f"'{name}' is no model yaml ({_first_line(error)}). Take one of ultralytics' as a pattern."
        ) from error
    check_structure(config, name)
    head = str(config["head"][-1][2])
    task = tasks.guess_model_task(config)
    if task is not None and task not in TASKS:
        raise WeightsError(
            f"'{name}' is a model for the task '{task}', and Lineside runs {' and '.join(TASKS)}. "
            "Give a *-seg yaml, e.g. yolo11n-seg.yaml."
        )
    if task is None or head.startswith(("YOLOE", "World")):
        from lineside.export.heads import unknown_head

        raise WeightsError(f"'{name}' ends in {unknown_head(head)}.")
    return construct(config, name, seed, TASKS[task], blocks)


def _own_names(name: str) -> str:
    """The improved models, for a name that may have meant one: in n, s, m, l or x, and in no other folder."""
    if "yolo11" not in Path(name).stem.lower():
        return ""
    from lineside.export.yolo.register import model_names

    own = (stem.removeprefix("yolo11-seg-").removesuffix(".yaml") for stem in model_names())
    return f"; an improved one is yolo11n-seg-NAME.yaml, with NAME one of {', '.join(own)} and n, s, m, l or x"


def _from_safetensors(path: Path, blocks: UserBlocks) -> Any:
    """Builds the model that a safetensors file describes in its metadata, and fills in its weights."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"There is no weights file '{path}'. Give the path of a .pt or .safetensors file.")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        structure = json.loads(metadata["yaml"])
        check_structure(structure, path.name)
        model = construct(structure, path.name, 0, TASKS["segment"], blocks)
        _widen_classes(
            model, state, lambda nc: construct({**structure, "nc": nc}, path.name, 0, TASKS["segment"], blocks)
        )
        model.load_state_dict(state)
        model.names = {int(index): name for index, name in json.loads(metadata["names"]).items()}
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"'{path}' is no safetensors file that 'lineside train' wrote, or it is damaged: {_first_line(error)}"
        ) from error
    return model


def _widen_classes(model: Any, state: dict[str, Any], build: Callable[[int], Any]) -> None:
    """Gives the class branches of a head the width that they have in the weights.

    The width follows from the number of classes, and a training that starts from weights for another number keeps
    theirs; the structure does not say so.

    Args:
        model: A model built from its structure.
        state: The weights that it is to take.
        build: Builds the same model for another number of classes.
    """
    from torch import nn

    head, number = model.model[-1], len(model.model) - 1
    for name in ("cv3", "one2one_cv3"):
        weight, branches = state.get(f"model.{number}.{name}.0.2.weight"), getattr(head, name, None)
        if weight is None or branches is None or weight.shape[1] == branches[0][-1].in_channels:
            continue
        wider = getattr(build(int(weight.shape[1])).model[-1], name)
        for branch in wider:
            branch[-1] = nn.Conv2d(branch[-1].in_channels, head.nc, 1)
        setattr(head, name, wider)


def _first_line(error: Exception) -> str:
    """The first line of a foreign error's text, without its decoration."""
    text = (str(error).splitlines() or [""])[0].strip()
    return text.encode("ascii", "ignore").decode().removeprefix("ERROR").strip() or type(error).__name__
