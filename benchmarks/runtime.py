"""All benchmarks of the runtime in one run: a table on the terminal, the figures as JSON in ``benchmarks/results/``.

    python benchmarks/runtime.py [--quick] [--only letterbox,graph] [--out FILE] [--readme]

Each part runs in a process of its own, one after the other, so that no thread pool of one waits beside another.
Within a part the candidates take turns (see ``measure.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import BLAS_OVERRIDES, NOISY, machine

HERE = Path(__file__).resolve().parent
CALLS = {
    "letterbox": ("letterbox.measure()", "letterbox.measure(rounds=12)"),
    "postprocess": ("postprocess.measure()", "postprocess.measure(rounds=8)"),
    "graph": ("graph.measure()", "graph.measure(seconds=5)"),
    "loop": ("loop.measure()", "loop.measure(seconds=10)"),
}
"""How each part is called, and how with ``--quick``: enough to see that all works, too little to be quoted."""
PARTS = tuple(CALLS)
MARKS = ("<!-- benchmarks -->", "<!-- end of benchmarks -->")

Row = tuple[str, str, str, str, str]


def run_part(name: str, quick: bool) -> dict[str, Any]:
    """Runs one part in a process of its own and returns its figures."""
    call = CALLS[name][quick]
    script = f"""
import json, sys
sys.path.insert(0, {str(HERE)!r})
import {name}
figures = {call}
print(json.dumps(figures))
"""
    environment = {key: value for key, value in os.environ.items() if key not in BLAS_OVERRIDES}
    answer = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    if answer.returncode:
        raise SystemExit(f"error: the part {name} failed; its own words are above")
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return figures


def letterbox_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Letterbox of each picture size beside the three OpenCV calls."""
    import letterbox

    for image, found in figures["images"].items():
        ours, peer = (found["ms"][way]["median"] for way in (letterbox.OURS, letterbox.PEER))
        goal = f"{letterbox.TARGETS[image]:.0f}x"
        yield (
            f"letterbox {image}, cv2 resize + border + blob",
            f"{ours:.2f} ms",
            f"{peer:.2f} ms",
            f"{peer / ours:.1f}x",
            goal,
        )


def postprocess_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Postprocessing of each scene beside numpy and OpenCV."""
    import postprocess

    for scene, found in figures["scenes"].items():
        ours, peer = (found["ms"][way]["median"] for way in (postprocess.OURS, postprocess.PEER))
        yield f"postprocess {scene}, numpy + cv2", f"{ours:.2f} ms", f"{peer:.2f} ms", f"{peer / ours:.1f}x", ""


def graph_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """The cut graph beside the uncut one, by number of threads."""
    import graph

    for threads, found in figures.items():
        if threads.startswith("threads="):
            ours, peer = (found["ms"][name]["median"] for name in (graph.CUT, graph.UNCUT))
            yield (
                f"inference {threads}, ultralytics' ONNX",
                f"{ours:.1f} ms",
                f"{peer:.1f} ms",
                f"{peer / ours:.2f}x",
                "1.09x",
            )


def loop_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """The camera loop beside the engine alone, by mode."""
    for mode, found in figures["modes"].items():
        loop, engine, ratio = (found[name] for name in ("loop_fps", "engine_fps", "ratio"))
        yield (
            f"camera loop 1080p {mode}, engine alone",
            f"{loop:.1f} fps",
            f"{engine:.1f} fps",
            f"{ratio:.2f}x",
            "0.95x",
        )


ROWS = {"letterbox": letterbox_rows, "postprocess": postprocess_rows, "graph": graph_rows, "loop": loop_rows}


def table(results: dict[str, Any]) -> str:
    """The medians of all parts as Markdown, with a line on the machine and on who else was using it."""
    lines = ["| what, beside which peer | lineside | peer | gain | goal |", "| --- | ---: | ---: | ---: | ---: |"]
    for part, figures in results["parts"].items():
        lines += ["| " + " | ".join(row) + " |" for row in ROWS[part](figures)]
    about = results["machine"]
    lines += ["", f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, {results['date']}."]
    noisy = {part: load for part, load in foreign(results).items() if load > NOISY}
    if noisy:
        shares = ", ".join(f"{part} {share:.0%}" for part, share in noisy.items())
        lines.append(
            f"NOISY: other processes used part of the machine meanwhile ({shares}); trust the gains, not the times."
        )
    return "\n".join(lines)


def write_readme(text: str) -> None:
    """Puts the table between the marks of both readmes."""
    for readme in (HERE.parent / "README.md", HERE.parent / "README.zh.md"):
        before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        readme.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def foreign(results: dict[str, Any]) -> dict[str, float]:
    """Share of the machine that others used during each part; the largest where a part measured several times."""

    def shares(value: Any) -> Iterator[float]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "foreign_cpu":
                    yield float(inner)
                else:
                    yield from shares(inner)

    return {part: max(shares(figures), default=0.0) for part, figures in results["parts"].items()}


def main() -> None:
    """Runs the parts, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that everything works")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "runtime.json")
    parser.add_argument("--readme", action="store_true", help="also put the table into both readmes")
    options = parser.parse_args()
    wanted = options.only.split(",")
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "quick": options.quick,
        "machine": machine(),
        "parts": {},
    }
    for part in wanted:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        results["parts"][part] = run_part(part, options.quick)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    if options.readme:
        write_readme(table(results))
    print(f"\nall figures: {options.out}")


if __name__ == "__main__":
    main()
