"""Trains the base and every improved model alike, and measures all of them on the same fresh pictures.

Every model starts from random weights, sees the same synthetic bearings for the same number of epochs, and is trained
several times with different seeds, in bfloat16 where autocast has it, as on a GPU. Whatever is done stays in
``build/zoo-train/``: stop it whenever you like (Ctrl-C, or ``--minutes``) and start it again, and it goes on where it was.
A run whose model has changed since is made again.

usage: python benchmarks/zoo_train.py [train] [measure] [status]      all three when none is named
       python benchmarks/zoo_train.py train --only base edge --minutes 60 --jobs 2
       python benchmarks/zoo_train.py measure        writes configs/models/trained.json
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
HOME = REPOSITORY / "build" / "zoo-train"
RESULT = REPOSITORY / "configs" / "models" / "trained.json"
BASE = "base"
QUARTER = "base-quarter"
"""The base, its masks learned at a quarter of the input's resolution, as ultralytics does by itself."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every model gets.

    Attributes:
        task: Kind of synthetic picture.
        train: Pictures to train on.
        val: Pictures that choose the epoch.
        size: Side of a picture and of the network's input, px.
        epochs: Passes over the training pictures; a quarter of an hour of a core for the base.
        batch: Pictures per step.
        fresh: Pictures that no run has seen, on which all are measured.
        fresh_seed: Seed of those.
        seeds: Runs of a model.
        seeds_compared: Runs of the base and of `edge`, whose comparison is the point.
    """

    task: str = "bearing"
    train: int = 288
    val: int = 64
    size: int = 256
    epochs: int = 40
    batch: int = 8
    fresh: int = 1000
    fresh_seed: int = 20_000
    seeds: int = 2
    seeds_compared: int = 3


FULL = Budget()
QUICK = Budget(train=24, val=8, size=96, epochs=4, fresh=20, seeds=1, seeds_compared=1)
"""To see that everything works; its figures mean nothing."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where everything lies, and what every model gets.

    Attributes:
        home: Folder of the data set, the runs and their logs.
        budget: The same for every model.
    """

    home: Path = HOME
    budget: Budget = FULL


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        model: Short name: ``base``, ``edge`` …
        seed: Seed of weights and shuffling.
        place: Where it is kept, and what it gets.
    """

    model: str
    seed: int
    place: Place = Place()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.place.home / "runs" / f"{self.model}-{self.seed}"

    @property
    def log(self) -> Path:
        """What it said."""
        return self.place.home / "logs" / f"{self.folder.name}.txt"

    @property
    def yaml(self) -> str:
        """Name of the model at n scale."""
        return "yolo11n-seg.yaml" if self.model in (BASE, QUARTER) else f"yolo11n-seg-{self.model}.yaml"

    @property
    def begun(self) -> bool:
        """Whether it can go on from a checkpoint."""
        return (self.folder / "work" / "weights" / "last.pt").is_file()

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return (self.folder / "settings.json").is_file()


def models() -> list[str]:
    """Short names of the base, of the base as ultralytics trains it, and of every improved model."""
    found = (REPOSITORY / "configs" / "models").glob("yolo11-seg-*.yaml")
    return [BASE, QUARTER, *sorted(path.stem.removeprefix("yolo11-seg-") for path in found)]


def planned(place: Place, only: list[str] | None = None) -> list[Run]:
    """Every run, those first without which nothing can be compared."""
    budget, compared = place.budget, {BASE, "edge"}
    names = sorted(models(), key=lambda name: (name != BASE, name != "edge"))
    chosen = [name for name in names if not only or name in only]
    most = max(budget.seeds, budget.seeds_compared)
    return [
        Run(name, seed, place)
        for seed in range(most)
        for name in chosen
        if seed < (budget.seeds_compared if name in compared else budget.seeds)
    ]


def prepare_set(place: Place) -> Path:
    """The data set of all runs; drawn once."""
    stamp, budget = place.home / "budget.json", place.budget
    wanted = json.dumps(dataclasses.asdict(budget), indent=1)
    if stamp.is_file() and stamp.read_text() != wanted:
        sys.exit(f"{place.home} was made with another budget: name another --home, or remove it")
    data = place.home / "set"
    if not data.is_dir():
        from lineside.export.synth.dataset import write_dataset

        place.home.mkdir(parents=True, exist_ok=True)
        stamp.write_text(wanted)
        write_dataset(budget.task, data, budget.train, budget.val, budget.size, photos=False)
    return data / "data.yaml"


def fingerprint(yaml: str) -> str:
    """Hash of a model's structure, of the names and shapes of its weights, and of those that begin as a constant."""
    from lineside.export.ultra import load_model, model_yaml

    model = load_model(yaml)
    shapes = {
        name: (tuple(value.shape), float(value.flatten()[0]) if value.unique().numel() == 1 else None)
        for name, value in model.state_dict().items()
    }
    text = json.dumps([model_yaml(model), sorted(map(str, shapes.items()))], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def command(run: Run, data: Path, threads: int) -> list[str]:
    """The call of ``lineside train`` that begins or goes on with a run."""
    begun = run.begun
    if run.folder.exists() and not begun:
        shutil.rmtree(run.folder)
    budget = run.place.budget
    options = {
        "--out": run.folder,
        "--imgsz": budget.size,
        "--epochs": budget.epochs,
        "--batch": budget.batch,
        "--seed": run.seed,
        "--patience": budget.epochs,
        "--threads": threads,
    }
    words = [str(word) for pair in options.items() for word in pair]
    words += ["--set", "mask_ratio=4"] if run.model == QUARTER else []
    program = str(Path(__file__).with_name("in_bfloat16.py"))
    return [sys.executable, program, "train", run.yaml, str(data), *words, *(["--resume"] if begun else [])]


def train(runs: list[Run], data: Path, jobs: int, threads: int, minutes: float | None) -> bool:
    """Trains what is not trained yet, some runs side by side, until the time is up; whether none failed."""
    waiting, failed = [run for run in runs if not _up_to_date(run)], False
    end = time.monotonic() + 60 * minutes if minutes else float("inf")
    running: dict[Run, tuple[subprocess.Popen[bytes], float]] = {}
    try:
        while running or (waiting and time.monotonic() < end):
            while waiting and len(running) < jobs and time.monotonic() < end:
                run = waiting.pop(0)
                how = "goes on" if run.begun else "started"
                running[run] = (_start(run, data, threads), time.monotonic())
                print(f"{run.model} seed {run.seed}: {how}, {len(waiting)} wait", flush=True)
            time.sleep(1)
            for run, (process, began) in list(running.items()):
                if process.poll() is not None:
                    del running[run]
                    failed |= not _ended(run, process.returncode, time.monotonic() - began)
            if time.monotonic() >= end:
                break
    finally:
        for process, _ in running.values():
            process.send_signal(signal.SIGINT)  # the last whole epoch stays, and the run goes on from it
        for process, _ in running.values():
            process.wait()
    return not failed


def _start(run: Run, data: Path, threads: int) -> subprocess.Popen[bytes]:
    run.log.parent.mkdir(exist_ok=True)
    with run.log.open("ab") as log:
        return subprocess.Popen(
            command(run, data, threads),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,
        )


def _ended(run: Run, code: int, seconds: float) -> bool:
    if code:
        print(f"{run.model} seed {run.seed}: exit {code}, see {run.log}", flush=True)
        return False
    (run.folder / "model.sha256").write_text(fingerprint(run.yaml))
    print(f"{run.model} seed {run.seed}: done, {seconds:.0f} s since it was started", flush=True)
    return True


def _up_to_date(run: Run) -> bool:
    """Whether a run is done, and of the model as it is now; one of an older model is thrown away."""
    if not run.done:
        return False
    stamp = run.folder / "model.sha256"
    if stamp.is_file() and stamp.read_text() == fingerprint(run.yaml):
        return True
    print(f"{run.model} seed {run.seed}: the model has changed since, and is trained again", flush=True)
    shutil.rmtree(run.folder)
    return False


def status(runs: list[Run]) -> None:
    """Prints how far everything is."""
    for run in runs:
        table = run.folder / "work" / "results.csv"
        rows = table.read_text().splitlines() if table.is_file() else []
        best: Any = json.loads((run.folder / "settings.json").read_text())["best"] if run.done else {}
        mask = next((f"{float(v):.4f}" for k, v in best.items() if k == "metrics/mAP50-95(M)"), "")
        print(f"{run.folder.name:16s} {max(0, len(rows) - 1):3d} of {run.place.budget.epochs} epochs  {mask}")


def main() -> None:
    """Does what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", choices=[[], "train", "measure", "status"], help="all when none is named")
    parser.add_argument("--only", nargs="+", metavar="MODEL", choices=models(), help="these models only")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--minutes", type=float, help="stop training after so long")
    parser.add_argument("--home", type=Path, default=HOME, help="where runs are kept")
    parser.add_argument("--quick", action="store_true", help="a tiny budget, to see that it works")
    parser.add_argument("--json", type=Path, default=RESULT, help="where the figures go")
    options = parser.parse_args()
    # A shell's background job would be deaf to the first, and its children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    steps = options.steps or ["train", "measure", "status"]
    place = Place(options.home.absolute(), QUICK if options.quick else FULL)
    data = prepare_set(place)
    runs = planned(place, options.only)
    try:
        fine = "train" not in steps or train(runs, data, options.jobs, options.threads, options.minutes)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    if "measure" in steps:
        from zoo_score import measure

        options.json.write_text(json.dumps(measure([run for run in runs if run.done]), indent=1) + "\n")
        print(f"written: {options.json}")
    if "status" in steps:
        status(runs)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
