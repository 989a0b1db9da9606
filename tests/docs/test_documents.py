"""What the documents say is true: every command runs, every example runs, every link leads somewhere."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.documents import DOCUMENTS, ROOT, blocks, commands, links
from lineside.runtime.engines.auto import GPU_NODES

COVERED = {
    r"git clone .*": "tests/packaging/test_make_demo.py works in a copy of the tracked files",
    r"cd lineside": "the same",
    r"make demo": "tests/packaging/test_make_demo.py",
    r"make wheelhouse": "minutes of compiling and 200 MB: run by hand, docs/machines.md; its parts in tests/packaging/test_wheelhouse.py",
    r"sha256sum -c SHA256SUMS": "tests/packaging/test_wheelhouse.py, in a wheelhouse",
    r"python3 -m venv --system-site-packages (\.venv|~/lineside)": "tests/packaging/test_wheelhouse.py and scripts/fresh_root.sh gpu",
    r"\.venv/bin/pip install '\.\[cpu,station\]' 'cuda-bindings.*'": "docker/install_gpu.sh, run by scripts/fresh_root.sh gpu",
    r"~/lineside/bin/pip install --no-index .*": "tests/packaging/test_wheelhouse.py",
    r"(echo '/swapfile none swap sw 0 0' \| )?sudo (nvpmodel|jetson_clocks|systemctl|fallocate|chmod|mkswap|tee|reboot).*": "a Jetson's own: docs/jetson.md says that none was at hand",
    r"make (test|test-fast|check|lean310)( .*)?": "continuous integration and scripts/fresh_clone.sh",
    r"make format": "changes the working tree",
    r"make bench": "tests/benchmarks/test_benchmarks.py runs the program behind it",
    r"python benchmarks/runtime\.py( .*)?": "the same",
    r"python benchmarks/station\.py( .*)?": "tests/benchmarks/test_station.py",
    r"python benchmarks/gpu\.py( .*)?": "tests/benchmarks/test_gpu.py",
    r"lineside zoo --json > benchmarks/results/zoo\.json": "minutes; tests/export/test_zoo_command.py runs it with one model",
    r"python benchmarks/zoo_train\.py": "hours; tests/benchmarks/test_zoo_train.py runs it with a tiny budget",
    r"python benchmarks/zoo_report\.py": "tests/benchmarks/test_zoo_report.py",
    r"python -m lineside\.export\.modules\.check tests/data/vectors": "tests/export/modules/test_check.py",
    r"sudo apt-get install .*": "tests/packaging/test_system_step.py",
    r"(\.venv/bin/)?pip install '\.\[[a-z,]+\]'": "tests/packaging/test_make_demo.py and test_wheel.py install so",
    r"sudo sh scripts/(fresh|newer)_root\.sh.*": "root and network: run by hand, docs/machines.md; refusals in test_roots.py",
    r"sudo WHEELS=build/wheels sh scripts/arm64_root\.sh": "the same",
    r"sh scripts/(pythons|cross_wheels)\.sh.*": "minutes of compiling: run by hand, docs/machines.md; refusals in test_roots.py",
    r"lineside station configs/stations/demo-(camera|rtsp|gige)\.yaml .*": "tests/pipelines/test_demo_stations.py",
    r"python -m lineside\.pipelines\.aravis\.simulated .*": "the same",
    r'lineside launch ".* ! rtsp-server .*"': "tests/pipelines/gst/test_served_refusals.py, where GStreamer is",
    r'lineside launch ".* ! own\.py:Alarm .*"': "tests/pipelines/test_own_elements.py writes the block that is shown above it",
    r"lineside export best\.pt -o parts\.bundle --precision .*": "tests/export/precision/test_variants_exported.py",
    r"lineside build parts\.bundle --precision int8": "the bundle of that export; tests/runtime/tensorrt/test_trt_models.py",
    r"pip wheel .*": "scripts/cross_wheels.sh builds so; tests/packaging/test_wheel.py builds wheels",
}
"""Commands that other tests cover, and where."""

NEEDS_GPU = (
    r"lineside build .*",
    r"lineside selftest (?!.*--engine host).*",
)
"""Commands for a machine with a GPU. Elsewhere they run as well, and have to refuse: exit code 2 and a sentence about that."""

REFUSAL = re.compile(r"^error: .*(TensorRT|GPU|driver|CUDA)", re.MULTILINE)

NAMES = [document.relative_to(ROOT).as_posix() for document in DOCUMENTS]


def covered(command: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in COVERED)


def refused(command: str) -> bool:
    """Whether a command wants a GPU, and there is none."""
    wanted = any(re.fullmatch(pattern, command) for pattern in NEEDS_GPU)
    return wanted and not any(Path(node).exists() for node in GPU_NODES)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A best.pt as the documents speak of it: trained just long enough that its masks are not empty."""
    folder = tmp_path_factory.mktemp("weights")
    for words in (
        "synth tube set --train 40 --val 8 --size 160",
        "train yolo11n-seg.yaml set/data.yaml --imgsz 160 --epochs 10 --batch 4 --out run",
    ):
        command = [sys.executable, "-m", "lineside", *words.split()]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=900)
    return folder / "run" / "best.pt"


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A working folder as the documents assume it: the demo folder, and where they speak of them best.pt and pictures/."""
    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    shutil.copytree(ROOT / "demo" / "pictures" / "bearing", tmp_path / "pictures")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    write_own_blocks(tmp_path)
    return tmp_path


def write_own_blocks(folder: Path) -> None:
    """The blocks and the model yaml that docs/your-own-model.md shows, as its reader types them."""
    shown = {block.language: block.text for block in blocks(ROOT / "docs/your-own-model.md")}
    (folder / "blocks.py").write_text(shown["py"])
    (folder / "yolo11n-mine-seg.yaml").write_text(shown["yaml"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(".zh.md")])
def test_every_command_runs(name: str, desk: Path, request: pytest.FixtureRequest) -> None:
    runnable = [(line, command) for line, command in commands(ROOT / name) if not covered(command)]
    if any(re.search(r"(?<!/)\bbest\.pt\b", command) for _, command in runnable):  # one of its own lies in a folder
        shutil.copy(request.getfixturevalue("weights"), desk / "best.pt")
    scripts = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": scripts}
    for line, command in runnable:
        code, output = (
            until_ctrl_c(command, desk, environment) if "--view" in command else shell(command, desk, environment)
        )
        if refused(command):
            assert code == 2 and REFUSAL.search(output), f"{name}:{line}: {command}\n{output}"
            assert "Traceback" not in output, f"{name}:{line}: {command}\n{output}"
        else:
            assert code == 0, f"{name}:{line}: {command}\n{output}"


def shell(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a command."""
    answer = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    return answer.returncode, answer.stdout + answer.stderr


def until_ctrl_c(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """The same for a command that keeps its page up: Ctrl-C once it says so."""
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = []
    with process:
        assert process.stdout
        for text in process.stdout:
            seen.append(text)
            if "until Ctrl-C" in text:
                process.send_signal(signal.SIGINT)
        return process.wait(timeout=60), "".join(seen)


@pytest.mark.parametrize("name", NAMES)
def test_every_python_example_runs(name: str, desk: Path) -> None:
    for block in blocks(ROOT / name):
        if block.language == "python":
            answer = subprocess.run(
                [sys.executable, "-c", block.text], cwd=desk, capture_output=True, text=True, timeout=120
            )
            assert answer.returncode == 0, f"{name}:{block.line}\n{answer.stderr}"
            assert answer.stdout.strip(), f"{name}:{block.line}: the example shows nothing"


STATIONS = [
    (name, block.line, block.text)
    for name in NAMES
    for block in blocks(ROOT / name)
    if block.language == "yaml" and re.match(r"(#.*\n)*station: ", block.text)
]
"""Station files as the documents show them, with where."""


@pytest.mark.parametrize(("name", "line", "text"), STATIONS)
def test_every_station_file_means_something(
    name: str, line: int, text: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lineside.cli import main

    (desk / "station.yaml").write_text(text)
    graph = "elements:" in text
    code = main(["station", str(desk / "station.yaml"), "--describe" if graph else "--check"])
    printed = capsys.readouterr()
    assert code == 0, f"{name}:{line}: {printed.err}"
    if graph:
        elements = re.findall(r"^  (\w+): \{[a-z-]+: \{", text, re.MULTILINE)
        assert elements and all(re.search(rf"\b{element}\b", printed.out) for element in elements), printed.out


def test_the_example_of_a_station_is_among_them() -> None:
    assert any(name == "docs/station.md" and "takt:" in text and "machine:" in text for name, _, text in STATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for target in links(ROOT / name):
        if "://" not in target and not target.startswith("#"):
            assert (folder / target.split("#")[0]).exists(), f"{name}: {target}"


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".zh.md")])
def test_the_chinese_document_has_the_same_commands_and_examples(name: str) -> None:
    original, translation = ROOT / name.replace(".zh.md", ".md"), ROOT / name
    assert [command for _, command in commands(translation)] == [command for _, command in commands(original)]
    examples = [
        [block.text for block in blocks(document) if block.language == "python"] for document in (original, translation)
    ]
    assert examples[0] == examples[1]
    assert re.findall(r"\d+(?:\.\d+)?x", translation.read_text()) == re.findall(r"\d+(?:\.\d+)?x", original.read_text())


def test_the_tests_that_the_documents_name_are_there() -> None:
    named = {
        found
        for document in DOCUMENTS
        for found in re.findall(r"`((?:tests|scripts|docker|benchmarks)/[\w/.-]+)`", document.read_text("utf-8"))
    }
    assert len(named) > 20
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_table_of_proven_hardware_is_empty_until_there_is_a_report() -> None:
    rows = (ROOT / "docs/tensorrt.md").read_text("utf-8").partition("## Proven on hardware")[2].splitlines()
    reports = [line.split("|")[-2].strip() for line in rows if line.startswith("|")][2:]
    for report in reports:
        assert (ROOT / "benchmarks/results/hardware" / report).is_file(), f"there is no report {report}"


def test_the_list_of_commands_covered_elsewhere_is_up_to_date() -> None:
    spoken = [command for document in DOCUMENTS for _, command in commands(document)]
    assert spoken
    for pattern in (*COVERED, *NEEDS_GPU):
        assert any(re.fullmatch(pattern, command) for command in spoken), f"no document says {pattern} any more"
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in spoken:
        if command.startswith("make "):
            assert command.split()[1] in targets, command
