"""The repository as a stranger's clone would have it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def export_tree(target: Path) -> None:
    """Copies the files that git knows, as they lie in the working tree; symbolic links stay links."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    names = [name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]
    target.mkdir(parents=True)
    pack = ["tar", "--null", "-cf", "-", "-T", "-"]
    archive = subprocess.run(pack, cwd=ROOT, input="\0".join(names).encode(), capture_output=True, check=True)
    subprocess.run(["tar", "-xf", "-", "-C", str(target)], input=archive.stdout, check=True)
