"""``lineside demo``: the main job on the demo bundles, from proof to overlay."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineside.runtime.errors import CheckFailed, SourceError

if TYPE_CHECKING:
    from lineside.pipelines.summary import Summary
    from lineside.runtime.verify import VerifyReport

__all__ = ["command"]

INTERRUPTED = 130


@dataclass(frozen=True)
class Show:
    """One job of the demo.

    Attributes:
        name: Folder of its results.
        bundle: Bundle in the demo folder.
        source: Pictures or video in the demo folder.
        sinks: Kinds of results.
    """

    name: str
    bundle: str
    source: str
    sinks: tuple[str, ...]


SHOWS = (
    Show("bearing", "bearing.bundle", "pictures/bearing", ("jsonl", "xlsx", "images")),
    Show("tube", "tube.bundle", "pictures/tube", ("jsonl", "xlsx", "images")),
    Show("line", "bearing.bundle", "line.mp4", ("jsonl", "xlsx", "video")),
)


def command(
    demo: Annotated[
        Path | None, typer.Option(help="The demo folder [default: demo/ here, or of the checkout].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results [default: a new one in runs/].")] = None,
    view: Annotated[bool, typer.Option("--view", help="Play the video on a page at the end, until Ctrl-C.")] = False,
) -> int:
    """Runs the demo models on pictures and a conveyor video, without network, and shows what came out.

    Example: lineside demo --out runs/first --view
    """
    from lineside.cli.live import tell
    from lineside.pipelines.results import new_folder

    folder = demo or _demo_folder()
    _check(folder)
    proofs = {name: _proof(folder / name, tell) for name in dict.fromkeys(show.bundle for show in SHOWS)}
    results = out or new_folder()
    summaries: list[Summary] = []
    for show in SHOWS:
        tell(f"{show.bundle} on {folder / show.source}")
        summaries.append(_run(folder, show, results / show.name))
        if summaries[-1].stopped:
            return INTERRUPTED
    _print(proofs, summaries, folder)
    if view:
        _watch(folder)
    return 0 if all(summary.complete for summary in summaries) else 1


def _demo_folder() -> Path:
    """The demo folder of the place we are in, else of the checkout that this package runs from."""
    checkout = Path(__file__).resolve().parents[3]
    return next((place / "demo" for place in (Path(), checkout) if _is_demo(place / "demo")), Path("demo"))


def _is_demo(folder: Path) -> bool:
    return all((folder / show.bundle).is_dir() for show in SHOWS)


def _check(folder: Path) -> None:
    """Raises SourceError for a folder that does not hold the demo."""
    wanted = dict.fromkeys(name for show in SHOWS for name in (show.bundle, show.source))
    missing = [name for name in wanted if not (folder / name).exists()]
    if missing:
        raise SourceError(
            f"{folder} is not the demo folder: {', '.join(missing)} not found. The demo lies in the repository, not in "
            "the package: run this in a clone of it, or name its folder with --demo"
        )


def _proof(bundle: Path, say: Callable[[str], None]) -> VerifyReport:
    """Replays the golden files of a bundle."""
    from lineside.runtime.bundle import open_bundle
    from lineside.runtime.verify import verify_bundle

    say(f"replaying the golden pictures of {bundle}")
    report = verify_bundle(open_bundle(bundle))
    if not report.passed:
        raise CheckFailed(
            f"{bundle} does not give the recorded answers on this machine; `lineside verify {bundle}` shows where"
        )
    return report


def _run(folder: Path, show: Show, results: Path) -> Summary:
    """One job, to its end."""
    from lineside.cli.live import show_progress, tell
    from lineside.pipelines.session import Job, Session
    from lineside.pipelines.sources.find import find

    job = Job(
        bundle=folder / show.bundle,
        sources=find([str(folder / show.source)]),
        title=f"{show.bundle} on {show.source}",
        sinks=show.sinks,
        folder=results,
    )
    with Session(job, tell) as session, show_progress("inspecting") as progress:
        return session.run(progress)


def _watch(folder: Path) -> None:
    """Plays the video on the page and keeps the page up until a signal comes."""
    from lineside.cli.live import tell
    from lineside.pipelines.session import Job, Session
    from lineside.pipelines.sources.find import find

    show = SHOWS[-1]
    job = Job(bundle=folder / show.bundle, sources=find([str(folder / show.source)]), sinks=(), view=True)
    with Session(job, tell) as session:
        session.run(lambda graph: None)
        session.linger()


def _print(proofs: Mapping[str, VerifyReport], summaries: Sequence[Summary], folder: Path) -> None:
    """The closing words: proof, figures, places, and how to go on."""
    from rich.console import Console

    console = Console(highlight=False)
    for name, proof in proofs.items():
        overlaps = [golden.mask_iou for golden in proof.golden if golden.mask_iou is not None]
        masks = f", mask IoU {min(overlaps):.4f} or better" if overlaps else ""
        console.print(
            f"{name}: {len(proof.golden)} golden pictures give torch's answers on this machine{masks}", soft_wrap=True
        )
    console.print(_figures(summaries))
    console.print("Results:")
    for summary in summaries:
        for name, label in (("video", "overlay"), ("images", "overlay"), ("xlsx", "workbook")):
            if name in summary.files:
                console.print(f"  {label} {summary.files[name]}", soft_wrap=True, markup=False)
    last = SHOWS[-1]
    words = [_program(), "run", str(folder / last.bundle), str(folder / last.source), "--view"]
    console.print("\nSee it live: this plays the video on a page with thresholds and an Excel button:")
    console.print(f"  {shlex.join(words)}", soft_wrap=True, markup=False)


def _figures(summaries: Sequence[Summary]) -> object:
    """A row per job: what went through, what was found, and the median time of each stage."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    stages = ("preprocess", "infer", "postprocess")
    table = Table(title="One frame, median milliseconds", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for label in ("model", "source"):
        table.add_column(label, no_wrap=True)
    for label in ("frames", "found", "pre", "infer", "post", "fps"):
        table.add_column(label, justify="right", no_wrap=True)
    for show, summary in zip(SHOWS, summaries, strict=True):
        found = ", ".join(f"{count} {name}" for name, count in summary.classes.items()) or "0"
        times = [f"{summary.stages[stage].p50:.3g}" if stage in summary.stages else "-" for stage in stages]
        table.add_row(
            show.bundle.removesuffix(".bundle"),
            show.source,
            f"{summary.counts.decided}",
            found,
            *times,
            f"{summary.fps:.0f}",
        )
    return table


def _program() -> str:
    """How this program is called from here."""
    script = Path(sys.executable).parent / "lineside"
    if not script.exists():
        return "lineside"
    return str(script.relative_to(Path.cwd())) if script.is_relative_to(Path.cwd()) else str(script)
