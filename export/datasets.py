"""Reads and checks data sets in the YOLO segmentation format, before hours of training are spent on them.

A set is a ``data.yaml`` (``path``, ``train``, ``val``, ``names``) and one text file per picture, in ``labels/…`` where
the picture lies in ``images/…``. A line is ``class x1 y1 x2 y2 x3 y3 …`` with coordinates divided by width and height.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lineside.export.labels import Fault, check_label, check_picture, label_of
from lineside.runtime.errors import DatasetError

__all__ = ["DatasetReport", "Fault", "SplitReport", "check_dataset", "find_dataset", "write_resolved"]

PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SPLITS = ("train", "val", "test")
SHOWN = 20
"""Number of faults that a message spells out."""


@dataclass(frozen=True)
class SplitReport:
    """What one split holds.

    Attributes:
        pictures: Number of pictures.
        objects: Number of good label lines.
        empty: Pictures without an object (good parts).
        unlabelled: How many of those have no label file at all.
    """

    pictures: int
    objects: int
    empty: int
    unlabelled: int


@dataclass(frozen=True)
class DatasetReport:
    """Result of `check_dataset`.

    Attributes:
        yaml: The ``data.yaml``.
        root: Folder that the splits are relative to.
        sources: For each split the folders, list files or pictures that were named, absolute.
        names: Class names in order.
        splits: What each split holds.
        pictures: The pictures of each split, sorted within a folder, absolute.
        faults: Everything that is wrong, in reading order.
    """

    yaml: Path
    root: Path
    sources: dict[str, tuple[Path, ...]]
    names: tuple[str, ...]
    splits: dict[str, SplitReport]
    pictures: dict[str, tuple[Path, ...]]
    faults: tuple[Fault, ...]

    def summary(self) -> str:
        """Counts per split, then the faults by kind and the first 20 of them; several lines."""
        lines = [
            f"{name}: {split.pictures} pictures, {split.objects} objects, {split.empty} without an object"
            + (f" ({split.unlabelled} have no label file)" if split.unlabelled else "")
            for name, split in self.splits.items()
        ]
        if self.faults:
            kinds = Counter(fault.kind for fault in self.faults)
            lines.append(f"{len(self.faults)} faults: " + ", ".join(f"{n} × {kind}" for kind, n in kinds.most_common()))
            lines += [f"  {fault}" for fault in self.faults[:SHOWN]]
            if len(self.faults) > SHOWN:
                lines.append(f"  … and {len(self.faults) - SHOWN} more")
        return "\n".join(lines)

    def require(self, done: str = "trained") -> None:
        """Raises DatasetError with the summary when anything is wrong; it says that nothing was `done`."""
        if self.faults:
            raise DatasetError(
                f"The data set '{self.yaml}' is broken; nothing was {done}. Correct these files and try again.\n"
                + self.summary()
            )


def check_dataset(
    data: str | Path, root: str | Path | None = None, splits: Sequence[str] = (), boxes: bool = False
) -> DatasetReport:
    """Reads every label and opens every picture of a data set.

    Args:
        data: The ``data.yaml``, or a name of ``configs/datasets`` such as ``bearing``.
        root: Folder of the set, in place of the ``path`` that the file names.
        splits: Splits to read, each of which must be there; none: ``train``, ``val``, and ``test`` where there is one.
        boxes: A label line may also be a box, as in sets for detection.

    Returns:
        What was found. Faults are in it, not raised; `DatasetReport.require` raises them.

    Raises:
        DatasetError: The ``data.yaml`` itself cannot be used, so that there is nothing to check.
    """
    path = find_dataset(data)
    config = _read_config(path)
    names = _names(config, path)
    folder = _root(config, path, root)
    faults: list[Fault] = []
    sources: dict[str, tuple[Path, ...]] = {}
    reports: dict[str, SplitReport] = {}
    pictures: dict[str, tuple[Path, ...]] = {}
    seen: dict[Path, str] = {}
    for split in splits or SPLITS:
        optional = split == "test" and not splits
        if not config.get(split):
            if not optional:
                raise DatasetError(f"'{path}' names no '{split}' pictures. Add a line '{split}: images/{split}'.")
            continue
        sources[split] = tuple(_sources(config[split], folder))
        pictures[split] = tuple(_pictures(sources[split], faults))
        reports[split] = _check_split(pictures[split], len(names), boxes, faults)
        if not pictures[split] and not optional:
            faults.append(Fault("empty split", sources[split][0], 0, f"no pictures for '{split}' were found here"))
        faults += [
            Fault("split overlap", picture, 0, f"is in '{seen[picture]}' and in '{split}'")
            for picture in pictures[split]
            if seen.setdefault(picture, split) != split
        ]
    return DatasetReport(path, folder, sources, names, reports, pictures, tuple(faults))


def find_dataset(data: str | Path) -> Path:
    """The ``data.yaml`` that is meant: a file, a folder that holds one, or a name of ``configs/datasets``.

    Raises:
        DatasetError: There is none.
    """
    path = Path(data)
    if path.is_dir():
        path = path / "data.yaml"
    if path.is_file():
        return path.absolute()
    shipped = Path(__file__).absolute().parent.parent / "configs" / "datasets"
    if len(Path(data).parts) == 1 and (shipped / f"{path.stem}.yaml").is_file():
        return shipped / f"{path.stem}.yaml"
    known = ", ".join(sorted(file.stem for file in shipped.glob("*.yaml")))
    raise DatasetError(f"There is no data set file '{data}'. Give the path of a data.yaml, or one of: {known}.")


def write_resolved(report: DatasetReport, out: Path) -> Path:
    """Writes a ``data.yaml`` with absolute paths, which means the same from every folder, and returns its path."""
    content: dict[str, Any] = {"path": str(report.root)}
    for split, sources in report.sources.items():
        content[split] = [str(source) for source in sources]
    content["names"] = dict(enumerate(report.names))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return out


def _read_config(path: Path) -> dict[str, Any]:
    """The mapping in a data.yaml."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:  # beside its own errors yaml raises what its dates, numbers and nesting run into
        raise DatasetError(f"'{path}' cannot be read as YAML: {error}. Correct the file.") from error
    if not isinstance(config, dict):
        raise DatasetError(f"'{path}' holds no settings. It needs the lines path, train, val and names.")
    return config


def _names(config: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Class names in order, from a list or an index → name mapping."""
    names = config.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DatasetError(f"'{path}' numbers its classes {list(names)[:9]}. Number them 0, 1, 2 … without a gap.")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or any(isinstance(name, (list, dict, set)) for name in names):
        raise DatasetError(f"'{path}' names no classes. Add for example 'names: {{0: Defect}}'.")
    count = config.get("nc", len(names))
    if count != len(names):
        raise DatasetError(f"'{path}' says nc: {count}, but names {len(names)} classes. Make the two agree.")
    return tuple(str(name) for name in names)


def _root(config: dict[str, Any], path: Path, root: str | Path | None) -> Path:
    """Folder that the splits are relative to: given, or `path` of the file seen from there or from here, or its own."""
    if root is not None:
        folder = Path(root).absolute()
        if not folder.is_dir():
            raise DatasetError(f"There is no folder '{root}'. Give the folder that holds the data set's images.")
        return folder
    if not config.get("path"):
        return path.parent
    named = _path(config["path"])
    tried = [named] if named.is_absolute() else [path.parent / named, Path.cwd() / named]
    for folder in tried:
        if folder.is_dir():
            return folder.absolute()
    raise DatasetError(
        f"'{path}' says that its pictures are in '{named}', and no such folder is there "
        f"(looked at {', '.join(map(str, tried))}). Put the set there, correct 'path', or give its folder with --root."
    )


def _sources(value: Any, root: Path) -> Iterable[Path]:
    """Absolute paths of what a split names."""
    for entry in value if isinstance(value, list) else [value]:
        named = _path(entry)
        yield named if named.is_absolute() else root / named


def _path(entry: Any) -> Path:
    """A path of the file as the system can take it."""
    if not isinstance(entry, (str, int, float)) or "\0" in str(entry):
        raise DatasetError(f"data.yaml has {type(entry).__name__} where a path belongs. Correct the file.")
    try:
        path = Path(str(entry)).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # a name too long, a folder one may not enter, a user that does not exist
        raise DatasetError(f"data.yaml has the path '{str(entry)[:80]}', which cannot be used: {error}.") from error
    return path


def _pictures(sources: Iterable[Path], faults: list[Fault]) -> list[Path]:
    """All pictures of a split, sorted; what is missing becomes a fault."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += sorted(file for file in source.rglob("*") if file.suffix.lower() in PICTURES)
            _stray_labels(source, faults)
        elif source.suffix == ".txt" and source.is_file():
            found += _listed(source, faults)
        elif source.is_file() and source.suffix.lower() in PICTURES:
            found.append(source)
        else:
            faults.append(Fault("missing file", source, 0, "no such folder, list or picture"))
    return found


def _listed(source: Path, faults: list[Fault]) -> list[Path]:
    """Pictures that a list file names, one a line, relative to the list."""
    found = []
    for number, line in enumerate(source.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        picture = source.parent / line.strip()
        if picture.is_file():
            found.append(picture)
        else:
            faults.append(Fault("missing file", source, number, f"names the picture '{line.strip()}', not found"))
    return found


def _stray_labels(folder: Path, faults: list[Fault]) -> None:
    """Label files whose picture is missing."""
    labels = label_of(folder / "x.jpg").parent
    if not labels.is_dir() or labels == folder:
        return
    have = {file.relative_to(folder).with_suffix("") for file in folder.rglob("*") if file.suffix.lower() in PICTURES}
    faults += [
        Fault("missing file", label, 0, f"labels a picture that is not in '{folder}'")
        for label in sorted(labels.rglob("*.txt"))
        if label.relative_to(labels).with_suffix("") not in have
    ]


def _check_split(pictures: Sequence[Path], classes: int, boxes: bool, faults: list[Fault]) -> SplitReport:
    """Checks pictures (in parallel) and labels of one split."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        faults += [fault for fault in pool.map(check_picture, pictures) if fault is not None]
    objects = empty = unlabelled = 0
    for picture in pictures:
        label = label_of(picture)
        count = 0
        if label.is_file():
            count, found = check_label(label, classes, boxes)
            faults += found
            empty += count == 0 and not found
        else:
            unlabelled += 1
            empty += 1
        objects += count
    return SplitReport(len(pictures), objects, empty, unlabelled)
