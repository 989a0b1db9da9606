"""One model in the forms that are compared: as ultralytics exports it, as Lineside exports it, and as Lineside imports it.

YOLO11n-seg for 80 classes at 640 x 640 with random weights (the arithmetic does not depend on them), the same in all
three. Made once and kept in ``build/benchmarks/`` until the exporter or its libraries change.

usage: python benchmarks/models.py
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
HOME = REPOSITORY / "build" / "benchmarks"
STAMP = "made-of"
MODEL = "yolo11n-seg.yaml"
SIZE = (640, 640)
CONF, SEEN = 0.25, 50
"""So many anchors of a frame of noise score above this, and nearly all of them survive the NMS."""
LIBRARIES = ("torch", "ultralytics-opencv-headless", "onnx", "onnxslim", "onnxruntime")


@dataclass(frozen=True)
class Models:
    """Where the forms lie.

    Attributes:
        onnx: The file as ultralytics exports it.
        exported: The bundle that ``lineside export`` writes; its decode tail is cut off.
        imported: The bundle that ``lineside import`` makes of `onnx`.
    """

    onnx: Path
    exported: Path
    imported: Path


def models() -> Models:
    """The forms, made if they are not there or were made of something else."""
    found = _forms(HOME)
    stamp, wanted = HOME / STAMP, _fingerprint()
    if not stamp.is_file() or stamp.read_text() != wanted:
        print("exporting the model that is measured (once) ...", file=sys.stderr, flush=True)
        HOME.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOME.parent) as folder:
            made = Path(folder) / HOME.name
            _make(_forms(made))
            (made / STAMP).write_text(wanted)
            shutil.rmtree(HOME, ignore_errors=True)
            made.rename(HOME)
    return found


def _forms(home: Path) -> Models:
    return Models(home / "yolo11n-seg.onnx", home / "exported.bundle", home / "imported.bundle")


def _make(wanted: Models) -> None:
    wanted.onnx.parent.mkdir()
    weights = wanted.onnx.with_suffix(".pt")
    with tempfile.TemporaryDirectory() as folder, inside(folder), contextlib.redirect_stdout(sys.stderr):
        from lineside.export.ultra import prepare

        yolo: Any = prepare().YOLO(MODEL)
        yolo.model.load_state_dict(seeing().state_dict())
        yolo.save(weights)
        exported = Path(yolo.export(format="onnx", imgsz=SIZE[0], simplify=True))
        shutil.copyfile(exported, wanted.onnx)
    lineside("export", str(weights), "-o", str(wanted.exported), "--imgsz", str(SIZE[0]))
    lineside("import", str(wanted.onnx), "-o", str(wanted.imported))


def noise(image: tuple[int, int], seed: int = 0) -> Any:
    """The frame that the model is shown: uint8 BGR noise."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, 256, (*image, 3), dtype=np.uint8)


def seeing() -> Any:
    """The model with random weights, its class scores shifted so that it finds objects in noise."""
    import numpy as np
    import torch

    from lineside.export.pictures import drawn_pictures
    from lineside.export.settle import settle
    from lineside.export.ultra import load_model
    from lineside.runtime.preprocess import Preprocessor

    model: Any = load_model(MODEL, seed=0)
    settle(model, drawn_pictures(()))
    tensor = np.empty((3, *SIZE), np.float32)
    Preprocessor(SIZE).prepare(noise((1080, 1920)), tensor)
    with torch.inference_mode():
        table = model.eval()(torch.from_numpy(tensor)[None])[0]
        table = table[0] if isinstance(table, (tuple, list)) else table
        head = model.model[-1]
        best = torch.logit(table[0, 4 : 4 + head.nc].amax(0))
        shift = torch.logit(torch.tensor(CONF)) - best.sort(descending=True).values[SEEN]
        for branch in head.cv3:
            branch[-1].bias += shift
    return model


def lineside(*words: str) -> None:
    """Runs a command of Lineside; what it prints goes to the standard error."""
    answer = subprocess.run([sys.executable, "-m", "lineside", *words], stdout=sys.stderr)
    if answer.returncode:
        raise SystemExit(f"error: lineside {' '.join(words)} ended with exit code {answer.returncode}")


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    """Makes a folder the current one for a while: ultralytics writes there."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _fingerprint() -> str:
    sources = sorted(p for part in ("export", "runtime") for p in (REPOSITORY / part).rglob("*.py"))
    digest = hashlib.sha256(json.dumps([sys.version, *(f"{name} {version(name)}" for name in LIBRARIES)]).encode())
    for path in (Path(__file__), *sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(models())
