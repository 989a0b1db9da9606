"""The figures of a run as tables: what was measured, beside which peer, the goal, and whether it was reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import NOISY

HERE = Path(__file__).resolve().parent
MARKS = ("<!-- benchmarks -->", "<!-- end of benchmarks -->")
READMES = (HERE.parent / "README.md", HERE.parent / "README.zh.md")
FULL = HERE / "README.md"

MS = {5: 0.2, 50: 0.4, 300: 1.1}
"""Milliseconds that the whole postprocessing may take, by number of objects."""
GAINS: dict[str, dict[int, float]] = {
    "edgefirst": {5: 12, 50: 6, 300: 5},
    "numpy + cv2": {5: 8, 50: 8, 300: 8},
    "ultralytics process_mask": {5: 20, 50: 150, 300: 300},
    "ultralytics process_mask_native": {},
    "onnx-predictor-yolo": {},
    "edgefirst, prototype size": {},
}
"""How many times faster than each peer the postprocessing is to be, by number of objects; for one class, flat."""
LETTERBOX = {"1080p": 5.0, "5 MP": 2.0}
GRAPH, LOOP, LOOP_CPU = 0.92, 0.97, 0.03
START, MEMORY, SIZE_MB = 5.0, 0.4, 160.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        peer: Beside what.
        ours: Our figure with its unit.
        theirs: The peer's.
        gain: How the two compare.
        goal: What is to be reached; empty where there is no goal.
        reached: Whether it was; None where there is no goal.
        main: Whether the row is in the short table of the readmes.
    """

    what: str
    peer: str
    ours: str
    theirs: str
    gain: str
    goal: str = ""
    reached: bool | None = None
    main: bool = True

    def cells(self) -> tuple[str, ...]:
        """The cells of its line."""
        verdict = "" if self.reached is None else "yes" if self.reached else "**no**"
        return self.what, self.peer, self.ours, self.theirs, self.gain, self.goal, verdict


def letterbox_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Letterbox of each picture size beside the three OpenCV calls, and of luma and chroma with their conversion."""
    import letterbox

    for image, found in figures["images"].items():
        for peer, main in ((letterbox.PEER, True), (letterbox.REUSING, False)):
            ours, theirs, gain = (
                found["ms"][letterbox.OURS]["median"],
                found["ms"][peer]["median"],
                found["ratio"][peer],
            )
            goal = LETTERBOX[image] if main else None
            yield _faster(f"letterbox {image}", peer, ours, theirs, gain, goal, main)
    for image, found in figures.get("yuv", {}).items():
        ours, theirs = (found["ms"][way]["median"] for way in (letterbox.OURS, letterbox.YUV_PEER))
        gain = found["ratio"][letterbox.YUV_PEER]
        yield _faster(f"letterbox {image}", letterbox.YUV_PEER, ours, theirs, gain, None, False)


def postprocess_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Postprocessing of each scene: its own time, and beside each peer."""
    import postprocess

    for scene, found in figures["scenes"].items():
        kind, _, number = scene.partition(" n=")
        count, issue = int(number), kind == "flat nc=1"
        what = f"postprocess, {count} objects" + ("" if issue else f", {kind.removeprefix('levels ')} cut")
        ours, crops = (found["ms"][way]["median"] for way in (postprocess.OURS, postprocess.CROPS))
        goal = f"<= {MS[count]} ms" if issue else ""
        yield Row(what, "-", f"{ours:.2f} ms", "", "", goal, ours <= MS[count] if issue else None, issue)
        yield Row(f"{what}, and a crop of each", "-", f"{crops:.2f} ms", "", "", main=False)
        for peer, gain in found["gain"].items():
            wanted = GAINS[peer].get(count) if issue else None
            theirs = found["ms"][peer]["median"]
            yield _faster(what, peer, ours, theirs, gain, wanted, wanted is not None)


def agreement_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Mean IoU of our masks and ultralytics', where both resample once and where it resamples twice."""
    import agreement

    for task, sizes in figures["bundles"].items():
        for whole, goal in ((True, agreement.EQUAL), (False, agreement.CLOSE)):
            chosen = [found for found in sizes.values() if found["whole_cells"] == whole and found["compared"]]
            if not chosen:
                continue
            objects = sum(found["compared"] for found in chosen)
            lost = sum(found["objects"] + found["objects_theirs"] - 2 * found["compared"] for found in chosen)
            mean = sum(found["mean_iou"] * found["compared"] for found in chosen) / objects
            where = "on whole cells" if whole else "elsewhere"
            least = min(found["least_iou"] for found in chosen)
            yield Row(
                f"masks of the {task} model, {where}: IoU of {objects} objects",
                agreement.PEER,
                f"mean {mean:.5f}",
                "",
                f"least {least:.5f}",
                f">= {goal}",
                mean >= goal and lost == 0,
            )


def graph_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """The cut graph beside the uncut one, by number of threads."""
    import graph

    for threads, found in figures.items():
        if not threads.startswith("threads="):
            continue
        ours, peer = (found["ms"][name]["median"] for name in (graph.CUT, graph.UNCUT))
        yield Row(
            f"inference, {threads.replace('=', ' ')}",
            "ultralytics' ONNX as exported",
            f"{ours:.1f} ms",
            f"{peer:.1f} ms",
            f"{found['ratio']:.3f} of the time",
            f"<= {GRAPH}",
            found["ratio"] <= GRAPH,
        )


def loop_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """The camera loop beside the engine alone, by bundle and mode; and reading a video, by itself."""
    for name, bundle in figures["bundles"].items():
        for mode, found in bundle["modes"].items():
            loop, engine, ratio = (found[key] for key in ("loop_fps", "engine_fps", "ratio"))
            what = f"camera loop, {name}, {mode}"
            yield Row(
                what,
                "engine alone",
                f"{loop:.1f} fps",
                f"{engine:.1f} fps",
                f"{ratio:.3f} of the rate",
                f">= {LOOP}",
                ratio >= LOOP,
            )
            more = found["cpu_over_engine"]
            yield Row(
                f"{what}: processor per frame",
                "engine alone",
                f"{found['loop_cpu_ms']:.1f} ms",
                f"{found['engine_cpu_ms']:.1f} ms",
                f"{more:+.1%}",
                f"<= {LOOP_CPU:+.0%}",
                more <= LOOP_CPU,
            )
    video = figures.get("decoding")
    if video:
        what = f"reading a {video['size'][1]}x{video['size'][0]} video, a frame"
        yield Row(what, "-", f"{video['ms']['median']:.2f} ms", "", "", main=False)


def start_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Time to the first result and peak memory, of both bundles beside each peer."""
    import start

    for ours, gains in figures["gain"].items():
        kind = ours.removeprefix("lineside ")
        for peer, gain in gains.items():
            goal = START if peer == start.ULTRALYTICS else None
            main = peer == start.ULTRALYTICS
            mine, theirs = (figures["ms"][name]["median"] for name in (ours, peer))
            yield _faster(f"process start to first result, {kind} bundle", peer, mine, theirs, gain, goal, main)
            share = figures["memory"][ours][peer]
            yield Row(
                f"peak memory until then, {kind} bundle",
                peer,
                f"{figures['peak_mb'][ours]:.0f} MB",
                f"{figures['peak_mb'][peer]:.0f} MB",
                f"{share:.2f} of it",
                f"<= {MEMORY}" if main else "",
                share <= MEMORY if main else None,
                main,
            )


def size_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """What is installed."""
    found = figures["environments"]
    for name, what, goal in (("runtime", "`lineside.load` on onnxruntime", SIZE_MB), ("demo", "`make demo`", None)):
        if name in found:
            mb = found[name]["mb"]
            peer = "ultralytics" if "ultralytics" in found else "-"
            theirs = f"{found['ultralytics']['mb']:.0f} MB" if peer in found else ""
            wanted = f"<= {goal:.0f} MB" if goal else ""
            yield Row(f"installed for {what}", peer, f"{mb:.0f} MB", theirs, "", wanted, mb <= goal if goal else None)


RowsOf = Mapping[str, Callable[[dict[str, Any]], Iterator[Row]]]

ROWS: RowsOf = {
    "letterbox": letterbox_rows,
    "postprocess": postprocess_rows,
    "agreement": agreement_rows,
    "graph": graph_rows,
    "loop": loop_rows,
    "start": start_rows,
    "size": size_rows,
}


def rows(results: dict[str, Any], of: RowsOf = ROWS) -> list[Row]:
    """All rows of a run, part by part."""
    return [row for part, figures in results["parts"].items() for row in of[part](figures)]


def table(results: dict[str, Any], short: bool = False, of: RowsOf = ROWS) -> str:
    """A run as Markdown, with lines on the machine, on who else was using it, and on what is missing.

    Args:
        results: What `runtime.main` writes.
        short: Only the main rows.
        of: What makes the rows of each part.
    """
    lines = [
        "| what | beside | lineside | peer | gain | goal | reached |",
        "| --- | --- | ---: | ---: | ---: | ---: | :-: |",
    ]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows(results, of) if row.main or not short]
    about = results["machine"]
    lines += ["", f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, {results['date']}."]
    if results["quick"]:
        lines.append("A quick run: it shows that everything works, its figures are not to be quoted.")
    noisy = {part: load for part, load in foreign(results).items() if load > NOISY}
    if noisy:
        shares = ", ".join(f"{part} {share:.0%}" for part, share in noisy.items())
        lines.append(
            f"NOISY: other processes used part of the machine meanwhile ({shares}). Do not quote these parts: short work "
            "slips between the others' and long work does not, so the gains are flattered too."
        )
    tries = {part: figures["tries"] for part, figures in results["parts"].items() if len(figures.get("tries", [])) > 1}
    if tries:
        told = ", ".join(f"{part} the quietest of {len(each)}" for part, each in tries.items())
        lines.append(f"Measured again because others used the machine: {told}.")
    for part, figures in results["parts"].items():
        lines += [f"{part}: no {name} here ({why})." for name, why in figures.get("missing", {}).items()]
    return "\n".join(lines)


def write_between(readme: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Puts a table between two marks of a document."""
    before, rest = readme.read_text(encoding="utf-8").split(marks[0])
    after = rest.split(marks[1])[1]
    readme.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}", encoding="utf-8")


def write_readmes(results: dict[str, Any]) -> None:
    """Puts the short table between the marks of both readmes, and the whole one into that of the benchmarks."""
    for readme in READMES:
        write_between(readme, table(results, short=True))
    write_between(FULL, table(results))


def foreign(results: dict[str, Any]) -> dict[str, float]:
    """Share of the machine that others used during each part; the largest where a part measured several times."""
    return {part: loudest(figures) for part, figures in results["parts"].items()}


def loudest(value: Any) -> float:
    """The largest ``foreign_cpu`` anywhere in a part's figures; 0 where none is told."""
    if not isinstance(value, dict):
        return 0.0
    return max([float(value.get("foreign_cpu", 0.0)), *(loudest(inner) for inner in value.values())])


def _faster(
    what: str, peer: str, ours: float, theirs: float, gain: float, goal: float | None, main: bool = True
) -> Row:
    """A row of two times in ms."""
    digits = 2 if ours < 10 else 0
    return Row(
        what,
        peer,
        f"{ours:.{digits}f} ms",
        f"{theirs:.{2 if theirs < 100 else 0}f} ms",
        f"{gain:.1f}x" if gain < 100 else f"{gain:.0f}x",
        f">= {goal:g}x" if goal else "",
        gain >= goal if goal else None,
        main,
    )
