"""Makes ultralytics build and load models with blocks of ours: the one place where it is changed.

`apply` is run by ``import lineside.export`` as soon as ``ultralytics.nn.tasks`` is there (see
`lineside.export.yolo.hook`), and puts these in place:

- ``parse_model``: structures that name our blocks are built by `lineside.export.yolo.parser`; all others go to
  ultralytics' own, untouched.
- ``yaml_model_load``: knows the models of ``configs/models`` by name, with a scale (``yolo11n-seg-edge.yaml``), and
  assembles yamls that name a ``base``.
- ``SegmentationModel.init_criterion``: a head that has ``criterion(model)`` gives its own loss, and a model whose masks
  are learned at points (`lineside.export.yolo.fine_masks`) has that one.
- A default callback that lives here. In training on several GPUs ultralytics starts a process for each, which unpickles
  the callbacks and thereby imports this package before it builds the model. It lets a head that has
  ``validator(trainer)`` bring its own, for outputs that ultralytics' does not know.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from lineside.export.yolo.reading import own_file, read_yaml
from lineside.runtime.errors import LinesideError, MissingPackage, WeightsError

__all__ = ["KNOWN", "apply", "model_file", "model_names", "require_known"]

KNOWN = ((8, 4, 190), (8, 5, 0))
"""First version of ultralytics whose parser this was written for, and the first one that it was not."""

PARAMETERS = {"parse_model": ("d", "ch", "verbose"), "yaml_model_load": ("path",)}
"""Parameters of the functions that are replaced."""

MARK = "__lineside_wraps__"
"""Attribute of a function of ours that holds the function of ultralytics in whose place it stands."""

SCALED = re.compile(r"^(yolo[a-z]*\d+)([nsmlx])(-.+)$")
"""Name of a model with a scale."""


def apply(tasks: ModuleType | None = None) -> None:
    """Puts everything in place, once; says nothing and does nothing where ultralytics is too strange for it.

    Args:
        tasks: The module ``ultralytics.nn.tasks``; imported where it is left out.
    """
    tasks = tasks or importlib.import_module("ultralytics.nn.tasks")
    for name, wrap in (("parse_model", _parsing), ("yaml_model_load", _yaml_loading)):
        theirs = vars(tasks).get(name)
        if callable(theirs) and not hasattr(theirs, MARK):
            _replace(theirs, wrap(theirs))
    model: Any = vars(tasks).get("SegmentationModel")
    theirs = getattr(model, "init_criterion", None)
    if theirs is not None and not hasattr(theirs, MARK):
        model.init_criterion = _criterion(theirs)
    _join_ranks()


def require_known() -> None:
    """Raises MissingPackage unless this version of ultralytics is one whose parser we know."""
    version = str(getattr(importlib.import_module("ultralytics"), "__version__", "?"))
    first, beyond = (".".join(map(str, bound)) for bound in KNOWN)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    strange = "" if KNOWN[0] <= numbers < KNOWN[1] else "is not one of them"
    tasks = importlib.import_module("ultralytics.nn.tasks")
    for name, parameters in PARAMETERS.items():
        theirs = getattr(vars(tasks).get(name), MARK, None)
        if theirs is None or tuple(inspect.signature(theirs).parameters) != parameters:
            strange = strange or f"has another {name}"
    if strange:
        raise MissingPackage(
            f"Models with Lineside's own blocks are built with ultralytics {first} or newer, before {beyond}, and the "
            f"installed {version} {strange}. Install one with: pip install 'lineside[export]'"
        )


def model_names() -> tuple[str, ...]:
    """Names of the models of ``configs/models``, without scale, such as ``yolo11-seg-edge.yaml``."""
    return tuple(sorted(path.name for path in _models_folder().glob("*.yaml")))


def model_file(name: str | Path) -> Path | None:
    """The file of ``configs/models`` that a name such as ``yolo11n-seg-edge.yaml`` means; None where it is none.

    A file of the user's own that lies there under that name comes first.
    """
    path = Path(name)
    if path.parent != Path() or path.exists():
        return None
    found = SCALED.match(path.stem)
    for stem in (path.stem, f"{found[1]}{found[3]}" if found else path.stem):
        file = _models_folder() / f"{stem}.yaml"
        if file.is_file():
            return file
    return None


def _models_folder() -> Path:
    """Where the models are kept."""
    return Path(__file__).absolute().parents[2] / "configs" / "models"


def _replace(theirs: Any, ours: Any) -> None:
    """Puts a function of ours where modules of ultralytics have theirs; some have imported it by name already."""
    for name, module in list(sys.modules.items()):
        if name == "ultralytics" or name.startswith("ultralytics."):
            for key, value in list(vars(module).items()) if module is not None else ():
                if value is theirs:
                    setattr(module, key, ours)


def _parsing(theirs: Any) -> Any:
    """``parse_model`` that knows our blocks."""

    @functools.wraps(theirs)
    def parse_model(d: Any, ch: Any, verbose: bool = True) -> Any:
        parser = importlib.import_module("lineside.export.yolo.parser")
        if not parser.names_our_blocks(d):
            return theirs(d, ch=ch, verbose=verbose)
        require_known()
        return parser.parse(d, ch, verbose, theirs)

    setattr(parse_model, MARK, theirs)
    return parse_model


def _yaml_loading(theirs: Any) -> Any:
    """``yaml_model_load`` that knows our models and assembles what names a base."""

    @functools.wraps(theirs)
    def yaml_model_load(path: Any) -> Any:
        file = model_file(path) or own_file(path)
        change = {} if file is None else read_yaml(file, path)
        if file is None or "base" not in change:
            return theirs(path)  # a whole model, a file of ultralytics, or nothing of the kind
        require_known()
        return _assembled(theirs, change, path, file.parent)

    setattr(yaml_model_load, MARK, theirs)
    return yaml_model_load


def _assembled(theirs: Any, change: dict[str, Any], path: Any, folder: Path) -> dict[str, Any]:
    """The whole structure of a yaml that names a base: a file, seen from the yaml's own folder, or a name of ultralytics."""
    from lineside.export.yolo.assemble import assemble
    from lineside.export.yolo.parser import modern

    tasks = importlib.import_module("ultralytics.nn.tasks")
    named = change.pop("base")
    if not isinstance(named, str):
        raise WeightsError(
            f"The model yaml '{path}' has the base {str(named)[:60]}, and a base is the name of a model yaml. One that "
            "ultralytics has: yolo11-seg.yaml."
        )
    beside = folder / named
    try:
        if beside.is_file():
            read_yaml(beside)
        base = theirs(str(beside if beside.is_file() else named))
    except LinesideError:
        raise
    except Exception as error:  # whatever may be wrong with a name or a file
        if model_file(str(named)) is None:
            raise WeightsError(
                f"The model yaml '{path}' names the base '{named}', which ultralytics does not have, and no file beside "
                "it is called so. One that ultralytics has: yolo11-seg.yaml."
            ) from error
        base = {"base": named}
    if isinstance(base, dict) and "base" in base:
        raise WeightsError(
            f"The model yaml '{path}' names the base '{named}', which is itself a change of another. "
            "Give the whole model yaml that it starts from, such as yolo11-seg.yaml, and both changes in one file."
        )
    if not isinstance(base, dict) or not {"backbone", "head", "nc"} <= set(base):
        raise WeightsError(f"The model yaml '{path}' names the base '{named}', which is no whole model yaml.")
    wanted, usual = change.pop("scale", None), base.pop("scale", None)
    base.pop("yaml_file", None)  # as the scale above a note of ultralytics, and no key that a change may have
    structure = assemble(change, base, str(path))
    letter = tasks.guess_model_scale(str(path))
    if wanted is not None:
        _check_scale(wanted, letter, structure, path)
    scale = letter or wanted or usual or next(iter(structure.get("scales") or ""), "")
    structure |= {"scale": scale, "yaml_file": str(path)}
    if modern(base) != modern(structure):
        structure["legacy"] = not modern(base)
    return structure


def _check_scale(wanted: Any, letter: str, structure: dict[str, Any], path: Any) -> None:
    """A scale that a change names must be one of the model, and no other than that in the name of the file."""
    scales = list(structure.get("scales") or ())
    if wanted not in scales:
        raise WeightsError(
            f"The model yaml '{path}' has the scale {str(wanted)[:60]!r}, and its base has "
            f"{', '.join(map(str, scales)) or 'none'}. Correct 'scale'."
        )
    if letter and wanted != letter:
        raise WeightsError(
            f"The model yaml '{path}' has the scale {letter!r} in its name and {wanted!r} under 'scale'. "
            "Leave out 'scale', or give the file another name."
        )


def _criterion(theirs: Any) -> Any:
    """``init_criterion`` that asks the head first, and the model next."""

    @functools.wraps(theirs)
    def init_criterion(self: Any) -> Any:
        own = getattr(self.model[-1], "criterion", None)
        fine = importlib.import_module("lineside.export.yolo.fine_masks")
        if own is None and hasattr(self, fine.FLAG):
            own = fine.segmentation_loss
        return theirs(self) if own is None else own(self)

    setattr(init_criterion, MARK, theirs)
    return init_criterion


def _join_ranks() -> None:
    """Adds the callback; it brings this package into the processes of a training on several GPUs."""
    base = importlib.import_module("ultralytics.utils.callbacks.base")
    callbacks = getattr(base, "default_callbacks", {}).get("on_pretrain_routine_end")
    if isinstance(callbacks, list) and own_validator not in callbacks:
        callbacks.append(own_validator)


def own_validator(trainer: Any) -> None:
    """The callback: a head that has ``validator(trainer)`` gives the training its validator.

    Its figures get their columns in ``results.csv`` here, in the place where a validation will write them.
    """
    model = importlib.import_module("ultralytics.utils.torch_utils").unwrap_model(trainer.model)
    head = list(getattr(model, "model", None) or [None])[-1]
    own = getattr(head, "validator", None)
    if own is None:
        return
    trainer.validator = own(trainer)
    if isinstance(trainer.metrics, dict):
        trainer.metrics.update(dict.fromkeys(trainer.validator.own_metrics, 0.0))
