"""What Lineside takes on disk: fresh environments, every installed file but compiled modules, by package.

``runtime`` is ``pip install '.[cpu]'``: what `lineside.load` on onnxruntime needs, with the command line's packages.
``demo`` is what ``make demo`` installs. Beside them what the peers' environments hold. pip and setuptools, which every
environment brings along, are left out everywhere. MB are 10^6 bytes of file content.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peers.environments import attempt

ENVIRONMENTS = {
    "runtime": "lineside",
    "demo": "lineside-demo",
    "onnx-predictor-yolo": "onnx-predictor-yolo",
    "ultralytics": "ultralytics",
}
"""Name in the table, and environment."""

COUNT = """
import json
from importlib.metadata import distributions
from pathlib import Path
sizes = {}
for found in distributions():
    name = found.metadata["Name"]
    if name not in ("pip", "setuptools"):
        files = [Path(found.locate_file(file)) for file in found.files or []]
        sizes[name] = sum(f.stat().st_size for f in files if f.suffix != ".pyc" and f.is_file())
print(json.dumps(sizes))
"""
NEEDED = """
import json, sys
from importlib.metadata import packages_distributions
import numpy as np, lineside
with lineside.load(sys.argv[1]) as model:
    model(np.zeros((64, 64, 3), np.uint8))
loaded = {module.partition(".")[0] for module in sys.modules}
homes = packages_distributions()
print(json.dumps(sorted({home for module in loaded for home in homes.get(module, [])})))
"""
"""Which installed packages a process holds that has loaded a bundle and run it."""


def ask(python: Path, script: str, *words: str) -> Any:
    """What a script prints as JSON under an interpreter."""
    answer = subprocess.run([str(python), "-c", script, *words], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def measure(names: Sequence[str] = tuple(ENVIRONMENTS)) -> dict[str, Any]:
    """Sizes of environments.

    Args:
        names: Some of `ENVIRONMENTS`.

    Returns:
        By name: the sum in MB (``mb``), the same by package (``packages``), for ``runtime`` also the packages that a
        process with a loaded bundle really holds (``loaded``) and their sum (``loaded_mb``); and why one is missing.
    """
    bundle = Path(__file__).resolve().parents[1] / "demo" / "tube.bundle"
    result: dict[str, Any] = {"environments": {}, "missing": {}}
    for name in names:
        python, reason = attempt(ENVIRONMENTS[name])
        if python is None:
            result["missing"][name] = reason
            continue
        sizes = dict(sorted(ask(python, COUNT).items(), key=lambda item: -item[1]))
        found = {
            "mb": round(sum(sizes.values()) / 1e6, 1),
            "packages": {package: round(size / 1e6, 2) for package, size in sizes.items()},
        }
        if name == "runtime":
            found["loaded"] = ask(python, NEEDED, str(bundle))
            found["loaded_mb"] = round(sum(sizes.get(package, 0) for package in found["loaded"]) / 1e6, 1)
        result["environments"][name] = found
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    print(json.dumps(measure(), indent=2))


if __name__ == "__main__":
    main()
